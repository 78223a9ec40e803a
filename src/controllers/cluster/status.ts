/** What a RaftCluster's status says, and which events a change of it is worth. Pure. */
import type { Alarm, MemberStatus, Operation, RaftClusterStatus } from '../../api/cluster.ts';
import { findCondition, isTrue, type Observation, setCondition } from '../../api/conditions.ts';
import type { EventInput } from '../../kube/contract.ts';
import { note, warning } from '../events.ts';
import { memberSelector, RESTORE_REVISION } from '../labels.ts';
import type { CertificatesReport } from '../tls/state.ts';
import { leadership, type MemberObserved } from './members.ts';
import type { ClusterObserved } from './plan.ts';
import { quorumOf } from './quorum.ts';
import type { Held } from './step.ts';

/** Why nothing can be done for now, and what would help. */
export interface Blocked {
  readonly reason: string;
  readonly message: string;
  /** No watch will tell when it is over. */
  readonly recheck?: boolean;
}

export interface StatusInput {
  readonly observed: ClusterObserved;
  readonly members: readonly MemberObserved[];
  /** How many members the cluster has, also while it hibernates. */
  readonly size: number;
  readonly formed: boolean;
  /** The names of those that vote, while a member says it. */
  readonly voters?: readonly string[];
  /** Members that do not run what the spec says. */
  readonly outdated: readonly string[];
  readonly blocked?: Blocked;
  /** Why the next step waits. */
  readonly held?: Held;
  readonly operation?: Operation;
  readonly now: Date;
}

export function clusterStatus(input: StatusInput): RaftClusterStatus {
  const { observed, members, formed, now } = input;
  const { cluster } = observed;
  const { metadata, spec, status: old } = cluster;
  const ready = members.filter((member) => member.ready).length;
  const said = leadership(members);
  const clusterId = said.clusterId ?? old?.clusterId;
  const last = lastSnapshot(observed, clusterId);
  const next = nextSnapshot(observed);
  const restore = spec.bootstrap?.restore;
  const restoredRevision = Number(metadata.annotations?.[RESTORE_REVISION] ?? Number.NaN);
  let conditions = old?.conditions;
  for (const observation of observations(input, ready, said.leader))
    conditions = setCondition(
      conditions,
      { ...observation, observedGeneration: metadata.generation },
      now,
    ) as typeof conditions;
  return defined({
    observedGeneration: metadata.generation,
    conditions,
    replicas: members.filter(({ pod }) => pod !== undefined).length,
    readyReplicas: ready,
    membersReady: `${ready}/${spec.replicas}`,
    selector: Object.entries(memberSelector(metadata.name))
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
    leader: said.leader,
    clusterId,
    term: said.term ?? old?.term,
    revision: said.revision ?? old?.revision,
    version: said.version ?? old?.version,
    formed: formed || undefined,
    size: input.size,
    operation: input.operation,
    certificatesExpire: observed.tls?.report.expires,
    alarms: alarmsOf(members),
    members: members.map((member) => memberStatus(member, old?.members)),
    lastSnapshot: last,
    nextSnapshotTime: next,
    restoredFrom:
      restore && formed
        ? {
            storeName: restore.storeName,
            key: restore.key,
            ...(Number.isSafeInteger(restoredRevision) ? { revision: restoredRevision } : {}),
          }
        : undefined,
  });
}

function defined(status: { [K in keyof RaftClusterStatus]: RaftClusterStatus[K] | undefined }): RaftClusterStatus {
  return Object.fromEntries(Object.entries(status).filter(([, value]) => value !== undefined)) as RaftClusterStatus;
}

function memberStatus(
  { name, ready, state, status, message }: MemberObserved,
  before: readonly MemberStatus[] = [],
): MemberStatus {
  const id = status?.memberId ?? before.find((member) => member.name === name)?.id;
  return {
    name,
    ...(id === undefined ? {} : { id }),
    ...(status === undefined ? {} : { role: roleOf(status) }),
    ready,
    state,
    ...(message === undefined ? {} : { message: message.slice(0, 1024) }),
  };
}

const CURES: { readonly [T in Alarm['type']]: string } = {
  NoSpace:
    'writes are refused until there is space: delete keys, compact and defragment or raise spec.engine.quotaBytes (or free or grow the disk), then disarm the alarm',
  Corrupt:
    'its data differ from those of the others, and all refuse to serve: delete its disk and its pod, then disarm the alarm, and it is replaced',
};

