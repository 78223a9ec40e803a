import { describe, expect, test } from '@jest/globals';
import { configurationOf } from '../../src/raft/configuration.ts';
import { entrySize, Log } from '../../src/raft/log.ts';
import { asIndex, asTerm, type Entry } from '../../src/raft/types.ts';

const entry = (index: number, term: number, size = 1): Entry => ({
  index: asIndex(index),
  term: asTerm(term),
  kind: 'normal',
  data: new Uint8Array(size),
});

/** Entries after `base`, one for each term given. */
function logOf(base: number, baseTerm: number, ...terms: number[]): Log {
  const entries = terms.map((term, at) => entry(base + 1 + at, term));
  return new Log(asIndex(base), asTerm(baseTerm), entries, asIndex(base), asIndex(base));
}

const indices = (entries: readonly Entry[]): number[] => entries.map(({ index }) => index);

describe('the log', () => {
  test('knows terms from its base through its end', () => {
    const log = logOf(5, 2, 2, 3);
    expect([4, 5, 6, 7, 8].map((index) => log.term(asIndex(index)))).toEqual([undefined, 2, 2, 3, undefined]);
    expect([log.first, log.last, log.lastTerm]).toEqual([6, 7, 3]);
    expect(logOf(5, 2).lastTerm).toBe(2);
  });

  test.each([
    [3, 5, true],
    [2, 9, true],
    [2, 8, true],
    [2, 7, false],
    [1, 99, false],
  ])('D2 a candidate with last term %i at %i against 2 at 8: %p', (term, index, upToDate) => {
    expect(logOf(6, 1, 2, 2).isUpToDate(asIndex(index), asTerm(term))).toBe(upToDate);
  });

  test('slices by bytes, with one entry at least', () => {
    const log = new Log(
      asIndex(0),
      asTerm(0),
      [entry(1, 1, 100), entry(2, 1, 100), entry(3, 1, 1)],
      asIndex(0),
      asIndex(0),
    );
    const one = entrySize(entry(1, 1, 100));
    expect(indices(log.slice(asIndex(1), asIndex(3), 1))).toEqual([1]);
    expect(indices(log.slice(asIndex(1), asIndex(3), 2 * one))).toEqual([1, 2]);
    expect(indices(log.slice(asIndex(1), asIndex(3), 2 * one - 1))).toEqual([1]);
    expect(indices(log.slice(asIndex(2), asIndex(9), 9999))).toEqual([2, 3]);
    expect(log.slice(asIndex(4), asIndex(9), 9999)).toEqual([]);
  });

  test('hands each entry to the disk once, and again what replaces it', () => {
    const log = logOf(0, 0, 1, 1);
    expect(log.takeUnhanded()).toEqual([]);
    log.push(entry(3, 1));
    expect(indices(log.takeUnhanded())).toEqual([3]);
    log.truncate(asIndex(2));
    log.push(entry(2, 2));
    expect([log.stable, log.handed]).toEqual([1, 1]);
    expect(indices(log.takeUnhanded())).toEqual([2]);
  });

  test('finds the first entry that it does not have', () => {
    const log = logOf(0, 0, 1, 1, 2);
    expect(log.firstMissing([])).toBeUndefined();
    expect(log.firstMissing([entry(2, 1), entry(3, 2)])).toBeUndefined();
    expect(log.firstMissing([entry(2, 1), entry(3, 3)])?.index).toBe(3);
    expect(log.firstMissing([entry(3, 2), entry(4, 3)])?.index).toBe(4);
    expect(log.firstMissing([entry(4, 3)])?.index).toBe(4);
  });

  test.each([
    [9, 5, 7, 5],
    [7, 4, 5, 3],
    [7, 3, 5, 3],
    [4, 9, 4, 3],
    [7, 2, 3, 2],
    [7, 1, 2, 1],
    [1, 1, 1, 0],
  ])('two logs can meet at best, from %i with term %i: %i of term %i', (index, term, meeting, meetingTerm) => {
    expect(logOf(2, 1, 2, 3, 3, 5, 5).meetingPoint(asIndex(index), asTerm(term))).toEqual({
      index: meeting,
      term: meetingTerm,
    });
  });

  test('compaction keeps the term at its base, and counts bytes', () => {
    const log = logOf(0, 0, 1, 2, 3);
    log.compact(asIndex(2));
    expect([log.first, log.last, log.term(asIndex(2)), log.term(asIndex(1))]).toEqual([3, 3, 2, undefined]);
    expect(log.bytes).toBe(entrySize(entry(3, 3)));
    log.compact(asIndex(1));
    expect(log.first).toBe(3);
  });

  test('RA-16 a snapshot replaces the whole log', () => {
    const log = logOf(0, 0, 1, 1);
    const configuration = configurationOf([]);
    log.reset({ index: asIndex(9), term: asTerm(4), configuration, configurationIndex: asIndex(0) });
    expect([log.first, log.last, log.lastTerm, log.commit, log.stable, log.bytes]).toEqual([10, 9, 4, 9, 9, 0]);
    expect(log.applied).toBe(0);
  });
});
