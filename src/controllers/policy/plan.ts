/** From a policy and its runs to what is to be done now, and when to look again. Knows no kind of run. Pure. */
import { findCondition, isTrue, timestamp } from '../../api/conditions.ts';
import type { ScheduledPolicy, ScheduledPolicyStatus, ScheduledRun } from '../../api/scheduled.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Live, Manifest } from '../../kube/objects.ts';
import {
  type Decision,
  decide,
  expired,
  parseSchedule,
  type Retention,
  type Schedule,
  ScheduleError,
} from '../../schedule/index.ts';
import { note, warning } from '../events.ts';
import { same } from '../manifests.ts';
import { policyStatus, type Verdict } from './status.ts';

/** What a policy makes and how many of it it keeps: the difference between one kind of policy and another. */
export interface RunKind<P extends ScheduledPolicy, R extends ScheduledRun> {
  /** What one run is called, such as `snapshot`. */
  readonly run: string;
  /** What was done with one that has just been made, for events: `SnapshotScheduled`. */
  readonly scheduledReason: string;
  /** The field of the status that names the last one. */
  readonly lastName: string;
  make(policy: Live<P>, name: string, scheduled: Date): Manifest;
  retention(policy: Live<P>): Retention;
  /** What else the status says of the runs. */
  more?(policy: Live<P>, runs: readonly Live<R>[], now: Date): Readonly<Record<string, unknown>>;
}

export interface PolicyObserved<P extends ScheduledPolicy, R extends ScheduledRun> {
  readonly policy: Live<P>;
  /** The runs that this policy made. */
  readonly runs: readonly Live<R>[];
  /** What keeps runs from being made at all. */
  readonly obstacle?: Verdict | undefined;
  /** Why the run that is due could not be made just now. */
  readonly refused?: string;
  /** Names of runs that somebody still needs. */
  readonly needed?: ReadonlySet<string>;
  /** The scheduled time, in milliseconds since 1970, whose lateness was told already. */
  readonly toldLate?: number;
}

