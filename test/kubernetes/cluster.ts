import { existsSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Addresses, addressesOf, freeSlot } from './addresses.ts';
import { Api } from './api.ts';
import { removeCgroups } from './cgroups.ts';
import { controllersReady, startControlPlaneParts } from './control-plane-parts.ts';
import { readAccess, writeCredentials } from './credentials.ts';
import { Failure } from './failure.ts';
import { buildParts, checkDisk } from './go-build.ts';
import { HELD, ifUnlocked, withLock } from './lock.ts';
import { connect } from './network.ts';
import { prepareNode, startNodeParts } from './node.ts';
import { type Depth, partsFor } from './parts.ts';
import { cacheRoot, clusterFolder, isClusterName, stateRoot } from './places.ts';
import { type Progress, silent, toStderr } from './progress.ts';
import { type ClusterRecord, clusterNames, livingRecords, readRecord, writeRecord } from './record.ts';
import { checkMachine, isAlive, type Sandbox, startSandbox, stopSandbox } from './sandbox.ts';

export interface Cluster {
  readonly name: string;
  /** The path of a kubeconfig with an administrator's client certificate. */
  readonly kubeconfig: string;
  readonly context: string;
  readonly addresses: Addresses;
  /** Ends the cluster and removes everything of it. */
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly depth: Depth;
  /** The cluster ends when this process ends, however that happens. For tests. */
  readonly ephemeral?: boolean;
  readonly progress?: Progress;
}

const DISK_TO_RUN = 2 ** 30;
const lockOf = (name: string): string => `cluster-${name}`;
const depthRank = { 'control-plane': 0, node: 1 } as const satisfies Record<Depth, number>;

/** kube-apiserver, kube-controller-manager and etcd: about four seconds when the binaries are cached. Ends with this process. */
export const startControlPlane = (name: string, progress: Progress = silent): Promise<Cluster> =>
  startCluster(name, { depth: 'control-plane', ephemeral: true, progress });

/** A whole node: kubelet, containerd, DNS, storage and an S3 server besides. Ends with this process. */
export const startNode = (name: string, progress: Progress = silent): Promise<Cluster> =>
  startCluster(name, { depth: 'node', ephemeral: true, progress });

/** Starts a cluster, or gives the one of this name that is up and well. What a dead cluster left is removed first. */
export async function startCluster(name: string, options: StartOptions): Promise<Cluster> {
  checkName(name);
  checkMachine();
  const progress = options.progress ?? toStderr();
  checkDisk(stateRoot(), DISK_TO_RUN);
  mkdirSync(cacheRoot(), { recursive: true });
  const prepared = options.depth === 'node' ? prepareNode(progress) : undefined;
  prepared?.catch(() => {});
  await buildParts(partsFor[options.depth], progress);
  await prepared;
  await sweep(name, progress);
  return withLock(lockOf(name), async () => {
    const running = await runningCluster(name, options.depth);
    if (running) {
      progress.note(`cluster ${name} is up already`);
      return running;
    }
    await remove(name);
    starting.add(name);
    try {
      return await start(name, options, progress);
    } catch (error) {
      await remove(name).catch(() => {});
      throw error;
    } finally {
      starting.delete(name);
    }
  });
}

const starting = new Set<string>();

/** For an interrupted process, before it exits: removes what it has begun, without waiting for the lock that it holds itself. */
export async function abandonStart(name: string): Promise<void> {
  if (starting.has(name)) await remove(name);
}

async function start(name: string, options: StartOptions, progress: Progress): Promise<Cluster> {
  const folder = clusterFolder(name);
  mkdirSync(folder, { recursive: true });
  const { sandbox, addresses } = await progress.step('namespaces, network and certificates', async () => {
    const sandbox = await startSandbox(cacheRoot(), folder, options.ephemeral ?? false);
    const record: ClusterRecord = { name, depth: options.depth, sandbox, cache: cacheRoot(), complete: false };
    writeRecord(record);
    const addresses = await takeAddresses(record);
    writeCredentials(name, folder, addresses);
    return { sandbox, addresses };
  });
  const api = new Api(readAccess(folder, addresses));
  try {
    await startAll(name, sandbox, addresses, api, options.depth, progress);
  } finally {
    api.close();
  }
  const record = readRecord(name);
  if (record) writeRecord({ ...record, complete: true });
  return handle(name, addresses);
}

