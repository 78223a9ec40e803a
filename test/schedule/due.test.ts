import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { countDue, latestDue, nextAfter, parseSchedule, type Schedule } from '../../src/schedule/index.ts';
import { golden, minutes, type Run, titleOf } from './golden.ts';

const at = (text: string) => new Date(text);

function follow(schedule: Schedule, after: Date, count: number): (Date | undefined)[] {
  const due: (Date | undefined)[] = [];
  let last: Date | undefined = after;
  while (due.length < count && last !== undefined) {
    last = nextAfter(schedule, last);
    due.push(last);
  }
  return due;
}

function differences(runs: readonly Run[]): string[] {
  return runs.flatMap((run) => {
    const wanted = minutes([
      ...run.due.map((minute) => new Date(minute * 60_000)),
      ...(run.ends === true ? [undefined] : []),
    ]);
    const got = minutes(follow(parseSchedule(run.expression, run.timeZone), new Date(run.after * 1000), wanted.length));
    return wanted.join() === got.join() ? [] : [`${titleOf(run)}: CronJob ${wanted.join(' ')}, ours ${got.join(' ')}`];
  });
}

describe("the next due time is CronJob's", () => {
  test(`on calendars: day of month or day of week, steps, names, 29 February (${golden.calendar.length} cases)`, () => {
    expect(golden.calendar.length).toBeGreaterThan(200);
    expect(differences(golden.calendar)).toEqual([]);
  });

  test(`where clocks change, by an hour, half an hour or two, at any time of day (${golden.clocks.length} cases)`, () => {
    expect(golden.clocks.length).toBeGreaterThan(500);
    expect(differences(golden.clocks)).toEqual([]);
  });

  test(`for random expressions in ten time zones (${golden.random.length} cases)`, () => {
    expect(golden.random.length).toBeGreaterThan(1000);
    expect(differences(golden.random)).toEqual([]);
  });
});

describe('the next due time', () => {
  test.each([
    ['0 0 * * 7', 'UTC', '2026-07-22T00:00:00Z', '2026-07-26T00:00Z'],
    ['0 0 * * 5-7', 'UTC', '2026-07-25T12:00:00Z', '2026-07-26T00:00Z'],
    ['30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', '2026-03-30T00:30Z'],
    ['*/30 * * * *', 'Europe/Berlin', '2026-10-25T00:30:00Z', '2026-10-25T01:00Z'],
    ['0 0 29 2 *', 'UTC', '2025-01-01T00:00:00Z', '2028-02-29T00:00Z'],
    ['0 0 30 2 *', 'UTC', '2025-01-01T00:00:00Z', 'never'],
  ])('%s in %s after %s is %s', (expression, zone, after, due) => {
    expect(minutes([nextAfter(parseSchedule(expression, zone), at(after))])).toEqual([due]);
  });

  test('passes over a day that the calendar left out, where the evaluator of CronJob never returns', () => {
    // Samoa went from Thursday 29 to Saturday 31 December 2011.
    const schedule = parseSchedule('0 12 * * SUN', 'Pacific/Apia');
    expect(minutes([nextAfter(schedule, at('2011-12-29T08:44:40Z'))])).toEqual(['2011-12-31T22:00Z']);
  });

  test('is later than the time asked about, on a whole minute, and what the wall clock of the zone says', () => {
    const zones = ['Etc/UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe'];
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 59 }),
        fc.integer({ min: 0, max: 23 }),
        fc.constantFrom(...zones),
        fc.date({ min: at('2000-01-01'), max: at('2026-01-01'), noInvalidDate: true }),
        (minute, hour, zone, after) => {
          const due = nextAfter(parseSchedule(`${minute} ${hour} * * *`, zone), after)!;
          expect(due.getTime()).toBeGreaterThan(after.getTime());
          expect(due.getTime() % 60_000).toBe(0);
          const wall = new Intl.DateTimeFormat('en-GB', { timeZone: zone, hour: 'numeric', minute: 'numeric' });
          expect(wall.format(due)).toBe(`${`${hour}`.padStart(2, '0')}:${`${minute}`.padStart(2, '0')}`);
        },
      ),
      { seed: 3, numRuns: 300 },
    );
  });
});

describe('the latest due time', () => {
  test('is the last that a walk through all of them would find', () => {
    const expressions = [
      '* * * * *',
      '*/7 * * * *',
      '30 2 * * *',
      '0 0 13 * FRI',
      '* 3 * * *',
      '0 */6 * * MON-FRI',
      '@monthly',
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...expressions),
        fc.constantFrom('Etc/UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata'),
        fc.date({ min: at('2020-01-01'), max: at('2026-01-01'), noInvalidDate: true }),
        fc.integer({ min: 0, max: 3 * 24 * 3600 * 1000 }),
        (expression, zone, after, span) => {
          const schedule = parseSchedule(expression, zone);
          const now = new Date(after.getTime() + span);
          let walked: Date | undefined;
          let count = 0;
          for (let due = nextAfter(schedule, after); due !== undefined && due <= now; due = nextAfter(schedule, due)) {
            walked = due;
            count += 1;
          }
          expect(minutes([latestDue(schedule, after, now)])).toEqual(minutes([walked]));
          if (walked !== undefined) expect(countDue(schedule, after, walked, 10_000)).toBe(count - 1);
        },
      ),
      { seed: 4, numRuns: 150 },
    );
  });

  test('takes few evaluations however many times were missed', () => {
    let evaluations = 0;
    const schedule = parseSchedule('* * * * *');
    const counted: Schedule = {
      ...schedule,
      get minutes() {
        evaluations += 1;
        return schedule.minutes;
      },
    };
    const due = latestDue(counted, at('1990-01-01T00:00:00Z'), at('2026-07-01T12:34:56Z'));
    expect(minutes([due])).toEqual(['2026-07-01T12:34Z']);
    expect(evaluations).toBeLessThan(40);
  });

  test('includes now and excludes the time asked about', () => {
    const schedule = parseSchedule('0 * * * *');
    const noon = at('2026-07-01T12:00:00Z');
    expect(latestDue(schedule, at('2026-07-01T11:59:59Z'), noon)).toEqual(noon);
    expect(latestDue(schedule, noon, at('2026-07-01T12:59:59Z'))).toBeUndefined();
    expect(latestDue(schedule, noon, at('2026-07-01T11:00:00Z'))).toBeUndefined();
  });
});