/** etcd 3.5 does not say whose data are wrong. */
const UNKNOWN = 'unknown';
const UNKNOWN_CORRUPT =
  'members hold different data, and all refuse to serve: compare them (etcdctl endpoint hashkv --cluster), delete the disk and the pod of the one that differs, then disarm the alarm, and it is replaced';

/** Alarms are known to all members alike; the newest answers count. */
function alarmsOf(members: readonly MemberObserved[]): Alarm[] | undefined {
  const term = Math.max(0, ...members.map(({ status }) => status?.term ?? 0));
  const newest = members.flatMap(({ status }) => (status?.term === term ? [status] : []));
  const names = new Map(newest.flatMap((status) => status.members.map(({ id, name }) => [id, name] as const)));
  const alarms = new Map<string, Alarm>();
  for (const { alarms: raised } of newest)
    for (const { type, memberId } of raised) {
      const member = names.get(memberId) || (memberId === '0' ? UNKNOWN : memberId);
      const message = member === UNKNOWN && type === 'Corrupt' ? UNKNOWN_CORRUPT : `${member}: ${CURES[type]}`;
      alarms.set(`${type} ${member}`, { type, member, message });
    }
  const sorted = [...alarms].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, alarm]) => alarm);
  return sorted.length === 0 ? undefined : sorted;
}

function roleOf(status: NonNullable<MemberObserved['status']>): NonNullable<MemberStatus['role']> {
  if (status.isLearner) return 'Learner';
  if (status.leaderId === undefined) return 'Candidate';
  return status.leaderId === status.memberId ? 'Leader' : 'Follower';
}

type Said = Omit<Observation, 'type'>;

function observations(input: StatusInput, ready: number, leader: string | undefined): Observation[] {
  const { observed, members } = input;
  const { replicas } = observed.cluster.spec;
  const serve = `${ready} of ${replicas} members serve`;
  const down = members
    .filter((member) => !member.ready)
    .map(({ name, message }) => `${name}: ${message ?? 'not ready'}`);
  const look: Look = {
    input,
    ready,
    leader,
    serve,
    why: down.length === 0 ? '' : `; ${down.join('; ')}`,
    quorum: quorumOf(input.formed ? (input.voters?.length ?? input.size) : replicas),
  };
  return [
    { type: 'Available', ...available(look) },
    { type: 'Ready', ...readyCondition(look) },
    { type: 'Progressing', ...progressing(look) },
    { type: 'Degraded', ...degraded(look) },
    ...(observed.tls ? [certificatesReady(observed.tls.report)] : []),
  ].map((one) => ({ ...one, message: one.message.slice(0, 4096) }));
}

function certificatesReady({ status, reason, message }: CertificatesReport): Observation {
  return { type: 'CertificatesReady', status, reason, message };
}

interface Look {
  readonly input: StatusInput;
  readonly ready: number;
  readonly leader: string | undefined;
  /** How many serve, in words. */
  readonly serve: string;
  /** What keeps the others, in words, or nothing. */
  readonly why: string;
  /** Of the members asked for until the cluster has formed, of those that vote from then on. */
  readonly quorum: number;
}

const hibernates = ({ observed }: StatusInput) => observed.cluster.spec.replicas === 0;
const hibernated = 'spec.replicas is 0: the cluster hibernates, its disks are kept';

/** One member more than an odd number has to agree, and no more may fail. */
function evenness(replicas: number): string {
  return replicas > 0 && replicas % 2 === 0
    ? `; spec.replicas is even: ${replicas} members survive no more failures than ${replicas - 1}`
    : '';
}

/** A quorum of the members asked for: the first of three that starts is no cluster yet. */
function available({ input, ready, leader, serve, why, quorum }: Look): Said {
  if (hibernates(input)) return { status: 'False', reason: 'Hibernated', message: hibernated };
  if (ready >= quorum && leader !== undefined)
    return { status: 'True', reason: 'QuorumServes', message: `${serve}, ${leader} leads` };
  if (ready >= quorum) return { status: 'False', reason: 'NoLeader', message: `${serve}, and none leads${why}` };
  const message = `${serve}, and it takes ${quorum} to read and write${why}`;
  return { status: 'False', reason: input.formed ? 'QuorumLost' : 'MembersStarting', message };
}

