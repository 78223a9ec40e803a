/** Protection, hibernation and disks that grow, against a real API server and controller-manager. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { findCondition } from '../../src/api/conditions.ts';
import {
  configMaps,
  networkPolicies,
  type PersistentVolumeClaim,
  persistentVolumeClaims,
  podDisruptionBudgets,
  pods,
  statefulSets,
  storageClasses,
} from '../../src/kube/kinds.ts';
import type { Live, Manifest } from '../../src/kube/objects.ts';
import { clientOf, put, valueAt } from './data.ts';
import { type Ground, kinds, type Plane, plane, small, waitFor } from './plane.ts';

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-placement');
}, 600_000);
afterAll(async () => {
  await server?.stop();
}, 60_000);

async function on(name: string, work: (ground: Ground) => Promise<void>): Promise<void> {
  const ground = await server.ground(name);
  try {
    await work(ground);
  } finally {
    await ground.stop();
  }
}

const change = ({ client, namespace }: Ground, spec: object) =>
  client.patch(kinds.cluster, { namespace, name: 'c' }, { spec });

async function write(ground: Ground, key: string, value: string): Promise<void> {
  const etcd = clientOf(ground, 'c');
  await put(etcd, key, value);
  etcd.close();
}

async function reads(ground: Ground, key: string): Promise<string | undefined> {
  const etcd = clientOf(ground, 'c');
  try {
    return await valueAt(etcd, key);
  } finally {
    etcd.close();
  }
}

async function memberPods({ client, namespace }: Ground): Promise<Map<string, string>> {
  const { items } = await client.listAll(pods, { namespace });
  return new Map(items.map(({ metadata }) => [metadata.name, metadata.uid]));
}

describe('protection', () => {
  test('a budget and a NetworkPolicy that the API server takes; edits of either are reverted, and one may be had without', () =>
    on('protect', async (ground) => {
      const { client, namespace } = ground;
      const ref = { namespace, name: 'c' };
      const clients = [{ namespaceSelector: { matchLabels: { team: 'a' } } }, { ipBlock: { cidr: '10.0.0.0/8' } }];
      await ground.create(kinds.cluster, 'c', { ...small, replicas: 1, networkPolicy: { clients } });
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      const policy = async () => (await client.find(networkPolicies, ref))?.['spec'] as { ingress?: unknown[] };
      const budget = async () => (await client.get(podDisruptionBudgets, ref))['spec'] as { maxUnavailable?: number };
      const meant = await policy();
      expect(meant.ingress).toHaveLength(3);
      expect(JSON.stringify(meant)).toContain('10.0.0.0/8');
      expect(await budget()).toMatchObject({ maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' });

      await client.patch(networkPolicies, ref, { spec: { ingress: [{}] } });
      await client.patch(podDisruptionBudgets, ref, { spec: { maxUnavailable: 7 } });
      await waitFor(
        async () => (await budget()).maxUnavailable === 1 && (await policy()).ingress?.length === 3,
        20_000,
        () => 'the edits stay',
      );
      expect(await policy()).toEqual(meant);

      await change(ground, { networkPolicy: { enabled: false } });
      await waitFor(async () => (await client.find(networkPolicies, ref)) === undefined);
      // Somebody else's policy of that name is none of ours then.
      const theirs = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: ref } as Manifest;
      await client.create(networkPolicies, { ...theirs, spec: { podSelector: {} } } as Manifest);
      await change(ground, { log: { trailingLogs: 9 } });
      await ground.condition(kinds.cluster, 'c', 'Progressing', { reason: 'UpToDate' });
      expect((await policy()).ingress).toBeUndefined();
    }));
});

describe('hibernation', () => {
  test(
    'no pods, every disk, said in the conditions; awake again with the same data and identity, and only then of another size',
    () =>
      on('sleep', async (ground) => {
        const { client, namespace } = ground;
        const retention = { whenScaled: 'Delete' };
        await ground.create(kinds.cluster, 'c', { ...small, storage: { ...small.storage, retention } });
        const awake = await ground.until(
          kinds.cluster,
          'c',
          (one) =>
            one?.status?.formed === true && one.status.clusterId !== undefined && one.status.leader !== undefined,
        );
        await write(ground, 'a', 'kept');
        const config = await client.get(configMaps, { namespace, name: 'c-config' });

        await change(ground, { replicas: 0 });
        const asleep = await ground.condition(kinds.cluster, 'c', 'Available', { reason: 'Hibernated' });
        await waitFor(async () => (await memberPods(ground)).size === 0);
        for (const type of ['Available', 'Ready', 'Degraded'])
          expect(findCondition(asleep.status?.conditions, type)).toMatchObject({
            status: 'False',
            reason: 'Hibernated',
          });
        expect(asleep.status).toMatchObject({ size: 3, clusterId: awake?.status?.clusterId, formed: true });
        const disks = async () => {
          const { items } = await client.listAll(persistentVolumeClaims, { namespace });
          return items.map(({ metadata: { name, uid } }) => `${name} ${uid}`);
        };
        const kept = await disks();
        expect(kept).toHaveLength(3);
        expect((await client.get(configMaps, { namespace, name: 'c-config' })).data).toEqual(config.data);

        // It wakes with the three that it had, whatever is asked for; then it shrinks.
        await change(ground, { replicas: 1 });
        await waitFor(async () => (await memberPods(ground)).size === 3);
        await ground.until(
          kinds.cluster,
          'c',
          (one) => one?.status?.membersReady === '1/1' && one.status.size === 1,
          90_000,
        );
        const again = await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
        expect(again.status?.clusterId).toBe(awake?.status?.clusterId);
        expect(await reads(ground, 'a')).toBe('kept');
        // What spec.storage.retention says of scaling is about members that were removed: and now two were.
        await waitFor(async () => (await disks()).length === 1);
        expect(kept).toEqual(expect.arrayContaining(await disks()));
      }),
    180_000,
  );
});

describe('disks that grow', () => {
  const sizes = (items: readonly Live<PersistentVolumeClaim>[]) =>
    items.map(({ spec }) => spec.resources?.requests?.['storage']).sort();

  /** What a storage driver does once a larger volume is asked for. */
  async function expand({ client, namespace }: Ground, name: string): Promise<void> {
    const { spec } = await client.get(persistentVolumeClaims, { namespace, name });
    const status = { phase: 'Bound', capacity: { storage: spec.resources!.requests!['storage'] } };
    await client.patch(persistentVolumeClaims, { namespace, name }, { status }, { subresource: 'status' });
  }

  async function withClass(ground: Ground, name: string, allowVolumeExpansion: boolean): Promise<void> {
    const { client, namespace } = ground;
    const provisioner = 'example.org/nobody';
    const type = { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name }, provisioner };
    await client.create(storageClasses, { ...type, allowVolumeExpansion } as Manifest);
    await ground.create(kinds.cluster, 'c', { ...small, storage: { size: '64Mi', storageClassName: name } });
    await waitFor(async () => (await client.listAll(persistentVolumeClaims, { namespace })).items.length === 3);
    // Only what is bound may grow.
    for (const each of ['data-c-0', 'data-c-1', 'data-c-2']) await expand(ground, each);
    await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
  }

  test(
    'one after another while the members go on, and later members get the new size',
    () =>
      on('grow', async (ground) => {
        const { client, namespace } = ground;
        await withClass(ground, 'grows', true);
        await write(ground, 'a', 'before');
        const before = await memberPods(ground);
        const old = await client.get(statefulSets, { namespace, name: 'c' });
        const disks = async () => (await client.listAll(persistentVolumeClaims, { namespace })).items;

        await change(ground, { storage: { size: '128Mi' } });
        for (const [at, name] of ['data-c-0', 'data-c-1', 'data-c-2'].entries()) {
          await waitFor(async () => sizes(await disks()).filter((size) => size === '128Mi').length === at + 1);
          const cluster = await ground.condition(kinds.cluster, 'c', 'Progressing', { reason: 'GrowDisk' });
          expect(findCondition(cluster.status?.conditions, 'Progressing')?.message).toContain(name);
          await expand(ground, name);
        }
        await waitFor(async () => {
          const now = await client.find(statefulSets, { namespace, name: 'c' });
          return now !== undefined && now.metadata.uid !== old.metadata.uid;
        });
        const renewed = await client.get(statefulSets, { namespace, name: 'c' });
        expect(JSON.stringify(renewed.spec['volumeClaimTemplates'])).toContain('"storage":"128Mi"');
        await ground.condition(kinds.cluster, 'c', 'Progressing', { reason: 'UpToDate' });
        await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
        // The pods are the same, and belong to the new StatefulSet.
        expect(await memberPods(ground)).toEqual(before);
        await waitFor(async () => {
          const { items } = await client.listAll(pods, { namespace });
          return items.every(({ metadata }) => metadata.ownerReferences?.[0]?.uid === renewed.metadata.uid);
        });
        expect(await reads(ground, 'a')).toBe('before');
        expect((await disks()).map(({ metadata }) => metadata.deletionTimestamp)).toEqual([
          undefined,
          undefined,
          undefined,
        ]);

        await change(ground, { replicas: 4 });
        await waitFor(async () => (await disks()).length === 4);
        expect(new Set(sizes(await disks()))).toEqual(new Set(['128Mi']));
      }),
    180_000,
  );

  test(
    'not at all where the class forbids it: nothing is tried, it is said, and nothing else stops',
    () =>
      on('fixed', async (ground) => {
        const { client, namespace } = ground;
        await withClass(ground, 'fixed', false);
        const old = await client.get(statefulSets, { namespace, name: 'c' });
        await change(ground, { storage: { size: '128Mi' } });
        const cluster = await ground.condition(kinds.cluster, 'c', 'Progressing', { reason: 'DiskCannotGrow' });
        expect(findCondition(cluster.status?.conditions, 'Progressing')?.message).toContain('StorageClass fixed');
        expect(findCondition(cluster.status?.conditions, 'Ready')?.status).toBe('True');
        const { items } = await client.listAll(persistentVolumeClaims, { namespace });
        expect(new Set(sizes(items))).toEqual(new Set(['64Mi']));
        expect((await client.get(statefulSets, { namespace, name: 'c' })).metadata.uid).toBe(old.metadata.uid);
        await client.patch(storageClasses, { name: 'fixed' }, { allowVolumeExpansion: true });
        await waitFor(
          async () => sizes((await client.listAll(persistentVolumeClaims, { namespace })).items).includes('128Mi'),
          60_000,
        );
      }),
    120_000,
  );
});
