import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { leaderStays, leading } from './partition.ts';
import { Simulation } from './simulation.ts';

describe('links that are cut and others that are not', () => {
  test('RS-08 one leader that hears a majority, and it stays, as long as anybody hears a majority', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 5 }),
        fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }),
        fc.nat(),
        leaderStays,
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
