/** Snapshots, policies and restores against a real API server, with real members, Jobs and archives on a stand-in node. */
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ARCHIVE_FINALIZER } from '../../src/controllers/snapshot/plan.ts';
import { jobs, namespaces, persistentVolumeClaims, secrets, statefulSets } from '../../src/kube/kinds.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { clientOf, everythingOf, put } from './data.ts';
import {
  createClaim,
  type Ground,
  type GroundOptions,
  kinds,
  type Plane,
  plane,
  small,
  volumeStore,
  waitFor,
} from './plane.ts';

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-snapshot');
}, 600_000);
afterAll(async () => {
  await server?.stop();
}, 60_000);

async function on(name: string, work: (ground: Ground) => Promise<void>, options?: GroundOptions): Promise<void> {
  const ground = await server.ground(name, options);
  try {
    await work(ground);
  } finally {
    await ground.stop();
  }
}

/** A cluster with some keys, changed and deleted ones among them. */
async function clusterWithData(ground: Ground, name = 'c', replicas = 1): Promise<Record<string, string>> {
  await ground.create(kinds.cluster, name, { ...small, replicas });
  await ground.condition(kinds.cluster, name, 'Ready', { status: 'True' });
  const client = clientOf(ground, name, replicas);
  for (let i = 0; i < 40; i++) await put(client, `key-${i % 25}`, `value ${i}`);
  await client.deleteRange({ key: new TextEncoder().encode('key-7') });
  client.close();
  return everythingOf(ground, `${name}-0`);
}

const complete = { status: 'True', reason: 'Succeeded' } as const;
const take = { clusterName: 'c', storeName: 'archives' } as const;
const restoreTo = (name: string, source: object, replicas = 3) => ({
  source,
  target: { newCluster: { name, spec: { ...small, replicas } } },
});

describe('a snapshot', () => {
  test(
    'lands in the store whole, with its facts in the status, and its Job gets an end only then',
    () =>
      on('take', async (ground) => {
        const folder = await volumeStore(ground);
        await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'n', take);
        const { status } = await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        expect(status).toMatchObject({ engine: 'Embedded', keys: 24, progress: { percent: 100 } });
        expect(status?.revision).toBeGreaterThan(40);
        expect(existsSync(join(folder, status!.key!))).toBe(true);
        const job = await ground.until(jobs, 'n-save', (one) => one?.spec['ttlSecondsAfterFinished'] !== undefined);
        expect(job?.spec['ttlSecondsAfterFinished']).toBe(300);
        const cluster = await ground.until(kinds.cluster, 'c', (one) => one?.status?.lastSnapshot !== undefined);
        expect(cluster?.status?.lastSnapshot).toMatchObject({ name: 'n', revision: status!.revision });
        await waitFor(async () => (await ground.events('n')).includes('SnapshotCompleted'));
      }),
    120_000,
  );

  test(
    'waits for what is missing, says what, and heals by itself when it appears',
    () =>
      on('heal', async (ground) => {
        await ground.create(kinds.snapshot, 'n', take);
        await ground.condition(kinds.snapshot, 'n', 'Complete', { status: 'False', reason: 'ClusterNotFound' });
        await clusterWithData(ground);
        await ground.condition(kinds.snapshot, 'n', 'Complete', { reason: 'StoreNotFound' });
        await ground.create(kinds.store, 'archives', { volume: { claimName: 'archives' } });
        const store = await ground.condition(kinds.store, 'archives', 'Ready', {
          status: 'False',
          reason: 'ClaimNotFound',
        });
        expect(JSON.stringify(store.status)).toContain('PersistentVolumeClaim archives does not exist: create it');
        await ground.condition(kinds.snapshot, 'n', 'Complete', { reason: 'StoreNotReady' });
        await createClaim(ground, 'archives');
        await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        // Events follow what they tell of.
        await waitFor(async () => (await ground.events('n')).includes('SnapshotCompleted'));
        expect(await ground.events('n')).toEqual(
          expect.arrayContaining(['ClusterNotFound', 'StoreNotFound', 'StoreNotReady']),
        );
      }),
    120_000,
  );

  test(
    'one whose store fails is failed for good, and nothing lies under its key',
    () =>
      on('fail', async (ground) => {
        const folder = await volumeStore(ground);
        await clusterWithData(ground);
        writeFileSync(join(folder, ground.namespace), 'a file where the folder of the archives has to be');
        await ground.create(kinds.snapshot, 'n', take);
        const { status } = await ground.condition(kinds.snapshot, 'n', 'Complete', { reason: 'Failed' }, 90_000);
        expect(status?.completionTime).toBeDefined();
        expect(readdirSync(folder)).toEqual([ground.namespace]);
        await waitFor(async () => (await ground.events('n')).includes('SnapshotFailed'));
      }),
    120_000,
  );

  test(
    'the operator may be away while it runs: the result is found after',
    () =>
      on('away', async (ground) => {
        await volumeStore(ground);
        await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'n', take);
        await ground.until(jobs, 'n-save', (one) => one !== undefined);
        await ground.stopOperator();
        await ground.until(
          jobs,
          'n-save',
          (one) => one?.status?.conditions?.some(({ type }) => type === 'Complete') ?? false,
        );
        await ground.startOperator();
        const { status } = await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        expect(status?.keys).toBe(24);
      }),
    120_000,
  );

  test(
    'deletionPolicy Delete takes the archive with it, Retain leaves it',
    () =>
      on('delete', async (ground) => {
        const { client, namespace } = ground;
        const folder = await volumeStore(ground);
        await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'gone', { ...take, deletionPolicy: 'Delete' });
        await ground.create(kinds.snapshot, 'kept', take);
        const gone = await ground.condition(kinds.snapshot, 'gone', 'Complete', complete);
        const kept = await ground.condition(kinds.snapshot, 'kept', 'Complete', complete);
        expect(gone.metadata.finalizers).toEqual([ARCHIVE_FINALIZER]);
        expect(kept.metadata.finalizers ?? []).toEqual([]);
        for (const name of ['gone', 'kept']) await client.delete(kinds.snapshot, { namespace, name });
        await ground.until(kinds.snapshot, 'gone', (one) => one === undefined);
        expect(existsSync(join(folder, gone.status!.key!))).toBe(false);
        expect(existsSync(join(folder, kept.status!.key!))).toBe(true);
      }),
    120_000,
  );

  test(
    'a namespace that is deleted is not held back by archives that can no longer be deleted',
    () =>
      on('namespace', async (ground) => {
        const { client, namespace } = ground;
        const folder = await volumeStore(ground);
        await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'n', { ...take, deletionPolicy: 'Delete' });
        const { status } = await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        await client.delete(namespaces, { name: namespace });
        await ground.until(kinds.snapshot, 'n', (one) => one === undefined);
        expect(existsSync(join(folder, status!.key!))).toBe(true);
      }),
    120_000,
  );
});

