/** `make bench`: figures beside the real peers, taken in turn in one run, as ratios. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Failure } from '../kubernetes/failure.ts';
import { tool } from '../kubernetes/go-build.ts';
import { toStderr } from '../kubernetes/progress.ts';
import type { EngineName } from './bare.ts';
import { withGround } from './ground.ts';
import { benchJoin } from './join.ts';
import { engineNames, measureNames } from './life-measures.ts';
import { benchCrowd, benchIdle, benchLife } from './life-table.ts';
import { holds, summary, type Verdict } from './limits.ts';
import type { Kind } from './members.ts';
import { benchOutage } from './outage.ts';
import { benchPause } from './pause.ts';
import { benchCpu, benchPuts, type PutOptions } from './puts.ts';
import { delayVariable, slowEtcd } from './slow-etcd.ts';
import { benchStartup } from './startup.ts';
import { watchStolen } from './stolen.ts';

const root = join(import.meta.dirname, '../..');
const usage = `usage: bench.ts [puts] [cpu] [outage] [join] [pause] [startup] [life] [idle] [crowd]
                [--rounds N] [--engine Embedded|Etcd]      (all but cpu, 5 rounds, both engines)
                [--measure NAME,NAME]                      (of life: ${measureNames.join(', ')})

Three embedded members beside three of etcd, in turn, with the same flags:
  puts      puts/s, p99, processor time per put and memory at 1, 16, 64 and 256 clients under etcd's own benchmark tool;
            puts/s and p99 once more with 1 ms and with 10 ms added to each fsync of either
  cpu       processor time per put of leader and followers at 64 clients: means something on a busy machine, too
  pause     the longest pause of a member's event loop while it takes, sends or installs a snapshot of 250 MB; once
  outage    time without an acknowledged write after kill -9 of the leader, and when leadership is moved on purpose
  join      how soon a learner on an empty disk serves, with a short log and with a longer one
On a local Kubernetes of its own (root):
  startup   from apply to all members ready, beside a bare StatefulSet
  life      both engines, beside bare StatefulSets of the same images: start, scale, a deleted follower, write outages,
            how soon hung and dead members are shown
  idle      requests to the API server that ten idle clusters cause in a minute
  crowd     a new cluster's start alone, and while 40 others cannot be scheduled

Ends with 1 when a limit does not hold or could not be measured.
`;

const ours = (delayMs = 0): Kind => {
  const preload = join(import.meta.dirname, 'slow-disk.ts');
  const name = 'raftsman';
  const command = [join(root, 'bin/raftsman'), 'node'];
  if (delayMs === 0) return { name, command };
  return {
    name,
    command,
    environment: { NODE_OPTIONS: `--import=${preload}`, RAFTSMAN_BENCH_FSYNC_MS: `${delayMs}` },
  };
};

async function putOptions(rounds: number): Promise<PutOptions> {
  const etcd = await tool('etcd');
  const slow = await slowEtcd(toStderr());
  const theirs = (delayMs: number): Kind =>
    delayMs === 0
      ? { name: 'etcd', command: [etcd] }
      : { name: 'etcd', command: [slow], environment: { [delayVariable]: `${delayMs}ms` } };
  return { benchmark: await tool('benchmark'), ours, theirs, rounds };
}

/** Figures without a limit. */
async function unlimited(measuring: Promise<void>): Promise<readonly Verdict[]> {
  await measuring;
  return [];
}

const startup = (rounds: number): Promise<void> =>
  withGround(({ kubectl, images }) => benchStartup(kubectl, images.raftsman, rounds));

type Benchmark = (
  rounds: number,
  engines: readonly EngineName[],
  measures: ReadonlySet<string> | undefined,
) => Promise<readonly Verdict[]>;
/** In the order in which they run. */
const benchmarks: Readonly<Record<string, Benchmark>> = {
  puts: async (rounds) => benchPuts(await putOptions(rounds)),
  cpu: async (rounds) => unlimited(benchCpu(await putOptions(rounds))),
  outage: async (rounds) =>
    unlimited(
      benchOutage({
        etcdctl: await tool('etcdctl'),
        ours: ours(),
        theirs: { name: 'etcd', command: [await tool('etcd')] },
        rounds,
      }),
    ),
  join: async (rounds) => unlimited(benchJoin([ours(), { name: 'etcd', command: [await tool('etcd')] }], rounds)),
  pause: () => unlimited(benchPause(ours())),
  startup: (rounds) => unlimited(startup(rounds)),
  life: benchLife,
  idle: (_rounds, engines) => benchIdle(engines),
  crowd: benchCrowd,
};
const unlessTold = Object.keys(benchmarks).filter((name) => name !== 'cpu');

async function main(): Promise<number> {
  let what: string[];
  let rounds: number;
  let engines = engineNames;
  let measures: ReadonlySet<string> | undefined;
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { rounds: { type: 'string', default: '5' }, engine: { type: 'string' }, measure: { type: 'string' } },
    });
    what = positionals.length > 0 ? positionals : unlessTold;
    rounds = Number(values.rounds);
    if (values.engine !== undefined) engines = engineNames.filter((name) => name === values.engine);
    if (engines.length === 0) throw new Error(`--engine ${values.engine}: must be one of ${engineNames.join(', ')}`);
    if (values.measure !== undefined) measures = new Set(values.measure.split(','));
    const strange = [...(measures ?? [])].find((one) => !measureNames.includes(one));
    if (strange !== undefined)
      throw new Error(`--measure ${strange}: there is no such measure of life, but ${measureNames.join(', ')}`);
    const unknown = what.find((one) => !Object.hasOwn(benchmarks, one));
    if (unknown !== undefined) throw new Error(`there is no benchmark "${unknown}"`);
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100)
      throw new Error(`--rounds ${values.rounds}: must be a whole number from 1 to 100`);
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  const verdicts: Verdict[] = [];
  let failed = false;
  try {
    for (const [name, run] of Object.entries(benchmarks)) {
      if (!what.includes(name)) continue;
      const stolen = watchStolen();
      verdicts.push(...(await run(rounds, engines, measures)));
      console.log(`\nof the processors' time, this machine's host kept ${Math.round(stolen() * 100)} % for others`);
    }
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Failure ? error.message : (error as Error).stack}\n`);
    failed = true;
  }
  const said = summary(verdicts);
  if (said !== undefined) console.log(`\n${said}`);
  return failed || !holds(verdicts) ? 1 : 0;
}

process.exitCode = await main();
