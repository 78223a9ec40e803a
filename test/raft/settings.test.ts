import { describe, expect, test } from '@jest/globals';
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import { settingsOf } from '../../src/raft/settings.ts';
import { asIndex, asMemberId, asTerm, type Entry, type RestoredState } from '../../src/raft/types.ts';

const id = asMemberId('a');
const base = initialState(configurationOf([id, asMemberId('b')]));
const random = () => 0;

const entries = (first: number, ...terms: number[]): Entry[] =>
  terms.map((term, at) => ({
    index: asIndex(first + at),
    term: asTerm(term),
    kind: 'normal',
    data: new Uint8Array(1),
  }));

function restored(parts: {
  entries?: Entry[];
  snapshot?: [number, number];
  hard?: [number, string | null, number];
}): RestoredState {
  const [index, term] = parts.snapshot ?? [0, 0];
  const [hardTerm, vote, commit] = parts.hard ?? [0, null, 0];
  return {
    hardState: { term: asTerm(hardTerm), vote: vote === null ? null : asMemberId(vote), commit: asIndex(commit) },
    snapshot: { ...base.snapshot, index: asIndex(index), term: asTerm(term) },
    entries: parts.entries ?? [],
  };
}

const start = (state: RestoredState): Raft => new Raft({ id, random }, state);

describe('settings', () => {
  test('RA-25 RS-26 the numbers: 10 ticks to an election, 1 MiB messages, 256 unanswered, 64 MiB uncommitted', () => {
    expect(settingsOf({ id, random })).toMatchObject({
      electionTicks: 10,
      heartbeatTicks: 1,
      maxMessageBytes: 1024 * 1024,
      maxInflightMessages: 256,
      maxInflightBytes: 16 * 1024 * 1024,
      maxUncommittedBytes: 64 * 1024 * 1024,
      trailingLogs: 10240,
      preVote: true,
      checkQuorum: true,
    });
  });

  test('RS-10 reads by lease are off, and cannot be had without CheckQuorum', () => {
    expect(settingsOf({ id, random }).leaseReads).toBe(false);
    expect(settingsOf({ id, random, leaseReads: true }).leaseReads).toBe(true);
    expect(() => settingsOf({ id, random, leaseReads: true, checkQuorum: false })).toThrow(
      'leaseReads needs checkQuorum',
    );
  });

  test.each([
    [{ electionTicks: 0 }, 'electionTicks must be a positive integer'],
    [{ heartbeatTicks: 10 }, 'heartbeatTicks (10) must be less than electionTicks (10)'],
    [{ trailingLogs: -1 }, 'trailingLogs must be an integer of at least 0'],
    [{ maxMessageBytes: Number.NaN }, 'maxMessageBytes must be a positive integer'],
    [{ id: asMemberId('') }, 'id must not be empty'],
  ])('refuses %j: %s', (part, message) => {
    const attempt = () => settingsOf({ id, random, ...part });
    expect(attempt).toThrow(expect.objectContaining({ code: 'RAFT_CONFIG_INVALID' }));
    expect(attempt).toThrow(message);
  });
});

describe('restored state', () => {
  test('RA-17 RA-20 RA-21 the log goes on after the snapshot, and what is committed is applied again', () => {
    const raft = start(restored({ snapshot: [5, 2], entries: entries(6, 2, 3, 3), hard: [3, 'b', 7] }));
    expect(raft.status()).toMatchObject({
      term: 3,
      commit: 7,
      applied: 5,
      firstIndex: 6,
      lastIndex: 8,
      snapshotIndex: 5,
    });
    const [apply] = raft.take();
    expect(apply).toMatchObject({ type: 'apply', entries: [{ index: 6 }, { index: 7 }] });
  });

  test('RA-18 no snapshot and no log are a new member', () => {
    const raft = start(base);
    expect(raft.status()).toMatchObject({ term: 0, commit: 0, lastIndex: 0 });
    expect(raft.take()).toEqual([]);
  });

  test('HR-29 entries kept behind the snapshot serve lagging followers after a restart, too', () => {
    const raft = start(restored({ snapshot: [5, 2], entries: entries(3, 1, 1, 2, 2), hard: [2, null, 5] }));
    expect(raft.status()).toMatchObject({ firstIndex: 4, lastIndex: 6, applied: 5, commit: 5 });
  });

  test('a log that ends before the snapshot is forgotten', () => {
    const raft = start(restored({ snapshot: [9, 4], entries: entries(3, 1, 1), hard: [4, null, 9] }));
    expect(raft.status()).toMatchObject({ firstIndex: 10, lastIndex: 9, commit: 9 });
  });

  test("D1 D5 the term is the hard state's, never less than the log's, and a vote of an older term is none", () => {
    expect(start(restored({ entries: entries(1, 1), hard: [7, 'b', 1] })).term).toBe(7);
    const raft = start(restored({ entries: entries(1, 1, 8), hard: [7, 'b', 1] }));
    expect(raft.term).toBe(8);
    expect(raft.take()).toContainEqual(
      expect.objectContaining({ type: 'persist', sync: true, hardState: { term: 8, vote: null, commit: 1 } }),
    );
  });

  test.each([
    [{ entries: entries(2, 1) }, 'entries between the snapshot at 0 and entry 2 are missing'],
    [{ entries: [...entries(1, 1), ...entries(3, 1)] }, 'entry 3 follows entry 1'],
    [{ entries: entries(1, 2, 1) }, 'entry 2 has a lower term'],
    [{ entries: entries(1, 1), hard: [1, null, 2] as [number, null, number] }, 'committed entries are missing'],
    [
      { entries: entries(1, 1, 1), snapshot: [2, 2] as [number, number] },
      'entry 2 has term 1, the snapshot of it has 2',
    ],
  ])('RA-18 refuses what no crash leaves behind: %#', (parts, message) => {
    const attempt = () => start(restored(parts));
    expect(attempt).toThrow(expect.objectContaining({ code: 'RAFT_STATE_INVALID' }));
    expect(attempt).toThrow(message);
  });
});
