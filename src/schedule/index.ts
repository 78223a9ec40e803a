/** When things run and how long they are kept: import from here. */
export { parseSchedule, type Schedule } from './cron.ts';
export { type Decision, decide, maxRunNameLength, missedLimit, runName, type Situation } from './decide.ts';
export { countDue, latestDue, nextAfter } from './due.ts';
export { ScheduleError, type ScheduleErrorCode } from './errors.ts';
export { expired, type Kept, type Retention } from './retention.ts';
