/** The operator: every controller over one manager, and the command line that starts it. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import type { Engine, EngineType } from '../engines/engine.ts';
import { engineTypes, openEngine } from '../engines/open.ts';
import { createApplier } from '../kube/apply.ts';
import { createClient } from '../kube/client.ts';
import { connect } from '../kube/connection.ts';
import type { KubeClient } from '../kube/contract.ts';
import { createRecorder } from '../kube/events.ts';
import { createLog, type Log } from '../log.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import type { LeaderOptions } from '../runtime/contract.ts';
import { createManager, type StartedManager } from '../runtime/manager.ts';
import { measureProcess } from '../runtime/metrics.ts';
import { version } from '../version.ts';
import { CLUSTER_CONTROLLER, clusterController } from './cluster/controller.ts';
import { compactionController } from './compaction/controller.ts';
import { compactionPolicyController } from './compaction/policy.ts';
import { snapshotPolicyController } from './policy/snapshots.ts';
import { restoreController } from './restore/controller.ts';
import type { PodSettings } from './restricted.ts';
import { snapshotController } from './snapshot/controller.ts';
import { storeController } from './store/controller.ts';
import { tlsController } from './tls/controller.ts';
import { Certificates } from './tls/state.ts';
import { createViews, type World } from './world.ts';

export interface OperatorOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly settings: PodSettings;
  /** Only this namespace; every one when absent. */
  readonly namespace?: string;
  /** Keys of each kind that are reconciled side by side. */
  readonly workers?: number;
  readonly leader?: LeaderOptions;
  /** Health and metrics, `host:port`. */
  readonly httpAddress?: string;
  readonly listening?: (url: string) => void;
  readonly clock?: Clock;
  readonly openStore?: World['openStore'];
  readonly fetchProgress?: World['fetchProgress'];
}

export interface Operator {
  readonly manager: StartedManager;
  /** Resolves once `signal` has aborted and all is drained; rejects when leadership was lost. */
  start(signal: AbortSignal): Promise<void>;
}

/** An answer of a Job is some hundred bytes; more than this is none. */
const MOST_PROGRESS = 4096;

export async function createOperator(options: OperatorOptions): Promise<Operator> {
  const { log, clock = systemClock, namespace, workers = 4 } = options;
  const manager = createManager({
    client: options.client,
    log,
    clock,
    ...(options.leader ? { leader: options.leader } : {}),
    ...(options.httpAddress === undefined ? {} : { httpAddress: options.httpAddress }),
    ...(options.listening ? { listening: options.listening } : {}),
  });
  const events = createRecorder({
    client: options.client,
    log,
    clock,
    instance: options.leader?.identity ?? `raftsman-${process.pid}`,
  });
  const engines = new Map<EngineType, Engine>();
  const world: World = {
    client: manager.client,
    applier: createApplier(manager.client),
    events,
    manager,
    clock,
    settings: options.settings,
    views: createViews(manager, clock, namespace),
    certificates: new Certificates(),
    engine(type) {
      const known = engines.get(type) ?? openEngine(type);
      engines.set(type, known);
      return known;
    },
    // The S3 SDK weighs tens of megabytes: it is loaded when the first store is looked at.
    openStore:
      options.openStore ??
      (async (spec, credentials) => {
        const { openStore } = await import('../stores/open.ts');
        return openStore(spec, credentials ? { credentials } : {});
      }),
    fetchProgress: options.fetchProgress ?? fetchText,
    workers,
    ...(namespace === undefined ? {} : { namespace }),
  };
  const clusters = clusterController(world);
  const certificates = tlsController(world, (key) => manager.enqueue(CLUSTER_CONTROLLER, key));
  const stores = storeController(world);
  const snapshots = snapshotController(world, stores.recheck);
  const restores = restoreController(world);
  const compactions = compactionController(world);
  manager.add(clusters.definition);
  manager.add(certificates.definition);
  manager.add(stores.definition);
  manager.add(snapshots.definition);
  manager.add(snapshotPolicyController(world));
  manager.add(restores.definition);
  manager.add(compactions.definition);
  manager.add(compactionPolicyController(world));
  return {
    manager,
    async start(signal) {
      try {
        await manager.start(signal);
      } finally {
        for (const { close } of [clusters, certificates, snapshots, restores, compactions]) close();
        for (const engine of engines.values()) engine.close();
        await events.flush();
      }
    },
  };
}

