/** From a RaftCluster and what there is of it to what is to be done. Pure: no request, no clock. */
import type { Operation, RaftCluster, RaftClusterStatus } from '../../api/cluster.ts';
import { isTrue } from '../../api/conditions.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import type { EngineProfile } from '../../engines/engine.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { ConfigMap, PersistentVolumeClaim, Pod, StatefulSet } from '../../kube/kinds.ts';
import { needsApply } from '../../kube/needs-apply.ts';
import { type KubeObject, type Live, type Manifest, ownedBy } from '../../kube/objects.ts';
import { note } from '../events.ts';
import { FORMED, MEMBER } from '../labels.ts';
import { same } from '../manifests.ts';
import { DISK, ordinalOf } from '../names.ts';
import type { PodSettings } from '../restricted.ts';
import type { TlsState } from '../tls/state.ts';
import { planDisks, templateSize } from './disks.ts';
import { leadership, type MemberObserved, type MemberViews, observeMembers } from './members.ts';
import { type DiskMark, memberList, newcomersOf, planMembership, sizeOf } from './membership.ts';
import { foreignDisk, isDisk, originOf } from './origin.ts';
import { quorumOf } from './quorum.ts';
import { type Bootstrap, type ClusterInput, type ClusterObjects, clusterObjects, memberTemplate } from './resources.ts';
import { planRestart } from './restart.ts';
import { type DiskOwners, diskOwners } from './retention.ts';
import { type Blocked, clusterEvents, clusterStatus } from './status.ts';
import type { ClusterStep, Matter } from './step.ts';
import { planUpdate } from './update.ts';

export type Part = keyof ClusterObjects;
export const PARTS: readonly Part[] = ['config', 'peers', 'client', 'disruptionBudget', 'networkPolicy', 'statefulSet'];

export interface ClusterObserved {
  readonly cluster: Live<RaftCluster>;
  readonly children: { readonly [P in Part]?: Live<KubeObject> } & {
    readonly config?: Live<ConfigMap>;
    readonly statefulSet?: Live<StatefulSet>;
  };
  readonly pods: readonly Live<Pod>[];
  readonly disks: readonly Live<PersistentVolumeClaim>[];
  /** Whether volumes of the StorageClasses of disks that should grow may do so. */
  readonly mayGrow?: ReadonlyMap<string, boolean>;
  /** Names of disks that a member would take for its own, and that are not ours. */
  readonly foreignDisks?: readonly string[];
  /** The store of `bootstrap.restore`. */
  readonly store?: Live<RaftSnapshotStore>;
  readonly views: MemberViews;
  readonly snapshots: readonly Live<RaftSnapshot>[];
  readonly policies: readonly Live<RaftSnapshotPolicy>[];
  readonly settings: PodSettings;
  /** What the members' engine is. */
  readonly profile: EngineProfile;
  /** When the revision in the status was last written, in milliseconds since 1970. */
  readonly revisionWrittenAt?: number;
  /** What the API server had against our objects at the last try. */
  readonly refused?: string;
  /** Why the step that was last tried, several times, must wait. */
  readonly notNow?: string;
  /** What is known of the members' certificates; absent: they have none, and speak plain text. */
  readonly tls?: Extract<TlsState, { kind: 'on' }>;
  /** The other object that holds `status.operation` is gone or has ended. */
  readonly holderEnded?: boolean;
}

