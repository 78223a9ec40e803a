/**
 * `make sim SEEDS=2000 [SEED=n]`: whole clusters on the real core, storage and node driver, in a world whose time, network, disks
 * and chance are simulated, so that every run can be told again. Ends with 1 at the first seed that breaks a promise, and prints
 * the shortest story of it that it finds.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { install, realNow } from './clock.ts';
import { planOf } from './plan.ts';
import { loadProduct, ownSource, type Product } from './product.ts';

const tellEveryMs = 30_000;

const usage = `usage: sim.ts [--seeds N] [--seed N] [--from N] [--source FOLDER] [--no-shrink] [--story] [--processes N] [--digest]

  --seeds N       this many seeds (2000), from --from on (1)
  --seed N        this one only
  --source FOLDER the product's source (src)
  --no-shrink     the first story of a failure will do
  --story         tells what happened even when nothing was wrong
  --processes N   at a time (one for each core)
  --digest        prints a checksum over all that happened in each run
`;

interface Options {
  readonly from: number;
  readonly seeds: number;
  readonly step: number;
  readonly source: string;
  readonly shrinks: boolean;
  readonly story: boolean;
  readonly digest: boolean;
  readonly processes: number;
  readonly isWorker: boolean;
}

interface Failed {
  readonly seed: number;
  readonly what: string;
  readonly story: readonly string[];
}

interface Sum {
  runs: number;
  events: number;
  virtualMs: number;
  tally: Record<string, number>;
  failed?: Failed;
}

function parse(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seeds: { type: 'string' },
      seed: { type: 'string' },
      from: { type: 'string' },
      step: { type: 'string' },
      source: { type: 'string' },
      processes: { type: 'string' },
      'no-shrink': { type: 'boolean' },
      story: { type: 'boolean' },
      digest: { type: 'boolean' },
      worker: { type: 'boolean' },
    },
  });
  const whole = (name: 'seeds' | 'seed' | 'from' | 'step' | 'processes', otherwise: number): number => {
    const value = Number(values[name] ?? otherwise);
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} ${values[name]}: must be a whole number`);
    return value;
  };
  const seed = values.seed === undefined || values.seed === '' ? undefined : whole('seed', 0);
  const seeds = seed === undefined ? whole('seeds', 2000) : 1;
  return {
    from: seed ?? whole('from', 1),
    seeds,
    step: whole('step', 1),
    source: values.source ?? ownSource,
    shrinks: values['no-shrink'] !== true,
    story: values.story === true || seed !== undefined,
    digest: values.digest === true,
    processes: seeds < 8 ? 1 : Math.max(1, whole('processes', availableParallelism())),
    isWorker: values.worker === true,
  };
}

function add(sum: Sum, more: Pick<Sum, 'runs' | 'events' | 'virtualMs' | 'tally'>): void {
  sum.runs += more.runs;
  sum.events += more.events;
  sum.virtualMs += more.virtualMs;
  for (const [what, times] of Object.entries(more.tally)) sum.tally[what] = (sum.tally[what] ?? 0) + times;
}

const newSum = (): Sum => ({ runs: 0, events: 0, virtualMs: 0, tally: {} });

/** These seeds, in this process. `onSome` is told from time to time what has come since. */
async function runHere(options: Options, onSome: (sum: Sum) => void): Promise<void> {
  install();
  const product = await loadProduct(options.source);
  const { run } = await import('./run.ts');
  let sum = newSum();
  for (let at = 0; at < options.seeds; at++) {
    const plan = planOf(options.from + at * options.step);
    const result = await run(product, plan);
    add(sum, { runs: 1, events: result.events, virtualMs: result.virtualMs, tally: result.tally });
    if (options.digest) process.stdout.write(`seed ${plan.seed}: ${result.digest.toString(16)}\n`);
    if (result.violation) {
      onSome({ ...sum, failed: await tell(product, plan.seed, options.shrinks) });
      return;
    }
    if (options.story && !options.isWorker)
      process.stdout.write(`${(await run(product, plan, true)).story.join('\n')}\n`);
    if (sum.runs < 20) continue;
    onSome(sum);
    sum = newSum();
  }
  onSome(sum);
}

