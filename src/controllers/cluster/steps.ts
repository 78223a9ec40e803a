/**
 * Performs a step. The plan may come from an old view: the members and their linearizable list are asked anew right
 * before the act, and what is done already is left alone, so that a step can be tried any number of times.
 */
import type { RaftCluster } from '../../api/cluster.ts';
import { raftSnapshot } from '../../api/kinds.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import { type Endpoint, type Engine, EngineError, type Member, type MemberStatus } from '../../engines/engine.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../kube/errors.ts';
import { persistentVolumeClaims, pods, statefulSets } from '../../kube/kinds.ts';
import { keyOf, type Live, type ObjectRef, type ResourceType, refOf } from '../../kube/objects.ts';
import { note } from '../events.ts';
import { isMember, MEMBER } from '../labels.ts';
import { clusterNames, DISK, memberOfUrl, ordinalOf } from '../names.ts';
import type { World } from '../world.ts';
import { messageOf } from '../writes.ts';
import { NEAR_ENTRIES, quorumOf } from './quorum.ts';
import type { ClusterStep, Newcomer } from './step.ts';

/** Not now: the facts are others than the plan knew, or the cluster itself refuses. It is looked at again. */
export interface NotNow {
  readonly notNow: string;
}
/** `already`: there was nothing left to do. */
export type StepOutcome = 'done' | 'already' | NotNow;

/** A member that hangs holds a step up for this long. */
const ASK_TIMEOUT_MS = 1_000;
/** The share of the leader's log that a learner must have to be given a vote: etcd's own. */
const CAUGHT_UP = 0.9;
/** A change of members has to be agreed on, and a leader to be moved. */
const CHANGE_TIMEOUT_MS = 5_000;

export async function performStep(
  world: World,
  cluster: Live<RaftCluster>,
  step: ClusterStep,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const { namespace = '' } = refOf(keyOf(cluster));
  switch (step.kind) {
    case 'replaceMember':
      return whenPossible(() => replace(world, cluster, step, signal));
    case 'createSnapshot':
      try {
        const type = raftSnapshot as ResourceType<RaftSnapshot>;
        world.views.snapshots.wrote(await world.client.create(type, step.snapshot as unknown as RaftSnapshot));
      } catch (error) {
        // Its name is made of what it is for: it is the same snapshot.
        if (!isAlreadyExists(error)) throw error;
        return 'already';
      }
      return 'done';
    case 'growDisk': {
      const { disk: name, uid, resourceVersion, size } = step;
      const patch = { metadata: { uid, resourceVersion }, spec: { resources: { requests: { storage: size } } } };
      return whenPossible(async () => {
        await world.client.patch(persistentVolumeClaims, { namespace, name }, patch, { signal });
        return 'done';
      });
    }
    case 'renewStatefulSet': {
      const ref = { namespace, name: clusterNames(cluster.metadata.name).statefulSet };
      const preconditions = { uid: step.uid };
      await world.client.delete(statefulSets, ref, { propagationPolicy: 'Orphan', preconditions, signal });
      world.views.statefulSets.gone(keyOf(ref));
      return 'done';
    }
    case 'addMember':
    case 'promoteMember':
    case 'removeMember':
    case 'moveLeader':
    case 'renewDisk':
      return whenPossible(async () => {
        const crew = await muster(world, cluster, signal);
        if ('notNow' in crew) return crew;
        return change(world, cluster, crew, step, signal);
      });
  }
}

/**
 * Whether no member of the list has an ordinal of `size` or above: only then may their pods, and with them perhaps their
 * disks, go.
 */
export function proveSize(
  world: World,
  cluster: Live<RaftCluster>,
  size: number,
  signal: AbortSignal,
): Promise<StepOutcome> {
  return whenPossible(async () => {
    const crew = await muster(world, cluster, signal);
    if ('notNow' in crew) return crew;
    const above = crew.list.map((member) => nameOf(cluster, member)).filter((name) => (name?.ordinal ?? 0) >= size);
    return above.length === 0 ? 'done' : { notNow: `${above.map((one) => one?.name).join(', ')} is still a member` };
  });
}

async function whenPossible(work: () => Promise<StepOutcome>): Promise<StepOutcome> {
  try {
    return await work();
  } catch (error) {
    // What the members refuse or cannot do is theirs to say, and no failure of ours; conflicts are an old view.
    if (error instanceof EngineError || isConflict(error)) return { notNow: messageOf(error) };
    throw error;
  }
}

interface Present {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly status: MemberStatus;
}

