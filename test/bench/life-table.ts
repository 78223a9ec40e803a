/** The table of a cluster's life: what was measured, beside what, and whether it is within what is allowed. */
import { toStderr } from '../kubernetes/progress.ts';
import type { EngineName } from './bare.ts';
import { makeNamespace, withGround } from './ground.ts';
import { type Figures, Life } from './life.ts';
import { idleRequests } from './life-idle.ts';
import { bareEngines, type Crowd, crowdRow, crowdTimes, lifeRows, type Round } from './life-measures.ts';
import { judged, type Verdict } from './limits.ts';
import { row, title } from './table.ts';

/** The engine at a place, over and over. */
const turn = (engines: readonly EngineName[], n: number): EngineName => engines[n % engines.length]!;

/** Bare and ours of each engine in turn, and the other way round in every second round. */
async function round(
  life: Life,
  engines: readonly EngineName[],
  bare: readonly EngineName[],
  n: number,
): Promise<Round> {
  const found = {
    bare: {} as Partial<Record<EngineName, Figures>>,
    ours: {} as Partial<Record<EngineName, Figures>>,
  };
  const all = bare.flatMap((engine) => [
    ['bare', engine] as const,
    ...(engines.includes(engine) ? [['ours', engine] as const] : []),
  ]);
  for (const [kind, engine] of n % 2 === 0 ? all : all.toReversed()) {
    const name = `${kind}-${engine.toLowerCase()}-${n}`;
    found[kind][engine] = await (kind === 'bare' ? life.bare(engine, name) : life.raftCluster(engine, name));
  }
  return found;
}

export async function benchLife(
  rounds: number,
  engines: readonly EngineName[],
  wanted?: ReadonlySet<string>,
): Promise<readonly Verdict[]> {
  let verdicts: readonly Verdict[] = [];
  await withGround(async (ground) => {
    const progress = toStderr();
    const life = await Life.start(ground, 'bench-life', wanted);
    try {
      const taken: Round[] = [];
      const bare = bareEngines(engines, wanted);
      // The first one warms up.
      for (let n = 0; n <= rounds; n++) {
        const figures = await progress.step(n === 0 ? 'warming up' : `round ${n} of ${rounds}`, () =>
          round(life, engines, bare, n),
        );
        if (n > 0) taken.push(figures);
      }
      verdicts = print(taken, engines, wanted);
    } finally {
      await life.stop();
    }
  });
  return verdicts;
}

function print(
  rounds: readonly Round[],
  engines: readonly EngineName[],
  wanted: ReadonlySet<string> | undefined,
): readonly Verdict[] {
  title(`a cluster's life beside a bare StatefulSet, medians (worst) of ${rounds.length} rounds in turn`);
  const line = (engine: string, words: string, ...cells: readonly [string, string, string, string, string]) => {
    const widths = [20, 12, 8, 10, 8];
    console.log(
      [engine.padEnd(10), words.padEnd(28), ...cells.map((cell, n) => cell.padStart(widths[n]!))].join('').trimEnd(),
    );
  };
  line('', '', 'ours', 'beside it', 'ratio', 'at most', 'holds');
  const rows = lifeRows(rounds, engines, wanted);
  for (const { engine, words, ours, beside, ratio, atMost, verdict } of rows)
    line(engine, words, ours, beside, ratio, atMost, verdict);
  return rows.map(({ verdict }) => verdict);
}

/** A measure that fails is told and has no figure: the rest of the table is worth having. */
async function attempt(what: string, measure: () => Promise<number>): Promise<number | undefined> {
  try {
    return await measure();
  } catch (error) {
    console.error(`${what}: ${(error as Error).message}`);
    return undefined;
  }
}

