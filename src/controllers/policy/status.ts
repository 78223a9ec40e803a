/** What a policy's status says. Pure. */
import { type ConditionStatus, setCondition, timestamp } from '../../api/conditions.ts';
import type { ScheduledPolicy, ScheduledPolicyStatus, ScheduledRun } from '../../api/scheduled.ts';
import type { Live } from '../../kube/objects.ts';

export interface Verdict {
  readonly status: ConditionStatus;
  readonly reason: string;
  readonly message: string;
}

export interface PolicyFacts {
  readonly policy: Live<ScheduledPolicy>;
  readonly verdict: Verdict;
  readonly next?: Date;
  readonly ran?: { readonly scheduled: Date };
  readonly active: readonly string[];
  /** Runs of this policy that ended well. */
  readonly good: readonly Live<ScheduledRun>[];
  readonly now: Date;
  /** What only this kind of policy says. */
  readonly more: Readonly<Record<string, unknown>>;
}

/** As many as the schema allows. */
const MOST_ACTIVE = 64;

export function policyStatus(facts: PolicyFacts): ScheduledPolicyStatus {
  const { policy, verdict, next, ran, active, good, now, more } = facts;
  const { metadata, status: old } = policy;
  const { nextScheduleTime: _, active: __, ...kept } = old ?? {};
  // Runs that were deleted since still have been.
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
    ) as NonNullable<ScheduledPolicyStatus['conditions']>,
    ...(ran ? { lastScheduleTime: timestamp(ran.scheduled) } : {}),
    ...(next ? { nextScheduleTime: timestamp(next) } : {}),
    ...(lastSuccess === undefined ? {} : { lastSuccessfulTime: lastSuccess }),
    ...(active.length === 0 ? {} : { active: active.toSorted().slice(0, MOST_ACTIVE) }),
    ...more,
  };
}
