/** `make bench [ARGS=puts|startup]`: figures beside the real peers, taken in turn in one run, as ratios. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { install } from '../e2e/install.ts';
import { Kubectl } from '../e2e/kubectl.ts';
import { startCluster } from '../kubernetes/cluster.ts';
import { Failure } from '../kubernetes/failure.ts';
import { tool } from '../kubernetes/go-build.ts';
import { buildImage } from '../kubernetes/image-build.ts';
import { toStderr } from '../kubernetes/progress.ts';
import { benchPuts } from './puts.ts';
import { benchStartup } from './startup.ts';

const root = join(import.meta.dirname, '../..');
const usage = `usage: bench.ts [puts] [startup] [--rounds N]      (both, 5 rounds)

  puts      puts/s and p99 of three embedded members beside three of etcd, under etcd's own benchmark tool
  startup   from apply to all members ready, beside a bare StatefulSet, on a local Kubernetes of its own (root)
`;

async function startup(rounds: number): Promise<void> {
  const progress = toStderr();
  const name = `bench-${process.pid}`;
  const image = 'raftsman:bench';
  const cluster = await startCluster(name, { depth: 'node', ephemeral: true, progress });
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
}

async function main(): Promise<number> {
  let what: string[];
  let rounds: number;
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { rounds: { type: 'string', default: '5' } },
    });
    what = positionals.length > 0 ? positionals : ['puts', 'startup'];
    rounds = Number(values.rounds);
    const unknown = what.find((one) => one !== 'puts' && one !== 'startup');
    if (unknown !== undefined) throw new Error(`there is no benchmark "${unknown}"`);
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100)
      throw new Error(`--rounds ${values.rounds}: must be a whole number from 1 to 100`);
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  try {
    if (what.includes('puts')) {
      await benchPuts({
        etcd: await tool('etcd'),
        benchmark: await tool('benchmark'),
        raftsman: [join(root, 'bin/raftsman'), 'node'],
        rounds,
      });
    }
    if (what.includes('startup')) await startup(rounds);
    return 0;
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Failure ? error.message : (error as Error).stack}\n`);
    return 1;
  }
}

process.exitCode = await main();
