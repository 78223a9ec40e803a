import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Move, seeded, someMove, type World } from './moves.ts';
import { Simulation } from './simulation.ts';

const moves = (maxLength: number) =>
  fc.array(fc.tuple(fc.nat(1099), fc.nat(999), fc.nat(999)), { minLength: maxLength / 2, maxLength, size: 'max' });

type Seen = Simulation['invariants']['seen'];

/** More of everything than shrinking could bear: long runs from one seed each, and how often each mechanism was at work. */
function run(worlds: readonly World[], steps: number): Seen & { acknowledged: number } {
  const total: Record<string, number> = { acknowledged: 0 };
  for (const world of worlds) {
    const random = seeded(world.seed ^ 0x5f3759df);
    const simulation = new Simulation(world);
    for (let step = 0; step < steps; step++) simulation.move(someMove(world, random));
    simulation.heal();
    simulation.nothingLost();
    const { seen, acknowledged } = simulation.invariants;
    total['acknowledged']! += acknowledged.size;
    for (const [name, count] of Object.entries(seen)) total[name] = (total[name] ?? 0) + count;
  }
  return total as Seen & { acknowledged: number };
}

const worlds = (count: number, world: Omit<World, 'seed' | 'members'>): World[] =>
  Array.from({ length: count }, (_, at) => ({ ...world, seed: at + 1, members: 1 + ((at + 1) % 5) }));

describe('safety under loss, doubling, reordering, cut links, crashes and changes of members', () => {
  const properties = 'Election Safety, Leader Append-Only, Log Matching, Leader Completeness, State Machine Safety';

  for (const members of [1, 2, 3, 4, 5]) {
    test(`RS-01 ${properties}, nothing lost: ${members} members (D1 D3 D9 D10 D11)`, () => {
      fc.assert(
        fc.property(moves(400), fc.nat(), (list, seed) => {
          const simulation = new Simulation({ members, seed });
          for (const move of list as Move[]) simulation.move(move);
          simulation.heal();
          simulation.nothingLost();
        }),
        { numRuns: 60, seed: 20_000 + members },
      );
    });
  }

  // The worlds are hostile, not hopeless: otherwise the assertions have not been tried.
  test('RS-01 RS-13 RS-14 RS-16 long runs, with every mechanism at work', () => {
    const seen = run(worlds(60, {}), 3000);
    expect(seen.elections).toBeGreaterThan(150);
    expect(seen.acknowledged).toBeGreaterThan(500);
    expect(seen.reads).toBeGreaterThan(200);
    expect(seen.installs).toBeGreaterThan(40);
    expect(seen.changes).toBeGreaterThan(120);
    expect(seen.joint).toBeGreaterThan(40);
    expect(seen.truncatedChanges).toBeGreaterThan(3);
    expect(seen.removedLeaders).toBeGreaterThan(0);
    expect(seen.transfers).toBeGreaterThan(10);
  });

  // One entry in each message and one message under way: leaders fall while entries are on some disks only, which is what
  // it takes to tell the commit rule of old terms from a wrong one.
  test('RS-01 RS-02 a storm of elections without pre-votes (GR-18)', () => {
    const settings = {
      preVote: false,
      checkQuorum: false,
      trailingLogs: 50,
      maxMessageBytes: 1,
      maxInflightMessages: 1,
    };
    const seen = run(worlds(60, { settings }), 3000);
    expect(seen.elections).toBeGreaterThan(150);
    expect(seen.truncatedChanges).toBeGreaterThan(8);
  });

  test('RS-10 reads by lease are linearizable while clocks differ by no more than a tick, through restarts and transfers', () => {
    // Heartbeats are rare, so that a lease is often all that keeps the others from voting.
    const settings = { leaseReads: true, electionTicks: 8, heartbeatTicks: 6 };
    const seen = run(
      worlds(60, { steadyClocks: true }).map((world, at) => ({
        ...world,
        settings: { ...settings, preVote: at % 2 === 0 },
      })),
      5000,
    );
    expect(seen.reads).toBeGreaterThan(2000);
    expect(seen.elections).toBeGreaterThan(100);
    expect(seen.transfers).toBeGreaterThan(20);
  });
});