export type ClusterAction =
  | { readonly kind: 'apply'; readonly part: Part; readonly object: Manifest; readonly exists: boolean }
  /** Deletes an object of ours that the spec no longer wants. */
  | { readonly kind: 'withdraw'; readonly part: Part; readonly name: string; readonly uid: string }
  /** Makes a disk one that goes with the cluster, or no more. */
  | ({ readonly kind: 'ownDisk' } & DiskOwners)
  /** Writes on a disk whose data it holds. */
  | { readonly kind: 'markDisk'; readonly name: string; readonly annotations: Readonly<Record<string, string>> }
  /** `events`: told once it is done. */
  | { readonly kind: 'step'; readonly step: ClusterStep; readonly events: readonly EventInput[] }
  | { readonly kind: 'status'; readonly status: RaftClusterStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface ClusterPlan {
  readonly actions: readonly ClusterAction[];
  readonly requeueAfterMs?: number;
}

/** A revision moves with every write: people see it at most this much behind. */
export const REVISION_EVERY_MS = 60_000;
/** How often to look again at something that no watch tells us of. */
const RECHECK_MS = 10_000;

export function planCluster(observed: ClusterObserved, now: Date): ClusterPlan {
  const { cluster, children, settings } = observed;
  const { metadata, spec } = cluster;
  // Owner references take everything away with it, except the disks.
  if (metadata.deletionTimestamp !== undefined) return { actions: [] };
  const origin = originOf(observed);
  const { views, disks, pods } = observed;
  const list = memberList(views, cluster.status?.clusterId);
  const listed = list === undefined ? {} : { list };
  const running = children.statefulSet?.spec.replicas;
  const size = sizeOf({ cluster, formed: origin.formed, ...listed, views, disks, running });
  const hibernated = spec.replicas === 0;
  const members = observeMembers({
    cluster,
    size: hibernated ? 0 : size,
    pods,
    views,
    formed: origin.formed,
    ...listed,
    crash: observed.profile.crash,
  });
  const complete = children.statefulSet !== undefined && isComplete(members, spec.replicas, list !== undefined);
  const formed = origin.formed || (origin.blocked === undefined && complete);
  const bootstrap = bootstrapOf(observed, formed);
  const { leader, clusterId: said } = leadership(members);
  const clusterId = cluster.status?.clusterId ?? said;
  const { maxLearners } = observed.profile;
  const membership = planMembership({ cluster, members, ...listed, clusterId, disks, size, formed, maxLearners });
  const born = templateSize(children.statefulSet);
  const input: ClusterInput = {
    cluster,
    owner: ownedBy(cluster),
    settings,
    token: origin.token,
    formed,
    size,
    shrinks:
      (running ?? 0) > size || pods.some((pod) => (ordinalOf(cluster.metadata.name, pod.metadata.name) ?? 0) >= size),
    ...listed,
    ...(born === undefined ? {} : { templateSize: born }),
    ...(observed.tls?.trust === undefined ? {} : { trust: observed.tls.trust }),
    ...(bootstrap.kind === 'archive' ? { bootstrap: bootstrap.bootstrap } : {}),
  };
  const update = planUpdate({
    cluster,
    members,
    ...(children.statefulSet === undefined ? {} : { statefulSet: children.statefulSet }),
    template: memberTemplate(input).metadata.annotations,
    profile: observed.profile,
    image: observed.profile.image(spec.engine, settings),
    ...(leader === undefined ? {} : { leader }),
    formed,
    snapshots: observed.snapshots,
    policies: observed.policies,
    now,
  });
  const blocked: Blocked | undefined =
    origin.blocked ??
    (bootstrap.kind === 'blocked' ? bootstrap.blocked : undefined) ??
    // Nobody can say what members would have to trust.
    (observed.tls && observed.tls.trust === undefined ? observed.tls.report : undefined) ??
    (children.statefulSet === undefined ? update.refused : undefined);
  const acts = blocked === undefined && !spec.paused;
  const unfinished = planRestart({ members, formed, crash: observed.profile.crash });
  const disksMatter = planDisks({
    cluster,
    disks,
    size,
    ...(children.statefulSet === undefined ? {} : { statefulSet: children.statefulSet }),
    renewable: !update.keepsTemplate && update.refused === undefined,
    mayGrow: observed.mayGrow ?? new Map(),
  });
  const matter = acts
    ? firstMatter(observed, members, ownDisksOnly(membership, observed), [unfinished, update, disksMatter])
    : {};
  const operation = operationOf(observed, matter, now);
  const actions: ClusterAction[] = [];
  const creates = acts && children.statefulSet === undefined && pods.length === 0;
  const status = clusterStatus({
    observed,
    members,
    size,
    formed,
    ...(membership.voters === undefined ? {} : { voters: membership.voters }),
    outdated: acts ? update.outdated : [],
    ...(blocked === undefined ? {} : { blocked }),
    ...(matter.held === undefined ? {} : { held: matter.held }),
    ...(operation === undefined ? {} : { operation }),
    now,
  });
  // Whatever else is in the way: who deletes the cluster next means what spec says now.
  if (origin.blocked === undefined && !spec.paused)
    actions.push(...diskOwners(cluster, disks, origin.token).map((disk) => ({ kind: 'ownDisk', ...disk }) as const));
  if (formed && acts) actions.push(...marks(observed, origin.token, membership.marks));
  const { toWrite, waitMs } = worthWriting(observed, status, now);
  // Recorded before the configuration lets go of "new", and before anything can be lost.
  if (toWrite) actions.push({ kind: 'status', status: toWrite });
  const comes = newcomersOf(matter.step);
  const names = formed ? (membership.names ?? namesIn(children.config)) : undefined;
  const objects = clusterObjects({
    ...input,
    ...(names === undefined ? {} : { names: [...names, ...comes] }),
    joining: [...membership.joining, ...comes],
    ...(update.keepsTemplate && children.statefulSet ? { keptTemplate: children.statefulSet.spec['template'] } : {}),
  });
  if (acts) actions.push(...applies(objects, children));
  if (matter.step) {
    const event = stepEvent(matter.step);
    const events = [...(matter.events ?? []), ...(event === undefined ? [] : [event])];
    actions.push({ kind: 'step', step: matter.step, events });
  }
  if (creates) {
    const from = bootstrap.kind === 'archive' ? ` from archive ${bootstrap.bootstrap.key}` : '';
    const text = `creating ${spec.replicas} member${spec.replicas === 1 ? '' : 's'}${from}`;
    actions.push({ kind: 'event', event: note('Created', 'CreateMembers', text) });
  }
  for (const event of toWrite ? clusterEvents(cluster.status, toWrite) : []) actions.push({ kind: 'event', event });
  const waits = [blocked?.recheck ? RECHECK_MS : undefined, waitMs, matter.recheckMs].filter(
    (wait) => wait !== undefined,
  );
  return { actions, ...(waits.length === 0 ? {} : { requeueAfterMs: Math.min(...waits) }) };
}

/**
 * Whether a cluster has its members: all that it began with, or all that are asked for where fewer are by now, if they are a
 * quorum of those and have a leader. The others, which may never start, can leave then.
 */
function isComplete(members: readonly MemberObserved[], replicas: number, leads: boolean): boolean {
  const wanted = members.slice(0, replicas);
  if (wanted.length === 0 || !wanted.every(({ ready }) => ready)) return false;
  return wanted.length === members.length || (leads && wanted.length >= quorumOf(members.length));
}

/** No member comes where somebody else's disk lies: it would start on it. */
function ownDisksOnly(membership: Matter, { foreignDisks = [] }: ClusterObserved): Matter {
  const { step } = membership;
  const isForeign = (member: string) => foreignDisks.includes(`${DISK}-${member}`);
  if (!newcomersOf(step).some(isForeign)) return membership;
  switch (step?.kind) {
    case 'addMember': {
      const { next: _, ...alone } = step;
      if (!isForeign(step.member)) return { ...membership, step: alone };
      const { step: __, operation: ___, ...rest } = membership;
      return { ...rest, held: foreignDisk([`${DISK}-${step.member}`]), recheckMs: RECHECK_MS };
    }
    case 'promoteMember': {
      const { next: _, ...alone } = step;
      return { ...membership, step: alone };
    }
    default:
      return membership;
  }
}

/**
 * The first matter that is underway: those after it wait for it, except that where members only wait, one that cannot come
 * because of what it runs gets what spec says by now. One that must wait keeps none after it from going on: they may mend
 * what it waits for. None begins while another object's operation goes on.
 */
function firstMatter(
  { cluster, holderEnded }: ClusterObserved,
  members: readonly MemberObserved[],
  membership: Matter,
  others: readonly Matter[],
): Matter {
  const matters = [membership, ...others];
  const underway = matters.find(({ operation, step }) => operation ?? step);
  const away = (pod: string) => members.some(({ name, ready }) => name === pod && !ready);
  const mended = others.find(({ step }) => step?.kind === 'replaceMember' && away(step.pod));
  const first: Matter =
    underway === membership && membership.step === undefined && mended?.step !== undefined
      ? { ...membership, step: mended.step }
      : (underway ?? matters.find(({ held }) => held) ?? {});
  const lock = cluster.status?.operation;
  if (lock?.holder === undefined || holderEnded || first.step === undefined) return first;
  const { step: _, operation: __, ...waits } = first;
  return { ...waits, held: { reason: 'Locked', message: `waits for ${lock.holder} (${lock.type})` } };
}

/** The lock as it is from now on: another object's until it ends, else what we do ourselves. */
function operationOf(
  { cluster, holderEnded, notNow }: ClusterObserved,
  matter: Matter,
  now: Date,
): Operation | undefined {
  const old = cluster.status?.operation;
  if (old?.holder !== undefined && !holderEnded) return old;
  if (matter.operation === undefined) return undefined;
  const { type, message = `${type} goes on` } = matter.operation;
  const waits = notNow === undefined || matter.step === undefined ? '' : `; waits: ${notNow}`;
  const goesOn = old !== undefined && old.holder === undefined && old.type === type;
  // As long as the schema allows: last words of members can be longer than that.
  return {
    ...matter.operation,
    message: `${message}${waits}`.slice(0, 1024),
    since: goesOn ? old.since : now.toISOString().replace(/\.\d+Z$/, 'Z'),
  };
}

function stepEvent(step: ClusterStep): EventInput | undefined {
  switch (step.kind) {
    case 'replaceMember':
      return note(
        'ReplacingMember',
        'ReplaceMember',
        `${step.pod} is replaced: ${step.why ?? 'it does not run what spec says'}`,
      );
    case 'addMember':
      // Told when it is done: the next one comes with the promotion of the one before.
      return undefined;
    case 'promoteMember':
      return note('PromotingMember', 'PromoteMember', `${step.member} has caught up, and votes`);
    case 'removeMember':
      return note('RemovingMember', 'RemoveMember', `${step.member} (${step.id}) is removed`);
    case 'moveLeader':
      return note('MovingLeader', 'MoveLeader', `${step.from} hands leadership over to ${step.to}`);
    case 'renewDisk':
      return note('RenewingDisk', 'RenewDisk', `${step.disk} is deleted: member ${step.memberId} was removed`);
    case 'createSnapshot':
      return note('TakingSnapshot', 'TakeSnapshot', `snapshot ${step.snapshot.metadata.name} comes first`);
    case 'growDisk':
      return note('GrowingDisk', 'GrowDisk', `${step.disk} grows to ${step.size}`);
    case 'renewStatefulSet':
      return note('RenewingStatefulSet', 'GrowDisk', 'the StatefulSet is made anew for larger disks; its pods stay');
  }
}

function applies(objects: ClusterObjects, children: ClusterObserved['children']): ClusterAction[] {
  return PARTS.flatMap((part): ClusterAction[] => {
    const there = children[part];
    const object = objects[part];
    if (object === undefined)
      return there ? [{ kind: 'withdraw', part, name: there.metadata.name, uid: there.metadata.uid }] : [];
    return needsApply(object, there) ? [{ kind: 'apply', part, object, exists: there !== undefined }] : [];
  });
}

/**
 * A claim without a volume holds nothing to be marked, and to write to it now would be to cross Kubernetes' own writes: what it
 * then tries again comes so late that the kubelet finds the claim unbound, and waits ten seconds more.
 */
function marks({ cluster, disks }: ClusterObserved, token: string, known: readonly DiskMark[]): ClusterAction[] {
  return disks
    .filter(({ metadata }) => isDisk(cluster, metadata.name) && metadata.deletionTimestamp === undefined)
    .filter(({ status }) => status?.phase !== 'Pending')
    .flatMap(({ metadata: { name, annotations } }): ClusterAction[] => {
      const member = known.find(({ disk }) => disk === name)?.member;
      const added: Record<string, string> = {
        ...(annotations?.[FORMED] === token ? {} : { [FORMED]: token }),
        ...(member === undefined ? {} : { [MEMBER]: member }),
      };
      return Object.keys(added).length === 0 ? [] : [{ kind: 'markDisk', name, annotations: added }];
    });
}

/** Whom the configuration names already: what nobody tells us anew stays. */
function namesIn(config: Live<ConfigMap> | undefined): string[] | undefined {
  const named = config?.data?.['initial-cluster'];
  return named ? named.split(',').map((each) => each.split('=')[0] ?? '') : undefined;
}

type BootstrapFound =
  | { readonly kind: 'none' }
  | { readonly kind: 'archive'; readonly bootstrap: Bootstrap }
  | { readonly kind: 'blocked'; readonly blocked: Blocked };

function bootstrapOf({ cluster, children, store }: ClusterObserved, formed: boolean): BootstrapFound {
  const restore = cluster.spec.bootstrap?.restore;
  if (!restore || formed) return { kind: 'none' };
  if (!store)
    return {
      kind: 'blocked',
      blocked: {
        reason: 'StoreNotFound',
        message: `RaftSnapshotStore ${restore.storeName} does not exist: create it, and the cluster starts from archive ${restore.key}`,
      },
    };
  if (!isTrue(store.status?.conditions, 'Ready') && children.statefulSet === undefined)
    return {
      kind: 'blocked',
      blocked: {
        reason: 'StoreNotReady',
        message: `RaftSnapshotStore ${restore.storeName} is not ready: ${store.status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? 'it has not been checked yet'}`,
      },
    };
  const { key, checksum } = restore;
  return { kind: 'archive', bootstrap: { store: store.spec, key, ...(checksum === undefined ? {} : { checksum }) } };
}

/** Leaves a status unwritten of which only the figures that always move have moved, until it is their time. */
function worthWriting(
  { cluster, revisionWrittenAt }: ClusterObserved,
  status: RaftClusterStatus,
  now: Date,
): { toWrite?: RaftClusterStatus; waitMs?: number } {
  const old = cluster.status;
  if (same(old, status)) return {};
  const figures = { revision: old?.revision, term: old?.term };
  if (old?.revision === undefined || !same(old, { ...status, ...figures })) return { toWrite: status };
  const waitMs = (revisionWrittenAt ?? 0) + REVISION_EVERY_MS - now.getTime();
  return waitMs <= 0 ? { toWrite: status } : { waitMs };
}
