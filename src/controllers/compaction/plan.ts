/** From a RaftCompaction and what there is of its cluster to what is to be done. Pure: no request, no clock. */
import type { Operation, RaftCluster } from '../../api/cluster.ts';
import type { CompactedMember, RaftCompaction, RaftCompactionStatus } from '../../api/compaction.ts';
import { findCondition, timestamp } from '../../api/conditions.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Live } from '../../kube/objects.ts';
import { note, warning } from '../events.ts';
import { holderName } from '../lock.ts';
import { same } from '../manifests.ts';
import type { Samples } from './history.ts';
import { compactionStatus, completed, inUnits, started, winnings, withMembers } from './status.ts';
import { type CrewView, nextWork, type Quota, startOf, type Work, type WorkInput } from './work.ts';

export interface CompactionObserved {
  readonly compaction: Live<RaftCompaction>;
  readonly cluster?: Live<RaftCluster>;
  /** Snapshots and restores that run, by kind and name: what they read must stay. */
  readonly readers: readonly string[];
  /** The members as they answered a moment ago, or why nothing can be asked of them. Absent: they were not asked. */
  readonly crew?: CrewView | { readonly notNow: string };
  readonly quotaBounds: Quota['bounds'];
  readonly samples: Samples;
  readonly inUseBefore?: ReadonlyMap<string, number>;
  /** What the last act came to, if it came to nothing. */
  readonly failure?: Failure;
}

export interface Failure {
  readonly of: CompactionStep['kind'];
  readonly message: string;
  /** How often in a row. */
  readonly count: number;
  /** The members will never do it. */
  readonly isFinal: boolean;
}

/** What is done to the cluster; its outcome is recorded in the run's status before anything else is done. */
export type CompactionStep = Exclude<Work, { kind: 'skip' | 'wait' | 'done' }>;