export type PolicyAction =
  | { readonly kind: 'create'; readonly run: Manifest; readonly scheduled: Date }
  | { readonly kind: 'delete'; readonly name: string; readonly uid: string; readonly why: 'expired' | 'replaced' }
  | { readonly kind: 'toldLate'; readonly scheduled: Date }
  | { readonly kind: 'status'; readonly status: ScheduledPolicyStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface PolicyPlan {
  readonly actions: readonly PolicyAction[];
  readonly requeueAfterMs?: number;
}

/** A run of a time so far ahead was made by a clock that was set back since: it says nothing of what is due. */
const AHEAD_MS = 3_600_000;
/** A timer knows nothing of clocks that are set, or of machines that sleep. */
const LOOK_AGAIN_MS = 600_000;

export function ended({ status }: ScheduledRun): boolean {
  return status?.completionTime !== undefined;
}

function good({ status }: ScheduledRun): boolean {
  return isTrue(status?.conditions, 'Complete');
}

export function planPolicy<P extends ScheduledPolicy, R extends ScheduledRun>(
  kind: RunKind<P, R>,
  observed: PolicyObserved<P, R>,
  now: Date,
): PolicyPlan {
  const { policy, runs } = observed;
  if (policy.metadata.deletionTimestamp !== undefined) return { actions: [] };
  const last = lastOf(policy, now);
  const look: Look<P, R> = { kind, observed, now, last, retired: retiredOf(kind, observed) };
  const schedule = readSchedule(policy);
  if (schedule instanceof ScheduleError) return settle(look, no('InvalidSchedule', schedule.message));

  const running = runs.filter((run) => !ended(run));
  const { spec, metadata } = policy;
  const decision = decide({
    policyName: metadata.name,
    schedule,
    now,
    createdAt: new Date(metadata.creationTimestamp),
    lastScheduleTime: last === undefined ? undefined : new Date(last),
    suspend: spec.suspend,
    startingDeadlineSeconds: spec.startingDeadlineSeconds,
    concurrencyPolicy: spec.concurrencyPolicy,
    active: running.map(({ metadata: { name } }) => name),
  });
  return carryOut(look, decision, running);
}

function lastOf({ status }: ScheduledPolicy, now: Date): string | undefined {
  const last = status?.lastScheduleTime;
  return last !== undefined && Date.parse(last) - now.getTime() > AHEAD_MS ? timestamp(now) : last;
}

function readSchedule({ spec }: ScheduledPolicy): Schedule | ScheduleError {
  try {
    return parseSchedule(spec.schedule, spec.timeZone);
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    const field = error.code === 'SCHEDULE_TIME_ZONE' ? 'spec.timeZone' : 'spec.schedule';
    return error.message.includes(field) ? error : new ScheduleError(error.code, `${field}: ${error.message}`);
  }
}

interface Look<P extends ScheduledPolicy, R extends ScheduledRun> {
  readonly kind: RunKind<P, R>;
  readonly observed: PolicyObserved<P, R>;
  readonly now: Date;
  /** The scheduled time up to which nothing more is due. */
  readonly last: string | undefined;
  /** Deletions of runs that have had their time. */
  readonly retired: readonly PolicyAction[];
}

function carryOut<P extends ScheduledPolicy, R extends ScheduledRun>(
  look: Look<P, R>,
  decision: Decision,
  running: readonly Live<R>[],
): PolicyPlan {
  const { kind, observed } = look;
  const { policy, toldLate, obstacle, refused } = observed;
  const { run } = kind;
  const zone = policy.spec.timeZone;
  const nextOf = (next: Date | undefined) => (next ? { next } : {});
  const inForce = (next: Date | undefined): Verdict => ({
    status: 'True',
    reason: 'Scheduled',
    message: next ? `the next ${run} is due at ${timestamp(next)}, by ${zone}` : 'nothing is due any more',
  });
  switch (decision.kind) {
    case 'suspended':
      return settle(look, no('Suspended', `spec.suspend is true: no new ${run}s start`));
    case 'never': {
      const message = `spec.schedule: ${policy.spec.schedule} names no time within the next five years: write one that comes`;
      return settle(look, no('InvalidSchedule', message));
    }
    case 'wait':
      return settle(look, obstacle ?? inForce(decision.next), { next: decision.next });
    case 'blocked': {
      const message = `the ${run} of ${timestamp(decision.scheduled)} waits for ${decision.by.join(', ')}`;
      return settle(look, obstacle ?? yes('WaitingForRunning', message), nextOf(decision.next));
    }
    case 'late': {
      const { scheduled, next } = decision;
      const told = toldLate === scheduled.getTime();
      const text = `the ${run} of ${timestamp(scheduled)} was not started within spec.startingDeadlineSeconds and is left out`;
      const actions: PolicyAction[] = told
        ? []
        : [
            { kind: 'toldLate', scheduled },
            { kind: 'event', event: warning('MissedSchedule', 'Schedule', text) },
          ];
      return settle(look, obstacle ?? inForce(next), nextOf(next), actions);
    }
    case 'run': {
      const { scheduled, next, name } = decision;
      // Whatever is missing comes back, and then the latest of the missed times is caught up with: once. Made before
      // that, runs would only wait, one more with every time.
      if (obstacle) return settle(look, obstacle, nextOf(next));
      const pending = running.filter(
        ({ status, metadata }) => status?.startTime === undefined && metadata.name !== name,
      );
      if (pending.length > 0 && policy.spec.concurrencyPolicy === 'Allow') {
        const message = `${pending.map(({ metadata }) => metadata.name).join(', ')} cannot start yet: no further ones are added`;
        return settle(look, yes('WaitingForRunning', message), nextOf(next));
      }
      if (refused !== undefined) {
        const message = `the ${run} of ${timestamp(scheduled)} cannot be made, and is tried again: ${refused}`;
        return settle(look, no('Refused', message), nextOf(next));
      }
      const actions: PolicyAction[] = running
        .filter(({ metadata }) => decision.replaces.includes(metadata.name) && !metadata.deletionTimestamp)
        .map(({ metadata: { name: old, uid } }) => ({ kind: 'delete', name: old, uid, why: 'replaced' }));
      actions.push({ kind: 'create', run: kind.make(policy, name, scheduled), scheduled });
      if (decision.missed > 0) {
        const text = `${decision.missed} earlier ${run}s were due while none could be started: only the latest is made up for`;
        actions.push({ kind: 'event', event: warning('MissedSchedule', 'Schedule', text) });
      }
      const text = `${name} of ${timestamp(scheduled)}`;
      actions.push({ kind: 'event', event: note(kind.scheduledReason, 'Schedule', text) });
      const ran = { name, scheduled, replaces: decision.replaces };
      return settle(look, inForce(next), { ...nextOf(next), ran }, actions);
    }
  }
}

export function no(reason: string, message: string): Verdict {
  return { status: 'False', reason, message };
}

function yes(reason: string, message: string): Verdict {
  return { status: 'True', reason, message };
}

function retiredOf<P extends ScheduledPolicy, R extends ScheduledRun>(
  kind: RunKind<P, R>,
  { policy, runs, needed }: PolicyObserved<P, R>,
): PolicyAction[] {
  const kept = runs.map((run) => ({
    name: run.metadata.name,
    uid: run.metadata.uid,
    outcome: good(run) ? ('succeeded' as const) : ended(run) ? ('ended' as const) : ('active' as const),
    at: new Date(run.status?.completionTime ?? run.metadata.creationTimestamp),
    deleting: run.metadata.deletionTimestamp !== undefined,
  }));
  return expired(kept, kind.retention(policy))
    .filter(({ name }) => !needed?.has(name))
    .map(({ name, uid }) => ({ kind: 'delete', name, uid, why: 'expired' }));
}

interface Outlook {
  readonly next?: Date;
  readonly ran?: { readonly name: string; readonly scheduled: Date; readonly replaces: readonly string[] };
}

function settle<P extends ScheduledPolicy, R extends ScheduledRun>(
  { kind, observed, now, last, retired }: Look<P, R>,
  verdict: Verdict,
  { next, ran }: Outlook = {},
  actions: readonly PolicyAction[] = [],
): PolicyPlan {
  const { policy, runs } = observed;
  const running = runs.filter((one) => !ended(one)).map(({ metadata }) => metadata.name);
  const active = ran ? [...new Set([...running.filter((name) => !ran.replaces.includes(name)), ran.name])] : running;
  const status = policyStatus({
    policy,
    verdict,
    active,
    good: runs.filter(good),
    now,
    more: {
      ...kind.more?.(policy, runs, now),
      ...(last !== undefined && !ran ? { lastScheduleTime: last } : {}),
      ...(ran ? { [kind.lastName]: ran.name } : {}),
    },
    ...(next ? { next } : {}),
    ...(ran ? { ran } : {}),
  });
  const all = [...actions, ...retired];
  if (!same(status, policy.status)) all.push({ kind: 'status', status });
  const before = findCondition(policy.status?.conditions, 'Ready');
  const news = verdict.status === 'False' && verdict.reason !== 'Suspended' && before?.reason !== verdict.reason;
  if (news) all.push({ kind: 'event', event: warning(verdict.reason, 'Schedule', verdict.message) });
  const waitMs = next && Math.min(LOOK_AGAIN_MS, Math.max(1, next.getTime() - now.getTime()));
  return { actions: all, ...(waitMs === undefined ? {} : { requeueAfterMs: waitMs }) };
}