/** The members that answer right now, and the list that they agree on. */
export interface Crew {
  readonly engine: Engine;
  readonly present: readonly Present[];
  readonly leader: Present;
  readonly endpoints: readonly Endpoint[];
  readonly list: readonly Member[];
}

export async function muster(world: World, cluster: Live<RaftCluster>, signal: AbortSignal): Promise<Crew | NotNow> {
  const engine = world.engine(cluster.spec.engine.type);
  const key = keyOf(cluster);
  const asked = world.views.pods
    .byIndex('cluster', key)
    .filter(isMember)
    .map(async (pod): Promise<Present[]> => {
      const endpoint = world.certificates.endpoint(cluster, pod);
      if (!endpoint) return [];
      try {
        const status = await engine.status(endpoint, { signal, timeoutMs: ASK_TIMEOUT_MS });
        return [{ name: pod.metadata.name, endpoint, status }];
      } catch (error) {
        if (error instanceof EngineError) return [];
        throw error;
      }
    });
  const { clusterId } = cluster.status ?? {};
  const present = (await Promise.all(asked))
    .flat()
    .filter(({ status }) => clusterId === undefined || status.clusterId === clusterId);
  const term = Math.max(0, ...present.map(({ status }) => status.term));
  const leader = present.find(({ status }) => status.leaderId === status.memberId && status.term === term);
  if (!leader) return { notNow: 'no member that answers leads' };
  // The leader knows best: what it has done needs no waiting for.
  const others = present.filter((one) => one !== leader && !one.status.isLearner);
  const endpoints = [leader, ...others].map(({ endpoint }) => endpoint);
  const list = await engine.members(endpoints, { signal, timeoutMs: CHANGE_TIMEOUT_MS });
  return { engine, present, leader, endpoints, list };
}

function nameOf({ metadata }: Live<RaftCluster>, member: Member) {
  const name = memberOfUrl(metadata.name, member.peerUrls);
  const ordinal = name === undefined ? undefined : ordinalOf(metadata.name, name);
  return name === undefined || ordinal === undefined ? undefined : { name, ordinal };
}

/** A member that serves goes only if, right now, another one leads and all others that vote keep up with it. */
async function replace(
  world: World,
  cluster: Live<RaftCluster>,
  { pod, uid, mayLead }: Extract<ClusterStep, { kind: 'replaceMember' }>,
  signal: AbortSignal,
): Promise<StepOutcome> {
  if (!mayLead) {
    const crew = await muster(world, cluster, signal);
    if ('notNow' in crew) return crew;
    const { leader, list, present } = crew;
    if (leader.name === pod) return { notNow: `${pod} leads by now` };
    const others = list.filter((member) => !member.isLearner && nameOf(cluster, member)?.name !== pod);
    for (const { id, name } of others) {
      const applied = present.find(({ status }) => status.memberId === id)?.status.appliedIndex ?? 0;
      if (!serving(crew, id)) return { notNow: `${name} does not answer` };
      if (leader.status.appliedIndex - applied > NEAR_ENTRIES) return { notNow: `${name} has fallen behind` };
    }
  }
  await deletePod(world, { namespace: cluster.metadata.namespace ?? '', name: pod }, uid, signal);
  return 'done';
}

type Change = Extract<
  ClusterStep,
  { kind: 'addMember' | 'promoteMember' | 'removeMember' | 'moveLeader' | 'renewDisk' }
>;

async function change(
  world: World,
  cluster: Live<RaftCluster>,
  crew: Crew,
  step: Change,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const { engine, leader, endpoints, list } = crew;
  const options = { signal, timeoutMs: CHANGE_TIMEOUT_MS };
  // What the next one is refused for is found out, and said, when it is its turn.
  const tryAdd = (next: Newcomer) => whenPossible(() => add(world, cluster, crew, next, signal));
  switch (step.kind) {
    case 'addMember': {
      const added = await add(world, cluster, crew, step, signal);
      if (step.next) await tryAdd(step.next);
      return added;
    }
    case 'promoteMember': {
      const learner = list.find(({ id }) => id === step.id);
      if (!learner?.isLearner) return 'already';
      const { status } = crew.present.find((one) => one.status.memberId === step.id) ?? {};
      if (!status) return { notNow: `${step.member} does not answer` };
      if (status.index < CAUGHT_UP * leader.status.index) return { notNow: `${step.member} has not caught up yet` };
      if (step.next) await tryAdd(step.next);
      await engine.promoteMember(endpoints, step.id, options);
      return 'done';
    }
    case 'removeMember': {
      const leaves = list.find(({ id }) => id === step.id);
      if (!leaves) return 'already';
      if (nameOf(cluster, leaves)?.name !== step.member) return { notNow: `member ${step.id} is not ${step.member}` };
      if (leader.status.memberId === step.id) return { notNow: `${step.member} leads by now` };
      const stays = list.filter((member) => !member.isLearner && member.id !== step.id);
      const here = stays.filter(({ id }) => serving(crew, id));
      if (!leaves.isLearner && here.length < quorumOf(stays.length))
        return { notNow: `of the ${stays.length} that stay only ${here.length} answer` };
      if (leaves.isLearner) await markDisk(world, cluster, crew, step, signal);
      await engine.removeMember(endpoints, step.id, options);
      return 'done';
    }
    case 'moveLeader':
      if (leader.name !== step.from) return 'already';
      if (!serving(crew, step.toId)) return { notNow: `${step.to} does not answer` };
      await engine.moveLeader(leader.endpoint, step.toId, options);
      return 'done';
    case 'renewDisk':
      return renew(world, cluster, crew, step, signal);
  }
}

