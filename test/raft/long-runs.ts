/** Long runs from one seed each, in worlds of several kinds: more of everything than shrinking could bear. */

import { seeded, someMove, type World } from './moves.ts';
import { leaderStays } from './partition.ts';
import { Simulation } from './simulation.ts';

type Kind = (seed: number) => { readonly world: World; readonly steps: number };

const members = (seed: number): number => 1 + (seed % 5);

export const hostile: Kind = (seed) => ({ world: { seed, members: members(seed) }, steps: 3000 });

/**
 * Without pre-votes, one entry in each message and one message under way: leaders fall while entries are on some disks only, which is
 * what it takes to tell the commit rule of old terms from a wrong one.
 */
export const storm: Kind = (seed) => {
  const settings = {
    preVote: false,
    checkQuorum: false,
    trailingLogs: 50,
    maxMessageBytes: 1,
    maxInflightMessages: 1,
  };
  return { world: { seed, members: members(seed), settings }, steps: 3000 };
};

/** Heartbeats are rare, so that a lease is often all that keeps the others from voting. */
export const leases: Kind = (seed) => {
  const settings = { leaseReads: true, electionTicks: 8, heartbeatTicks: 6, preVote: seed % 2 === 1 };
  return { world: { seed, members: members(seed), steadyClocks: true, settings }, steps: 5000 };
};

/** Throws when a promise was broken on the way, or when the members do not agree in the end. */
export function longRun(kind: Kind, seed: number): Simulation {
  const { world, steps } = kind(seed);
  const random = seeded(seed ^ 0x5f3759df);
  const simulation = new Simulation(world);
  for (let step = 0; step < steps; step++) simulation.move(someMove(world, random));
  simulation.heal();
  simulation.nothingLost();
  return simulation;
}

function partitionedRun(seed: number): void {
  const random = seeded(seed);
  const size = 3 + Math.floor(random() * 3);
  leaderStays(
    size,
    Array.from({ length: 10 }, () => random() < 0.5),
    seed,
  );
}

const kinds: Readonly<Record<string, (seed: number) => void>> = {
  hostile: (seed) => longRun(hostile, seed),
  storm: (seed) => longRun(storm, seed),
  leases: (seed) => longRun(leases, seed),
  partitioned: partitionedRun,
};

/** The kinds take turns, each with seeds of its own from 1. */
export function turn(number: number): { readonly kind: string; run(): void } {
  const names = Object.keys(kinds);
  const kind = names[(number - 1) % names.length]!;
  return { kind, run: () => kinds[kind]!(Math.ceil(number / names.length)) };
}
