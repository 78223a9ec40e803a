/**
 * What is known of how far a cluster's data were at what time, as samples: at that time the newest revision was at least
 * this one. So whatever follows from them keeps too much history, and never too little. Pure.
 */

import type { RaftCompactionStatus, RevisionSample } from '../../api/compaction.ts';
import { timestamp } from '../../api/conditions.ts';

/** Oldest first; one for each time and never a revision that falls. */
export type Samples = readonly RevisionSample[];

const ms = ({ time }: RevisionSample): number => Date.parse(time);

/** Clocks of machines differ, and samples are rounded up. */
const SKEW_MS = 60_000;

/** Leaves out what a clock noted that was ahead and has been set back since: all that follows would be held back by it. */
export function past(samples: Samples, now: Date): Samples {
  return samples.filter((sample) => ms(sample) <= now.getTime() + SKEW_MS);
}

/** All that several sources know. Of two samples that contradict each other, the one of the lower revision counts. */
export function merge(...sources: readonly Samples[]): Samples {
  const newestFirst = sources.flat().sort((a, b) => ms(b) - ms(a) || b.revision - a.revision);
  const merged: RevisionSample[] = [];
  let lowest = Number.POSITIVE_INFINITY;
  for (const { time, revision } of newestFirst) {
    lowest = Math.min(lowest, revision);
    const later = merged.at(-1);
    if (later?.time === time) merged[merged.length - 1] = { time, revision: lowest };
    else merged.push({ time, revision: lowest });
  }
  return merged.reverse();
}

/**
 * Leaves out samples that lie closer together than their age / `divisor`, but for the newest: as many as that takes for
 * days, not one a minute. A revision that was current some time ago is then known to within that part of the time.
 */
export function thin(samples: Samples, now: Date, divisor: number): Samples {
  const kept: RevisionSample[] = [];
  for (const sample of samples.toReversed()) {
    const later = kept.at(-1);
    const age = now.getTime() - ms(sample);
    if (later === undefined || ms(later) - ms(sample) >= age / divisor) kept.push(sample);
  }
  return kept.reverse();
}

/** Leaves out what is older than it takes to know what was current `keepSeconds` ago. */
export function since(samples: Samples, keepSeconds: number, now: Date): Samples {
  const at = samples.findLastIndex((sample) => ms(sample) <= now.getTime() - keepSeconds * 1000);
  return at <= 0 ? samples : samples.slice(at);
}

export type Known =
  | { readonly kind: 'known'; readonly sample: RevisionSample }
  /** `from`: when it will be known, if anything is known at all. */
  | { readonly kind: 'unknown'; readonly from?: Date };

/** A revision that is no newer than the one that was current `keepSeconds` ago. */
export function currentBefore(samples: Samples, keepSeconds: number, now: Date): Known {
  const sample = samples.findLast((one) => ms(one) <= now.getTime() - keepSeconds * 1000);
  if (sample) return { kind: 'known', sample };
  const [oldest] = samples;
  return oldest ? { kind: 'unknown', from: new Date(ms(oldest) + keepSeconds * 1000) } : { kind: 'unknown' };
}

export function sampleOf(revision: number, now: Date): RevisionSample {
  // Rounded up to the second: the data were no further before.
  return { time: timestamp(new Date(Math.ceil(now.getTime() / 1000) * 1000)), revision };
}

/** How far the data were when a run began, which was in the second after the one that its status names. */
export function runSamples(status: RaftCompactionStatus | undefined, clusterId: string): Samples {
  const { startTime, revision } = status ?? {};
  if (startTime === undefined || revision === undefined || status?.clusterId !== clusterId) return [];
  return [sampleOf(revision, new Date(Date.parse(startTime) + 1000))];
}

/** Of days to within a sixteenth: some two hundred samples for a year. */
const MEMORY_DIVISOR = 16;

/** What this process has seen, by the id of the cluster: a cluster that is made anew starts over. */
export class RevisionMemory {
  readonly #samples = new Map<string, Samples>();

  note(clusterId: string, revision: number, now: Date): void {
    const samples = merge(past(this.of(clusterId), now), [sampleOf(revision, now)]);
    this.#samples.set(clusterId, thin(samples, now, MEMORY_DIVISOR));
  }

  of(clusterId: string): Samples {
    return this.#samples.get(clusterId) ?? [];
  }

  forget(clusterId: string): void {
    this.#samples.delete(clusterId);
  }
}