describe('a store in S3', () => {
  test(
    'tells a missing Secret from a missing key in it from a server that is away',
    () =>
      on('secret', async (ground) => {
        const { client, namespace } = ground;
        const s3 = { bucket: 'snaps', endpoint: 'http://127.0.0.1:1', credentialsSecret: { name: 'cred' } };
        await ground.create(kinds.store, 's', { s3 });
        await ground.condition(kinds.store, 's', 'Ready', { status: 'False', reason: 'SecretNotFound' });
        const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'cred', namespace } };
        await client.create(secrets, { ...secret, stringData: { AWS_ACCESS_KEY_ID: 'a' } } as never);
        const store = await ground.condition(kinds.store, 's', 'Ready', { reason: 'SecretKeyNotFound' });
        expect(JSON.stringify(store.status)).toContain('Secret cred has no key AWS_SECRET_ACCESS_KEY');
        await client.patch(secrets, { namespace, name: 'cred' }, { stringData: { AWS_SECRET_ACCESS_KEY: 'b' } });
        await ground.condition(kinds.store, 's', 'Ready', { reason: 'Unreachable' });
        await waitFor(async () => (await ground.events('s')).includes('StoreUnavailable'));
      }),
    60_000,
  );
});

describe('two operators at once', () => {
  test(
    'neither of which knows of the other, do everything once',
    () =>
      on('two', async (ground) => {
        const { client, namespace } = ground;
        await ground.startOperator();
        await volumeStore(ground);
        const written = await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'n', take);
        await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        await ground.create(kinds.restore, 'r', restoreTo('d', { snapshotName: 'n' }, 1));
        await ground.condition(kinds.restore, 'r', 'Complete', complete, 90_000);
        expect(await everythingOf(ground, 'd-0')).toEqual(written);
        const { items } = await client.listAll(jobs, { namespace });
        expect(items.map(({ metadata }) => metadata.name).sort()).toEqual(['n-save', 'r-verify']);
      }),
    180_000,
  );
});

