import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createTask } from 'node-cron';
import { nextAfter, parseSchedule } from '../../src/schedule/index.ts';

/**
 * node-cron cannot decide when snapshots are due (docs/adr/0002-cron.md), but in the part of the language where it means
 * what CronJob means it is another author's reading, and it needs no golden data: any expression, any day.
 */
const step = fc.integer({ min: 2, max: 9 });
function fieldOf(min: number, max: number): fc.Arbitrary<string> {
  const value = fc.integer({ min, max });
  const range = fc.tuple(value, value).map((pair) => [...pair].sort((a, b) => a - b).join('-'));
  return fc.oneof(
    fc.constant('*'),
    step.map((by) => `*/${by}`),
    value.map(String),
    range,
    fc.tuple(range, step).map((parts) => parts.join('/')),
    fc.array(fc.oneof(value.map(String), range), { minLength: 2, maxLength: 4 }).map((items) => items.join(',')),
  );
}

/** One of the day fields is `*`: with both restricted, node-cron wants both to match. No day beyond 28: it refuses 30 February. */
const plain = fc.oneof(
  fc.tuple(fieldOf(0, 59), fieldOf(0, 23), fieldOf(1, 28), fieldOf(1, 12), fc.constant('*')),
  fc.tuple(fieldOf(0, 59), fieldOf(0, 23), fc.constant('*'), fieldOf(1, 12), fieldOf(0, 6)),
);

describe('an independent implementation', () => {
  test('agrees on whether a minute is due, in the part of the language that both read alike', () => {
    const zones = fc.constantFrom('Etc/UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Pacific/Auckland');
    const minute = fc.integer({ min: Date.UTC(2015, 0) / 60_000, max: Date.UTC(2026, 0) / 60_000 });
    let due = 0;
    fc.assert(
      fc.property(plain, zones, fc.array(minute, { minLength: 5, maxLength: 20 }), (fields, timezone, instants) => {
        const expression = fields.join(' ');
        const schedule = parseSchedule(expression, timezone);
        const task = createTask(expression, () => undefined, { timezone });
        try {
          // Minutes drawn at random are rarely due: the next due time after each is one that is, the minute before may be.
          const next = instants.map((at) => nextAfter(schedule, new Date(at * 60_000)));
          for (const at of [
            ...instants,
            ...next.flatMap((time) => (time ? [+time / 60_000, +time / 60_000 - 1] : [])),
          ]) {
            const time = new Date(at * 60_000);
            const ours = nextAfter(schedule, new Date(+time - 1000))?.getTime() === +time;
            if (ours) due += 1;
            expect({ expression, timezone, time, due: task.match(time) }).toEqual({
              expression,
              timezone,
              time,
              due: ours,
            });
          }
        } finally {
          void task.destroy();
        }
      }),
      { seed: 8, numRuns: 200 },
    );
    expect(due).toBeGreaterThan(1000);
  });
});
