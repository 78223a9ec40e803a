/** RaftSnapshotPolicy: when snapshots are taken and how long they are kept. */
import { type Static, Type } from 'typebox';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { choice, count, flag, integer, listOf, nameOf, rules, text, time } from './schema.ts';
import { deletionPolicy } from './snapshot.ts';

/** Longest name of a policy: its runs are called after it and the scheduled minute, within `maxRunName`. */
export const maxPolicyName = 43;

/**
 * Five fields or a descriptor, loosely: what no evaluator could read is refused at apply, with a message. Whether each
 * number is in range is for the controller to say (`Ready=False`, reason `InvalidSchedule`).
 */
const field = '[0-9A-Za-z*?][0-9A-Za-z*?,/-]*';
const schedulePattern = `^\\\\s*(${field}(\\\\s+${field}){4}|@(yearly|annually|monthly|weekly|daily|midnight|hourly))\\\\s*$`;

export const policySpec = Type.Object(
  {
    clusterName: nameOf('The RaftCluster of this namespace to take snapshots of.', { maxLength: 63 }),
    storeName: nameOf('The RaftSnapshotStore of this namespace that gets the archives.', { maxLength: 63 }),
    schedule: Type.String({
      description:
        'When snapshots are due: five cron fields (minute, hour, day of month, month, day of week), such as "30 2 * * *" or "0 */6 * * MON-FRI", or one of @hourly, @daily, @weekly, @monthly, @yearly. Follows the rules of CronJob; day of week 7 is Sunday too.',
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
    suspend: flag('Whether no new snapshots start. Running ones go on.', false),
    startingDeadlineSeconds: Type.Optional(
      integer('How late a snapshot may start, in seconds, before it counts as missed. Default: as late as it takes.', {
        minimum: 10,
        maximum: 31_536_000,
      }),
    ),
    concurrencyPolicy: choice(
      ['Allow', 'Forbid', 'Replace'],
      'What to do when a snapshot is due while one runs: Allow both, Forbid the new one until the old one is done, or Replace the old one.',
      { default: 'Forbid' },
    ),
    retention: Type.Object(
      {
        last: integer('How many good snapshots to keep. The last good one is never deleted.', {
          minimum: 1,
          maximum: 10_000,
          default: 7,
        }),
      },
      { description: 'Which snapshots of this policy are kept. The others are deleted.', default: {} },
    ),
    failedHistoryLimit: integer('How many failed snapshots to keep for people to look at.', {
      minimum: 0,
      maximum: 100,
      default: 3,
    }),
    deletionPolicy: deletionPolicy(
      'spec.deletionPolicy',
      'Delete',
      'The deletionPolicy of the snapshots that this policy makes: whether their archives go with them.',
    ),
  },
  { description: 'When to take snapshots, and which to keep.' },
);

export const policyStatus = Type.Object(
  {
    observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')),
    conditions,
    lastScheduleTime: Type.Optional(time('The scheduled time of the last snapshot that was started.')),
    nextScheduleTime: Type.Optional(time('When the next snapshot is due.')),
    lastSuccessfulTime: Type.Optional(time('When the last good snapshot was complete.')),
    lastSnapshotName: Type.Optional(text('The last RaftSnapshot that was started.', 253)),
    active: Type.Optional(
      listOf(text('The name of a RaftSnapshot.', 253), {
        description: 'The RaftSnapshots of this policy that run.',
        maxItems: 64,
        set: true,
      }),
    ),
  },
  { description: 'What the policy has done and will do next.' },
);

export type RaftSnapshotPolicySpec = Static<typeof policySpec>;
export type RaftSnapshotPolicyStatus = Static<typeof policyStatus>;
export type RaftSnapshotPolicy = Resource<'RaftSnapshotPolicy', RaftSnapshotPolicySpec, RaftSnapshotPolicyStatus>;
export type ConcurrencyPolicy = RaftSnapshotPolicySpec['concurrencyPolicy'];
/** Condition types of a RaftSnapshotPolicy. */
export type PolicyCondition = 'Ready';