/** How many requests clusters cause that nobody touches: none, and ten. */
export async function benchIdle(engines: readonly EngineName[]): Promise<readonly Verdict[]> {
  const verdicts: Verdict[] = [];
  const atMost = 0;
  await withGround(async (ground) => {
    const life = await Life.start(ground, 'bench-idle');
    try {
      title('API requests of the operator in a minute, Lease and watches left out');
      row('clusters', 'requests', 'at most', 'holds');
      const judge = (clusters: number, requests: number | undefined) => {
        const verdict = judged(requests, atMost);
        row(clusters, requests ?? '', atMost, verdict);
        verdicts.push(verdict);
      };
      judge(0, await attempt('no clusters', () => idleRequests(ground)));
      const names = Array.from({ length: 10 }, (_, n) => `idle-${n}`);
      // Thirty members must find room on one node of two cores.
      const small = { podTemplate: { resources: { requests: { cpu: '10m', memory: '32Mi' } } } };
      const ten = async () => {
        await Promise.all(names.map((name, n) => life.apply(turn(engines, n), name, small)));
        await life.untilReady(names, 3);
        return idleRequests(ground);
      };
      judge(names.length, await attempt('ten clusters', ten));
    } finally {
      await life.stop();
    }
  });
  return verdicts;
}

/** A new cluster's time to Ready alone, and while 40 others cannot be scheduled. */
export async function benchCrowd(rounds: number, engines: readonly EngineName[]): Promise<readonly Verdict[]> {
  let verdicts: readonly Verdict[] = [];
  await withGround(async (ground) => {
    const [life, crowd] = [await Life.start(ground, 'bench-crowd', new Set()), 'bench-crowded'];
    await makeNamespace(ground.client, crowd);
    const others = await Life.start(ground, crowd);
    try {
      const measured = (engine: EngineName, when: string, n: number) => {
        const name = `${when}-${engine.toLowerCase()}-${n}`;
        return attempt(name, async () => {
          try {
            return await life.started(engine, name);
          } finally {
            await life.remove(name);
          }
        });
      };
      const bare = (engine: EngineName, when: string, n: number) => {
        const name = `bare-${when}-${engine.toLowerCase()}-${n}`;
        return attempt(name, async () => {
          const seconds = (await life.bare(engine, name)).get('start');
          if (seconds === undefined) throw new Error('it did not start');
          return seconds;
        });
      };
      const taken: CrowdTaken = new Map(
        engines.map((engine) => [engine, { ours: { alone: [], crowded: [] }, bare: { alone: [], crowded: [] } }]),
      );
      const both = async (when: keyof Crowd, n: number) => {
        for (const [engine, { ours, bare: beside }] of taken) {
          beside[when].push(await bare(engine, when, n));
          ours[when].push(await measured(engine, when, n));
        }
      };
      for (const engine of engines) await measured(engine, 'warm', 0);
      for (let n = 0; n < rounds; n++) {
        await both('alone', n);
        const spec = { podTemplate: { nodeSelector: { 'bench.raftsman.dev/nowhere': 'true' } } };
        const names = Array.from({ length: 40 }, (_, k) => `stuck-${n}-${k}`);
        await Promise.all(names.map((name, k) => others.apply(turn(engines, k), name, spec)));
        // What Kubernetes needs to make forty StatefulSets and their pods is not what is asked here.
        await others.untilStuck(names, 3);
        await both('crowded', n);
        await Promise.all(names.map((name) => others.remove(name)));
      }
      verdicts = printCrowd(taken, rounds);
    } finally {
      await others.stop();
      await life.stop();
    }
  });
  return verdicts;
}

type Taken = { readonly [When in keyof Crowd]: (number | undefined)[] };
type CrowdTaken = ReadonlyMap<EngineName, { readonly ours: Taken; readonly bare: Taken }>;

function printCrowd(taken: CrowdTaken, rounds: number): readonly Verdict[] {
  title(
    `from apply to three Ready while 40 others cannot be scheduled, medians of ${rounds} rounds in turn: at most ` +
      `${crowdTimes} times as long as alone, besides what the crowd costs a bare StatefulSet`,
  );
  row('', 'alone s', 'crowded s', 'ratio', 'bare ratio', 'at most', 'holds');
  return [...taken].map(([engine, { ours, bare }]) => {
    const found = crowdRow(ours, bare);
    row(engine, found.alone, found.crowded, found.ratio, found.beside, found.atMost, found.verdict);
    return found.verdict;
  });
}
