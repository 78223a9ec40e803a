/// <reference lib="esnext.temporal" />
/**
 * Wall clocks of time zones, by the runtime's IANA data. Instants and wall times are whole seconds: an instant since
 * 1970 in UTC, a wall time as if its digits were UTC.
 */
import { ScheduleError } from './errors.ts';

export interface Zone {
  readonly name: string;
  /** Seconds that clocks are ahead of UTC at an instant. */
  offsetAt(instant: number): number;
  /**
   * The instant at which clocks show a wall time. Where they show it twice or never, the choice is that of Go's
   * `time.Date`, on which CronJob's behaviour rests: the offset in force at the instant that the offset in force at the
   * digits, read as UTC, leads to.
   */
  instantOf(wall: number): number;
}

const nanoseconds = 1_000_000_000;
const wellFormed = /^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+)*$/;

/** A span of instants, from inclusive, until exclusive, in which clocks do not change. */
interface Period {
  readonly from: number;
  readonly until: number;
  readonly offset: number;
}

/** How many periods a zone remembers: a search goes through few at a time, and forward. */
const remembered = 8;

function clockAt(instant: number, name: string): Temporal.ZonedDateTime {
  return new Temporal.ZonedDateTime(BigInt(instant) * BigInt(nanoseconds), name);
}

function periodAt(instant: number, name: string): Period {
  const seconds = (clock: Temporal.ZonedDateTime | null) =>
    clock === null ? undefined : clock.epochMilliseconds / 1000;
  const clock = clockAt(instant, name);
  return {
    from: seconds(clockAt(instant + 1, name).getTimeZoneTransition('previous')) ?? Number.NEGATIVE_INFINITY,
    until: seconds(clock.getTimeZoneTransition('next')) ?? Number.POSITIVE_INFINITY,
    offset: clock.offsetNanoseconds / nanoseconds,
  };
}

function known(name: string): boolean {
  try {
    clockAt(0, name);
    return true;
  } catch (error) {
    // By name: an error of another realm is no instance of ours.
    if ((error as Partial<Error> | null)?.name === 'RangeError') return false;
    throw error;
  }
}

/** Throws `SCHEDULE_TIME_ZONE` for anything but an IANA name that the runtime knows. `Local` means nothing in a pod. */
export function zoneOf(name: string): Zone {
  if (!wellFormed.test(name) || name.toLowerCase() === 'local' || !known(name)) {
    throw new ScheduleError(
      'SCHEDULE_TIME_ZONE',
      `timeZone ${JSON.stringify(name)} is not a known IANA time zone: use a name such as Europe/Berlin or Etc/UTC`,
    );
  }
  const periods: Period[] = [];
  const offsetAt = (instant: number): number => {
    for (const { from, until, offset } of periods) if (from <= instant && instant < until) return offset;
    const period = periodAt(instant, name);
    periods.unshift(period);
    periods.length = Math.min(periods.length, remembered);
    return period.offset;
  };
  return { name, offsetAt, instantOf: (wall) => wall - offsetAt(wall - offsetAt(wall)) };
}
