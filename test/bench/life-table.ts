/** The table of a cluster's life: what was measured, beside what, and whether it is within what is allowed. */
import { toStderr } from '../kubernetes/progress.ts';
import type { EngineName } from './bare.ts';
import { makeNamespace, withGround } from './ground.ts';
import { type Figures, Life } from './life.ts';
import { idleRequests } from './life-idle.ts';
import { median, row, title } from './table.ts';

export const engineNames: readonly EngineName[] = ['Embedded', 'Etcd'];

/** The engine at a place, over and over. */
const turn = (engines: readonly EngineName[], n: number): EngineName => engines[n % engines.length]!;

interface Measure {
  readonly key: string;
  readonly words: string;
  readonly unit: 's' | 'ms';
  /** The most that it may be: so much, or so many times what stands beside it. */
  readonly limit: { readonly most: number } | { readonly times: number };
  /** What stands beside it, if anything. */
  readonly beside?: (bare: Readonly<Record<EngineName, Figures>>, engine: EngineName) => number | undefined;
}

const measures: readonly Measure[] = [
  {
    key: 'start',
    words: 'apply to three Ready',
    unit: 's',
    limit: { times: 2 },
    beside: (of, at) => of[at].get('start'),
  },
  { key: 'up', words: '3 to 5', unit: 's', limit: { most: 6 } },
  { key: 'down', words: '5 to 3', unit: 's', limit: { most: 3 } },
  {
    key: 'follower',
    words: 'deleted follower back',
    unit: 's',
    limit: { times: 2 },
    beside: (of, at) => of[at].get('follower'),
  },
  {
    key: 'move',
    words: 'outage: planned move',
    unit: 'ms',
    limit: { most: 50 },
    beside: (of, at) => of[at].get('move'),
  },
  {
    key: 'delete',
    words: 'outage: leader pod deleted',
    unit: 'ms',
    limit: { most: 50 },
    beside: (of, at) => of[at].get('delete'),
  },
  {
    key: 'kill',
    words: "outage: leader's kill -9",
    unit: 'ms',
    limit: { times: 1 },
    beside: (of) => of.Etcd?.get('kill'),
  },
  { key: 'hung', words: 'hung member shown', unit: 's', limit: { most: 10 } },
  { key: 'dead', words: 'dead member shown', unit: 's', limit: { most: 10 } },
];

interface Round {
  readonly bare: Readonly<Record<EngineName, Figures>>;
  readonly ours: Readonly<Record<EngineName, Figures>>;
}

/** Bare and ours of each engine in turn, and the other way round in every second round. */
async function round(life: Life, engines: readonly EngineName[], n: number): Promise<Round> {
  const found = { bare: {} as Record<EngineName, Figures>, ours: {} as Record<EngineName, Figures> };
  const all = engines.flatMap((engine) => [['bare', engine] as const, ['ours', engine] as const]);
  for (const [kind, engine] of n % 2 === 0 ? all : all.toReversed()) {
    const name = `${kind}-${engine.toLowerCase()}-${n}`;
    found[kind][engine] = await (kind === 'bare' ? life.bare(engine, name) : life.raftCluster(engine, name));
  }
  return found;
}

export const measureNames: readonly string[] = measures.map(({ key }) => key);

export async function benchLife(
  rounds: number,
  engines: readonly EngineName[],
  wanted?: ReadonlySet<string>,
): Promise<void> {
  await withGround(async (ground) => {
    const progress = toStderr();
    const life = await Life.start(ground, 'bench-life', wanted);
    try {
      const taken: Round[] = [];
      // The first one warms up.
      for (let n = 0; n <= rounds; n++) {
        const figures = await progress.step(n === 0 ? 'warming up' : `round ${n} of ${rounds}`, () =>
          round(life, engines, n),
        );
        if (n > 0) taken.push(figures);
      }
      print(taken, engines);
    } finally {
      await life.stop();
    }
  });
}

