/** Compactions and their policies against a real API server, with real members on a stand-in node. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { everythingOf } from './data.ts';
import { type Ground, kinds, type Plane, plane, small, waitFor } from './plane.ts';

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-compaction');
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

/** Writes of which one in fifty stays: what compaction leaves is full of gaps. */
async function overwrite(client: EtcdClient, round: string): Promise<void> {
  const value = Buffer.alloc(2_000, round);
  for (let at = 0; at < 1_000; at += 10)
    await Promise.all(
      Array.from({ length: 10 }, (_, more) => {
        const key = (at + more) % 50 === 0 ? `${round}-${at}` : 'again';
        return client.put({ key: Buffer.from(key), value });
      }),
    );
}

async function formed(ground: Ground): Promise<EtcdClient> {
  await ground.create(kinds.cluster, 'c', { ...small, replicas: 3 });
  await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' }, patienceMs);
  // One endpoint: among several, one that answers late is given up early.
  return new EtcdClient({ endpoints: [ground.node.endpoint('c-0')], deadlineMs: 60_000 });
}

/** A busy machine takes its time; only what fails waits so long. */
const patienceMs = 200_000;
const defragment = { freeRatioPercent: 20, minReclaimBytes: 500_000 };
const complete = { status: 'True', reason: 'Succeeded' } as const;

describe('a compaction', () => {
  test(
    'lets go of history and gaps, one member at a time and the leader last, under the one lock of the cluster',
    () =>
      on('compact', async (ground) => {
        const client = await formed(ground);
        const operations = new Set<string>();
        await overwrite(client, 'a');
        const before = await everythingOf(ground, 'c-0');
        const leader = (await ground.get(kinds.cluster, 'c'))!.status!.leader!;
        await ground.create(kinds.compaction, 'n', { clusterName: 'c', keepRevisions: 10, defragment });
        await ground.until(kinds.compaction, 'n', () => true);
        await waitFor(async () => {
          const { status } = (await ground.get(kinds.cluster, 'c'))!;
          if (status?.operation?.holder) operations.add(`${status.operation.holder} ${status.operation.message}`);
          const run = await ground.get(kinds.compaction, 'n');
          return run?.status?.completionTime !== undefined;
        }, patienceMs);
        const { status } = await ground.condition(kinds.compaction, 'n', 'Complete', complete, patienceMs);
        expect(status!.compactedRevision).toBe(status!.revision! - 10);
        for (const member of status!.members!) {
          expect(member).toMatchObject({ result: 'Defragmented', durationMilliseconds: expect.any(Number) });
          expect(member.sizeBytesBefore - member.sizeBytesAfter!).toBeGreaterThan(1_000_000);
          expect(member.sizeBytesAfter! - member.inUseBytesAfter!).toBeLessThan(10_000);
        }
        expect(status!.reclaimedBytes).toBeGreaterThan(3_000_000);
        expect([...operations].join('\n')).toMatch(/^RaftCompaction\/n /);
        const past = client.range({ key: Buffer.from('again'), revision: status!.compactedRevision! - 1 });
        await expect(past).rejects.toMatchObject({ code: 'ETCD_COMPACTED' });
        expect(await everythingOf(ground, 'c-0')).toEqual(before);
        const cluster = await ground.until(kinds.cluster, 'c', (one) => one?.status?.operation === undefined);
        await waitFor(async () => (await ground.get(kinds.cluster, 'c'))!.status!.leader !== leader);
        expect(cluster?.status?.readyReplicas).toBe(3);
        await waitFor(async () => {
          const told = await ground.events('n');
          return ['CompactionStarted', 'Compacted', 'LeaderMoved', 'CompactionCompleted'].every((one) =>
            told.includes(one),
          );
        });

        // The same again finds nothing to win, and disturbs nobody.
        await ground.create(kinds.compaction, 'again', { clusterName: 'c', keepRevisions: 10, defragment });
        const idle = await ground.condition(kinds.compaction, 'again', 'Complete', complete, patienceMs);
        expect(idle.status?.members?.map(({ result }) => result)).toEqual(['Skipped', 'Skipped', 'Skipped']);
        client.close();
      }),
    400_000,
  );

  test(
    'goes on where an operator died that held the lock, and one that is deleted lets go of it',
    () =>
      on('crash', async (ground) => {
        const client = await formed(ground);
        await overwrite(client, 'a');
        await ground.create(kinds.compaction, 'n', { clusterName: 'c', keepRevisions: 0, defragment });
        await ground.until(kinds.cluster, 'c', (one) => one?.status?.operation?.member !== undefined, patienceMs);
        await ground.stopOperator();
        const left = (await ground.get(kinds.cluster, 'c'))!.status!.operation;
        await ground.startOperator();
        const { status } = await ground.condition(kinds.compaction, 'n', 'Complete', complete, patienceMs);
        expect(status?.members?.map(({ result }) => result)).toEqual(['Defragmented', 'Defragmented', 'Defragmented']);
        await ground.until(kinds.cluster, 'c', (one) => one?.status?.operation === undefined);
        expect(left?.holder).toBe('RaftCompaction/n');

        // A run waits while the cluster's lock is another's; deleted while it holds it itself, it lets go.
        await ground.stopOperator();
        const cluster = (await ground.get(kinds.cluster, 'c'))!;
        await ground.create(kinds.compaction, 'gone', { clusterName: 'c', keepRevisions: 0 });
        const operation = { type: 'Compaction', holder: 'RaftCompaction/gone', since: '2026-11-22T00:00:00Z' };
        await ground.client.replace(kinds.cluster, { ...cluster, status: { ...cluster.status, operation } } as never, {
          subresource: 'status',
        });
        await ground.client.delete(kinds.compaction, { namespace: ground.namespace, name: 'gone' });
        await ground.startOperator();
        await ground.until(kinds.cluster, 'c', (one) => one?.status?.operation === undefined);
        client.close();
      }),
    400_000,
  );
});

describe('a policy', () => {
  test(
    'makes one when it is due, which knows the revision of some seconds ago, and keeps what it found',
    () =>
      on('policy', async (ground) => {
        const client = await formed(ground);
        await ground.create(kinds.compactionPolicy, 'p', {
          clusterName: 'c',
          schedule: '* * * * *',
          keepSeconds: 5,
          failedHistoryLimit: 1,
        });
        await ground.condition(kinds.compactionPolicy, 'p', 'Ready', { status: 'True', reason: 'Scheduled' });
        await overwrite(client, 'a');
        // What it knows lags behind by up to a minute, and with it how far it dares to go.
        const compacted = async () => {
          const { items } = await ground.client.listAll(kinds.compaction, { namespace: ground.namespace });
          return items.find(({ status }) => status?.compactedRevision !== undefined);
        };
        await waitFor(async () => (await compacted()) !== undefined, patienceMs);
        const run = (await compacted())!;
        const policy = await ground.until(
          kinds.compactionPolicy,
          'p',
          (one) => one?.status?.revisions?.some(({ revision }) => revision === run.status!.revision) ?? false,
        );
        const { clusterId } = policy!.status!;
        expect(run.metadata.labels).toMatchObject({ 'raftsman.dev/policy': 'p' });
        expect(run.status!.compactedRevision).toBeLessThanOrEqual(run.status!.revision!);
        expect(run.status!.compactedRevision).toBeGreaterThan(1);
        expect(clusterId).toBe((await ground.get(kinds.cluster, 'c'))!.status!.clusterId);
        client.close();
      }),
    400_000,
  );
});
