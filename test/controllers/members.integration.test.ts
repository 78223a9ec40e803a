/** Members that come, go and are lost, against a real API server with real members on a stand-in node. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { RaftCluster } from '../../src/api/cluster.ts';
import { findCondition } from '../../src/api/conditions.ts';
import { MEMBER } from '../../src/controllers/labels.ts';
import type { EtcdClient } from '../../src/etcd/client.ts';
import { persistentVolumeClaims, statefulSets } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import { clientOf, put, valueAt } from './data.ts';
import { type Ground, kinds, type Plane, plane, small, waitFor } from './plane.ts';

/** Two members start one after the other: processes that read TypeScript, on a machine that may have more to do. */
const PATIENCE_MS = 120_000;

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-members');
}, 600_000);
afterAll(async () => {
  await server?.stop();
}, 60_000);

async function on(name: string, work: (ground: Ground, etcd: EtcdClient) => Promise<void>): Promise<void> {
  const ground = await server.ground(name);
  const etcd = clientOf(ground, 'c', 5);
  try {
    await work(ground, etcd);
  } finally {
    etcd.close();
    await ground.stop();
  }
}

const ready = (replicas: number) => (one: Live<RaftCluster> | undefined) =>
  one?.status?.membersReady === `${replicas}/${replicas}` &&
  one.status.size === replicas &&
  one.status.operation === undefined &&
  findCondition(one.status.conditions, 'Ready')?.status === 'True';

async function scale({ client, namespace, until }: Ground, replicas: number) {
  await client.patch(kinds.cluster, { namespace, name: 'c' }, { spec: { replicas } });
  return (await until(kinds.cluster, 'c', ready(replicas), PATIENCE_MS))!;
}

async function start(ground: Ground, spec: object = {}) {
  await ground.create(kinds.cluster, 'c', { ...small, ...spec });
  const { replicas = 3 } = spec as { replicas?: number };
  return (await ground.until(kinds.cluster, 'c', ready(replicas), PATIENCE_MS))!;
}

const disk = ({ client, namespace }: Ground, ordinal: number) =>
  client.find(persistentVolumeClaims, { namespace, name: `data-c-${ordinal}` });

/** Members that are not there yet may be asked first. */
const written = (etcd: EtcdClient, key: string, value: string) =>
  waitFor(async () => {
    await put(etcd, key, value);
    return true;
  });

const votersOf = async (etcd: EtcdClient) => {
  const { members } = await etcd.memberList();
  return members
    .filter(({ isLearner }) => !isLearner)
    .map(({ name }) => name)
    .sort();
};

describe('a cluster that is scaled', () => {
  test(
    '1, 3, 5, 3, 1: one after the other, with its data and its identity, and each disk says whose data it holds',
    () =>
      on('scale', async (ground, etcd) => {
        const { client, namespace } = ground;
        const first = await start(ground, { replicas: 1 });
        for (const replicas of [3, 5, 3, 1]) {
          await written(etcd, `at ${replicas}`, 'here');
          const { status } = await scale(ground, replicas);
          expect(status?.clusterId).toBe(first.status?.clusterId);
          expect(status?.members?.map(({ state }) => state)).toEqual(Array(replicas).fill('Serving'));
          expect(await votersOf(etcd)).toEqual(Array.from({ length: replicas }, (_, ordinal) => `c-${ordinal}`));
          await waitFor(
            async () => (await client.get(statefulSets, { namespace, name: 'c' })).spec.replicas === replicas,
          );
          for (const { name, id } of status?.members ?? []) {
            const claim = await client.get(persistentVolumeClaims, { namespace, name: `data-${name}` });
            expect(claim.metadata.annotations?.[MEMBER]).toBe(`${status?.clusterId}/${id}`);
          }
        }
        for (const replicas of [3, 5]) expect(await valueAt(etcd, `at ${replicas}`)).toBe('here');
        const told = await ground.events('c');
        expect(told).toEqual(expect.arrayContaining(['AddingMember', 'RemovingMember']));
      }),
    300_000,
  );

  test(
    'a disk that was kept is made anew for the new member, one to be deleted is gone; changed back and forth it settles',
    () =>
      on('again', async (ground, etcd) => {
        const { client, namespace } = ground;
        await start(ground);
        await written(etcd, 'a', '1');
        await scale(ground, 5);
        const before = await disk(ground, 4);
        await scale(ground, 3);
        expect((await disk(ground, 4))?.metadata.uid).toBe(before?.metadata.uid);
        await scale(ground, 5);
        expect((await disk(ground, 4))?.metadata.uid).not.toBe(before?.metadata.uid);
        const retention = { whenScaled: 'Delete' };
        await client.patch(kinds.cluster, { namespace, name: 'c' }, { spec: { storage: { retention } } });
        await scale(ground, 3);
        await waitFor(async () => (await disk(ground, 4)) === undefined && (await disk(ground, 3)) === undefined);
        const wish = (replicas: number) =>
          client.patch(kinds.cluster, { namespace, name: 'c' }, { spec: { replicas } });
        await wish(5);
        await ground.until(kinds.cluster, 'c', (one) => one?.status?.operation?.type === 'ScaleUp');
        await scale(ground, 3);
        await scale(ground, 5);
        expect(await valueAt(etcd, 'a')).toBe('1');
      }),
    300_000,
  );
});

describe('a member that is lost', () => {
  test(
    'its data erased, it is removed and joins again as a new member on a new disk; a single one never is',
    () =>
      on('lost', async (ground, etcd) => {
        const { status } = await start(ground);
        await written(etcd, 'a', '1');
        const id = (of: Live<RaftCluster> | undefined) => of?.status?.members?.find(({ name }) => name === 'c-1')?.id;
        const old = status?.members?.find(({ name }) => name === 'c-1')?.id;
        rmSync(join(ground.node.disk('data-c-1'), 'member'), { recursive: true });
        ground.node.kill('c-1');
        await ground.until(kinds.cluster, 'c', (one) => one?.status?.operation?.type === 'ReplaceMember', PATIENCE_MS);
        const after = await ground.until(kinds.cluster, 'c', (one) => ready(3)(one) && id(one) !== old, PATIENCE_MS);
        expect(after?.status?.clusterId).toBe(status?.clusterId);
        expect(await ground.events('c')).toEqual(expect.arrayContaining(['RemovingMember', 'AddingMember']));
        expect(await valueAt(etcd, 'a')).toBe('1');

        await scale(ground, 1);
        rmSync(join(ground.node.disk('data-c-0'), 'member'), { recursive: true });
        ground.node.kill('c-0');
        const dead = await ground.condition(kinds.cluster, 'c', 'Progressing', { reason: 'DataLost' }, PATIENCE_MS);
        expect(dead.status?.members).toMatchObject([{ name: 'c-0', state: 'Lost' }]);
        expect(findCondition(dead.status?.conditions, 'Progressing')?.message).toContain('restore a snapshot');
      }),
    300_000,
  );

  test(
    'a process that is stopped shows as hung within ten seconds, and serves again when it goes on',
    () =>
      on('hung', async (ground) => {
        const { status } = await start(ground);
        const member = status?.members?.find(({ role }) => role === 'Follower')?.name ?? '';
        const state = (one: Live<RaftCluster> | undefined) =>
          one?.status?.members?.find(({ name }) => name === member)?.state;
        ground.node.kill(member, 'SIGSTOP');
        await ground.until(kinds.cluster, 'c', (one) => state(one) === 'Hung', 10_000);
        ground.node.kill(member, 'SIGCONT');
        await ground.until(kinds.cluster, 'c', ready(3), PATIENCE_MS);
      }),
    300_000,
  );
});
