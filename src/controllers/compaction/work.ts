/** What a compaction has yet to do to its cluster, one act at a time. Pure: no request, no clock. */
import type { CompactedMember, RaftCompactionSpec, RaftCompactionStatus } from '../../api/compaction.ts';
import { timestamp } from '../../api/conditions.ts';
import type { Alarm, Member, MemberStatus } from '../../engines/engine.ts';
import { NEAR_ENTRIES } from '../cluster/quorum.ts';
import { currentBefore, type Samples } from './history.ts';
import { inUnits } from './status.ts';

export interface PresentMember {
  readonly name: string;
  readonly status: MemberStatus;
}

/** The members as they answered a moment ago. */
export interface CrewView {
  readonly present: readonly PresentMember[];
  readonly leader: PresentMember;
  /** As the leader and a quorum have it. */
  readonly list: readonly Member[];
}

export interface WorkInput {
  readonly spec: RaftCompactionSpec;
  /** How far the run is. Its members are there from its beginning. */
  readonly status: RaftCompactionStatus;
  readonly crew: CrewView;
  readonly samples: Samples;
  /** Bytes in use by member at the look before, if there was one: what is still being freed falls. */
  readonly inUseBefore?: ReadonlyMap<string, number>;
  readonly quota: Quota;
  readonly now: Date;
}

export interface Quota {
  /** Of members that do not tell theirs, in bytes. */
  readonly bytes: number;
  /** Which of a member's sizes it bounds. */
  readonly bounds: 'sizeBytes' | 'sizeInUseBytes';
}

export type Work =
  /** `revision` absent: the history stays as it is. `said`: why so far and no further. */
  | { readonly kind: 'compact'; readonly revision?: number; readonly said: string }
  /** What is not worth it is told of, and nothing else is done to it. */
  | { readonly kind: 'skip'; readonly members: readonly CompactedMember[] }
  | { readonly kind: 'moveLeader'; readonly from: string; readonly to: string; readonly toId: string }
  | { readonly kind: 'defragment'; readonly member: string; readonly why: string }
  | { readonly kind: 'disarm'; readonly alarms: readonly Alarm[] }
  /** Something has to settle by itself, in seconds rather than minutes. */
  | { readonly kind: 'wait'; readonly reason: WaitReason; readonly message: string; readonly waitMs: number }
  | { readonly kind: 'done'; readonly said: readonly string[] };

export type WaitReason = 'WaitingForHistory' | 'MembersNotReady' | 'Settling';

/** A revision that will be known so soon is worth waiting for. */
const WAIT_FOR_HISTORY_MS = 60_000;
const LOOK_AGAIN_MS = 1_000;
/** An alarm that is ended above this much of the quota would be back at once. */
const DISARM_BELOW_PERCENT = 90;

export function nextWork(input: WorkInput): Work {
  const { spec, status, crew } = input;
  const wantsHistory = spec.keepRevisions !== undefined || spec.keepSeconds !== undefined;
  if (wantsHistory && status.compactedAt === undefined) return compaction(input);
  const falling = stillFalling(input);
  if (falling !== undefined) return settling(`space is still being freed in ${falling}`);
  if (spec.defragment) {
    const next = defragmentation(input, spec.defragment);
    if (next) return next;
  }
  const alarms = crew.leader.status.alarms.filter(({ type }) => type === 'NoSpace');
  if (spec.disarm && alarms.length > 0 && status.disarmed === undefined) {
    const why = nearQuota(crew, input.quota) ?? unrest(crew);
    if (why === undefined) return { kind: 'disarm', alarms };
    return { kind: 'done', said: [`the alarm NoSpace stands: ${why}`] };
  }
  return { kind: 'done', said: [] };
}

function nearQuota({ present }: CrewView, { bytes, bounds }: Quota): string | undefined {
  for (const { name, status } of present) {
    const quota = status.quotaBytes ?? bytes;
    if (quota < 0 || status[bounds] <= (quota / 100) * DISARM_BELOW_PERCENT) continue;
    const cure = 'delete keys, keep less history, defragment, or raise spec.engine.quotaBytes of the cluster';
    return `${name} takes ${inUnits(status[bounds])}, more than ${DISARM_BELOW_PERCENT} % of its quota: ${cure}`;
  }
  return undefined;
}

function settling(message: string): Work {
  return { kind: 'wait', reason: 'Settling', message, waitMs: LOOK_AGAIN_MS };
}

