import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { addressesOf } from './addresses.ts';
import { Api } from './api.ts';
import { type Cluster, startControlPlane, stopCluster } from './cluster.ts';
import { readAccess } from './credentials.ts';
import { tool } from './go-build.ts';
import { clusterFolder } from './places.ts';
import { readRecord } from './record.ts';
import { isAlive } from './sandbox.ts';

// The first run on a machine builds Kubernetes.
const BUILD_MS = 20 * 60_000;
const names = [`plane-a-${process.pid}`, `plane-b-${process.pid}`] as const;

const kubectl = async (cluster: Cluster, ...args: string[]): Promise<string> =>
  execFileSync(await tool('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { encoding: 'utf8' });

const links = (): string[] => readdirSync('/sys/class/net').filter((name) => name.startsWith('rkube'));

describe('two control planes side by side', () => {
  let planes: Cluster[] = [];

  beforeAll(async () => {
    planes = await Promise.all(names.map((name) => startControlPlane(name)));
  }, BUILD_MS);

  afterAll(async () => {
    await Promise.all(names.map((name) => stopCluster(name)));
  });

  test('both serve, with addresses and data of their own', async () => {
    const [a, b] = planes as [Cluster, Cluster];
    expect(a.addresses.node).not.toBe(b.addresses.node);
    await kubectl(a, 'create', 'namespace', 'only-in-a');
    expect(await kubectl(a, 'get', 'namespaces', '-o', 'name')).toContain('namespace/only-in-a');
    expect(await kubectl(b, 'get', 'namespaces', '-o', 'name')).not.toContain('only-in-a');
  });

  test('the controllers work: a namespace gets its service account, and deleting it ends', async () => {
    const [a] = planes as [Cluster, Cluster];
    await kubectl(a, 'create', 'namespace', 'short');
    await kubectl(a, 'wait', '--for=create', 'serviceaccount/default', '--namespace=short', '--timeout=20s');
    await kubectl(a, 'delete', 'namespace', 'short', '--timeout=40s');
  });

  test('a client without a certificate is refused', async () => {
    const [a] = planes as [Cluster, Cluster];
    const access = readAccess(clusterFolder(a.name), a.addresses);
    const other = readAccess(clusterFolder(planes[1]!.name), planes[1]!.addresses);
    const api = new Api({ ...access, certificate: other.certificate, key: other.key });
    expect((await api.request('GET', '/api/v1/secrets')).status).toBe(401);
    api.close();
  });
});

test(
  'a cluster that died is no hindrance to the next of its name, and stopping leaves nothing',
  async () => {
    const name = `plane-dead-${process.pid}`;
    const first = await startControlPlane(name);
    const record = readRecord(name)!;
    const { link } = addressesOf(record.slot!);
    process.kill(record.sandbox.pid, 'SIGKILL');
    const second = await startControlPlane(name);
    try {
      expect(isAlive(record.sandbox)).toBe(false);
      expect(await kubectl(second, 'get', 'namespaces', '-o', 'name')).toContain('namespace/default');
    } finally {
      await second.stop();
    }
    expect(existsSync(first.kubeconfig)).toBe(false);
    expect(existsSync(clusterFolder(name))).toBe(false);
    expect(links()).not.toContain(link);
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(clusterFolder(name));
    await second.stop();
  },
  BUILD_MS,
);
