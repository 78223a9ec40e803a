import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { expired, type Kept } from '../../src/schedule/index.ts';

const snapshot = (name: string, minute: number, outcome: Kept['outcome'] = 'succeeded', deleting = false): Kept => ({
  name,
  outcome,
  at: new Date(minute * 60_000),
  deleting,
});

const names = (snapshots: readonly Kept[]) => snapshots.map(({ name }) => name);

describe('retention by count', () => {
  test('deletes the oldest good ones beyond the count', () => {
    const all = [snapshot('b', 2), snapshot('d', 4), snapshot('a', 1), snapshot('c', 3)];
    expect(names(expired(all, { last: 2, failed: 0 }))).toEqual(['a', 'b']);
  });

  test('lets failed ones take no place of a good one, and keeps a few for people to look at', () => {
    const all = [snapshot('good', 1), snapshot('x', 2, 'ended'), snapshot('y', 3, 'ended'), snapshot('z', 4, 'ended')];
    expect(names(expired(all, { last: 1, failed: 1 }))).toEqual(['x', 'y']);
    expect(names(expired(all, { last: 1, failed: 0 }))).toEqual(['x', 'y', 'z']);
  });

  test('counts none whose deletion has begun', () => {
    const all = [snapshot('a', 1), snapshot('b', 2), snapshot('c', 3, 'succeeded', true)];
    expect(names(expired(all, { last: 2, failed: 0 }))).toEqual([]);
  });

  test.each([0, -5, Number.NaN])('never deletes the last good one, even when asked to keep %p', (last) => {
    const all = [snapshot('a', 1), snapshot('b', 2), snapshot('c', 3, 'ended'), snapshot('d', 4, 'active')];
    expect(names(expired(all, { last, failed: 0 }))).toEqual(['a', 'c']);
  });

  test('of any snapshots keeps the newest good one and all that run, and comes to rest', () => {
    const any = fc.record({
      name: fc.string({ minLength: 1, maxLength: 4 }),
      outcome: fc.constantFrom<Kept['outcome']>('succeeded', 'ended', 'active'),
      at: fc.date({ noInvalidDate: true }),
      deleting: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(any, { selector: ({ name }) => name, maxLength: 30 }),
        fc.integer({ min: -1, max: 8 }),
        fc.integer({ min: -1, max: 8 }),
        (all, last, failed) => {
          const gone = new Set(expired(all, { last, failed }));
          const good = all.filter(({ outcome, deleting }) => outcome === 'succeeded' && !deleting);
          const newest = Math.max(...good.map(({ at }) => at.getTime()));
          expect([...gone].some(({ outcome, deleting }) => outcome === 'active' || deleting)).toBe(false);
          const left = good.filter((snapshot) => !gone.has(snapshot));
          expect(left.length).toBe(Math.min(good.length, Math.max(1, last)));
          if (good.length > 0) expect(left.some(({ at }) => at.getTime() === newest)).toBe(true);
          expect(
            expired(
              all.filter((snapshot) => !gone.has(snapshot)),
              { last, failed },
            ),
          ).toEqual([]);
        },
      ),
      { seed: 7, numRuns: 300 },
    );
  });
});
