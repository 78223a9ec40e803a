import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  compactIndexByApplied,
  compactThrough,
  defaultSnapshotIntervalMilliseconds,
  defaultSnapshotThreshold,
  defaultTrailingLogs,
  snapshotDelay,
  snapshotDue,
  snapshotDueByApplied,
} from '../../src/raft/compaction.ts';
import { asIndex } from '../../src/raft/types.ts';

const due = (last: number, snapshot: number, threshold: number) =>
  snapshotDue(asIndex(last), asIndex(snapshot), threshold);
const through = (first: number, last: number, snapshot: number, trailing: number) =>
  compactThrough(asIndex(first), asIndex(last), asIndex(snapshot), trailing);

describe('when a snapshot is due', () => {
  test.each([
    [8191, 0, false],
    [8192, 0, true],
    [8193, 0, true],
    [108191, 100000, false],
    [108192, 100000, true],
  ])('HR-12 last %i, snapshot %i: %p, at the threshold exactly', (last, snapshot, expected) => {
    expect(due(last, snapshot, 8192)).toBe(expected);
  });

  test('HR-36 D12 a log that ends before the snapshot never asks for one', () => {
    expect(due(0, 500, 8192)).toBe(false);
    expect(due(499, 500, 0)).toBe(false);
    expect(due(500, 500, 0)).toBe(false);
  });

  test('RA-02 by what is applied: only past the count', () => {
    expect(snapshotDueByApplied(asIndex(10000), asIndex(0), 10000)).toBe(false);
    expect(snapshotDueByApplied(asIndex(10001), asIndex(0), 10000)).toBe(true);
  });

  test('HR-11 the pause is drawn from [I, 2I) each time, and 0 means never', () => {
    expect(snapshotDelay(1000, () => 0)).toBe(1000);
    expect(snapshotDelay(1000, () => 0.999)).toBeLessThan(2000);
    expect(snapshotDelay(0, () => 0.5)).toBeNull();
  });

  test('HR-32 the defaults', () => {
    expect([defaultSnapshotIntervalMilliseconds, defaultSnapshotThreshold, defaultTrailingLogs]).toEqual([
      120_000, 8192, 10240,
    ]);
  });
});

describe('how far the log goes', () => {
  test.each([
    [1, 10, 10, 10, null],
    [1, 9, 9, 10, null],
    [1, 11, 11, 10, 1],
    [1, 100, 50, 10, 50],
    [1, 100, 95, 10, 90],
    [91, 100, 95, 10, null],
    [51, 100, 50, 10, null],
    [1, 100, 100, 0, 100],
  ])(
    'HR-27 HR-28 HR-30 D12 first %i last %i snapshot %i trailing %i: through %p',
    (first, last, snapshot, trailing, expected) => {
      expect(through(first, last, snapshot, trailing)).toBe(expected);
    },
  );

  test('HR-29 at least the trailing entries stay, and nothing after the snapshot goes', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(200), fc.nat(400), fc.nat(50), (base, length, snapshot, trailing) => {
        const end = through(base + 1, base + length, snapshot, trailing);
        if (end === null) return;
        expect(end).toBeGreaterThan(base);
        expect(end).toBeLessThanOrEqual(snapshot);
        expect(base + length - end).toBeGreaterThanOrEqual(trailing);
      }),
      { seed: 29, numRuns: 500 },
    );
  });

  test('GR-25 200 entries stay: at 200 nothing goes, at 201 one does', () => {
    expect(through(1, 200, 200, 200)).toBeNull();
    expect(through(1, 201, 201, 200)).toBe(1);
  });

  test('RA-09 the position to compact to is N behind what is applied, or 1', () => {
    expect(compactIndexByApplied(asIndex(10001), 10000)).toBe(1);
    expect(compactIndexByApplied(asIndex(10000), 10000)).toBe(1);
    expect(compactIndexByApplied(asIndex(25000), 10000)).toBe(15000);
  });
});
