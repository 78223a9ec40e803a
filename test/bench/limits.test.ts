import { describe, expect, test } from '@jest/globals';
import { bareEngines, type Crowd, crowdRow, lifeRows, type Round } from './life-measures.ts';
import { holds, judged, medianOfAll, summary } from './limits.ts';

const figures = (of: Record<string, number>) => new Map(Object.entries(of));
const whole = { start: 3, up: 5, down: 2, follower: 4, move: 40, delete: 50, kill: 900, hung: 5, dead: 1 };
const bare = { start: 2, follower: 3, move: 30, delete: 40, kill: 900 };
const round = (ours: object = {}, beside: object = {}): Round => ({
  ours: { Etcd: figures({ ...whole, ...ours }) },
  bare: { Etcd: figures({ ...bare, ...beside }) },
});
const verdicts = (rounds: readonly Round[], wanted?: ReadonlySet<string>) =>
  Object.fromEntries(lifeRows(rounds, ['Etcd'], wanted).map(({ words, verdict }) => [words, verdict]));
const without = (key: string, of: Record<string, number>) =>
  figures(Object.fromEntries(Object.entries(of).filter(([name]) => name !== key)));

describe('the limits of a bench', () => {
  test('what is as much as is allowed holds, more does not, and nothing is no figure', () => {
    expect([judged(50, 50), judged(50.1, 50), judged(undefined, 50)]).toEqual(['yes', 'NO', 'failed']);
  });

  test('a round without a figure leaves no median', () => {
    expect([medianOfAll([3, 1, 2]), medianOfAll([3, undefined, 2]), medianOfAll([])]).toEqual([
      2,
      undefined,
      undefined,
    ]);
  });

  test('every measure has a row, and all hold in a good run', () => {
    const found = Object.values(verdicts([round(), round()]));
    expect(found).toEqual(Array(9).fill('yes'));
    expect(holds(found as [])).toBe(true);
  });

  test('a limit that does not hold is said, by the figure or by its ratio to what stands beside it', () => {
    expect(verdicts([round({ up: 6.1, start: 4.1 })])).toMatchObject({
      '3 to 5': 'NO',
      'apply to three Ready': 'NO',
      '5 to 3': 'yes',
    });
  });

  test('a measure that failed in one of the rounds has failed, and so has one that has nothing beside it', () => {
    const lost: Round = { ...round(), ours: { Etcd: without('up', whole) } };
    expect(verdicts([round(), lost])).toMatchObject({ '3 to 5': 'failed', '5 to 3': 'yes' });
    const alone: Round = { ...round(), bare: { Etcd: without('kill', bare) } };
    expect(verdicts([alone])["outage: leader's kill -9"]).toBe('failed');
    expect(Object.values(verdicts([{ ours: {}, bare: {} }]))).toEqual(Array(9).fill('failed'));
  });

  test('what nobody wanted has no row, but for the start of the cluster', () => {
    expect(Object.keys(verdicts([round()], new Set(['up'])))).toEqual(['apply to three Ready', '3 to 5']);
  });

  test("etcd's own election is measured for the embedded engine alone, too", () => {
    expect(bareEngines(['Embedded'], undefined)).toEqual(['Embedded', 'Etcd']);
    expect(bareEngines(['Embedded'], new Set(['up']))).toEqual(['Embedded']);
    expect(bareEngines(['Etcd'], undefined)).toEqual(['Etcd']);
  });

  test('in a crowd a start takes as long as alone, with what two starts differ by and what the crowd costs a bare one', () => {
    const bare = { alone: [2, 2], crowded: [2, 1.8] };
    const verdict = (alone: number[], crowded: (number | undefined)[], beside: Crowd = bare) =>
      crowdRow({ alone, crowded }, beside);
    expect(verdict([4, 5, 6], [4.8, 5, 6])).toMatchObject({ ratio: '1.00', atMost: 'x 1.20', verdict: 'yes' });
    expect(verdict([4, 4], [5, 5])).toMatchObject({ ratio: '1.25', beside: '0.95', verdict: 'NO' });
    const slow = { alone: [2], crowded: [3] };
    expect(verdict([4], [7], slow)).toMatchObject({ ratio: '1.75', beside: '1.50', atMost: 'x 1.80', verdict: 'yes' });
    expect(verdict([4], [7.4], slow)).toMatchObject({ verdict: 'NO' });
    expect(verdict([4, 4], [5, undefined])).toMatchObject({ ratio: '', verdict: 'failed' });
    expect(verdict([4], [4], { alone: [2], crowded: [undefined] })).toMatchObject({ verdict: 'failed' });
    expect(verdict([], [])).toMatchObject({ verdict: 'failed' });
  });

  test('one line says how many limits did not hold', () => {
    expect(summary(['yes', 'NO', 'failed', 'NO'])).toBe('3 of 4 limits did not hold (2 NO, 1 failed)');
    expect(summary([])).toBeUndefined();
    expect([holds(['yes']), holds(['yes', 'failed']), holds(['NO'])]).toEqual([true, false, false]);
  });
});
