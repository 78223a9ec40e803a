/**
 * `make soak MINUTES=60`: random operations and faults on real clusters of both engines, with clients writing throughout. At the
 * end all that was acknowledged is compared with every member. A loss, or a cluster that does not get well, keeps everything as
 * it is and ends with 1.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { embedded, etcd } from '../e2e/engines.ts';
import { install, systemNamespace } from '../e2e/install.ts';
import { Kubectl } from '../e2e/kubectl.ts';
import { example } from '../e2e/namespace.ts';
import { abandonStart, startCluster, stopCluster } from '../kubernetes/cluster.ts';
import { etcdImage } from '../kubernetes/etcd-image.ts';
import { Failure } from '../kubernetes/failure.ts';
import { tool } from '../kubernetes/go-build.ts';
import { buildImage } from '../kubernetes/image-build.ts';
import { toStderr } from '../kubernetes/progress.ts';
import { type Done, Life } from './life.ts';
import { Chance } from './random.ts';

const root = join(import.meta.dirname, '../..');
const usage = `usage: soak.ts --minutes N [--seed N] [--engine Embedded|Etcd] [--name NAME]

  --minutes N   how long things happen; coming up and comparing take some more
  --seed N      the choices of an earlier run (which it printed) once more
  --engine X    one engine only
  --name NAME   of the local Kubernetes, which is gone afterwards unless writes were lost (soak)
`;
const engines = [embedded, { ...etcd, spec: { type: 'Etcd' } }];

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly engine: string | undefined;
  readonly name: string;
}

function parse(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      minutes: { type: 'string' },
      seed: { type: 'string' },
      engine: { type: 'string' },
      name: { type: 'string' },
    },
  });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Failure('BAD_ARGUMENT', `--minutes ${values.minutes}: must be a number above 0`);
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  if (!Number.isInteger(seed)) throw new Failure('BAD_ARGUMENT', `--seed ${values.seed}: must be a whole number`);
  if (values.engine !== undefined && !engines.some(({ type }) => type === values.engine))
    throw new Failure('BAD_ARGUMENT', `--engine ${values.engine}: must be Embedded or Etcd`);
  return { minutes, seed, engine: values.engine, name: values.name ?? 'soak' };
}

const progress = toStderr();
const say = (line: string): void => progress.note(line);

/** A Kubernetes with the operator and a store, which outlives this process: that is how everything can be kept. */
async function ground(name: string): Promise<Kubectl> {
  const image = 'raftsman:soak';
  const cluster = await startCluster(name, { depth: 'node', progress });
  await promisify(execFile)(process.execPath, ['esbuild.config.js'], { cwd: root });
  await buildImage({ name, file: join(root, 'Dockerfile'), tag: image }, progress);
  await etcdImage(name, '3.6.8', progress);
  const { kubeconfig } = cluster;
  const kubectl = new Kubectl({ kubectl: await tool('kubectl'), kubeconfig, namespace: 'default' });
  const values = ['etcd.repository=etcd'];
  await install({ helm: await tool('helm'), kubeconfig, kubectl, image, values });
  await kubectl.apply(example('store-s3.yaml', { 'prefix: demo': 'prefix: soak' }));
  return kubectl;
}

function tell(lives: readonly Life[]): void {
  for (const { engine, tally, acknowledged } of lives) {
    const total = [...tally.values()].reduce((sum, { count }) => sum + count, 0);
    process.stdout.write(`\n${engine.type}: ${total} deeds, ${acknowledged} acknowledged writes\n`);
    process.stdout.write('  count  mean s  longest pause ms\n');
    const row = ([name, { count, seconds, longestPauseMs }]: [string, Done]) =>
      `  ${String(count).padStart(5)}  ${(seconds / count).toFixed(1).padStart(6)}  ${String(Math.round(longestPauseMs)).padStart(16)}  ${name}\n`;
    for (const each of [...tally].sort(([a], [b]) => a.localeCompare(b))) process.stdout.write(row(each));
  }
}

/** True when nothing was lost. */
async function soak({ minutes, seed, engine, name }: Options): Promise<boolean> {
  const interrupted = new AbortController();
  const stop = (): void => {
    if (interrupted.signal.aborted) abandonStart(name).finally(() => process.exit(130));
    interrupted.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  say(`seed ${seed}`);
  const kubectl = await ground(name);
  const lives: Life[] = [];
  const chosen = engines.filter(({ type }) => engine === undefined || type === engine);
  try {
    for (const [n, one] of chosen.entries()) lives.push(await Life.begin(one, kubectl, new Chance(seed + n), say));
    const end = performance.now() + minutes * 60_000;
    const failure = new AbortController();
    const ended = () => performance.now() > end || interrupted.signal.aborted || failure.signal.aborted;
    const stopOthers = (error: unknown) => {
      failure.abort();
      throw error;
    };
    const results = await Promise.allSettled(lives.map((life) => life.run(ended).catch(stopOthers)));
    const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
    if (reasons.length > 0) throw new AggregateError(reasons);
    tell(lives);
    process.stdout.write('\nnothing lost\n');
    return true;
  } catch (error) {
    tell(lives);
    const reasons = error instanceof AggregateError ? (error.errors as Error[]) : [error as Error];
    for (const { message } of reasons) process.stdout.write(`\n${message}\n`);
    process.stdout.write(
      `\nFAILED with seed ${seed}. Everything is kept: KUBECONFIG=${kubectl.kubeconfig}; the operator is in namespace ${systemNamespace}. ` +
        `Remove it with: make cluster-down CLUSTER=${name}\n`,
    );
    return false;
  } finally {
    for (const life of lives) await life.end();
  }
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`soak: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  const good = await soak(options);
  if (good) await stopCluster(options.name);
  return good ? 0 : 1;
}

process.exit(await main());