describe('a policy', () => {
  /** The wall clock of the operator stands two seconds before a full minute when the test begins. */
  function beforeTheMinute() {
    const offset = (60_000 - (Date.now() % 60_000) - 2_000 + 60_000) % 60_000;
    return { ...systemClock, now: () => Date.now() + offset };
  }

  test(
    'makes a snapshot in its minute, once, and names the next, even when two operators act at once',
    () =>
      on(
        'schedule',
        async (ground) => {
          await ground.startOperator();
          await volumeStore(ground);
          await clusterWithData(ground);
          await ground.create(kinds.policy, 'p', { ...take, schedule: '* * * * *' });
          const policy = await ground.until(
            kinds.policy,
            'p',
            (one) => one?.status?.lastSuccessfulTime !== undefined,
            90_000,
          );
          const { lastScheduleTime, lastSnapshotName } = policy!.status!;
          expect(lastSnapshotName).toBe(`p-${Date.parse(lastScheduleTime!) / 60_000}`);
          const cluster = await ground.until(kinds.cluster, 'c', (one) => one?.status?.nextSnapshotTime !== undefined);
          expect(Date.parse(cluster!.status!.nextSnapshotTime!)).toBeGreaterThan(Date.parse(lastScheduleTime!));
          // Somebody's status write that is lost leads to the same snapshot, not to another.
          await ground.client.patch(
            kinds.policy,
            { namespace: ground.namespace, name: 'p' },
            { status: { lastScheduleTime: null } },
            { subresource: 'status' },
          );
          await ground.until(kinds.policy, 'p', (one) => one?.status?.lastScheduleTime !== undefined);
          const { items } = await ground.client.listAll(kinds.snapshot, { namespace: ground.namespace });
          expect(new Set(items.map(({ metadata }) => metadata.name)).size).toBe(items.length);
          expect(items.filter(({ metadata }) => metadata.name === lastSnapshotName)).toHaveLength(1);
        },
        { clock: beforeTheMinute() },
      ),
    180_000,
  );

  test(
    'a field that cannot be right is named; without a cluster nothing is made',
    () =>
      on(
        'wrong',
        async (ground) => {
          await volumeStore(ground);
          await ground.create(kinds.policy, 'zone', { ...take, schedule: '0 2 * * *', timeZone: 'Europe/Atlantis' });
          const zone = await ground.condition(kinds.policy, 'zone', 'Ready', {
            status: 'False',
            reason: 'InvalidSchedule',
          });
          expect(JSON.stringify(zone.status)).toContain('spec.timeZone');
          await ground.create(kinds.policy, 'alone', { ...take, schedule: '* * * * *' });
          await ground.condition(
            kinds.policy,
            'alone',
            'Ready',
            { status: 'False', reason: 'ClusterNotFound' },
            90_000,
          );
          const { items } = await ground.client.listAll(kinds.snapshot, { namespace: ground.namespace });
          expect(items).toEqual([]);
        },
        { clock: beforeTheMinute() },
      ),
    120_000,
  );

  test(
    'retention deletes its oldest snapshots with their archives, and nobody else’s',
    () =>
      on('retain', async (ground) => {
        const folder = await volumeStore(ground);
        await clusterWithData(ground);
        const mine = { labels: { 'raftsman.dev/policy': 'p' } };
        await ground.create(kinds.snapshot, 'other', take);
        await ground.condition(kinds.snapshot, 'other', 'Complete', complete);
        const keys: string[] = [];
        for (const name of ['p-1', 'p-2', 'p-3']) {
          await ground.create(kinds.snapshot, name, { ...take, deletionPolicy: 'Delete' }, mine);
          keys.push((await ground.condition(kinds.snapshot, name, 'Complete', complete)).status!.key!);
          // Times of completion have whole seconds.
          await new Promise((done) => setTimeout(done, 1_000));
        }
        await ground.create(kinds.policy, 'p', {
          ...take,
          schedule: '0 0 1 1 *',
          suspend: true,
          retention: { last: 1 },
        });
        await ground.until(kinds.snapshot, 'p-1', (one) => one === undefined);
        await ground.until(kinds.snapshot, 'p-2', (one) => one === undefined);
        expect(keys.map((key) => existsSync(join(folder, key)))).toEqual([false, false, true]);
        expect(await ground.get(kinds.snapshot, 'p-3')).toBeDefined();
        expect(await ground.get(kinds.snapshot, 'other')).toBeDefined();
      }),
    180_000,
  );
});

