/** What a seed means: the climate of a world, and the list of all that is done to it. A list with fewer deeds is a plan as well. */
import { Chance } from '../soak/random.ts';

/** What holds for a whole run. */
export interface Climate {
  readonly members: number;
  readonly tickMs: number;
  readonly electionTicks: number;
  readonly leaseReads: boolean;
  /** How far clocks are from the true rate, at most. */
  readonly drift: number;
  readonly maxMessageBytes: number;
  readonly maxInflightMessages: number;
  readonly trailingLogs: number;
  readonly snapshotCount: number;
  readonly snapshotPeriodMs: number;
  readonly segmentBytes: number;
  readonly allocationBytes: number;
  readonly keys: number;
  readonly valueBytes: number;
  /** Of a message: on average, in milliseconds. */
  readonly latencyMs: number;
  /** Of a message to be lost, to come twice, or to come out of its order. */
  readonly loss: number;
  readonly doubling: number;
  readonly disorder: number;
  /** Of a write or sync: on average, in milliseconds. */
  readonly diskMs: number;
  /** How long things happen; then all is mended. */
  readonly lastsMs: number;
}

/** What clients ask for. */
export const calls = ['put', 'read', 'txn', 'delete', 'compact'] as const;
export type Call = (typeof calls)[number];

/** With weights: how often, of all that is no call. */
const faults = {
  kill: 10,
  restart: 4,
  losePower: 8,
  losePowerEverywhere: 2,
  stop: 5,
  isolate: 5,
  cut: 3,
  cutOneWay: 4,
  split: 4,
  slowLink: 2,
  slowDisk: 3,
  failSync: 3,
  fillDisk: 2,
  damage: 2,
  breakStreams: 3,
  rumour: 3,
  snapshot: 6,
  transfer: 6,
  add: 5,
  addLearner: 3,
  promote: 4,
  remove: 5,
  move: 2,
} as const;
export type Fault = keyof typeof faults;

export type What = Call | Fault;

/** Three numbers below 1000 say to whom, how and for how long; each is taken modulo what there is. */
export interface Deed {
  readonly at: number;
  readonly what: What;
  readonly whom: number;
  readonly which: number;
  readonly long: number;
}

export interface Plan {
  readonly seed: number;
  readonly climate: Climate;
  readonly deeds: readonly Deed[];
}

const weighted = Object.entries(faults).map(([what, weight]) => ({ what: what as Fault, weight }));
const callWeights: readonly { readonly what: Call; readonly weight: number }[] = [
  { what: 'put', weight: 40 },
  { what: 'read', weight: 25 },
  { what: 'txn', weight: 20 },
  { what: 'delete', weight: 12 },
  { what: 'compact', weight: 1 },
];

function climateOf(chance: Chance): Climate {
  const leaseReads = chance.below(6) === 0;
  const isRough = chance.below(2) === 0;
  return {
    members: chance.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]),
    tickMs: 50,
    electionTicks: leaseReads ? 10 : chance.pick([5, 8, 10]),
    leaseReads,
    drift: leaseReads ? 0.02 : chance.pick([0, 0.02, 0.2]),
    maxMessageBytes: chance.pick([1, 300, 1 << 20]),
    maxInflightMessages: chance.pick([1, 4, 256]),
    trailingLogs: chance.pick([0, 3, 10, 50]),
    snapshotCount: chance.pick([5, 15, 40, 1000]),
    snapshotPeriodMs: chance.pick([0, 0, 300]),
    segmentBytes: chance.pick([2, 4, 16]) << 10,
    allocationBytes: chance.pick([1, 2]) << 10,
    keys: chance.pick([2, 5, 12]),
    valueBytes: chance.below(12) === 0 ? 4000 : chance.pick([0, 20, 200]),
    latencyMs: chance.pick([0.5, 2, 10]),
    loss: isRough ? chance.pick([0, 0.01, 0.05]) : 0,
    doubling: isRough ? chance.pick([0, 0.02, 0.1]) : 0,
    disorder: isRough ? chance.pick([0, 0.02, 0.1]) : 0,
    diskMs: chance.pick([0.2, 1, 8]),
    lastsMs: chance.pick([4000, 7000, 10_000]),
  };
}

export function planOf(seed: number): Plan {
  const chance = new Chance(seed);
  // The first numbers of neighbouring seeds are alike.
  for (let at = 0; at < 4; at++) chance.next();
  const climate = climateOf(chance);
  const deeds: Deed[] = [];
  const add = (what: What): void => {
    const at = Math.floor(chance.next() * climate.lastsMs);
    deeds.push({ at, what, whom: chance.below(1000), which: chance.below(1000), long: chance.below(1000) });
  };
  const callCount = Math.floor(climate.lastsMs / chance.pick([40, 60, 100]));
  for (let at = 0; at < callCount; at++) add(chance.weighted(callWeights).what);
  const faultCount = Math.floor(climate.lastsMs / chance.pick([200, 350, 600]));
  for (let at = 0; at < faultCount; at++) add(chance.weighted(weighted).what);
  // Whom a call goes to and what it is about is drawn with it, so that what happens first does not change what comes after.
  return { seed, climate, deeds: deeds.sort((one, other) => one.at - other.at) };
}

export const isCall = (what: What): what is Call => (calls as readonly string[]).includes(what);
