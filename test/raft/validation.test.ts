import { describe, expect, test } from '@jest/globals';
import { asIndex, asTerm } from '../../src/raft/types.ts';
import { a, append, b, c, cluster, entry, member, type Received, receive, vote } from './single.ts';

describe('a driver that breaks the protocol', () => {
  test('is told so', () => {
    const wrong = expect.objectContaining({ code: 'RAFT_DRIVER_ORDER' });
    expect(() => member().step({ type: 'applied', index: asIndex(1) })).toThrow(wrong);
    expect(() => member().step({ type: 'persisted', id: 1 })).toThrow(wrong);
    const meta = { index: asIndex(5), term: asTerm(1), configuration: cluster, configurationIndex: asIndex(0) };
    expect(() => member().step({ type: 'snapshotTaken', meta })).toThrow(wrong);
  });
});

describe('a peer that sends nonsense', () => {
  test.each([
    ['to somebody else', { ...append(1, 0, 0), to: c }, 'addressed to another member'],
    ['from ourselves', { ...append(1, 0, 0), from: a }, 'claims to come from this member'],
    ['a term that is no number', append(Number.NaN, 0, 0), 'impossible term'],
    ['a term that no election can have led to', append(2 ** 33, 0, 0), 'impossible term'],
    ['a vote that would use terms up', vote(2 ** 52, 0, 0), 'impossible term'],
    ['a term without successor', append(Number.MAX_SAFE_INTEGER, 0, 0), 'impossible term'],
    ['a negative position', append(1, -1, 0), 'impossible position'],
    ['a position without successor', append(1, 2 ** 52 + 1, 1), 'impossible position'],
    [
      'entries up to a position without successor',
      append(1, 2 ** 52, 1, [entry(2 ** 52 + 1, 1)]),
      'impossible position',
    ],
    ['a leader of term 0', append(0, 0, 0), 'leads term 0'],
    [
      'a heartbeat of term 0',
      { type: 'heartbeat', from: b, to: a, term: asTerm(0), commit: asIndex(0), round: 0 },
      'leads term 0',
    ],
    ['a hand-over in term 0', { type: 'timeoutNow', from: b, to: a, term: asTerm(0) }, 'leads term 0'],
    ['a log of the future before the entries', append(1, 5, 2), 'entries with impossible terms'],
    ['entries of no term', append(1, 0, 0, [entry(1, 0)]), 'entries with impossible terms'],
    ['a candidate that knows the future', vote(3, 9, 3), 'a candidate whose log is of its own term or a later one'],
    [
      'bytes for a configuration',
      append(1, 0, 0, [{ ...entry(1, 1), kind: 'configuration' }]),
      'a configuration without sense',
    ],
    ['a gap', append(1, 0, 0, [entry(2, 1)]), 'entries with a gap'],
    ['entries of the future', append(1, 0, 0, [entry(1, 2)]), 'entries with impossible terms'],
    ['terms that fall', append(3, 0, 0, [entry(1, 3), entry(2, 1)]), 'entries with impossible terms'],
    ['a vote for nothing', vote(0, 0, 0), 'vote asked for term 0'],
  ] satisfies [string, Received, string][])('is ignored and reported: %s', (_, message, reason) => {
    const raft = member();
    expect(receive(raft, message)).toEqual([{ type: 'ignored', from: message.from, reason }]);
    expect(raft.term).toBe(0);
  });

  test('a second leader of the term is ignored', () => {
    const raft = member();
    receive(raft, append(1, 0, 0));
    expect(receive(raft, append(1, 0, 0, [entry(1, 1)], 1, c))).toEqual([
      expect.objectContaining({ type: 'ignored', from: c }),
    ]);
    expect(raft.lastIndex).toBe(0);
  });
});