function compaction({ spec, samples, crew, now }: WorkInput): Work {
  const { revision } = crew.leader.status;
  if (spec.keepRevisions !== undefined) {
    const target = revision - spec.keepRevisions;
    if (target <= 1) return { kind: 'compact', said: `there are only ${revision} revisions: all are kept` };
    return { kind: 'compact', revision: target, said: `${spec.keepRevisions} revisions before ${revision} are kept` };
  }
  const { keepSeconds = 0 } = spec;
  const known = currentBefore(samples, keepSeconds, now);
  if (known.kind === 'known') {
    const { time, revision: then } = known.sample;
    const target = Math.min(then, revision);
    if (target <= 1) return { kind: 'compact', said: `at ${time} there was nothing yet: all revisions are kept` };
    return { kind: 'compact', revision: target, said: `revision ${target} was reached by ${time}` };
  }
  if (known.from === undefined)
    return { kind: 'compact', said: `it is not known what was current ${keepSeconds} s ago` };
  const waitMs = known.from.getTime() - now.getTime();
  const message = `what was current ${keepSeconds} s ago is known from ${timestamp(known.from)} on`;
  if (waitMs > WAIT_FOR_HISTORY_MS)
    return {
      kind: 'compact',
      said: `it is not known what was current ${keepSeconds} s ago, nothing was compacted: ${message}`,
    };
  return { kind: 'wait', reason: 'WaitingForHistory', message, waitMs };
}

/** The member whose space in use has become less since the last look: a compaction is carried out by and by. */
function stillFalling({ status, crew, inUseBefore, spec }: WorkInput): string | undefined {
  if (status.compactedRevision === undefined || !spec.defragment) return undefined;
  // Members that were defragmented since do not count, nor does it once one was.
  if (status.members?.some(({ result }) => result !== undefined)) return undefined;
  if (inUseBefore === undefined) return crew.leader.name;
  return crew.present.find(({ name, status: { sizeInUseBytes } }) => {
    const before = inUseBefore.get(name);
    return before === undefined || sizeInUseBytes < before;
  })?.name;
}

/** Why members must be let alone for now, if so: one that is away, learns, or has yet to catch up. */
export function unrest({ present, leader, list }: CrewView): string | undefined {
  for (const { id, name } of list) {
    const member = present.find(({ status }) => status.memberId === id);
    const who = member?.name ?? (name === '' ? `the member ${id}` : name);
    if (!member) return `${who} does not answer`;
    const { status } = member;
    if (status.isLearner) return `${who} is a learner yet`;
    if (status.leaderId !== leader.status.memberId) return `${who} does not follow ${leader.name}`;
    if (leader.status.index - status.appliedIndex > NEAR_ENTRIES) return `${who} has not caught up yet`;
  }
  return undefined;
}

function defragmentation(input: WorkInput, wanted: NonNullable<RaftCompactionSpec['defragment']>): Work | undefined {
  const { crew, status } = input;
  const done = new Map((status.members ?? []).map((member) => [member.name, member]));
  const isDone = ({ name }: PresentMember) => done.get(name)?.result !== undefined;
  const left = crew.present.filter((member) => !isDone(member)).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (left.length === 0) return undefined;
  const skipped = left.flatMap((member) => {
    const message = notWorth(member.status, wanted);
    return message === undefined ? [] : [{ ...startOf(member, done), result: 'Skipped' as const, message }];
  });
  if (skipped.length > 0) return { kind: 'skip', members: skipped };
  const unready = unrest(crew);
  if (unready !== undefined)
    return { kind: 'wait', reason: 'MembersNotReady', message: unready, waitMs: LOOK_AGAIN_MS };
  const next = left.find(({ name }) => name !== crew.leader.name) ?? left[0]!;
  const free = next.status.sizeBytes - next.status.sizeInUseBytes;
  const why = `${inUnits(free)} of ${inUnits(next.status.sizeBytes)} were free`;
  if (next.name !== crew.leader.name) return { kind: 'defragment', member: next.name, why };
  // A member does nothing else meanwhile: without its leader the cluster would stand still.
  const heir = crew.present
    .filter(({ name }) => name !== next.name)
    .sort((a, b) => b.status.appliedIndex - a.status.appliedIndex || (a.name < b.name ? -1 : 1))[0];
  if (!heir) return { kind: 'defragment', member: next.name, why };
  return { kind: 'moveLeader', from: next.name, to: heir.name, toId: heir.status.memberId };
}

function notWorth(
  { sizeBytes, sizeInUseBytes }: MemberStatus,
  { freeRatioPercent, minReclaimBytes }: NonNullable<RaftCompactionSpec['defragment']>,
): string | undefined {
  const free = Math.max(0, sizeBytes - sizeInUseBytes);
  if (free < minReclaimBytes || free === 0)
    return `${inUnits(free)} are free, less than the ${inUnits(minReclaimBytes)} that make it worth it`;
  const percent = (free / sizeBytes) * 100;
  if (percent < freeRatioPercent)
    return `${percent.toFixed(1)} % are free, less than the ${freeRatioPercent} % that make it worth it`;
  return undefined;
}

/** A member as the run found it, or finds it now if it came later. */
export function startOf({ name, status }: PresentMember, known: ReadonlyMap<string, CompactedMember>): CompactedMember {
  return known.get(name) ?? { name, sizeBytesBefore: status.sizeBytes, inUseBytesBefore: status.sizeInUseBytes };
}