function serving({ present, leader }: Crew, id: string): boolean {
  return present.some(({ status }) => status.memberId === id && status.leaderId === leader.status.memberId);
}

async function add(
  world: World,
  cluster: Live<RaftCluster>,
  { engine, endpoints, list }: Crew,
  { member, peerUrl }: Newcomer,
  signal: AbortSignal,
): Promise<StepOutcome> {
  if (list.some((each) => nameOf(cluster, each)?.name === member)) return 'already';
  const { namespace = '' } = refOf(keyOf(cluster));
  await engine.addMember(endpoints, { peerUrls: [peerUrl], learner: true }, { signal, timeoutMs: CHANGE_TIMEOUT_MS });
  world.events.record(cluster, note('AddingMember', 'AddMember', `${member} is added as a learner`));
  // A pod of that name is none of a member: it belonged to one that was removed, and would only try again late. Where its
  // disk has to go as well, both go together (renewDisk).
  const ref = { namespace, name: member };
  const pod = world.views.pods.get(keyOf(ref));
  const disk = world.views.disks.get(keyOf({ namespace, name: `${DISK}-${member}` }));
  if (pod && disk?.metadata.annotations?.[MEMBER] === undefined) await deletePod(world, ref, pod.metadata.uid, signal);
  return 'done';
}

/** What a learner that never answered has left on its disk is its own, too: the next of its name must not find it. */
async function markDisk(
  world: World,
  cluster: Live<RaftCluster>,
  { leader }: Crew,
  { member, id }: Extract<Change, { kind: 'removeMember' }>,
  signal: AbortSignal,
): Promise<void> {
  const { namespace = '' } = refOf(keyOf(cluster));
  const ref = { namespace, name: `${DISK}-${member}` };
  const disk = world.views.disks.get(keyOf(ref));
  if (!disk || disk.metadata.annotations?.[MEMBER] !== undefined) return;
  const { uid, resourceVersion } = disk.metadata;
  const annotations = { [MEMBER]: `${leader.status.clusterId}/${id}` };
  await world.client.patch(
    persistentVolumeClaims,
    ref,
    { metadata: { uid, resourceVersion, annotations } },
    { signal },
  );
}

/** Everything is asked again: that the disk is a removed member's is all that allows its deletion. */
async function renew(
  world: World,
  cluster: Live<RaftCluster>,
  { present, list, leader }: Crew,
  { member, disk, uid, resourceVersion, clusterId, memberId, pod }: Extract<Change, { kind: 'renewDisk' }>,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const { namespace = '' } = refOf(keyOf(cluster));
  const heir = list.find((each) => nameOf(cluster, each)?.name === member);
  if (leader.status.clusterId !== clusterId) return { notNow: `this is cluster ${leader.status.clusterId}` };
  if (list.some(({ id }) => id === memberId)) return { notNow: `${memberId} is still a member` };
  if (!heir?.isLearner || heir.id === memberId) return { notNow: `${member} has no new member that learns` };
  if (present.some(({ status }) => status.memberId === heir.id)) return { notNow: `${member} has started already` };
  try {
    const preconditions = { uid, resourceVersion };
    await world.client.delete(persistentVolumeClaims, { namespace, name: disk }, { preconditions, signal });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  if (pod) await deletePod(world, { namespace, name: pod.name }, pod.uid, signal);
  return 'done';
}

async function deletePod(world: World, ref: ObjectRef, uid: string, signal: AbortSignal): Promise<void> {
  try {
    await world.client.delete(pods, ref, { preconditions: { uid }, signal });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
