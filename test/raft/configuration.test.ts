import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  configurationOf,
  isSoleVoter,
  isVoter,
  membersOf,
  quorumIndex,
  quorumSize,
  voteResult,
} from '../../src/raft/configuration.ts';
import { asMemberId, type Configuration, type MemberId } from '../../src/raft/types.ts';

const ids = (text: string): MemberId[] => [...text].map(asMemberId);
const joint = (voters: string, outgoing: string, learners = ''): Configuration => ({
  ...configurationOf(ids(voters)),
  votersOutgoing: ids(outgoing),
  learners: ids(learners),
});
const held = (configuration: Configuration, match: Record<string, number>): number =>
  quorumIndex(configuration, (id) => match[id] ?? 0);

describe('quorums', () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [9, 5],
  ])('GR-08 %i members: a quorum is %i', (members, quorum) => {
    expect(quorumSize(members)).toBe(quorum);
  });

  test.each([
    ['a', { a: 5 }, 5],
    ['ab', { a: 5, b: 3 }, 3],
    ['abc', { a: 5, b: 3, c: 4 }, 4],
    ['abcd', { a: 9, b: 8, c: 7, d: 6 }, 7],
    ['abcde', { a: 1, b: 2, c: 3, d: 4, e: 5 }, 3],
    ['abc', { a: 7 }, 0],
  ])('D3 the position held by a majority of %s with %j is %i', (voters, match, index) => {
    expect(held(joint(voters, ''), match)).toBe(index);
  });

  test('D3 whatever is held, a majority holds at least the quorum position, and none holds more (any size)', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }), (positions) => {
        const voters = positions.map((_, at) => asMemberId(String(at)));
        const index = quorumIndex(configurationOf(voters), (id) => positions[Number(id)]!);
        const holding = (at: number): number => positions.filter((position) => position >= at).length;
        expect(holding(index)).toBeGreaterThanOrEqual(quorumSize(voters.length));
        expect(holding(index + 1)).toBeLessThan(quorumSize(voters.length));
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  test('RS-14 a joint configuration needs both majorities to commit', () => {
    expect(held(joint('abc', 'cde'), { a: 9, b: 9, c: 9, d: 4, e: 2 })).toBe(4);
    expect(held(joint('abc', 'cde'), { a: 1, b: 2, c: 9, d: 9, e: 9 })).toBe(2);
    expect(held(joint('', ''), {})).toBe(0);
  });

  test.each([
    ['abc', '', 'a', '', 'pending'],
    ['abc', '', 'ab', '', 'won'],
    ['abc', '', 'a', 'bc', 'lost'],
    ['abcd', '', 'ab', '', 'pending'],
    ['abcd', '', 'ab', 'cd', 'lost'],
    ['abc', 'cde', 'ab', '', 'pending'],
    ['abc', 'cde', 'abcd', '', 'won'],
    ['abc', 'cde', 'ab', 'de', 'lost'],
  ])('RS-14 votes of %s and %s: granted %s, refused %s: %s', (voters, outgoing, granted, refused, result) => {
    const vote = (id: MemberId) => (granted.includes(id) ? true : refused.includes(id) ? false : undefined);
    expect(voteResult(joint(voters, outgoing), vote)).toBe(result);
  });

  test('RS-15 learners get the log and have no vote', () => {
    const configuration = joint('ab', 'bc', 'd');
    expect(membersOf(configuration)).toEqual(['a', 'b', 'c', 'd']);
    expect(isVoter(configuration, asMemberId('c'))).toBe(true);
    expect(isVoter(configuration, asMemberId('d'))).toBe(false);
    expect(isSoleVoter(joint('a', '', 'd'), asMemberId('a'))).toBe(true);
    expect(isSoleVoter(joint('a', 'ab'), asMemberId('a'))).toBe(false);
  });
});
