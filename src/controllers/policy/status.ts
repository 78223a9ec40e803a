/** What a RaftSnapshotPolicy's status says. Pure. */
import { type ConditionStatus, setCondition, timestamp } from '../../api/conditions.ts';
import type { RaftSnapshotPolicy, RaftSnapshotPolicyStatus } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { Live } from '../../kube/objects.ts';

export interface Verdict {
  readonly status: ConditionStatus;
  readonly reason: string;
  readonly message: string;
}

export interface PolicyFacts {
  readonly policy: Live<RaftSnapshotPolicy>;
  readonly verdict: Verdict;
  readonly next?: Date;
  readonly ran?: { readonly name: string; readonly scheduled: Date };
  readonly active: readonly string[];
  /** Snapshots of this policy that ended well. */
  readonly good: readonly Live<RaftSnapshot>[];
  readonly now: Date;
}

/** As many as the schema allows. */
const MOST_ACTIVE = 64;

export function policyStatus({ policy, verdict, next, ran, active, good, now }: PolicyFacts): RaftSnapshotPolicyStatus {
  const { metadata, status: old } = policy;
  const { nextScheduleTime: _, active: __, ...kept } = old ?? {};
  // Snapshots that retention has deleted since still have been.
  const successes = [old?.lastSuccessfulTime, ...good.map(({ status }) => status?.completionTime)];
  const lastSuccess = successes
    .filter((time) => time !== undefined)
    .sort()
    .at(-1);
  return {
    ...kept,
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    conditions: setCondition(
      old?.conditions,
      {
        type: 'Ready',
        ...verdict,
        message: verdict.message.slice(0, 4096),
        observedGeneration: metadata.generation,
      },
      now,
    ) as NonNullable<RaftSnapshotPolicyStatus['conditions']>,
    ...(ran ? { lastScheduleTime: timestamp(ran.scheduled), lastSnapshotName: ran.name } : {}),
    ...(next ? { nextScheduleTime: timestamp(next) } : {}),
    ...(lastSuccess === undefined ? {} : { lastSuccessfulTime: lastSuccess }),
    ...(active.length === 0 ? {} : { active: active.toSorted().slice(0, MOST_ACTIVE) }),
  };
}