function readyCondition(look: Look): Said {
  const { input, ready, leader, serve, why } = look;
  const { blocked, formed, members, observed } = input;
  const { replicas } = observed.cluster.spec;
  if (blocked) return { status: 'False', reason: blocked.reason, message: `${blocked.message} (${serve})` };
  if (hibernates(input)) return { status: 'False', reason: 'Hibernated', message: hibernated };
  if (ready === replicas && members.length === replicas)
    return {
      status: 'True',
      reason: 'MembersReady',
      message: `${serve}${leader === undefined ? '' : `, ${leader} leads`}${evenness(replicas)}`,
    };
  // All that there are serve: what keeps those that are to come is what keeps the cluster from going on.
  const { reason, message } = progressing(look);
  const rest = formed && why === '' && reason !== 'UpToDate' ? `; ${message}` : why;
  return { status: 'False', reason: formed ? 'MembersNotReady' : 'MembersStarting', message: `${serve}${rest}` };
}

function progressing({ input, serve, why }: Look): Said {
  const { blocked, formed, held, observed, operation, outdated } = input;
  const { refused, cluster } = observed;
  if (blocked) return { status: 'False', reason: blocked.reason, message: blocked.message };
  if (cluster.spec.paused)
    return { status: 'False', reason: 'Paused', message: 'spec.paused is true: nothing is changed until it is false' };
  if (refused !== undefined)
    return {
      status: 'False',
      reason: 'Refused',
      message: `Kubernetes refuses what spec asks for, and is asked again: ${refused}`,
    };
  if (held) return { status: 'False', reason: held.reason, message: held.message };
  if (!formed && !hibernates(input)) return { status: 'True', reason: 'StartingMembers', message: `${serve}${why}` };
  if (operation) {
    const reason = operation.type === 'Update' ? 'ReplacingMembers' : operation.type;
    return { status: 'True', reason, message: operation.message ?? `${operation.type} goes on` };
  }
  if (outdated.length > 0)
    return { status: 'True', reason: 'ReplacingMembers', message: `still to be replaced: ${outdated.join(', ')}` };
  return { status: 'False', reason: 'UpToDate', message: 'all members run what spec says' };
}

/** The update is at it, and nothing that is known keeps it from coming back. */
function isBeingReplaced({ name, pod, state }: MemberObserved, { operation, now }: StatusInput): boolean {
  if (operation?.type !== 'Update' || operation.member !== name) return false;
  if (pod === undefined) return true;
  const { deletionTimestamp: ends } = pod.metadata;
  // Where a pod stays for longer than it was given, its node does not answer.
  return ends === undefined ? ['Serving', 'Starting', 'Slow'].includes(state) : Date.parse(ends) > now.getTime();
}

function degraded({ input, ready, serve, why, quorum }: Look): Said {
  const { formed, members, operation, voters } = input;
  if (!formed) return { status: 'False', reason: 'NotFormed', message: 'the members have not yet served together' };
  if (hibernates(input)) return { status: 'False', reason: 'Hibernated', message: hibernated };
  const alarms = alarmsOf(members) ?? [];
  // A member that knows of data that differ is not ready, so that no quorum seems to be left: the alarm is the reason.
  const [first] = alarms;
  if (first && (first.type === 'Corrupt' || ready >= quorum)) {
    const message = `${alarms.map((alarm) => `${alarm.type}: ${alarm.message}`).join('; ')} (${serve}${why})`;
    return { status: 'True', reason: first.type, message };
  }
  // Who comes or goes on purpose is nothing that is broken.
  const scales = operation?.type === 'ScaleUp' || operation?.type === 'ScaleDown';
  const expected = members.filter(({ name }) => !scales || (voters?.includes(name) ?? true));
  if (expected.every((member) => member.ready)) return { status: 'False', reason: 'MembersReady', message: serve };
  const down = expected.filter((member) => !member.ready);
  if (ready >= quorum && down.every((member) => isBeingReplaced(member, input)))
    return {
      status: 'False',
      reason: 'ReplacingMembers',
      message: `${serve}, which is enough to read and write${why}`,
    };
  // Whose data are not known to be lost may come back with them: an empty successor would be the greater risk.
  const dead = down.filter(({ state }) => state === 'Dead').map(({ name }) => name);
  const waits =
    dead.length === 0 ? '' : `; waited for, since the data may come back with the member: ${dead.join(', ')}`;
  return ready >= quorum
    ? {
        status: 'True',
        reason: 'MembersNotReady',
        message: `${serve}, which is enough to read and write${why}${waits}`,
      }
    : {
        status: 'True',
        reason: 'QuorumLost',
        message: `${serve}, and it takes ${quorum} to read and write${why}${waits}`,
      };
}

