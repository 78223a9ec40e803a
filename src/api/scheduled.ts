/** What every policy that makes records on a schedule has in its spec and status. */
import { type Static, Type } from 'typebox';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { choice, count, flag, integer, listOf, rules, text, time } from './schema.ts';

/** Longest name of a policy: its runs are called after it and the scheduled minute, within `maxRunName`. */
export const maxPolicyName = 43;

/**
 * Five fields or a descriptor, loosely: what no evaluator could read is refused at apply, with a message. Whether each
 * number is in range is for the controller to say (`Ready=False`, reason `InvalidSchedule`).
 */
const field = '[0-9A-Za-z*?][0-9A-Za-z*?,/-]*';
const schedulePattern = `^\\\\s*(${field}(\\\\s+${field}){4}|@(yearly|annually|monthly|weekly|daily|midnight|hourly))\\\\s*$`;

/** `run`: what one run is called, such as `snapshot`. */
export const scheduleSpec = (run: string) => ({
  schedule: Type.String({
    description: `When ${run}s are due: five cron fields (minute, hour, day of month, month, day of week), such as "30 2 * * *" or "0 */6 * * MON-FRI", or one of @hourly, @daily, @weekly, @monthly, @yearly. Follows the rules of CronJob; day of week 7 is Sunday too.`,
    minLength: 1,
    maxLength: 128,
    ...rules(
      {
        rule: `!self.contains('TZ=')`,
        message: 'spec.schedule must not contain TZ= or CRON_TZ=: put the time zone into spec.timeZone',
      },
      {
        rule: `self.contains('TZ=') || self.matches('${schedulePattern}')`,
        message:
          'spec.schedule must be five cron fields (minute, hour, day of month, month, day of week), such as "30 2 * * *", or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually',
      },
    ),
  }),
  timeZone: Type.String({
    description: 'The time zone of the schedule, by its IANA name such as Europe/Berlin.',
    minLength: 1,
    maxLength: 64,
    pattern: '^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$',
    default: 'Etc/UTC',
  }),
  suspend: flag(`Whether no new ${run}s start. Running ones go on.`, false),
  startingDeadlineSeconds: Type.Optional(
    integer(`How late a ${run} may start, in seconds, before it counts as missed. Default: as late as it takes.`, {
      minimum: 10,
      maximum: 31_536_000,
    }),
  ),
  concurrencyPolicy: choice(
    ['Allow', 'Forbid', 'Replace'],
    `What to do when a ${run} is due while one runs: Allow both, Forbid the new one until the old one is done, or Replace the old one.`,
    { default: 'Forbid' },
  ),
  failedHistoryLimit: integer(`How many failed ${run}s to keep for people to look at.`, {
    minimum: 0,
    maximum: 100,
    default: 3,
  }),
});

/** `kind`: the kind of the records, `last`: the field that names the last one. */
export const scheduleStatus = (run: string, kind: string) => ({
  observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')),
  conditions,
  lastScheduleTime: Type.Optional(time(`The scheduled time of the last ${run} that was started.`)),
  nextScheduleTime: Type.Optional(time(`When the next ${run} is due.`)),
  lastSuccessfulTime: Type.Optional(time(`When the last good ${run} was complete.`)),
  active: Type.Optional(
    listOf(text(`The name of a ${kind}.`, 253), {
      description: `The ${kind}s of this policy that run.`,
      maxItems: 64,
      set: true,
    }),
  ),
});

const spec = Type.Object({ clusterName: Type.String(), ...scheduleSpec('run') });
const status = Type.Object(scheduleStatus('run', 'record'));

/** Any policy, as far as its schedule goes. */
export type ScheduledPolicy = Resource<string, Static<typeof spec>, Static<typeof status>>;
export type ScheduledPolicyStatus = Static<typeof status>;
export type ConcurrencyPolicy = ScheduledPolicy['spec']['concurrencyPolicy'];
/** Condition types of a policy. */
export type PolicyCondition = 'Ready';

/** Any record of a run, as far as its beginning and end go. */
export type ScheduledRun = Resource<string, unknown, RunStatus | undefined>;
export interface RunStatus {
  readonly conditions?: Static<typeof conditions>;
  readonly startTime?: string;
  readonly completionTime?: string;
}
