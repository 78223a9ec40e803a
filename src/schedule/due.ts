/**
 * When a schedule is due, in the instants at which CronJob would run it. Where clocks skip an hour, times in it are
 * skipped; where they repeat one, times in it come twice.
 *
 * A cursor goes through the fields from the month down to the second. Where a field does not match, the cursor moves on by
 * one of its units; where that carries over into a larger unit, it starts from the month again. Only the first move also
 * sets the cursor back to the start of the unit: later ones do not, which in zones whose clocks change by half an hour, or
 * at midnight, decides what is due on that day. That is how CronJob's evaluator moves, and golden data hold us to it.
 */
import type { Schedule } from './cron.ts';

const minute = 60;
const hour = 3600;
const second = 1000;

interface Wall {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly weekday: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

interface Unit {
  readonly due: (wall: Wall) => boolean;
  /** The start of this unit at the cursor. */
  readonly start: (instant: number, wall: Wall) => number;
  readonly next: (instant: number, wall: Wall) => number;
  /** Whether a cursor that moved has carried over into a larger unit. */
  readonly carried: (wall: Wall) => boolean;
}

/** How many years ahead to look: no date that comes at all is further away, but for 29 February around 2100. */
const yearsAhead = 5;

function wallAt(schedule: Schedule, instant: number): Wall {
  const date = new Date((instant + schedule.zone.offsetAt(instant)) * second);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    weekday: date.getUTCDay(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
  };
}

function units(schedule: Schedule): readonly Unit[] {
  const { zone, minutes, hours, daysOfMonth, daysOfWeek, months, bothDays } = schedule;
  const at = (year: number, month: number, day: number, rest = 0) =>
    zone.instantOf(Date.UTC(year, month - 1, day) / second + rest);
  const timeOfDay = (wall: Wall) => wall.hour * hour + wall.minute * minute + wall.second;

  return [
    {
      due: (wall) => months.has(wall.month),
      start: (_, wall) => at(wall.year, wall.month, 1),
      next: (_, wall) => at(wall.year, wall.month + 1, wall.day, timeOfDay(wall)),
      carried: (wall) => wall.month === 1,
    },
    {
      due: (wall) => {
        const ofMonth = daysOfMonth.has(wall.day);
        const ofWeek = daysOfWeek.has(wall.weekday);
        return bothDays ? ofMonth && ofWeek : ofMonth || ofWeek;
      },
      start: (_, wall) => at(wall.year, wall.month, wall.day),
      next: (instant, wall) => {
        const tomorrow = at(wall.year, wall.month, wall.day + 1, timeOfDay(wall));
        // Clocks that change at midnight have no 00:00 on that day: to the next midnight, or back to the last one.
        const shown = wallAt(schedule, tomorrow).hour;
        const midnight = tomorrow + (shown > 12 ? 24 - shown : -shown) * hour;
        // A calendar may leave out a whole day, as Pacific/Apia did on 30 December 2011; no need to wait for it.
        return midnight > instant ? midnight : instant + 24 * hour;
      },
      carried: (wall) => wall.day === 1,
    },
    {
      due: (wall) => hours.has(wall.hour),
      start: (_, wall) => at(wall.year, wall.month, wall.day, wall.hour * hour),
      next: (instant) => instant + hour,
      carried: (wall) => wall.hour === 0,
    },
    {
      due: (wall) => minutes.has(wall.minute),
      start: (instant) => instant - (instant % minute),
      next: (instant) => instant + minute,
      carried: (wall) => wall.minute === 0,
    },
    {
      due: (wall) => wall.second === 0,
      start: (instant) => instant,
      next: (instant) => instant + 1,
      carried: (wall) => wall.second === 0,
    },
  ];
}

/** The first due time after an instant; undefined where there is none within five years, such as on 30 February. */
export function nextAfter(schedule: Schedule, after: Date): Date | undefined {
  const order = units(schedule);
  let cursor = Math.floor(after.getTime() / second) + 1;
  let wall = wallAt(schedule, cursor);
  const lastYear = wall.year + yearsAhead;
  let moved = false;
  for (let at = 0; at < order.length; ) {
    const unit = order[at]!;
    if (unit.due(wall)) {
      at += 1;
      continue;
    }
    if (!moved) {
      moved = true;
      cursor = unit.start(cursor, wall);
      wall = wallAt(schedule, cursor);
    }
    cursor = unit.next(cursor, wall);
    wall = wallAt(schedule, cursor);
    if (!unit.carried(wall)) continue;
    if (wall.year > lastYear) return undefined;
    at = 0;
  }
  return new Date(cursor * second);
}

/**
 * The latest due time in `(after, now]`. Takes some twenty evaluations however long ago `after` is: nothing walks through
 * weeks of missed runs one by one.
 */
export function latestDue(schedule: Schedule, after: Date, now: Date): Date | undefined {
  const dueWithin = (from: number): Date | undefined => {
    const due = nextAfter(schedule, new Date(from));
    return due !== undefined && due <= now ? due : undefined;
  };
  let latest = dueWithin(after.getTime());
  if (latest === undefined) return undefined;
  // Something is due in (low, now] and nothing in (high, now]; due times are whole minutes, so one minute decides.
  let low = after.getTime();
  let high = now.getTime();
  while (high - low > minute * second) {
    const middle = low + Math.floor((high - low) / 2);
    const due = dueWithin(middle);
    if (due === undefined) high = middle;
    else {
      latest = due;
      // Nothing is due between the middle and what was found.
      low = Math.max(middle, Math.min(due.getTime() - 1, high - 1));
    }
  }
  return latest;
}

/** How many times were due in `(after, until)`, counted to `limit` and no further. */
export function countDue(schedule: Schedule, after: Date, until: Date, limit: number): number {
  let count = 0;
  for (let due = nextAfter(schedule, after); due !== undefined && due < until && count < limit; count += 1) {
    due = nextAfter(schedule, due);
  }
  return count;
}
