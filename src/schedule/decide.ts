/** What a policy does at an instant. Pure: the clock, the policy and its runs are arguments. */
import type { Schedule } from './cron.ts';
import { countDue, latestDue, nextAfter } from './due.ts';

export interface Situation {
  /** Names the runs. */
  readonly policyName: string;
  readonly schedule: Schedule;
  readonly now: Date;
  /** When the policy was created: nothing was due before. */
  readonly createdAt: Date;
  /** The scheduled time of the last run that was started. */
  readonly lastScheduleTime?: Date | undefined;
  readonly suspend: boolean;
  /** How late a run may start, in seconds. Without it, as late as it takes. */
  readonly startingDeadlineSeconds?: number | undefined;
  readonly concurrencyPolicy: 'Allow' | 'Forbid' | 'Replace';
  /** The names of the policy's runs that have not ended. */
  readonly active: readonly string[];
}

export type Decision =
  /** Nothing is due. Look again at `next`. */
  | { readonly kind: 'wait'; readonly next: Date }
  /** Nothing starts until someone clears `suspend`. */
  | { readonly kind: 'suspended' }
  /** The schedule has no time within five years, such as on 30 February: the policy is wrong. */
  | { readonly kind: 'never' }
  /** A run was due, and may no longer start. */
  | { readonly kind: 'late'; readonly scheduled: Date; readonly missed: number; readonly next: Date | undefined }
  /** A run is due, but `by` must end first; should they end before the deadline, it starts then. */
  | {
      readonly kind: 'blocked';
      readonly scheduled: Date;
      readonly by: readonly string[];
      readonly next: Date | undefined;
    }
  /**
   * A run is due: delete `replaces`, create `name`, then record `scheduled` as `lastScheduleTime`. Where `name` exists
   * already, an earlier try got that far: only record it. `missed` earlier times were due and are left out (up to
   * `missedLimit`).
   */
  | {
      readonly kind: 'run';
      readonly name: string;
      readonly scheduled: Date;
      readonly replaces: readonly string[];
      readonly missed: number;
      readonly next: Date | undefined;
    };

/** Missed times are counted so far; this many means "this many or more". */
export const missedLimit = 100;

/**
 * At most one run is ever due: the latest time that has passed, however many were missed before it. Weeks offline, or
 * suspended, cost one catch-up run, within the deadline.
 */
export function decide(situation: Situation): Decision {
  const { schedule, now, createdAt, lastScheduleTime, startingDeadlineSeconds, policyName, active } = situation;
  if (situation.suspend) return { kind: 'suspended' };
  const since = lastScheduleTime ?? createdAt;
  // A clock that was set back must not make an old time due again.
  const next = nextAfter(schedule, new Date(Math.max(since.getTime(), now.getTime())));
  const scheduled = latestDue(schedule, since, now);
  if (scheduled === undefined) return next === undefined ? { kind: 'never' } : { kind: 'wait', next };

  const name = runName(policyName, scheduled);
  // It runs, and the status did not get to say so.
  if (active.includes(name)) return { kind: 'run', name, scheduled, replaces: [], missed: 0, next };
  const missed = countDue(schedule, since, scheduled, missedLimit);
  const deadline =
    startingDeadlineSeconds === undefined ? undefined : scheduled.getTime() + startingDeadlineSeconds * 1000;
  if (deadline !== undefined && deadline < now.getTime()) return { kind: 'late', scheduled, missed: missed + 1, next };
  switch (situation.concurrencyPolicy) {
    case 'Allow':
      return { kind: 'run', name, scheduled, replaces: [], missed, next };
    case 'Forbid':
      return active.length > 0
        ? { kind: 'blocked', scheduled, by: active, next }
        : { kind: 'run', name, scheduled, replaces: [], missed, next };
    case 'Replace':
      return { kind: 'run', name, scheduled, replaces: active, missed, next };
  }
}

/** Longest name of a run: Jobs append to it and stay within 63 characters. */
export const maxRunNameLength = 52;

/**
 * The name of the run of a scheduled time: the policy's, and the minutes since 1970. The same time gives the same name, so
 * a retry, or a second operator, creates nothing twice. A policy name that leaves no room is cut, with a hash of the whole
 * name in place of the rest, so that two policies never share a run.
 */
export function runName(policyName: string, scheduled: Date): string {
  const suffix = `-${Math.floor(scheduled.getTime() / 60_000)}`;
  const room = maxRunNameLength - suffix.length;
  if (policyName.length <= room) return `${policyName}${suffix}`;
  const hash = fnv1a(policyName).toString(36).padStart(7, '0');
  const kept = policyName.slice(0, room - hash.length - 1).replace(/[-.]+$/, '');
  return `${kept}-${hash}${suffix}`;
}

/** FNV-1a, 32 bits: short and stable, and nobody gains by finding a collision. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