async function startAll(
  name: string,
  sandbox: Sandbox,
  addresses: Addresses,
  api: Api,
  depth: Depth,
  progress: Progress,
): Promise<void> {
  const folder = clusterFolder(name);
  const node = depth === 'node' ? await startNodeParts({ name, sandbox, folder, addresses, api, progress }) : undefined;
  const parts = await startControlPlaneParts(sandbox, folder, addresses, api, progress);
  if (node) await node.join();
  await controllersReady(api, parts, progress);
  if (node) await node.ready();
}

/** Gives the cluster addresses that no other has, and joins it to the host. */
const takeAddresses = (record: ClusterRecord): Promise<Addresses> =>
  withLock('addresses', async () => {
    const slot = freeSlot(new Set(livingRecords().flatMap((other) => (other.slot === undefined ? [] : [other.slot]))));
    if (slot === undefined) {
      throw new Failure('NO_ADDRESSES', 'too many local clusters are up: take one down with `down --name NAME`');
    }
    writeRecord({ ...record, slot });
    const addresses = addressesOf(slot);
    await connect(record.sandbox, addresses);
    return addresses;
  });

async function runningCluster(name: string, depth: Depth): Promise<Cluster | undefined> {
  const record = readRecord(name);
  if (!record?.complete || record.slot === undefined || !isAlive(record.sandbox)) return undefined;
  if (record.cache !== cacheRoot()) {
    if (!existsSync(record.cache)) return undefined;
    throw new Failure(
      'NO_CLUSTER',
      `cluster ${name} is up, with the programs of another cache (${record.cache}): take it down first (make down), or choose another name (CLUSTER=name)`,
    );
  }
  if (depthRank[record.depth] < depthRank[depth]) return undefined;
  const addresses = addressesOf(record.slot);
  const api = new Api(readAccess(clusterFolder(name), addresses));
  try {
    return (await api.answers('/readyz')) ? handle(name, addresses) : undefined;
  } finally {
    api.close();
  }
}

const handle = (name: string, addresses: Addresses): Cluster => ({
  name,
  kubeconfig: join(clusterFolder(name), 'kubeconfig'),
  context: `raftsman-${name}`,
  addresses,
  stop: () => stopCluster(name),
});

/** The cluster of this name if it lives. */
export function findCluster(name: string): Cluster | undefined {
  const record = readRecord(name);
  return record?.slot !== undefined && isAlive(record.sandbox) ? handle(name, addressesOf(record.slot)) : undefined;
}

/** Ends a cluster, in whatever state it is, and removes everything of it. Nothing to do is no error. */
export async function stopCluster(name: string): Promise<void> {
  checkName(name);
  await withLock(lockOf(name), () => remove(name));
}

async function remove(name: string): Promise<void> {
  const folder = clusterFolder(name);
  if (!existsSync(folder)) return;
  const record = readRecord(name);
  if (record && isAlive(record.sandbox)) {
    await stopSandbox(record.sandbox, record.slot === undefined ? undefined : addressesOf(record.slot));
  }
  await removeCgroups(name);
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  try {
    rmdirSync(stateRoot());
  } catch {
    // Other clusters live there.
  }
}

/** Removes what dead clusters left, except those that another process is busy with. */
async function sweep(except: string, progress: Progress): Promise<void> {
  for (const name of clusterNames()) {
    const record = readRecord(name);
    if (name === except || (record && isAlive(record.sandbox))) continue;
    const done = await ifUnlocked(lockOf(name), async () => {
      const now = readRecord(name);
      if (!now || !isAlive(now.sandbox)) await remove(name);
    });
    if (done !== HELD) progress.note(`removed what the dead cluster ${name} had left`);
  }
}

function checkName(name: string): void {
  if (!isClusterName(name)) {
    throw new Failure('BAD_ARGUMENT', `cluster name "${name}": 1 to 40 lower-case letters, digits and inner dashes`);
  }
}
