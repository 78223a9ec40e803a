/** Updates against a real API server and controller-manager, with real members on a stand-in node and clients that write. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { isTrue } from '../../src/api/conditions.ts';
import { podReady } from '../../src/controllers/cluster/members.ts';
import { BEFORE_VERSION } from '../../src/controllers/labels.ts';
import { pods, statefulSets } from '../../src/kube/kinds.ts';
import { Clients } from '../clients/clients.ts';
import { type Ground, kinds, type Plane, plane, small, volumeStore, waitFor } from './plane.ts';

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-update');
}, 600_000);
afterAll(async () => {
  await server?.stop();
}, 60_000);

const names = ['c-0', 'c-1', 'c-2'];

/** On a machine that is short of processor time nobody else shall stand for election, or the order is another one. */
const patient = { embedded: { heartbeatMilliseconds: 500, electionMilliseconds: 10_000 } };

/** A cluster of three, and clients that write to it throughout. At the end all of it must be there, on every member. */
async function underLoad(name: string, work: (ground: Ground, clients: Clients) => Promise<void>): Promise<void> {
  const ground = await server.ground(name);
  try {
    await ground.create(kinds.cluster, 'c', { ...small, engine: patient });
    await calm(ground);
    const endpoints = () => names.map((each) => ground.node.endpoint(each));
    const clients = new Clients({ endpoints, seed: name, writers: 2, paceMs: 20, attemptMs: 5_000 });
    try {
      await clients.more(20, 120_000);
      await work(ground, clients);
      await clients.more(20, 120_000);
    } finally {
      await clients.stop();
    }
    const compared = await Promise.all(names.map((each) => clients.compare(ground.node.endpoint(each))));
    expect(compared.flatMap(({ wrong }) => wrong)).toEqual([]);
    expect(new Set(compared.map(({ digest }) => digest)).size).toBe(1);
  } finally {
    await ground.stop();
  }
}

async function calm(ground: Ground): Promise<void> {
  await ground.until(
    kinds.cluster,
    'c',
    (one) =>
      one?.status?.observedGeneration === one?.metadata.generation &&
      isTrue(one?.status?.conditions, 'Ready') &&
      one?.status?.operation === undefined &&
      one?.status?.leader !== undefined &&
      one.status.conditions?.find(({ type }) => type === 'Progressing')?.reason === 'UpToDate',
    180_000,
  );
}

const change = ({ client, namespace }: Ground, spec: object) =>
  client.patch(kinds.cluster, { namespace, name: 'c' }, { spec });

async function uids({ client, namespace }: Ground): Promise<Map<string, string>> {
  const { items } = await client.listAll(pods, { namespace });
  return new Map(
    items.filter(({ metadata }) => names.includes(metadata.name)).map(({ metadata }) => [metadata.name, metadata.uid]),
  );
}

/** Waits until all members have been replaced; tells in which order, and how few were ready at the least. */
async function replaced(ground: Ground): Promise<{ order: string[]; fewest: number }> {
  const before = await uids(ground);
  const order: string[] = [];
  let fewest = names.length;
  await waitFor(async () => {
    const { items } = await ground.client.listAll(pods, { namespace: ground.namespace });
    const members = items.filter(({ metadata }) => names.includes(metadata.name));
    fewest = Math.min(fewest, members.filter(podReady).length);
    for (const { metadata } of members)
      if (before.get(metadata.name) !== metadata.uid && !order.includes(metadata.name)) order.push(metadata.name);
    return order.length === names.length;
  }, 180_000);
  return { order, fewest };
}

