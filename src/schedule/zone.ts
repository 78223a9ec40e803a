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

function known(name: string): boolean {
  try {
    new Temporal.ZonedDateTime(0n, name);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
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
  const offsetAt = (instant: number): number =>
    new Temporal.ZonedDateTime(BigInt(instant) * BigInt(nanoseconds), name).offsetNanoseconds / nanoseconds;
  return { name, offsetAt, instantOf: (wall) => wall - offsetAt(wall - offsetAt(wall)) };
}