/** The newest good snapshot of this very cluster: one of an earlier cluster of the same name does not protect it. */
function lastSnapshot({ cluster, snapshots }: ClusterObserved, clusterId: string | undefined) {
  const good = snapshots
    .filter(({ spec, status }) => spec.clusterName === cluster.metadata.name && isTrue(status?.conditions, 'Complete'))
    .filter(
      ({ status }) => status?.clusterId === undefined || clusterId === undefined || status.clusterId === clusterId,
    )
    .filter(({ status }) => status?.completionTime !== undefined)
    .sort((a, b) => (a.status!.completionTime! < b.status!.completionTime! ? 1 : -1));
  const newest = good[0];
  if (!newest?.status?.completionTime) return undefined;
  const { completionTime: time, revision } = newest.status;
  return { name: newest.metadata.name, time, ...(revision === undefined ? {} : { revision }) };
}

function nextSnapshot({ cluster, policies }: ClusterObserved): string | undefined {
  return policies
    .filter(({ spec, metadata }) => spec.clusterName === cluster.metadata.name && !metadata.deletionTimestamp)
    .flatMap(({ status }) => status?.nextScheduleTime ?? [])
    .sort()[0];
}

/** The members asked for, as the status repeats them. */
function replicasOf(status: RaftClusterStatus | undefined): number {
  return Number(status?.membersReady?.split('/')[1] ?? 0);
}

/** Every event here stands for a change of the status, so that it is told once, however often one looks. */
export function clusterEvents(before: RaftClusterStatus | undefined, after: RaftClusterStatus): EventInput[] {
  const events: EventInput[] = [];
  const now = (type: string) => findCondition(after.conditions, type);
  const was = (type: string) => findCondition(before?.conditions, type);
  const progressing = now('Progressing');
  const size = replicasOf(after);
  if (size !== replicasOf(before) && evenness(size) !== '')
    events.push(warning('EvenReplicas', 'WatchMembers', evenness(size).slice(2)));
  if (after.formed && !before?.formed) {
    const count = after.readyReplicas ?? 0;
    const joined = `${count === 1 ? 'the one member has' : `all ${count} members have`} joined the cluster`;
    const text = count === 0 ? 'the disks hold the data of a cluster that had formed' : joined;
    events.push(note('Formed', 'FormCluster', text));
  }
  if (isTrue(after.conditions, 'Ready') && was('Ready')?.status !== 'True')
    events.push(note('MembersReady', 'WatchMembers', now('Ready')!.message));
  // Between two leaders there is a moment with none: the one after it counts, the first of a new cluster does not.
  const known = before?.formed && before.term !== undefined;
  if (known && after.leader !== undefined && before.leader !== after.leader)
    events.push(note('LeaderChanged', 'WatchMembers', `${after.leader} leads in term ${after.term}`));
  const degraded = now('Degraded');
  const wakes = [undefined, 'Hibernated'].includes(was('Degraded')?.reason);
  if (degraded?.status === 'True' && degraded.reason !== was('Degraded')?.reason && !wakes)
    events.push(warning(degraded.reason, 'WatchMembers', degraded.message));
  const certificates = now('CertificatesReady');
  if (certificates?.status === 'False' && certificates.reason !== was('CertificatesReady')?.reason)
    events.push(warning(certificates.reason, 'WatchCertificates', certificates.message));
  const blocked = progressing?.status === 'False' && !['UpToDate', 'Paused'].includes(progressing.reason);
  // Certificates that a new cluster waits for are told of already.
  const told = certificates?.reason === progressing?.reason;
  if (blocked && !told && progressing.reason !== was('Progressing')?.reason)
    events.push(warning(progressing.reason, 'CreateMembers', progressing.message));
  return events;
}