async function tell(product: Product, seed: number, shrinks: boolean): Promise<Failed> {
  const { run } = await import('./run.ts');
  const plan = planOf(seed);
  const first = await run(product, plan);
  if (!first.violation)
    return { seed, what: 'it failed once and not again: the simulation is not deterministic', story: [] };
  const about: string[] = [];
  let shortest = plan;
  if (shrinks) {
    const { shrink } = await import('./shrink.ts');
    const shrunk = await shrink(product, plan, first);
    shortest = shrunk.plan;
    about.push(`${shortest.deeds.length} of ${plan.deeds.length} deeds do it (found in ${shrunk.runs} runs):`);
  }
  const told = await run(product, shortest, true);
  return { seed, what: told.violation?.message ?? first.violation.message, story: [...about, ...told.story] };
}

/** One worker for each process: each takes every so manieth seed. Its lines are sums. */
function runThere(
  options: Options,
  place: number,
  onSome: (sum: Sum) => void,
): { ended: Promise<void>; end: () => void } {
  const { from, seeds, processes, source, shrinks } = options;
  const own = Math.ceil((seeds - place) / processes);
  const args = [
    '--worker',
    '--from',
    `${from + place}`,
    '--seeds',
    `${own}`,
    '--step',
    `${processes}`,
    '--source',
    source,
  ];
  const child = spawn(
    process.execPath,
    [...process.execArgv, import.meta.filename, ...args, ...(shrinks ? [] : ['--no-shrink'])],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const ended = new Promise<void>((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => onSome(JSON.parse(line) as Sum));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0 || signal !== null) resolve();
      else reject(new Error(`a process of the simulation ended with ${code}`));
    });
  });
  return { ended, end: () => child.kill('SIGKILL') };
}

function summary(sum: Sum, seconds: number): string {
  const { runs, events, virtualMs, tally } = sum;
  const perSecond = Math.round(events / seconds);
  const what = Object.keys(tally)
    .sort()
    .map((name) => `${name} ${tally[name]}`);
  return (
    `${runs} runs, ${events} events, ${perSecond} events per second, ` +
    `${(virtualMs / 3_600_000).toFixed(1)} hours of the clusters' time in ${seconds.toFixed(1)} s\n${what.join(', ')}\n`
  );
}

async function main(): Promise<number> {
  const options = parse(process.argv.slice(2));
  if (options.isWorker) {
    await runHere(options, (sum) => process.stdout.write(`${JSON.stringify(sum)}\n`));
    return 0;
  }
  const began = realNow();
  const sum = newSum();
  const failures: Failed[] = [];
  let told = began;
  const take = (more: Sum): void => {
    add(sum, more);
    if (realNow() - told > tellEveryMs) {
      told = realNow();
      process.stderr.write(`${sum.runs} of ${options.seeds} runs, nothing wrong so far\n`);
    }
    if (more.failed) failures.push(more.failed);
  };
  if (options.processes === 1) await runHere(options, take);
  else {
    const workers: { ended: Promise<void>; end: () => void }[] = [];
    const takeAndEnd = (more: Sum): void => {
      if (failures.length > 0) return;
      take(more);
      if (more.failed) for (const { end } of workers) end();
    };
    for (let place = 0; place < options.processes; place++) workers.push(runThere(options, place, takeAndEnd));
    await Promise.all(workers.map(({ ended }) => ended));
  }
  const [failed] = failures;
  if (!failed) {
    process.stdout.write(summary(sum, (realNow() - began) / 1000));
    return 0;
  }
  process.stdout.write(`seed ${failed.seed} after ${sum.runs} runs: ${failed.what}\n`);
  process.stdout.write(`${failed.story.join('\n')}\n\nonce more: make sim SEED=${failed.seed}\n`);
  return 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`sim: ${(error as Error).stack}\n${usage}`);
  process.exitCode = 2;
}