describe('a restore', () => {
  test(
    'brings every key back, on every member, after the cluster and its disks are gone',
    () =>
      on('restore', async (ground) => {
        const { client, namespace } = ground;
        await volumeStore(ground);
        const written = await clusterWithData(ground);
        expect(Object.keys(written)).toHaveLength(24);
        await ground.create(kinds.snapshot, 'n', take);
        const snapshot = await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        await client.delete(kinds.cluster, { namespace, name: 'c' });
        // Its disks are still there: the restore says so and goes on by itself once they are gone.
        await ground.create(kinds.restore, 'r', restoreTo('c', { snapshotName: 'n' }));
        await ground.until(statefulSets, 'c', (one) => one === undefined);
        await ground.condition(kinds.restore, 'r', 'Complete', { reason: 'TargetDisksLeft' });
        await client.patch(persistentVolumeClaims, { namespace, name: 'data-c-0' }, { metadata: { finalizers: null } });
        await client.delete(persistentVolumeClaims, { namespace, name: 'data-c-0' });
        ground.node.eraseDisk('data-c-0');
        const { status } = await ground.condition(kinds.restore, 'r', 'Complete', complete, 90_000);
        const { revision, keys, hash } = snapshot.status!;
        expect(status).toMatchObject({
          restored: { revision, keys, hash },
          clusterName: 'c',
          progress: { percent: 100 },
        });
        for (const member of ['c-0', 'c-1', 'c-2']) expect(await everythingOf(ground, member)).toEqual(written);
        const cluster = await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
        expect(cluster.status?.restoredFrom).toMatchObject({
          storeName: 'archives',
          key: snapshot.status!.key,
          revision,
        });
        expect(cluster.status?.clusterId).not.toBe(snapshot.status!.clusterId);
        await waitFor(async () => (await ground.events('r')).includes('RestoreCompleted'));
        expect(await ground.events('r')).toEqual(expect.arrayContaining(['TargetDisksLeft', 'RestoreVerified']));
        // The record may go: the cluster stays. The archive may go: its members start again without it.
        await client.delete(kinds.restore, { namespace, name: 'r' });
        await client.delete(kinds.store, { namespace, name: 'archives' });
        await client.delete(kinds.snapshot, { namespace, name: 'n' });
        ground.node.eraseDisk('archives');
        await ground.until(statefulSets, 'c', (one) => !JSON.stringify(one?.spec).includes('restore-archive'));
        ground.node.kill('c-1');
        await ground.condition(kinds.cluster, 'c', 'Degraded', { status: 'True' });
        await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
        expect(await everythingOf(ground, 'c-1')).toEqual(written);
      }),
    240_000,
  );

  const damages: [string, (file: string) => void][] = [
    ['truncated', (file) => truncateSync(file, Math.floor(readFileSync(file).length / 2))],
    ['padded', (file) => writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from('more')]))],
    [
      'damaged',
      (file) => {
        const bytes = readFileSync(file);
        bytes[Math.floor(bytes.length / 2)]! ^= 0xff;
        writeFileSync(file, bytes);
      },
    ],
    ['foreign', (file) => writeFileSync(file, 'this is no archive')],
  ];

  test(
    'of an archive that is not whole is rejected, and nothing is created',
    () =>
      on('corrupt', async (ground) => {
        const { client, namespace } = ground;
        const folder = await volumeStore(ground);
        await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'n', take);
        const { status } = await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        for (const [how, damage] of damages) {
          const key = `${how}.snap`;
          writeFileSync(join(folder, key), readFileSync(join(folder, status!.key!)));
          damage(join(folder, key));
          await ground.create(kinds.restore, how, restoreTo(how, { archive: { storeName: 'archives', key } }));
        }
        for (const [how] of damages) {
          const restore = await ground.condition(
            kinds.restore,
            how,
            'Complete',
            { status: 'False', reason: 'Rejected' },
            90_000,
          );
          expect(JSON.stringify(restore.status?.conditions)).toContain('Nothing was created');
          expect(await client.find(kinds.cluster, { namespace, name: how })).toBeUndefined();
        }
        const { items } = await client.listAll(kinds.cluster, { namespace });
        expect(items.map(({ metadata }) => metadata.name)).toEqual(['c']);
      }),
    240_000,
  );

  test(
    'never touches a cluster that exists, and waits for a snapshot that does not',
    () =>
      on('exists', async (ground) => {
        await volumeStore(ground);
        await clusterWithData(ground);
        await ground.create(kinds.snapshot, 'n', take);
        await ground.condition(kinds.snapshot, 'n', 'Complete', complete);
        await ground.create(kinds.restore, 'over', restoreTo('c', { snapshotName: 'n' }, 1));
        const restore = await ground.condition(kinds.restore, 'over', 'Complete', { reason: 'Rejected' });
        expect(JSON.stringify(restore.status?.conditions)).toContain('RaftCluster c exists');
        await ground.create(kinds.restore, 'early', restoreTo('d', { snapshotName: 'later' }, 1));
        await ground.condition(kinds.restore, 'early', 'Complete', { reason: 'SnapshotNotFound' });
        await ground.create(kinds.snapshot, 'later', take);
        await ground.condition(kinds.restore, 'early', 'Complete', complete, 90_000);
        expect(await everythingOf(ground, 'd-0')).toEqual(await everythingOf(ground, 'c-0'));
      }),
    180_000,
  );
});
