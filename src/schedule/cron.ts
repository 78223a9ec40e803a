/**
 * Cron expressions as CronJob reads them: five fields, or a descriptor such as `@daily`. A value, a range `a-b`, `*` or
 * `?`, each with a step `/n`, and lists of those; months and weekdays also by the first three letters of their English
 * names. Beyond CronJob, weekday 7 is Sunday; short of it, `@every`, `TZ=` and empty list items are refused.
 */
import { ScheduleError } from './errors.ts';
import { type Zone, zoneOf } from './zone.ts';

/** When something is due. Made by `parseSchedule` only. */
export interface Schedule {
  readonly expression: string;
  readonly zone: Zone;
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly daysOfMonth: ReadonlySet<number>;
  /** 1 to 12. */
  readonly months: ReadonlySet<number>;
  /** 0 (Sunday) to 6. */
  readonly daysOfWeek: ReadonlySet<number>;
  /**
   * Whether a day must satisfy both day fields. True where one of them is unrestricted; otherwise either will do:
   * `0 0 13 * FRI` is due on every 13th and on every Friday.
   */
  readonly bothDays: boolean;
}

interface Field {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly names?: readonly string[];
  /** The number of the first name. */
  readonly firstName?: number;
  /** The highest number that may be written, where that is more than `max`; counted from `min` again. */
  readonly written?: number;
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

const fields = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, names: months, firstName: 1 },
  { name: 'day of week', min: 0, max: 6, names: weekdays, firstName: 0, written: 7 },
] as const satisfies readonly Field[];

const descriptors: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

interface Values {
  readonly set: ReadonlySet<number>;
  /** Whether an item is `*` or `?` without a step that skips anything. `*` over `2` is a restriction. */
  readonly any: boolean;
}

function invalid(expression: string, why: string): ScheduleError {
  return new ScheduleError('SCHEDULE_INVALID', `schedule ${JSON.stringify(expression)}: ${why}`);
}

function parseField(expression: string, text: string, field: Field): Values {
  const fail = (why: string) => invalid(expression, `${field.name} ${JSON.stringify(text)}: ${why}`);
  const highest = field.written ?? field.max;

  const number = (word: string): number => {
    const named = field.names?.indexOf(word.toLowerCase()) ?? -1;
    if (named >= 0) return named + (field.firstName ?? 0);
    if (!/^\d{1,9}$/.test(word)) {
      const names = field.names === undefined ? '' : ` or one of ${field.names.join(', ').toUpperCase()}`;
      throw fail(`${JSON.stringify(word)} is not a number from ${field.min} to ${highest}${names}`);
    }
    const value = Number(word);
    if (value < field.min || value > highest) throw fail(`${value} is not from ${field.min} to ${highest}`);
    return value;
  };

  const set = new Set<number>();
  let any = false;
  for (const item of text.split(',')) {
    const match = /^([^/-]+)(?:-([^/-]+))?(?:\/(\d{1,9}))?$/.exec(item);
    if (match === null) throw fail(`${JSON.stringify(item)} is not a value, a range a-b, or either with a step /n`);
    const [, first, last, stepText] = match as unknown as [string, string, string | undefined, string | undefined];
    const star = first === '*' || first === '?';
    if (star && last !== undefined) throw fail(`${JSON.stringify(item)}: a range cannot start with ${first}`);
    const step = stepText === undefined ? 1 : Number(stepText);
    if (step === 0) throw fail('a step must be at least 1');
    const from = star ? field.min : number(first);
    let to = from;
    if (last !== undefined) to = number(last);
    // A step after a single value counts on to the end of the field: 5/15 is 5-59/15.
    else if (star || stepText !== undefined) to = Math.max(from, field.max);
    if (from > to) throw fail(`the range ${item} ends before it starts`);
    for (let value = from; value <= to; value += step) set.add(value > field.max ? field.min : value);
    if (star && step === 1) any = true;
  }
  return { set, any };
}

/** Throws `ScheduleError`: `SCHEDULE_INVALID` for the expression, `SCHEDULE_TIME_ZONE` for the zone. */
export function parseSchedule(expression: string, timeZone = 'Etc/UTC'): Schedule {
  const trimmed = expression.trim();
  if (/^(CRON_)?TZ=/.test(trimmed)) throw invalid(expression, 'put the time zone into timeZone');
  if (trimmed.startsWith('@') && descriptors[trimmed] === undefined) {
    throw invalid(expression, `${trimmed.split(/\s/)[0]} is not one of ${Object.keys(descriptors).join(', ')}`);
  }
  const words = (descriptors[trimmed] ?? trimmed).split(/\s+/);
  if (trimmed === '' || words.length !== fields.length) {
    const found = trimmed === '' ? 0 : words.length;
    const wanted = fields.map(({ name }) => name).join(', ');
    throw invalid(expression, `must have five fields (${wanted}), but has ${found}`);
  }
  const [minutes, hours, daysOfMonth, inMonths, daysOfWeek] = fields.map((field, at) =>
    parseField(expression, words[at]!, field),
  ) as unknown as [Values, Values, Values, Values, Values];
  return {
    expression: trimmed,
    zone: zoneOf(timeZone),
    minutes: minutes.set,
    hours: hours.set,
    daysOfMonth: daysOfMonth.set,
    months: inMonths.set,
    daysOfWeek: daysOfWeek.set,
    bothDays: daysOfMonth.any || daysOfWeek.any,
  };
}
