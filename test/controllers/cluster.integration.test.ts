/** RaftClusters against a real API server and controller-manager, with real members on a stand-in node. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { FORMED, TOKEN } from '../../src/controllers/labels.ts';
import { configMaps, persistentVolumeClaims, services, statefulSets } from '../../src/kube/kinds.ts';
import type { ResourceType } from '../../src/kube/objects.ts';
import { clientOf, put, valueAt } from './data.ts';
import { type Ground, kinds, type Plane, plane, small, waitFor } from './plane.ts';

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-cluster');
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

describe('a RaftCluster', () => {
  test('from apply to a cluster that serves, formed, with a truthful status, and then silence', () =>
    on('start', async (ground) => {
      const { client, namespace } = ground;
      await ground.create(kinds.cluster, 'c', small);
      const cluster = await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      expect(cluster.status).toMatchObject({ formed: true, membersReady: '3/3', replicas: 3 });

      const etcd = clientOf(ground, 'c');
      await put(etcd, 'a', '1');
      expect(await valueAt(etcd, 'a')).toBe('1');
      etcd.close();

      const led = await ground.until(kinds.cluster, 'c', (one) => one?.status?.leader !== undefined);
      expect(led?.status?.members).toHaveLength(3);
      expect(led?.status?.members?.filter(({ role }) => role === 'Leader')).toHaveLength(1);
      const config = await client.get(configMaps, { namespace, name: 'c-config' });
      expect(config.data).toMatchObject({ 'initial-cluster-state': 'existing', joining: '', formed: 'true' });
      const disk = await client.get(persistentVolumeClaims, { namespace, name: 'data-c-0' });
      expect(disk.metadata.annotations?.[FORMED]).toBe(disk.metadata.annotations?.[TOKEN]);
      for (const [type, name] of [
        [services, 'c-peers'],
        [services, 'c-client'],
        [statefulSets, 'c'],
      ] as const) {
        const object = await client.get(type as ResourceType, { namespace, name });
        expect(object.metadata.ownerReferences).toMatchObject([{ kind: 'RaftCluster', name: 'c', controller: true }]);
      }
      await waitFor(async () => {
        const told = await ground.events('c');
        return ['Created', 'Formed', 'MembersReady'].every((reason) => told.includes(reason));
      });

      // The members are asked every five seconds; the API server is not asked at all.
      await waitFor(async () => (await ground.get(kinds.cluster, 'c'))?.status?.revision !== undefined);
      await new Promise((done) => setTimeout(done, 1_000));
      const before = ground.operatorClient.requests;
      const { resourceVersion } = (await ground.get(kinds.cluster, 'c'))!.metadata;
      await new Promise((done) => setTimeout(done, 6_000));
      expect(ground.operatorClient.requests - before).toBe(0);
      expect((await ground.get(kinds.cluster, 'c'))!.metadata.resourceVersion).toBe(resourceVersion);
    }));

  test('a leader that hangs and is killed: another leads, the status says so, and the member comes back', () =>
    on('leader', async (ground) => {
      await ground.create(kinds.cluster, 'c', small);
      const led = await ground.until(
        kinds.cluster,
        'c',
        (one) => one?.status?.leader !== undefined && one.status.formed === true,
      );
      const { leader, term } = led!.status!;
      // Killed at once it would be back before the others stand for election, and might lead again.
      ground.node.kill(leader!, 'SIGSTOP');
      const after = await ground.until(
        kinds.cluster,
        'c',
        (one) => one?.status?.leader !== undefined && one.status.leader !== leader,
      );
      expect(after!.status!.term).toBeGreaterThan(term!);
      ground.node.kill(leader!);
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      await waitFor(async () => (await ground.events('c')).includes('LeaderChanged'));
    }));

  test(
    'deleted, it keeps its disks; created again, it has its data and its identity back',
    () =>
      on('again', async (ground) => {
        const { client, namespace } = ground;
        await ground.create(kinds.cluster, 'c', small);
        const first = await ground.until(
          kinds.cluster,
          'c',
          (one) => one?.status?.formed === true && !!one.status.clusterId,
        );
        const etcd = clientOf(ground, 'c');
        await put(etcd, 'a', 'kept');
        etcd.close();
        await client.delete(kinds.cluster, { namespace, name: 'c' });
        // At once: what is left of the first is still being removed.
        await ground.create(kinds.cluster, 'c', small);
        const again = await ground.until(
          kinds.cluster,
          'c',
          (one) =>
            one?.status?.membersReady === '3/3' &&
            one.status.clusterId !== undefined &&
            one.metadata.uid !== first?.metadata.uid,
          90_000,
        );
        expect(again?.status?.clusterId).toBe(first?.status?.clusterId);
        const reader = clientOf(ground, 'c');
        await waitFor(async () => (await valueAt(reader, 'a')) === 'kept');
        reader.close();
      }),
    120_000,
  );

  test('what belongs to somebody else is never touched; once it is gone the cluster starts', () =>
    on('taken', async (ground) => {
      const { client, namespace } = ground;
      const labels = { app: 'other' };
      const theirs = [
        [services, 'c-client', { ports: [{ port: 1 }] }],
        [
          statefulSets,
          'c',
          {
            replicas: 0,
            serviceName: 'other',
            selector: { matchLabels: labels },
            template: { metadata: { labels }, spec: { containers: [{ name: 'other', image: 'other' }] } },
          },
        ],
        [
          persistentVolumeClaims,
          'data-c-0',
          { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
        ],
      ] as const;
      for (const [type, name, spec] of theirs) {
        const { group, version: of, kind } = type as ResourceType;
        const apiVersion = group === '' ? of : `${group}/${of}`;
        await client.create(type as ResourceType, { apiVersion, kind, metadata: { name, namespace }, spec } as never);
      }
      await ground.create(kinds.cluster, 'c', { ...small, replicas: 1 });
      for (const [each, name] of theirs) {
        const type = each as ResourceType;
        const ref = { namespace, name };
        const words = `${type.kind} ${name} is in the way`;
        await ground.until(kinds.cluster, 'c', (one) => JSON.stringify(one?.status?.conditions ?? []).includes(words));
        const { managedFields } = (await client.get(type, ref)).metadata;
        expect(managedFields?.filter(({ operation }) => operation === 'Apply')).toEqual([]);
        await client.delete(type, ref);
      }
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
    }));

  test('what somebody changed or deleted of ours is put right', () =>
    on('drift', async (ground) => {
      const { client, namespace } = ground;
      await ground.create(kinds.cluster, 'c', { ...small, replicas: 1 });
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      await client.patch(configMaps, { namespace, name: 'c-config' }, { data: { 'initial-cluster-state': 'new' } });
      await client.delete(services, { namespace, name: 'c-client' });
      const theirs = { replicas: 2, template: { spec: { terminationGracePeriodSeconds: 5 } } };
      await client.patch(statefulSets, { namespace, name: 'c' }, { spec: theirs });
      await waitFor(async () => {
        const { spec } = await client.get(statefulSets, { namespace, name: 'c' });
        const pod = (spec['template'] as { spec: { terminationGracePeriodSeconds?: number } }).spec;
        return spec.replicas === 1 && pod.terminationGracePeriodSeconds === 20;
      });
      await waitFor(async () => {
        const config = await client.get(configMaps, { namespace, name: 'c-config' });
        const service = await client.find(services, { namespace, name: 'c-client' });
        return config.data?.['initial-cluster-state'] === 'existing' && service !== undefined;
      });
    }));
});