async function fetchText(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, { signal });
  const text = await response.text();
  if (!response.ok || text.length > MOST_PROGRESS) throw new Error(`${url} answers ${response.status}`);
  return text;
}

const usage = `usage: raftsman operator [flags]        the Kubernetes operator

  --watch-namespace NS      this namespace only (default: every one)
  --leader-elect BOOL       stand for election, so that one of several operators acts (default true)
  --http-address HOST:PORT  where /healthz, /readyz and /metrics are served (default :8080; "" for nowhere)
  --log-format text|json    how log lines are written (default json)
  --log-level LEVEL         debug, info, warn or error (default info)
  --workers N               resources of each kind that are looked at side by side (default 4)

environment:
  KUBECONFIG                which cluster; in a pod, the pod's service account
  RAFTSMAN_IMAGE            the image of members and Jobs: this very program's
  RAFTSMAN_IMAGE_PULL_POLICY  Always, IfNotPresent (default) or Never
  RAFTSMAN_ETCD_REPOSITORY  where the images of etcd come from, without a tag (quay.io/coreos/etcd)
  POD_NAME, POD_NAMESPACE   who we are, and where the Lease of the election is
`;

const flags = {
  'watch-namespace': { type: 'string' },
  'leader-elect': { type: 'string' },
  'http-address': { type: 'string' },
  'log-format': { type: 'string' },
  'log-level': { type: 'string' },
  workers: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

export interface OperatorFlags {
  readonly namespace?: string;
  readonly elect: boolean;
  readonly httpAddress?: string;
  readonly logFormat: 'text' | 'json';
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
  readonly workers: number;
  readonly settings: PodSettings;
}

/** A flag or variable that cannot be used. The message is the one line that a person sees. */
export class OperatorUsageError extends Error {
  readonly code = 'OPERATOR_USAGE';
  constructor(message: string) {
    super(message);
    this.name = 'OperatorUsageError';
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/** `help` when that was asked for. Throws OperatorUsageError. */
export function parseOperatorFlags(argv: readonly string[], env: Environment): OperatorFlags | 'help' {
  const values = parseStrictly(argv);
  if (values.help) return 'help';
  const namespace = values['watch-namespace'] || undefined;
  if (namespace !== undefined && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(namespace))
    throw new OperatorUsageError(`--watch-namespace: ${JSON.stringify(namespace)} is not the name of a namespace`);
  const httpAddress = values['http-address'] ?? ':8080';
  if (httpAddress !== '' && !/^([^\s:]*|\[[0-9a-fA-F:]+\]):\d{1,5}$/.test(httpAddress))
    throw new OperatorUsageError(`--http-address: ${JSON.stringify(httpAddress)} is not HOST:PORT, such as :8080`);
  const workers = Number(values.workers ?? '4');
  if (!Number.isInteger(workers) || workers < 1 || workers > 64)
    throw new OperatorUsageError(`--workers: ${JSON.stringify(values.workers)} is not a whole number from 1 to 64`);
  const image = env['RAFTSMAN_IMAGE'];
  if (!image)
    throw new OperatorUsageError(
      'RAFTSMAN_IMAGE is not set: name the image that members and Jobs run, such as raftsman:dev',
    );
  return {
    ...(namespace === undefined ? {} : { namespace }),
    elect: oneOf('--leader-elect', values['leader-elect'] ?? 'true', ['true', 'false']) === 'true',
    ...(httpAddress === '' ? {} : { httpAddress }),
    logFormat: oneOf('--log-format', values['log-format'] ?? 'json', ['json', 'text']),
    logLevel: oneOf('--log-level', values['log-level'] ?? 'info', ['debug', 'info', 'warn', 'error']),
    workers,
    settings: {
      image,
      imagePullPolicy: oneOf('RAFTSMAN_IMAGE_PULL_POLICY', env['RAFTSMAN_IMAGE_PULL_POLICY'] || 'IfNotPresent', [
        'IfNotPresent',
        'Always',
        'Never',
      ]),
      ...repositoriesFrom(env),
      ...(env['POD_NAMESPACE'] ? { operatorNamespace: env['POD_NAMESPACE'] } : {}),
    },
  };
}

/** `RAFTSMAN_<ENGINE>_REPOSITORY`, for engines that do not run the operator's own image. */
function repositoriesFrom(env: Environment): Pick<PodSettings, 'repositories'> {
  const given = engineTypes.flatMap((type) => {
    const variable = `RAFTSMAN_${type.toUpperCase()}_REPOSITORY`;
    const repository = env[variable];
    if (!repository) return [];
    if (!/^[a-z0-9][^\s@]*[a-z0-9]$/.test(repository) || /:[^/]*$/.test(repository))
      throw new OperatorUsageError(
        `${variable}: ${JSON.stringify(repository)} is not a repository without a tag, such as quay.io/coreos/etcd`,
      );
    return [[type, repository] as const];
  });
  return given.length === 0 ? {} : { repositories: Object.fromEntries(given) };
}

function parseStrictly(argv: readonly string[]) {
  // `--leader-elect` alone means true, as in other operators.
  const args = argv.map((word) => (word === '--leader-elect' ? '--leader-elect=true' : word));
  try {
    return parseArgs({ args, options: flags, strict: true, allowPositionals: false }).values;
  } catch (error) {
    // The first sentence names the flag; the rest is advice on writing parsers.
    throw new OperatorUsageError((error as Error).message.split('. ')[0] ?? 'wrong flags');
  }
}

function oneOf<const Words extends readonly string[]>(name: string, value: string, words: Words): Words[number] {
  if (!words.includes(value))
    throw new OperatorUsageError(`${name}: ${JSON.stringify(value)} is not one of ${words.join(', ')}`);
  return value;
}

/** Runs until SIGTERM or SIGINT. Exit status: 0 stopped, 1 failed or no longer leading, 2 wrong usage. */
export async function runOperator(argv: readonly string[], env: Environment = process.env): Promise<number> {
  let given: OperatorFlags | 'help';
  try {
    given = parseOperatorFlags(argv, env);
  } catch (error) {
    if (!(error instanceof OperatorUsageError)) throw error;
    process.stderr.write(`raftsman operator: ${error.message} (raftsman operator --help lists the flags)\n`);
    return 2;
  }
  if (given === 'help') {
    process.stdout.write(usage);
    return 0;
  }
  const log = createLog({ level: given.logLevel, format: given.logFormat }).with({ component: 'operator' });
  const stop = new AbortController();
  const end = () => stop.abort();
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  // Timers of the operator hold no process: while it runs, this does.
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    const client = createClient(await connect({ env }));
    const namespace = env['POD_NAMESPACE'] || client.namespace;
    const identity = `${env['POD_NAME'] || hostname()}-${randomBytes(4).toString('hex')}`;
    const operator = await createOperator({
      client,
      log,
      settings: given.settings,
      workers: given.workers,
      ...(given.namespace === undefined ? {} : { namespace: given.namespace }),
      ...(given.elect ? { leader: { namespace, name: 'raftsman-operator', identity } } : {}),
      ...(given.httpAddress === undefined ? {} : { httpAddress: given.httpAddress }),
      listening: (url) => log.info('health and metrics', { url }),
    });
    measureProcess(operator.manager.metrics);
    log.info('operator starts', {
      version,
      image: given.settings.image,
      namespace: given.namespace ?? '(all)',
      identity: given.elect ? identity : '(no election)',
    });
    await operator.start(stop.signal);
    client.close();
    log.info('operator stopped');
    return 0;
  } catch (error) {
    log.error('operator ends', { error });
    return 1;
  } finally {
    clearInterval(alive);
    process.off('SIGTERM', end);
    process.off('SIGINT', end);
  }
}
