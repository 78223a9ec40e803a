/** What integration tests of the operator share: a control plane with our CRDs, the operator itself, stand-in nodes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import type { RaftCluster } from '../../src/api/cluster.ts';
import type { RaftCompaction, RaftCompactionPolicy } from '../../src/api/compaction.ts';
import { findCondition } from '../../src/api/conditions.ts';
import {
  raftCluster,
  raftCompaction,
  raftCompactionPolicy,
  raftRestore,
  raftSnapshot,
  raftSnapshotPolicy,
  raftSnapshotStore,
} from '../../src/api/kinds.ts';
import { apiVersion } from '../../src/api/meta.ts';
import type { RaftSnapshotPolicy } from '../../src/api/policy.ts';
import type { RaftRestore } from '../../src/api/restore.ts';
import type { RaftSnapshot } from '../../src/api/snapshot.ts';
import type { RaftSnapshotStore } from '../../src/api/store.ts';
import { createOperator } from '../../src/controllers/operator.ts';
import { createClient } from '../../src/kube/client.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { type Event, events, namespaces, persistentVolumeClaims } from '../../src/kube/kinds.ts';
import type { KubeObject, Live, Manifest, ResourceType } from '../../src/kube/objects.ts';
import { createLog, type Log } from '../../src/log.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { type ApiServer, apiServer } from '../kube/api-server.ts';
import { type StandInNode, standInNode } from './stand-in-node.ts';

export const kinds = {
  cluster: raftCluster as ResourceType<RaftCluster>,
  store: raftSnapshotStore as ResourceType<RaftSnapshotStore>,
  snapshot: raftSnapshot as ResourceType<RaftSnapshot>,
  policy: raftSnapshotPolicy as ResourceType<RaftSnapshotPolicy>,
  restore: raftRestore as ResourceType<RaftRestore>,
  compaction: raftCompaction as ResourceType<RaftCompaction>,
  compactionPolicy: raftCompactionPolicy as ResourceType<RaftCompactionPolicy>,
};

const crdType: ResourceType<Manifest> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

export interface Plane extends ApiServer {
  /** A namespace with an operator of its own that watches nothing else, and a stand-in node that runs its pods. */
  ground(name: string, options?: GroundOptions): Promise<Ground>;
}

export interface GroundOptions {
  readonly clock?: Clock;
  readonly withoutNode?: boolean;
}

export interface Ground {
  readonly namespace: string;
  readonly client: KubeClient;
  /** The client that the operator uses: counts its requests. */
  readonly operatorClient: KubeClient;
  readonly node: StandInNode;
  create<T extends KubeObject>(type: ResourceType<T>, name: string, spec: object, more?: object): Promise<Live<T>>;
  get<T extends KubeObject>(type: ResourceType<T>, name: string): Promise<Live<T> | undefined>;
  /** Waits until a condition of the object says so, and returns the object. */
  condition<T extends KubeObject>(
    type: ResourceType<T>,
    name: string,
    condition: string,
    wanted: { readonly status?: string; readonly reason?: string },
    milliseconds?: number,
  ): Promise<Live<T>>;
  /** Waits until the object is as `holds` says. */
  until<T extends KubeObject>(
    type: ResourceType<T>,
    name: string,
    holds: (object: Live<T> | undefined) => boolean,
    milliseconds?: number,
  ): Promise<Live<T> | undefined>;
  events(name: string): Promise<string[]>;
  /** Ends all operators, as a crash or an update would. */
  stopOperator(): Promise<void>;
  /** Started twice there are two, neither of which knows of the other. */
  startOperator(): Promise<void>;
  stop(): Promise<void>;
}

export async function plane(name: string): Promise<Plane> {
  const server = await apiServer(name);
  const folder = resolve(import.meta.dirname, '../../crds');
  for (const file of readdirSync(folder).filter((each) => each.endsWith('.yaml')))
    await server.client.apply(crdType, parse(readFileSync(join(folder, file), 'utf8')) as Manifest);
  await waitFor(async () => {
    for (const kind of Object.values(kinds)) await server.client.list(kind as ResourceType, { namespace: 'default' });
    return true;
  });
  return { ...server, ground: (wanted, options) => ground(server, wanted, options) };
}

