import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hostile, leases, longRun, storm } from './long-runs.ts';
import type { Move } from './moves.ts';
import { Simulation } from './simulation.ts';

const moves = (maxLength: number) =>
  fc.array(fc.tuple(fc.nat(1099), fc.nat(999), fc.nat(999)), { minLength: maxLength / 2, maxLength, size: 'max' });

type Seen = Simulation['invariants']['seen'];

/** How often each mechanism was at work in runs from the first seeds. */
function run(kind: Parameters<typeof longRun>[0], seeds: number): Seen & { acknowledged: number } {
  const total: Record<string, number> = { acknowledged: 0 };
  for (let seed = 1; seed <= seeds; seed++) {
    const { seen, acknowledged } = longRun(kind, seed).invariants;
    total['acknowledged']! += acknowledged.size;
    for (const [name, count] of Object.entries(seen)) total[name] = (total[name] ?? 0) + count;
  }
  return total as Seen & { acknowledged: number };
}

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
    const seen = run(hostile, 60);
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

  test('RS-01 RS-02 a storm of elections without pre-votes (GR-18)', () => {
    const seen = run(storm, 60);
    expect(seen.elections).toBeGreaterThan(150);
    expect(seen.truncatedChanges).toBeGreaterThan(8);
  });

  test('RS-10 reads by lease are linearizable while clocks differ by no more than a tick, through restarts and transfers', () => {
    const seen = run(leases, 60);
    expect(seen.reads).toBeGreaterThan(2000);
    expect(seen.elections).toBeGreaterThan(100);
    expect(seen.transfers).toBeGreaterThan(20);
  });
});
