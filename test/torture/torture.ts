/**
 * `make torture MINUTES=60`: members as processes in a network of their own, clients that read and write through the etcd
 * protocol, and faults of many kinds at once. Porcupine says of everything that the clients saw whether it is linearizable. Rounds
 * of some minutes follow each other, each with a new cluster, of three and of five members in turn.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildChecker } from './checker.ts';
import { roundLines, totals } from './report.ts';
import type { RoundOptions, RoundResult } from './result.ts';
import { complaint, runApart } from './sandbox.ts';

const usage = `usage: torture.ts --minutes N [--seed N] [--members 3|5]

  --minutes N   how long there are faults; coming up and comparing take some more
  --seed N      the choices of an earlier run (which it printed) once more
  --members N   only clusters of this size; of three and of five in turn unless told

The last line is the verdict. Status 1: what clients saw is not linearizable, a write is lost, or a member did not come back;
histories, logs and disks are kept then.
`;
const roundMinutes = 10;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly sizes: readonly number[];
}

function parse(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: { minutes: { type: 'string' }, seed: { type: 'string' }, members: { type: 'string' } },
  });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`--minutes ${values.minutes}: must be a number above 0`);
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  if (!Number.isInteger(seed)) throw new Error(`--seed ${values.seed}: must be a whole number`);
  const members = values.members;
  if (members !== undefined && members !== '3' && members !== '5')
    throw new Error(`--members ${members}: must be 3 or 5`);
  return { minutes, seed, sizes: members === undefined ? [3, 5] : [Number(members)] };
}

const say = (...lines: string[]): void => void process.stdout.write(`${lines.join('\n')}\n`);

type Outcome = Pick<RoundResult, 'problems'> | RoundResult;

async function round(options: RoundOptions, signal: AbortSignal): Promise<Outcome | undefined> {
  mkdirSync(options.folder);
  await runApart(JSON.stringify(options), signal);
  if (signal.aborted) return undefined;
  try {
    return JSON.parse(readFileSync(join(options.folder, 'result.json'), 'utf8')) as Outcome;
  } catch (error) {
    return { problems: [`the round ended without a result: ${(error as Error).message}`] };
  }
}

async function torture({ minutes, seed, sizes }: Options, signal: AbortSignal): Promise<number> {
  const program = await buildChecker();
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-torture-'));
  const rounds = Math.max(sizes.length, Math.ceil(minutes / roundMinutes));
  const results: RoundResult[] = [];
  let isKept = false;
  try {
    for (let n = 0; n < rounds; n++) {
      const own = join(folder, `round-${n}`);
      const members = sizes[n % sizes.length]!;
      process.stderr.write(`round ${n + 1} of ${rounds}: seed ${seed + n}, ${members} members\n`);
      const result = await round(
        { seed: seed + n, members, seconds: (minutes * 60) / rounds, folder: own, program },
        signal,
      );
      if (result === undefined) {
        say('interrupted');
        return 130;
      }
      if (result.problems.length > 0) {
        isKept = true;
        const again = `--seed ${seed + n} --members ${members} --minutes ${(minutes / rounds).toFixed(2)}`;
        say(
          '',
          ...result.problems,
          '',
          `FAILED, as said above: histories, logs and disks are kept in ${own} (${again})`,
        );
        return 1;
      }
      results.push(result as RoundResult);
      say(...roundLines(result as RoundResult));
      rmSync(own, { recursive: true });
    }
    say(...totals(results), `linearizable, and nothing lost: ${rounds} rounds from seed ${seed}`);
    return 0;
  } finally {
    if (!isKept) rmSync(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`torture: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  const wrong = complaint();
  if (wrong !== undefined) {
    process.stderr.write(`torture: ${wrong}\n`);
    return 2;
  }
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort());
  return torture(options, interrupted.signal);
}

process.exit(await main());