async function ground(server: ApiServer, name: string, options: GroundOptions = {}): Promise<Ground> {
  const namespace = await server.namespace(name);
  // Every pod of every test has to pass Pod Security at its strictest.
  await server.client.patch(
    namespaces,
    { name: namespace },
    {
      metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    },
  );
  const { client } = server;
  const operatorClient = createClient(server.connection);
  const node = standInNode(client, namespace);
  const log: Log = createLog({
    level: process.env['RAFTSMAN_TEST_LOG'] ? 'debug' : 'error',
    format: 'text',
  }).with({ namespace });
  const operators: { stop: AbortController; done: Promise<void> }[] = [];

  const startOperator = async (): Promise<void> => {
    const stop = new AbortController();
    const made = await createOperator({
      client: operatorClient,
      log,
      namespace,
      settings: { image: 'raftsman:test', imagePullPolicy: 'Never' },
      clock: options.clock ?? systemClock,
      fetchProgress: node.fetchProgress,
    });
    operators.push({ stop, done: made.start(stop.signal) });
  };
  const stopOperator = async (): Promise<void> => {
    for (const { stop } of operators) stop.abort();
    await Promise.all(operators.splice(0).map(({ done }) => done));
  };
  await startOperator();

  const get = <T extends KubeObject>(type: ResourceType<T>, wanted: string) =>
    client.find<T>(type, { namespace, name: wanted });
  const until: Ground['until'] = async (type, wanted, holds, milliseconds = 45_000) => {
    let last: Live | undefined;
    await waitFor(
      async () => {
        last = (await get(type, wanted)) as Live | undefined;
        return holds(last as never);
      },
      milliseconds,
      () => `${type.kind} ${wanted} is ${JSON.stringify((last as { status?: unknown } | undefined)?.status ?? null)}`,
    );
    return last as never;
  };
  return {
    namespace,
    client,
    operatorClient,
    node,
    get,
    until,
    startOperator,
    create: (type, wanted, spec, more = {}) =>
      client.create(type, {
        apiVersion,
        kind: type.kind,
        metadata: { name: wanted, namespace, ...more },
        spec,
      } as unknown as never),
    async condition(type, wanted, condition, { status, reason }, milliseconds) {
      const found = await until(
        type,
        wanted,
        (object) => {
          const { status: is } = (object ?? {}) as { status?: { conditions?: [] } };
          const seen = findCondition(is?.conditions, condition);
          return (
            seen !== undefined &&
            (status === undefined || seen.status === status) &&
            (reason === undefined || seen.reason === reason)
          );
        },
        milliseconds,
      );
      return found!;
    },
    async events(wanted) {
      const { items } = await client.listAll<Event>(events, { namespace });
      return items.filter(({ regarding }) => regarding?.name === wanted).map(({ reason }) => reason ?? '');
    },
    stopOperator,
    async stop() {
      await stopOperator();
      await node.stop();
      operatorClient.close();
    },
  };
}

/** A store on a volume of the stand-in node: real archives in a real folder. */
export async function volumeStore(on: Ground, name = 'archives'): Promise<string> {
  await createClaim(on, name);
  await on.create(kinds.store, name, { volume: { claimName: name } });
  await on.condition(kinds.store, name, 'Ready', { status: 'True' });
  return on.node.disk(name);
}

export async function createClaim({ client, namespace }: Ground, name: string): Promise<void> {
  await client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
  } as never);
}

/** In plain text: certificates have a test of their own. */
export const small = { storage: { size: '64Mi' }, tls: { mode: 'Disabled' } };

export async function waitFor(
  holds: () => Promise<boolean>,
  milliseconds = 45_000,
  told: () => string = () => 'nothing else is known',
): Promise<void> {
  const deadline = performance.now() + milliseconds;
  let failure: unknown;
  for (;;) {
    try {
      if (await holds()) return;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${told()}`, { cause: failure });
    await new Promise((done) => setTimeout(done, 50));
  }
}
