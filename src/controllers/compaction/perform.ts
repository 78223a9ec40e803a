/** Performs one step of a compaction on the members, and tells what became of it. */
import type { RaftCompactionStatus } from '../../api/compaction.ts';
import { timestamp } from '../../api/conditions.ts';
import { EngineError } from '../../engines/engine.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Crew } from '../cluster/steps.ts';
import { note } from '../events.ts';
import { type CompactionStep, DEFRAGMENT_TIMEOUT_MS } from './plan.ts';
import { inUnits, withMembers } from './status.ts';

/** A large history is let go in small pieces between other work, which takes minutes rather than seconds. */
const COMPACT_TIMEOUT_MS = 600_000;
const CHANGE_TIMEOUT_MS = 10_000;

export interface Outcome {
  readonly facts: Partial<RaftCompactionStatus>;
  readonly event?: EventInput;
}

/** Rejects with an EngineError; a step that was done before may be done again. */
export async function performStep(
  step: CompactionStep,
  { engine, leader, endpoints, present }: Crew,
  status: RaftCompactionStatus,
  clock: Clock,
  signal: AbortSignal,
): Promise<Outcome> {
  switch (step.kind) {
    case 'compact': {
      const { revision, said } = step;
      const done = (facts: Partial<RaftCompactionStatus>, text: string): Outcome => ({
        facts: { ...facts, compactedAt: timestamp(new Date(clock.now())), history: text.slice(0, 1024) },
        event: note('Compacted', 'Compact', text),
      });
      if (revision === undefined) return done({}, said);
      try {
        await engine.compact(endpoints, revision, { physical: true, timeoutMs: COMPACT_TIMEOUT_MS, signal });
      } catch (error) {
        if (!(error instanceof EngineError) || error.code !== 'ENGINE_REVISION_UNAVAILABLE') throw error;
        return done({}, `the history was compacted to revision ${revision} or further already`);
      }
      return done({ compactedRevision: revision }, `the history before revision ${revision} is gone: ${said}`);
    }
    case 'moveLeader':
      await engine.moveLeader(leader.endpoint, step.toId, { timeoutMs: CHANGE_TIMEOUT_MS, signal });
      return {
        facts: {},
        event: note('LeaderMoved', 'MoveLeader', `${step.to} leads while ${step.from} is defragmented`),
      };
    case 'defragment': {
      const member = present.find(({ name }) => name === step.member)!;
      const began = clock.monotonic();
      await engine.defragment(member.endpoint, { timeoutMs: DEFRAGMENT_TIMEOUT_MS, signal });
      const durationMilliseconds = Math.round(clock.monotonic() - began);
      const after = await engine.status(member.endpoint, { timeoutMs: CHANGE_TIMEOUT_MS, signal });
      const before = status.members?.find(({ name }) => name === step.member);
      const won = Math.max(0, member.status.sizeBytes - after.sizeBytes);
      return {
        facts: {
          members: withMembers(status.members, [
            {
              name: step.member,
              sizeBytesBefore: before?.sizeBytesBefore ?? member.status.sizeBytes,
              inUseBytesBefore: before?.inUseBytesBefore ?? member.status.sizeInUseBytes,
              result: 'Defragmented',
              sizeBytesAfter: after.sizeBytes,
              inUseBytesAfter: after.sizeInUseBytes,
              durationMilliseconds,
              message: step.why,
            },
          ]),
        },
        event: note(
          'MemberDefragmented',
          'Defragment',
          `${step.member}: ${inUnits(won)} won in ${durationMilliseconds} ms`,
        ),
      };
    }
    case 'disarm':
      for (const alarm of step.alarms) await engine.disarm(endpoints, alarm, { timeoutMs: CHANGE_TIMEOUT_MS, signal });
      return {
        facts: { disarmed: true },
        event: note('AlarmEnded', 'Disarm', 'the alarm NoSpace was ended: writes are taken'),
      };
  }
}
