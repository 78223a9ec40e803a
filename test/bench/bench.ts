/** `make bench`: figures beside the real peers, taken in turn in one run, as ratios. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { install } from '../e2e/install.ts';
import { Kubectl } from '../e2e/kubectl.ts';
import { abandonStart, startCluster } from '../kubernetes/cluster.ts';
import { Failure } from '../kubernetes/failure.ts';
import { tool } from '../kubernetes/go-build.ts';
import { buildImage } from '../kubernetes/image-build.ts';
import { toStderr } from '../kubernetes/progress.ts';
import type { Kind } from './members.ts';
import { benchOutage } from './outage.ts';
import { withFarewell } from './owned.ts';
import { benchPause } from './pause.ts';
import { benchCpu, benchPuts, type PutOptions } from './puts.ts';
import { delayVariable, slowEtcd } from './slow-etcd.ts';
import { benchStartup } from './startup.ts';

const root = join(import.meta.dirname, '../..');
const usage = `usage: bench.ts [puts] [cpu] [outage] [pause] [startup] [--rounds N]      (all but cpu, 5 rounds)

Three embedded members beside three of etcd, in turn, with the same flags:
  puts      puts/s, p99, processor time per put and memory at 1, 16, 64 and 256 clients under etcd's own benchmark tool;
            puts/s and p99 once more with 1 ms and with 10 ms added to each fsync of either
  cpu       processor time per put of leader and followers at 64 clients: means something on a busy machine, too
  pause     the longest pause of a member's event loop while it takes, sends or installs a snapshot of 250 MB; once
  outage    time without an acknowledged write after kill -9 of the leader, and when leadership is moved on purpose
On a local Kubernetes of its own (root):
  startup   from apply to all members ready, beside a bare StatefulSet
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

async function startup(rounds: number): Promise<void> {
  const progress = toStderr();
  const name = `bench-${process.pid}`;
  const image = 'raftsman:bench';
  const cluster = await withFarewell(
    () => abandonStart(name),
    () => startCluster(name, { depth: 'node', ephemeral: true, progress }),
  );
  await withFarewell(
    () => cluster.stop(),
    async () => {
      try {
        await promisify(execFile)(process.execPath, ['esbuild.config.js'], { cwd: root });
        await buildImage({ name, file: join(root, 'Dockerfile'), tag: image }, progress);
        const kubectl = new Kubectl({
          kubectl: await tool('kubectl'),
          kubeconfig: cluster.kubeconfig,
          namespace: 'default',
        });
        await install({ helm: await tool('helm'), kubeconfig: cluster.kubeconfig, kubectl, image });
        await benchStartup(kubectl, image, rounds);
      } finally {
        await cluster.stop();
      }
    },
  );
}

/** In the order in which they run. */
const benchmarks: Readonly<Record<string, (rounds: number) => Promise<void>>> = {
  puts: async (rounds) => benchPuts(await putOptions(rounds)),
  cpu: async (rounds) => benchCpu(await putOptions(rounds)),
  outage: async (rounds) =>
    benchOutage({
      etcdctl: await tool('etcdctl'),
      ours: ours(),
      theirs: { name: 'etcd', command: [await tool('etcd')] },
      rounds,
    }),
  pause: () => benchPause(ours()),
  startup,
};
const unlessTold = Object.keys(benchmarks).filter((name) => name !== 'cpu');

async function main(): Promise<number> {
  let what: string[];
  let rounds: number;
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { rounds: { type: 'string', default: '5' } },
    });
    what = positionals.length > 0 ? positionals : unlessTold;
    rounds = Number(values.rounds);
    const unknown = what.find((one) => !Object.hasOwn(benchmarks, one));
    if (unknown !== undefined) throw new Error(`there is no benchmark "${unknown}"`);
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100)
      throw new Error(`--rounds ${values.rounds}: must be a whole number from 1 to 100`);
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  try {
    for (const [name, run] of Object.entries(benchmarks)) if (what.includes(name)) await run(rounds);
    return 0;
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Failure ? error.message : (error as Error).stack}\n`);
    return 1;
  }
}

process.exitCode = await main();