function print(rounds: readonly Round[], engines: readonly EngineName[]): void {
  title(`a cluster's life beside a bare StatefulSet, medians (worst) of ${rounds.length} rounds in turn`);
  row('', '', 'ours', 'beside it', 'ratio', 'at most', 'holds');
  for (const engine of engines) {
    for (const { key, words, unit, limit, beside } of measures) {
      const ours = rounds.flatMap(({ ours }) => ours[engine].get(key) ?? []);
      const pairs = rounds.flatMap(({ ours, bare }) => {
        const [own, other] = [ours[engine].get(key), beside?.(bare, engine)];
        return own === undefined || other === undefined ? [] : [{ own, other }];
      });
      if (ours.length === 0) continue;
      const show = (value: number) => (unit === 's' ? value.toFixed(2) : Math.round(value).toString());
      const middle = median(ours);
      const ratio = pairs.length === 0 ? undefined : median(pairs.map(({ own, other }) => own / other));
      const [figure, most] = 'most' in limit ? [middle, limit.most] : [ratio, limit.times];
      console.log(
        [
          engine.padEnd(10),
          words.padEnd(28),
          `${show(middle)} (${show(Math.max(...ours))}) ${unit}`.padStart(20),
          (pairs.length === 0 ? '' : `${show(median(pairs.map(({ other }) => other)))} ${unit}`).padStart(12),
          (ratio === undefined ? '' : ratio.toFixed(2)).padStart(8),
          ('most' in limit ? `${limit.most} ${unit}` : `x ${limit.times}`).padStart(10),
          figure === undefined ? '' : figure <= most ? '  yes' : '  NO',
        ].join(''),
      );
    }
  }
}

/** How many requests ten clusters cause that nobody touches. */
export async function benchIdle(engines: readonly EngineName[]): Promise<void> {
  await withGround(async (ground) => {
    const life = await Life.start(ground, 'bench-idle');
    try {
      title('API requests of the operator in a minute, Lease and watches left out');
      row('clusters', 'requests', 'at most');
      row(0, await idleRequests(ground), '');
      const names = Array.from({ length: 10 }, (_, n) => `idle-${n}`);
      // Thirty members must find room on one node of two cores.
      const small = { podTemplate: { resources: { requests: { cpu: '10m', memory: '32Mi' } } } };
      await Promise.all(names.map((name, n) => life.apply(turn(engines, n), name, small)));
      await life.untilReady(names, 3);
      row(10, await idleRequests(ground), 0);
    } finally {
      await life.stop();
    }
  });
}

/** A new cluster's time to Ready alone, and while 40 others cannot be scheduled. */
export async function benchCrowd(rounds: number, engines: readonly EngineName[]): Promise<void> {
  await withGround(async (ground) => {
    const [life, crowd] = [await Life.start(ground, 'bench-crowd'), 'bench-crowded'];
    await makeNamespace(ground.client, crowd);
    const others = await Life.start(ground, crowd);
    try {
      const measured = async (engine: EngineName, when: string, n: number) => {
        const name = `${when}-${engine.toLowerCase()}-${n}`;
        const seconds = await life.started(engine, name);
        await life.remove(name);
        return seconds;
      };
      const taken = new Map<string, number[]>();
      const note = (key: string, seconds: number) => taken.set(key, [...(taken.get(key) ?? []), seconds]);
      for (const engine of engines) await measured(engine, 'warm', 0);
      for (let n = 0; n < rounds; n++) {
        for (const engine of engines) note(`${engine} alone`, await measured(engine, 'alone', n));
        const spec = { podTemplate: { nodeSelector: { 'bench.raftsman.dev/nowhere': 'true' } } };
        const names = Array.from({ length: 40 }, (_, k) => `stuck-${n}-${k}`);
        await Promise.all(names.map((name, k) => others.apply(turn(engines, k), name, spec)));
        for (const engine of engines) note(`${engine} crowded`, await measured(engine, 'crowded', n));
        await Promise.all(names.map((name) => others.remove(name)));
      }
      title(`from apply to three Ready while 40 others cannot be scheduled, medians of ${rounds} rounds in turn`);
      row('', 'alone s', 'crowded s', 'ratio');
      for (const engine of engines) {
        const [alone, crowded] = [taken.get(`${engine} alone`)!, taken.get(`${engine} crowded`)!];
        const ratio = median(crowded.map((seconds, n) => seconds / alone[n]!));
        row(engine, median(alone).toFixed(2), median(crowded).toFixed(2), ratio.toFixed(2));
      }
    } finally {
      await others.stop();
      await life.stop();
    }
  });
}
