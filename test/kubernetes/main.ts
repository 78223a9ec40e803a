import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { abandonStart, findCluster, startCluster, stopCluster } from './cluster.ts';
import { etcdArchive, etcdImage } from './etcd-image.ts';
import { Failure } from './failure.ts';
import { buildParts, tool, toolPath } from './go-build.ts';
import { buildImage } from './image-build.ts';
import { prepareNode } from './node.ts';
import {
  type Depth,
  type EtcdVersion,
  etcdVersions,
  type GoPartName,
  goParts,
  isGoPart,
  partOf,
  partsFor,
  type ToolName,
} from './parts.ts';
import { stateRoot } from './places.ts';
import { type Progress, toStderr } from './progress.ts';
import { clusterNames, readRecord } from './record.ts';
import { checkMachine, isAlive } from './sandbox.ts';

const USAGE = `A local Kubernetes, from package registries alone.

  up    --name NAME [--depth control-plane|node]   start a cluster (default depth: node)
  down  --name NAME | --all                        end it and remove everything of it
  list                                             the clusters of this machine
  env   --name NAME                                KUBECONFIG and PATH, for the shell: eval "$(… env --name NAME)"
  image --file DOCKERFILE --tag TAG [--name NAME] [--context FOLDER] [--output FILE]
                                                   build an image and import it into the node
  etcd-images [VERSION…] [--name NAME]             the images etcd:v${etcdVersions.join(', v')}, and import them into the node
  tool NAME                                        the path of kubectl, helm, etcdctl …, built if need be
  build [PART…]                                    only fill the cache; parts: ${Object.keys(goParts).join(' ')}
`;

interface Options {
  readonly name?: string;
  readonly depth?: string;
  readonly all?: boolean;
  readonly file?: string;
  readonly tag?: string;
  readonly context?: string;
  readonly output?: string;
  readonly help?: boolean;
}

function parse(argv: readonly string[]): { command: string | undefined; rest: string[]; options: Options } {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        name: { type: 'string' },
        depth: { type: 'string' },
        all: { type: 'boolean' },
        file: { type: 'string' },
        tag: { type: 'string' },
        context: { type: 'string' },
        output: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    const [command, ...rest] = positionals;
    return { command, rest, options: values };
  } catch (error) {
    throw new Failure('BAD_ARGUMENT', error instanceof Error ? error.message : String(error));
  }
}

function needed(options: Options, field: 'name' | 'file' | 'tag'): string {
  const value = options[field];
  if (value === undefined || value === '') throw new Failure('BAD_ARGUMENT', `--${field} is missing`);
  return value;
}

function depthOf(text: string): Depth {
  if (text === 'control-plane' || text === 'node') return text;
  throw new Failure('BAD_ARGUMENT', `--depth ${text}: must be control-plane or node`);
}

async function up(options: Options, progress: Progress): Promise<void> {
  const name = needed(options, 'name');
  const depth = depthOf(options.depth ?? 'node');
  const stop = () => {
    process.stderr.write('\ninterrupted: removing what was begun\n');
    abandonStart(name).finally(() => process.exit(130));
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const cluster = await startCluster(name, { depth, progress });
  progress.note(`cluster ${name} is up`);
  process.stdout.write(`KUBECONFIG=${cluster.kubeconfig}\n`);
}

async function down(options: Options, progress: Progress): Promise<void> {
  const names = options.all ? clusterNames() : [needed(options, 'name')];
  for (const name of names) await progress.step(`remove cluster ${name}`, () => stopCluster(name));
}

function list(): void {
  for (const name of clusterNames()) {
    const record = readRecord(name);
    const state = !record || !isAlive(record.sandbox) ? 'dead' : record.complete ? 'up' : 'starting or failed';
    const where = findCluster(name);
    process.stdout.write(`${name}\t${record?.depth ?? 'unknown'}\t${state}\t${where?.kubeconfig ?? '-'}\n`);
  }
}

function environment(options: Options): void {
  const name = needed(options, 'name');
  const cluster = findCluster(name);
  if (!cluster)
    throw new Failure('NO_CLUSTER', `no cluster called ${name} is up (clusters are kept in ${stateRoot()})`);
  const tools = ['kubectl', 'helm', 'etcd', 'etcdctl', 'etcdutl', 'benchmark'] as const;
  const folders = [...new Set(tools.map((tool) => dirname(toolPath(tool))))];
  process.stdout.write(`export KUBECONFIG='${cluster.kubeconfig}'\nexport PATH='${folders.join(':')}':"$PATH"\n`);
}

async function build(parts: readonly string[], progress: Progress): Promise<void> {
  const unknown = parts.filter((part) => !isGoPart(part));
  if (unknown.length > 0) {
    throw new Failure('BAD_ARGUMENT', `no part called ${unknown.join(', ')}; parts: ${Object.keys(goParts).join(' ')}`);
  }
  if (parts.length > 0) return buildParts(parts as GoPartName[], progress);
  const debian = prepareNode(progress);
  debian.catch(() => {});
  await buildParts(partsFor.node, progress);
  await debian;
}

async function etcdImages(asked: readonly string[], options: Options, progress: Progress): Promise<void> {
  const versions = (asked.length > 0 ? asked : etcdVersions).map((version): EtcdVersion => {
    const known = etcdVersions.find((one) => one === version);
    if (known === undefined)
      throw new Failure('BAD_ARGUMENT', `no etcd ${version} here; versions: ${etcdVersions.join(', ')}`);
    return known;
  });
  for (const version of versions) {
    if (options.name === undefined) await etcdArchive(version, progress);
    else await etcdImage(options.name, version, progress);
  }
}

async function main(argv: readonly string[]): Promise<void> {
  const { command, rest, options } = parse(argv);
  if (options.help || command === undefined || command === 'help') {
    process.stdout.write(USAGE);
    if (command === undefined && !options.help) process.exitCode = 2;
    return;
  }
  if (rest.length > 0 && !['build', 'tool', 'etcd-images'].includes(command))
    throw new Failure('BAD_ARGUMENT', `what is "${rest.join(' ')}"? See --help`);
  const progress = toStderr();
  switch (command) {
    case 'up':
      return up(options, progress);
    case 'down':
      checkMachine();
      return down(options, progress);
    case 'list':
      return list();
    case 'env':
      return environment(options);
    case 'image':
      checkMachine();
      return buildImage({ ...options, file: needed(options, 'file'), tag: needed(options, 'tag') }, progress);
    case 'build':
      return build(rest, progress);
    case 'etcd-images':
      return etcdImages(rest, options, progress);
    case 'tool': {
      const [name, ...more] = rest;
      if (name === undefined || partOf(name) === undefined || more.length > 0)
        throw new Failure('BAD_ARGUMENT', 'tool NAME: one of kubectl, helm, etcd, etcdctl, etcdutl, benchmark');
      process.stdout.write(`${await tool(name as ToolName, progress)}\n`);
      return;
    }
    default:
      throw new Failure('BAD_ARGUMENT', `there is no command "${command}"; see --help`);
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const text =
    error instanceof Failure
      ? `${error.message} (${error.code})`
      : error instanceof Error
        ? error.stack
        : String(error);
  process.stderr.write(`kubernetes: ${text}\n`);
  process.exitCode = error instanceof Failure && error.code === 'BAD_ARGUMENT' ? 2 : 1;
}