describe('an update', () => {
  test(
    'replaces one member at a time, the leader last and after it has handed over; no acknowledged write is lost',
    () =>
      underLoad('order', async (ground) => {
        const leader = (await ground.get(kinds.cluster, 'c'))!.status!.leader!;
        await change(ground, { podTemplate: { metadata: { annotations: { change: 'one' } } } });
        const { order, fewest } = await replaced(ground);
        const followers = names.filter((name) => name !== leader).toReversed();
        expect(order).toEqual([...followers, leader]);
        expect(fewest).toBe(2);
        await calm(ground);
        await waitFor(async () => (await ground.events('c')).includes('MovingLeader'));
      }),
    300_000,
  );

  test(
    'that is taken back midway converges to what spec says last',
    () =>
      underLoad('back', async (ground) => {
        const before = await uids(ground);
        await change(ground, { podTemplate: { metadata: { annotations: { change: 'one' } } } });
        await waitFor(async () => [...(await uids(ground))].some(([name, uid]) => before.get(name) !== uid));
        await change(ground, { podTemplate: null });
        await calm(ground);
        const after = await uids(ground);
        expect([...after].filter(([name, uid]) => before.get(name) === uid).length).toBeGreaterThanOrEqual(1);
        const { items } = await ground.client.listAll(pods, { namespace: ground.namespace });
        expect(items.filter(({ metadata }) => metadata.annotations?.['change'] !== undefined)).toEqual([]);
      }),
    300_000,
  );

  test(
    'to an image that does not exist stops after one member, says which and why, and is rolled back by editing the manifest back',
    () =>
      underLoad('image', async (ground, clients) => {
        ground.node.badImages.add('raftsman:bad');
        const before = await uids(ground);
        await change(ground, { engine: { image: 'raftsman:bad' } });
        const cluster = await ground.condition(
          kinds.cluster,
          'c',
          'Progressing',
          { reason: 'MemberNotReady' },
          180_000,
        );
        expect(JSON.stringify(cluster.status?.conditions)).toMatch(/c-\d was replaced.*raftsman:bad: not found/);
        await clients.more(100, 120_000);
        const stuck = await uids(ground);
        expect([...stuck].filter(([name, uid]) => before.get(name) === uid)).toHaveLength(2);
        await change(ground, { engine: { image: null } });
        await calm(ground);
        expect([...(await uids(ground))].filter(([name, uid]) => before.get(name) === uid)).toHaveLength(2);
      }),
    300_000,
  );

  test(
    'of the version waits for a snapshot, which is complete before the first member goes',
    () =>
      underLoad('snapshot', async (ground) => {
        const { client, namespace } = ground;
        await volumeStore(ground);
        await ground.create(kinds.policy, 'p', { clusterName: 'c', storeName: 'archives', schedule: '0 0 1 1 *' });
        const before = await uids(ground);
        await change(ground, { engine: { image: 'raftsman:next' } });
        let early = false;
        let seen = '';
        await waitFor(
          async () => {
            const same = [...(await uids(ground))].every(([name, uid]) => before.get(name) === uid);
            const { spec } = await client.get(statefulSets, { namespace, name: 'c' });
            // Read after the members were: what has happened to them by then, happened before it was complete.
            const { items } = await client.listAll(kinds.snapshot, { namespace });
            const first = items.find(({ metadata }) => metadata.annotations?.[BEFORE_VERSION] === 'raftsman:next');
            const complete = isTrue(first?.status?.conditions, 'Complete');
            early ||= !complete && (!same || JSON.stringify(spec['template']).includes('raftsman:next'));
            seen = JSON.stringify(first?.status);
            return complete;
          },
          180_000,
          () => `the snapshot is ${seen}`,
        );
        expect(early).toBe(false);
        await calm(ground);
        expect([...(await uids(ground))].filter(([name, uid]) => before.get(name) === uid)).toEqual([]);
      }),
    300_000,
  );
});

test('a version that is no version starts nothing and says so; once it is right the cluster starts', async () => {
  const ground = await server.ground('version');
  try {
    const { client, namespace } = ground;
    await ground.create(kinds.cluster, 'c', { ...small, replicas: 1, engine: { version: 'newest' } });
    const cluster = await ground.condition(kinds.cluster, 'c', 'Progressing', { reason: 'EngineInvalid' });
    expect(JSON.stringify(cluster.status?.conditions)).toContain('newest');
    expect(await client.find(statefulSets, { namespace, name: 'c' })).toBeUndefined();
    await change(ground, { engine: { version: null } });
    await calm(ground);
  } finally {
    await ground.stop();
  }
});
