import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Move, Simulation, seeded, type World } from './simulation.ts';

const moves = (maxLength: number) =>
  fc.array(fc.tuple(fc.nat(999), fc.nat(999), fc.nat(999)), { minLength: maxLength / 2, maxLength, size: 'max' });

/** More of everything than shrinking could bear: long runs from one seed each. */
function run(world: World, steps: number): Simulation {
  const random = seeded(world.seed ^ 0x5f3759df);
  const simulation = new Simulation(world);
  for (let step = 0; step < steps; step++) {
    simulation.move([random() * 1000, random() * 1000, random() * 1000].map(Math.floor) as unknown as Move);
  }
  simulation.heal();
  simulation.assertNothingLost();
  return simulation;
}

describe('safety under loss, doubling, reordering and crashes', () => {
  const properties = 'Election Safety, Log Matching, Leader Completeness, State Machine Safety, nothing lost';

  for (const members of [1, 2, 3, 4, 5]) {
    test(`${properties}: ${members} members (D1 D3 D10 D11)`, () => {
      fc.assert(
        fc.property(moves(400), fc.nat(), (list, seed) => {
          const simulation = new Simulation({ members, seed });
          for (const move of list) simulation.move(move);
          simulation.heal();
          simulation.assertNothingLost();
        }),
        { numRuns: 60, seed: 20_000 + members },
      );
    });
  }

  test(`${properties}: long runs, with every mechanism at work`, () => {
    let [elections, acknowledged, reads, installs] = [0, 0, 0, 0];
    for (let seed = 1; seed <= 40; seed++) {
      const simulation = run({ members: seed % 2 === 0 ? 3 : 5, seed }, 3000);
      elections += simulation.elections;
      acknowledged += simulation.acknowledged.size;
      reads += simulation.readsAnswered;
      installs += simulation.installs;
    }
    // The world is hostile, not hopeless: otherwise the assertions above have not been tried.
    expect(elections).toBeGreaterThan(100);
    expect(acknowledged).toBeGreaterThan(1000);
    expect(reads).toBeGreaterThan(100);
    expect(installs).toBeGreaterThan(20);
  });

  // One entry in each message and one message under way: leaders fall while entries are on some disks only, which is what
  // it takes to tell the commit rule of old terms from a wrong one.
  const storm = { preVote: false, checkQuorum: false, trailingLogs: 50, maxMessageBytes: 1, maxInflightMessages: 1 };
  for (const members of [2, 3, 4, 5]) {
    test(`${properties}: ${members} members in a storm of elections (GR-18)`, () => {
      for (let seed = 1; seed <= 60; seed++) run({ members, seed, settings: storm }, 3000);
    });
  }
});