export type CompactionAction =
  /** Takes the cluster's one lock, or says what is done under it. */
  | { readonly kind: 'lock'; readonly operation: Operation }
  | { readonly kind: 'unlock' }
  | { readonly kind: 'step'; readonly step: CompactionStep }
  | { readonly kind: 'status'; readonly status: RaftCompactionStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface CompactionPlan {
  readonly actions: readonly CompactionAction[];
  readonly requeueAfterMs?: number;
}

/** So often in a row an act may fail before the run does: every try of a defragmentation costs its member a while. */
const MOST_FAILURES = 10;
const MOST_FAILED_DEFRAGMENTATIONS = 3;
/** How long the lock is kept while members settle: whoever is to mend them needs it. */
const PATIENCE_MS = 60_000;
/** A member that is being defragmented does not answer for as long as that takes. */
export const DEFRAGMENT_TIMEOUT_MS = 600_000;
/** How often to ask members that cannot be worked on: no watch tells of them. */
const RECHECK_MS = 5_000;
export const RETRY_MS = 10_000;
/** etcd's own, and ours. */
const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;
const AT_ONCE = { requeueAfterMs: 1 };

export function hasEnded({ status }: RaftCompaction): boolean {
  return status?.completionTime !== undefined;
}

/** Whether it is not worth another try. */
export function isLast({ of, count, isFinal }: Failure): boolean {
  return isFinal || count >= (of === 'defragment' ? MOST_FAILED_DEFRAGMENTATIONS : MOST_FAILURES);
}

function holds(cluster: Live<RaftCluster> | undefined, compaction: Live<RaftCompaction>): boolean {
  return cluster?.status?.operation?.holder === holderName(compaction);
}

/** What keeps the members from being asked at all, as far as the API server knows. */
export function obstacle({ compaction, cluster, readers }: CompactionObserved): Waiting | undefined {
  const { clusterName } = compaction.spec;
  const name = `RaftCluster ${clusterName}`;
  if (!cluster || cluster.metadata.deletionTimestamp !== undefined)
    return waiting('ClusterNotFound', `spec.clusterName: ${name} does not exist: it is compacted once it does`);
  if (cluster.spec.paused) return waiting('ClusterPaused', `${name} is paused: it is compacted after that`);
  if (!cluster.status?.formed)
    return waiting('ClusterNotReady', `${name} is still being started or restored: it is compacted after that`);
  if (cluster.spec.replicas === 0)
    return waiting('ClusterHibernated', `${name} is hibernated: it is compacted when it runs again`);
  const { operation } = cluster.status;
  if (operation && operation.holder !== holderName(compaction)) {
    const who = operation.holder ?? name;
    return waiting('WaitingForOperation', `${who} goes on (${operation.type}): ${name} is compacted after that`);
  }
  if (readers.length > 0)
    return waiting('WaitingForSnapshot', `${readers.join(', ')} must end first: it reads what would go`);
  return undefined;
}

interface Waiting {
  readonly reason: string;
  readonly message: string;
}

function waiting(reason: string, message: string): Waiting {
  return { reason, message };
}

export function planCompaction(observed: CompactionObserved, now: Date): CompactionPlan {
  const { compaction, cluster, crew, failure } = observed;
  const isHolder = holds(cluster, compaction);
  if (compaction.metadata.deletionTimestamp !== undefined || hasEnded(compaction))
    return { actions: isHolder ? [{ kind: 'unlock' }] : [] };
  const { status } = compaction;
  if (status?.clusterId !== undefined) {
    const gone = !cluster || cluster.metadata.deletionTimestamp !== undefined;
    if (gone) return fail(observed, `RaftCluster ${compaction.spec.clusterName} was deleted`, now);
    const id = cluster.status?.clusterId;
    if (id !== undefined && id !== status.clusterId)
      return fail(observed, `RaftCluster ${compaction.spec.clusterName} is another one since: its id is ${id}`, now);
  }
  if (failure && isLast(failure)) return fail(observed, failure.message, now);
  const missing = obstacle(observed);
  if (missing) return wait(observed, missing, now);
  // The lock is kept for a while: a member that was asked to defragment itself may still be at it.
  if (failure) return patiently(observed, waiting('Retrying', `${failure.message}: tried again`), now, RETRY_MS);
  if (crew === undefined) return { actions: [], ...AT_ONCE };
  if ('notNow' in crew) {
    const why = waiting('MembersNotReady', `${crew.notNow}: it is compacted once its members serve`);
    return patiently(observed, why, now, RECHECK_MS);
  }
  return work(observed, crew, now);
}

function work(observed: CompactionObserved, crew: CrewView, now: Date): CompactionPlan {
  const { compaction, cluster, samples, inUseBefore } = observed;
  // The run itself is the first to know how far the data were when it began.
  const begun = compaction.status?.startTime !== undefined;
  const status: RaftCompactionStatus = begun ? compaction.status : beginning(crew, now);
  const input: WorkInput = {
    spec: compaction.spec,
    status,
    crew,
    samples,
    ...(inUseBefore === undefined ? {} : { inUseBefore }),
    quota: { bytes: quotaOf(cluster!), bounds: observed.quotaBounds },
    now,
  };
  const next = nextWork(input);
  switch (next.kind) {
    case 'wait': {
      const why = waiting(next.reason, next.message);
      // Nobody need keep off while nothing is done and nothing has been yet.
      const early = status.compactedAt === undefined && !status.members?.some(({ result }) => result);
      return (early ? wait : patiently)(observed, why, now, next.waitMs, begun ? {} : status);
    }
    case 'skip': {
      const members = withMembers(
        status.members,
        next.members.map((member) => asFound(observed, crew, member)),
      );
      return { actions: saying(observed, running('looks at the members'), now, { ...status, members }), ...AT_ONCE };
    }
    case 'done':
      return succeed(observed, crew, status, next.said, now);
    case 'compact':
      if (next.revision === undefined) {
        const facts = { ...status, compactedAt: timestamp(now), history: next.said.slice(0, 1024) };
        return { actions: saying(observed, running(next.said), now, facts), ...AT_ONCE };
      }
      return act(observed, status, next, { message: 'compacts the history' }, now);
    case 'moveLeader':
      return act(observed, status, next, { member: next.from, message: `moves the leader to ${next.to}` }, now);
    case 'defragment':
      return act(observed, status, next, { member: next.member, message: `defragments ${next.member}` }, now);
    case 'disarm':
      return act(observed, status, next, { message: 'ends the alarm NoSpace' }, now);
  }
}

/** One whose file has shrunk while the lock says that it is its turn: the operator ended before it could say so. */
function asFound(
  { compaction, cluster }: CompactionObserved,
  { present }: CrewView,
  member: CompactedMember,
): CompactedMember {
  const found = present.find(({ name }) => name === member.name)?.status;
  const isItsTurn = holds(cluster, compaction) && cluster?.status?.operation?.member === member.name;
  if (!isItsTurn || !found || found.sizeBytes >= member.sizeBytesBefore) return member;
  return {
    ...member,
    result: 'Defragmented',
    sizeBytesAfter: found.sizeBytes,
    inUseBytesAfter: found.sizeInUseBytes,
    message: 'how long it took is not known: another operator had begun it',
  };
}

function beginning({ leader, present }: CrewView, now: Date): RaftCompactionStatus {
  return {
    ...started(now),
    clusterId: leader.status.clusterId,
    revision: leader.status.revision,
    members: present.map((member) => startOf(member, new Map())),
  };
}

function quotaOf({ spec: { engine } }: RaftCluster): number {
  const flag = Number(engine.flags?.['quota-backend-bytes']);
  return engine.quotaBytes ?? (flag > 0 ? flag : DEFAULT_QUOTA_BYTES);
}

function running(message: string): Waiting {
  return waiting('Running', message);
}

/** First the lock says what is done; with the lock as it should be, it is done. */
function act(
  observed: CompactionObserved,
  status: RaftCompactionStatus,
  step: CompactionStep,
  { member, message }: Pick<Operation, 'member' | 'message'>,
  now: Date,
): CompactionPlan {
  const { compaction, cluster } = observed;
  const before = cluster?.status?.operation;
  const told = saying(observed, running(message ?? ''), now, status);
  const begins =
    compaction.status?.startTime === undefined
      ? [
          {
            kind: 'event' as const,
            event: note('CompactionStarted', 'Compact', `compacting ${compaction.spec.clusterName}`),
          },
        ]
      : [];
  if (before?.holder === holderName(compaction) && before.member === member && before.message === message)
    return { actions: [...told, { kind: 'step', step }], ...AT_ONCE };
  const operation: Operation = {
    type: 'Compaction',
    holder: holderName(compaction),
    since: timestamp(now),
    ...(member === undefined ? {} : { member }),
    ...(message === undefined ? {} : { message }),
  };
  return { actions: [{ kind: 'lock', operation }, ...told, ...begins], ...AT_ONCE };
}

/** What the run says of itself; nothing where it says it already. */
function saying(
  { compaction }: CompactionObserved,
  { reason, message }: Waiting,
  now: Date,
  facts: Partial<RaftCompactionStatus> = {},
): CompactionAction[] {
  const status = compactionStatus(compaction, { status: 'False', reason, message }, now, facts);
  return same(status, compaction.status) ? [] : [{ kind: 'status', status }];
}

/** An event when something else is waited for than before. */
function telling({ compaction }: CompactionObserved, { reason, message }: Waiting): CompactionAction[] {
  const before = findCondition(compaction.status?.conditions, 'Complete');
  if (before?.reason === reason) return [];
  const tell = reason.startsWith('Waiting') ? note : warning;
  return [{ kind: 'event', event: tell(reason, 'Compact', message) }];
}

/** Lets go of the lock, says what is waited for, and goes on when that is there. */
function wait(
  observed: CompactionObserved,
  why: Waiting,
  now: Date,
  requeueAfterMs?: number,
  facts: Partial<RaftCompactionStatus> = {},
): CompactionPlan {
  const { compaction, cluster } = observed;
  const actions = [...saying(observed, why, now, facts), ...telling(observed, why)];
  if (holds(cluster, compaction)) actions.push({ kind: 'unlock' });
  return { actions, ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }) };
}

