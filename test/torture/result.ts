/** What a round is told, and what it tells. */
import type { Done } from './chaos.ts';
import type { Outcomes } from './load.ts';

export interface RoundOptions {
  readonly seed: number;
  readonly members: number;
  /** How long faults go on. */
  readonly seconds: number;
  /** For histories, logs and disks. */
  readonly folder: string;
  /** The checker. */
  readonly program: string;
}

/** How a member came back when the faults were over, and what it has been through. */
export interface Comeback {
  readonly name: string;
  /** Processes that it had. */
  readonly lives: number;
  readonly seconds: number;
  readonly snapshotsTaken: number;
  readonly snapshotsInstalled: number;
  readonly tornTails: number;
}

export interface RoundResult {
  readonly seed: number;
  readonly members: number;
  readonly seconds: number;
  readonly flags: readonly string[];
  /** Empty: nothing is wrong. */
  readonly problems: readonly string[];
  readonly operations: Readonly<Record<string, Outcomes>>;
  readonly faults: Readonly<Record<string, Done>>;
  readonly acknowledged: number;
  readonly outageSeconds: number;
  readonly outageAt: number;
  readonly outageDuring: readonly string[];
  readonly comebacks: readonly Comeback[];
  /** Histories that the checker looked at; those with open outcomes once more in the end. */
  readonly checks: number;
  /** Histories all of whose writes were answered, and the others. */
  readonly settled: number;
  readonly unsettled: number;
}
