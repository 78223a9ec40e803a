import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decide, maxRunNameLength, parseSchedule, runName, type Situation } from '../../src/schedule/index.ts';

const at = (text: string) => new Date(text);

const situation = (changes: Partial<Situation>): Situation => ({
  policyName: 'nightly',
  schedule: parseSchedule('0 * * * *'),
  now: at('2026-07-15T12:00:30Z'),
  createdAt: at('2026-07-01T00:00:30Z'),
  lastScheduleTime: at('2026-07-15T11:00:00Z'),
  suspend: false,
  concurrencyPolicy: 'Forbid',
  active: [],
  ...changes,
});

const noon = at('2026-07-15T12:00:00Z');
const one = at('2026-07-15T13:00:00Z');
const name = runName('nightly', noon);

describe('a policy', () => {
  test('waits until its next time', () => {
    expect(decide(situation({ lastScheduleTime: noon }))).toEqual({ kind: 'wait', next: one });
  });

  test('runs what is due', () => {
    expect(decide(situation({}))).toEqual({ kind: 'run', name, scheduled: noon, replaces: [], missed: 0, next: one });
  });

  test('that was just created runs nothing that was due before', () => {
    expect(decide(situation({ createdAt: at('2026-07-15T12:00:01Z'), lastScheduleTime: undefined }))).toEqual({
      kind: 'wait',
      next: one,
    });
  });

  test('after two weeks offline has one run to catch up with: the latest', () => {
    const decision = decide(situation({ lastScheduleTime: undefined }));
    expect(decision).toEqual({ kind: 'run', name, scheduled: noon, replaces: [], missed: 100, next: one });
    const recorded = decide(situation({ lastScheduleTime: noon, active: [name] }));
    expect(recorded).toEqual({ kind: 'wait', next: one });
  });

  test('that is suspended starts nothing, and on return at most one', () => {
    expect(decide(situation({ suspend: true }))).toEqual({ kind: 'suspended' });
    expect(decide(situation({ lastScheduleTime: at('2026-07-15T08:00:00Z') }))).toMatchObject({
      kind: 'run',
      scheduled: noon,
      missed: 3,
    });
  });

  test('starts nothing later than startingDeadlineSeconds', () => {
    expect(decide(situation({ startingDeadlineSeconds: 30 }))).toMatchObject({ kind: 'run' });
    expect(decide(situation({ startingDeadlineSeconds: 29 }))).toEqual({
      kind: 'late',
      scheduled: noon,
      missed: 1,
      next: one,
    });
  });

  test('with Forbid waits for the run before, then catches up', () => {
    const active = ['nightly-1'];
    expect(decide(situation({ active }))).toEqual({ kind: 'blocked', scheduled: noon, by: active, next: one });
    expect(decide(situation({ now: at('2026-07-15T12:40:00Z') }))).toMatchObject({ kind: 'run', scheduled: noon });
  });

  test('with Allow runs both, with Replace the new one only', () => {
    const active = ['nightly-1', 'nightly-2'];
    expect(decide(situation({ active, concurrencyPolicy: 'Allow' }))).toMatchObject({ kind: 'run', replaces: [] });
    expect(decide(situation({ active, concurrencyPolicy: 'Replace' }))).toMatchObject({
      kind: 'run',
      replaces: active,
    });
  });

  test('that crashed between starting a run and recording it names the same run again and replaces nothing', () => {
    for (const concurrencyPolicy of ['Allow', 'Forbid', 'Replace'] as const) {
      expect(decide(situation({ active: [name], concurrencyPolicy }))).toEqual({
        kind: 'run',
        name,
        scheduled: noon,
        replaces: [],
        missed: 0,
        next: one,
      });
    }
  });

  test('makes no old time due again when the clock is set back', () => {
    expect(decide(situation({ now: at('2026-07-15T09:30:00Z'), lastScheduleTime: noon }))).toEqual({
      kind: 'wait',
      next: one,
    });
  });

  test('whose schedule never comes says so', () => {
    expect(decide(situation({ schedule: parseSchedule('0 0 31 2 *') }))).toEqual({ kind: 'never' });
  });

  test('whose controller looks at any instants starts each time at most once, in order', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('*/5 * * * *', '0 * * * *', '30 2 * * *'),
        fc.array(fc.integer({ min: 0, max: 90 * 60_000 }), { maxLength: 40 }),
        (expression, steps) => {
          const schedule = parseSchedule(expression, 'Europe/Berlin');
          let now = at('2026-10-24T20:00:00Z');
          const createdAt = now;
          const names: string[] = [];
          let lastScheduleTime: Date | undefined;
          for (const step of steps) {
            now = new Date(now.getTime() + step);
            const decision = decide(situation({ schedule, now, createdAt, lastScheduleTime }));
            if (decision.kind !== 'run') continue;
            expect(decision.scheduled.getTime()).toBeLessThanOrEqual(now.getTime());
            expect(decision.scheduled.getTime()).toBeGreaterThan((lastScheduleTime ?? createdAt).getTime());
            lastScheduleTime = decision.scheduled;
            names.push(decision.name);
          }
          expect(new Set(names).size).toBe(names.length);
        },
      ),
      { seed: 5, numRuns: 100 },
    );
  });
});

describe('the name of a run', () => {
  test('is the policy and the scheduled minute', () => {
    expect(name).toBe(`nightly-${noon.getTime() / 60_000}`);
  });

  test('is a DNS label of bounded length, the same for the same time, another for another policy or time', () => {
    const label = fc.stringMatching(/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/);
    fc.assert(
      fc.property(label, label, fc.integer({ min: 0, max: 60_000_000 }), (a, b, minute) => {
        const scheduled = new Date(minute * 60_000);
        expect(runName(a, scheduled)).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
        expect(runName(a, scheduled).length).toBeLessThanOrEqual(maxRunNameLength);
        expect(runName(a, new Date(minute * 60_000 + 59_999))).toBe(runName(a, scheduled));
        expect(runName(a, new Date((minute + 1) * 60_000))).not.toBe(runName(a, scheduled));
        if (a !== b) expect(runName(b, scheduled)).not.toBe(runName(a, scheduled));
      }),
      { seed: 6, numRuns: 300 },
    );
  });
});