/** Keeps the lock for a while: what was just done to the members passes by itself. */
function patiently(
  observed: CompactionObserved,
  why: Waiting,
  now: Date,
  requeueAfterMs: number,
  facts: Partial<RaftCompactionStatus> = {},
): CompactionPlan {
  const { compaction, cluster } = observed;
  const lock = cluster?.status?.operation;
  const patience = lock?.member === undefined ? PATIENCE_MS : DEFRAGMENT_TIMEOUT_MS + PATIENCE_MS;
  // Of another machine's clock, or of one that was set back since.
  const held =
    lock && holds(cluster, compaction) ? Math.abs(now.getTime() - Date.parse(lock.since)) : Number.POSITIVE_INFINITY;
  if (held > patience) return wait(observed, why, now, requeueAfterMs, facts);
  // What passes by itself is not worth an event; a failure is.
  const told = why.reason === 'Retrying' ? telling(observed, why) : [];
  return { actions: [...saying(observed, why, now, facts), ...told], requeueAfterMs };
}

function succeed(
  observed: CompactionObserved,
  crew: CrewView,
  status: RaftCompactionStatus,
  said: readonly string[],
  now: Date,
): CompactionPlan {
  const { compaction, cluster } = observed;
  const won = winnings(status.members, crew.present);
  const defragmented = won.members?.filter(({ result }) => result === 'Defragmented').map(({ name }) => name) ?? [];
  const history =
    status.compactedRevision === undefined
      ? (status.history ?? 'the history was left as it is')
      : `the history begins at revision ${status.compactedRevision}`;
  const parts = [
    history,
    ...(compaction.spec.defragment === undefined
      ? []
      : [
          defragmented.length === 0
            ? 'no member was worth defragmenting'
            : `${defragmented.join(', ')} ${defragmented.length === 1 ? 'was' : 'were'} defragmented, ${inUnits(won.reclaimedBytes ?? 0)} won`,
        ]),
    ...(status.disarmed ? ['the alarm NoSpace was ended'] : []),
    ...said,
  ];
  const message = parts.join('; ');
  const facts = { ...status, ...won, ...completed(now) };
  const actions: CompactionAction[] = [
    {
      kind: 'status',
      status: compactionStatus(compaction, { status: 'True', reason: 'Succeeded', message }, now, facts),
    },
    { kind: 'event', event: note('CompactionCompleted', 'Compact', message) },
  ];
  if (said.length > 0) actions.push({ kind: 'event', event: warning('AlarmStands', 'Compact', said.join('; ')) });
  if (holds(cluster, compaction)) actions.push({ kind: 'unlock' });
  return { actions };
}

function fail(observed: CompactionObserved, why: string, now: Date): CompactionPlan {
  const { compaction, cluster, failure } = observed;
  const { status } = compaction;
  const untouched =
    status?.compactedRevision === undefined && !status?.members?.some(({ result }) => result === 'Defragmented');
  const reason = failure?.isFinal && untouched ? 'Rejected' : 'Failed';
  const message = `the compaction ${reason === 'Rejected' ? 'cannot be done' : 'failed'}: ${why}. To try again, create another RaftCompaction`;
  const actions: CompactionAction[] = [
    {
      kind: 'status',
      status: compactionStatus(compaction, { status: 'False', reason, message }, now, completed(now)),
    },
    { kind: 'event', event: warning(`Compaction${reason}`, 'Compact', message) },
  ];
  if (holds(cluster, compaction)) actions.push({ kind: 'unlock' });
  return { actions };
}
