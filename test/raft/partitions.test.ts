import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Member } from './member.ts';
import { Simulation } from './simulation.ts';

/** Who hears whom: `pairs[k]` says whether the k-th pair of members is cut. */
function partition(simulation: Simulation, pairs: readonly boolean[]): (one: Member) => number {
  const { members } = simulation;
  const heard = new Map(members.map(({ id }) => [id, members.length]));
  let at = 0;
  for (const [k, one] of members.entries()) {
    for (const other of members.slice(k + 1)) {
      if (!pairs[at++]) continue;
      simulation.links.cut(one, other);
      for (const { id } of [one, other]) heard.set(id, heard.get(id)! - 1);
    }
  }
  return ({ id }) => heard.get(id)!;
}

const leading = (simulation: Simulation): Member[] => simulation.members.filter(({ raft }) => raft.role === 'leader');

describe('links that are cut and others that are not', () => {
  test('RS-08 one leader that hears a majority, and it stays, as long as anybody hears a majority', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 5 }),
        fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }),
        fc.nat(),
        (size, pairs, seed) => {
          const simulation = new Simulation({ members: size, seed });
          simulation.pass(30);
          const hears = partition(simulation, pairs);
          const majority = Math.floor(size / 2) + 1;
          simulation.pass(80);
          const [leader, ...others] = leading(simulation);
          if (!simulation.members.some((one) => hears(one) >= majority)) {
            expect(leader).toBeUndefined();
            return;
          }
          expect(others).toEqual([]);
          expect(hears(leader!)).toBeGreaterThanOrEqual(majority);
          const { term } = leader!.raft;
          simulation.pass(60);
          expect(leading(simulation)).toEqual([leader]);
          expect(leader!.raft.term).toBe(term);
        },
      ),
      { seed: 8, numRuns: 50 },
    );
  });

  test('RS-08 without PreVote and CheckQuorum one cut link deposes a leader that hears a majority', () => {
    const settings = { preVote: false, checkQuorum: false };
    const simulation = new Simulation({ members: 3, seed: 8, settings });
    simulation.pass(30);
    const [leader] = leading(simulation);
    const [one] = simulation.members.filter((member) => member !== leader);
    simulation.links.cut(leader!, one!);
    const { term } = leader!.raft;
    simulation.pass(20);
    expect(leading(simulation).every(({ raft }) => raft.term > term)).toBe(true);
  });
});
