/** What is measured of a cluster's life, how much is allowed, and the rows that say so. Pure. */
import type { EngineName } from './bare.ts';
import type { Figures } from './life.ts';
import { judged, medianOfAll, type Verdict } from './limits.ts';
import { median } from './table.ts';

export const engineNames: readonly EngineName[] = ['Embedded', 'Etcd'];

interface Measure {
  readonly key: string;
  readonly words: string;
  readonly unit: 's' | 'ms';
  /** The most that it may be: so much, or so many times what stands beside it. */
  readonly limit: { readonly most: number } | { readonly times: number };
  /** The bare StatefulSet whose figure stands beside it, if any: that of the same engine, or etcd's. */
  readonly beside?: 'same' | 'Etcd';
}

/** What one round found; a measure that failed has no figure, nor have those that would have begun from its ruin. */
export interface Round {
  readonly bare: Readonly<Partial<Record<EngineName, Figures>>>;
  readonly ours: Readonly<Partial<Record<EngineName, Figures>>>;
}

const measures: readonly Measure[] = [
  {
    key: 'start',
    words: 'apply to three Ready',
    unit: 's',
    limit: { times: 2 },
    beside: 'same',
  },
  { key: 'up', words: '3 to 5', unit: 's', limit: { most: 6 } },
  { key: 'down', words: '5 to 3', unit: 's', limit: { most: 3 } },
  {
    key: 'follower',
    words: 'deleted follower back',
    unit: 's',
    limit: { times: 2 },
    beside: 'same',
  },
  {
    key: 'move',
    words: 'outage: planned move',
    unit: 'ms',
    limit: { most: 50 },
    beside: 'same',
  },
  {
    key: 'delete',
    words: 'outage: leader pod deleted',
    unit: 'ms',
    limit: { most: 50 },
    beside: 'same',
  },
  {
    key: 'kill',
    words: "outage: leader's kill -9",
    unit: 'ms',
    limit: { times: 1 },
    beside: 'Etcd',
  },
  { key: 'hung', words: 'hung member shown', unit: 's', limit: { most: 10 } },
  { key: 'dead', words: 'dead member shown', unit: 's', limit: { most: 10 } },
];

export const measureNames: readonly string[] = measures.map(({ key }) => key);

/** Everything begins with a cluster: its start is measured whatever is wanted. */
export const isWanted = (key: string, wanted: ReadonlySet<string> | undefined): boolean =>
  key === 'start' || wanted === undefined || wanted.has(key);

/** The bare StatefulSets that a round needs: etcd's own election stands beside the embedded engine's, too. */
export function bareEngines(
  engines: readonly EngineName[],
  wanted: ReadonlySet<string> | undefined,
): readonly EngineName[] {
  return engines.includes('Etcd') || !isWanted('kill', wanted) ? engines : [...engines, 'Etcd'];
}

export interface LifeRow {
  readonly engine: EngineName;
  readonly words: string;
  readonly ours: string;
  readonly beside: string;
  readonly ratio: string;
  readonly atMost: string;
  readonly verdict: Verdict;
}

/** A row for everything that was wanted, whatever came of it. */
export function lifeRows(
  rounds: readonly Round[],
  engines: readonly EngineName[],
  wanted?: ReadonlySet<string>,
): LifeRow[] {
  return engines.flatMap((engine) =>
    measures.filter(({ key }) => isWanted(key, wanted)).map((measure) => lifeRow(rounds, engine, measure)),
  );
}

function lifeRow(rounds: readonly Round[], engine: EngineName, { key, words, unit, limit, beside }: Measure): LifeRow {
  const own = rounds.map(({ ours }) => ours[engine]?.get(key));
  const others = rounds.map(({ bare }) => beside && bare[beside === 'same' ? engine : beside]?.get(key));
  const ratios = own.map((figure, n) => ratioOf(figure, others[n]));
  const show = (value: number) => (unit === 's' ? value.toFixed(2) : Math.round(value).toString());
  const known = own.filter((figure) => figure !== undefined);
  const knownRatios = ratios.filter((ratio) => ratio !== undefined);
  const knownOthers = others.filter((figure, n) => figure !== undefined && ratios[n] !== undefined) as number[];
  return {
    engine,
    words,
    ours: known.length === 0 ? '' : `${show(median(known))} (${show(Math.max(...known))}) ${unit}`,
    beside: knownOthers.length === 0 ? '' : `${show(median(knownOthers))} ${unit}`,
    ratio: knownRatios.length === 0 ? '' : median(knownRatios).toFixed(2),
    atMost: 'most' in limit ? `${limit.most} ${unit}` : `x ${limit.times}`,
    verdict: 'most' in limit ? judged(medianOfAll(own), limit.most) : judged(medianOfAll(ratios), limit.times),
  };
}

/** How many times as long a start may take in a crowd: "the same", with what two starts of one kind differ by. */
export const crowdTimes = 1.2;

/** Seconds of each round; nothing where a start failed. */
export interface Crowd {
  readonly alone: readonly (number | undefined)[];
  readonly crowded: readonly (number | undefined)[];
}

export interface CrowdRow {
  readonly alone: string;
  readonly crowded: string;
  readonly ratio: string;
  /** The bare StatefulSet's ratio: what Kubernetes itself, its scheduler above all, has to do with forty clusters' pods. */
  readonly beside: string;
  readonly atMost: string;
  readonly verdict: Verdict;
}

/** What the crowd costs the bare StatefulSet is not asked of the operator, but only that. */
export function crowdRow(ours: Crowd, bare: Crowd): CrowdRow {
  const [ratio, beside] = [ours, bare].map(({ alone, crowded }) =>
    medianOfAll(crowded.map((seconds, n) => ratioOf(seconds, alone[n]))),
  );
  const atMost = beside === undefined ? undefined : crowdTimes * Math.max(1, beside);
  const show = (figure: number | undefined) => figure?.toFixed(2) ?? '';
  return {
    alone: show(medianOfAll(ours.alone)),
    crowded: show(medianOfAll(ours.crowded)),
    ratio: show(ratio),
    beside: show(beside),
    atMost: atMost === undefined ? '' : `x ${atMost.toFixed(2)}`,
    verdict: atMost === undefined ? 'failed' : judged(ratio, atMost),
  };
}

const ratioOf = (figure: number | undefined, other: number | undefined): number | undefined =>
  figure === undefined || other === undefined ? undefined : figure / other;
