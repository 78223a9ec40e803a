import { expect, test } from '@jest/globals';
import type { RaftCompaction } from '../../../src/api/compaction.ts';
import { findCondition } from '../../../src/api/conditions.ts';
import { raftCompaction } from '../../../src/api/kinds.ts';
import { EtcdClient } from '../../../src/etcd/client.ts';
import type { ResourceType } from '../../../src/kube/objects.ts';
import { type Day, storyMs } from '../day.ts';
import { type LiveCluster, patienceMs } from '../live-cluster.ts';

const mebibyte = 1024 ** 2;
const window = 40;

/** Some MB to let go of: one key, many times, with one now and then between them that stays and keeps others in its place. */
async function overwrite(cluster: LiveCluster): Promise<void> {
  const client = new EtcdClient({ endpoints: await cluster.urls(), deadlineMs: patienceMs, ...cluster.connection() });
  try {
    for (let n = 0; n < 8000; n += window)
      await Promise.all(
        Array.from({ length: window }, (_, i) =>
          client.put({ key: Buffer.from(i === 0 ? `stays/${n}` : 'often'), value: Buffer.alloc(1024, n + i) }),
        ),
      );
  } finally {
    client.close();
  }
}

export function compacting(day: () => Day): void {
  test(
    'its history is let go and what is free in its members is given back, one at a time and the leader last',
    async () => {
      const { cluster, kubectl } = day();
      const find = () =>
        cluster.kube.get(raftCompaction as ResourceType<RaftCompaction>, { name: 'now', namespace: kubectl.namespace });
      await overwrite(cluster);
      const leader = await cluster.leader();
      /** Members in the order in which they were seen to be done with. */
      const order: string[][] = [];
      await day().step('compaction and defragmentation', async () => {
        await kubectl.apply(
          JSON.stringify({
            apiVersion: 'raftsman.dev/v1alpha1',
            kind: 'RaftCompaction',
            metadata: { name: 'now' },
            spec: {
              clusterName: cluster.name,
              keepRevisions: 10,
              defragment: { freeRatioPercent: 10, minReclaimBytes: mebibyte },
            },
          }),
        );
        await cluster.until('to be compacted', patienceMs, async () => {
          const { status } = await find();
          order.push((status?.members ?? []).flatMap(({ name, result }) => (result === undefined ? [] : [name])));
          return status?.completionTime !== undefined;
        });
        await cluster.calm(3);
      });
      const { status } = await find();
      expect(findCondition(status?.conditions, 'Complete')).toMatchObject({ status: 'True', reason: 'Succeeded' });
      expect(status!.compactedRevision).toBeGreaterThan(10);
      expect(status!.members!.map(({ result }) => result)).toEqual(['Defragmented', 'Defragmented', 'Defragmented']);
      for (const { sizeBytesBefore, sizeBytesAfter } of status!.members!)
        expect(sizeBytesAfter).toBeLessThan(sizeBytesBefore - mebibyte);
      expect(status!.reclaimedBytes).toBeGreaterThan(3 * mebibyte);
      // One after the other, the leader last, and not while it led.
      expect(order.some((done) => done.length > 0 && done.length < 3)).toBe(true);
      expect(order.filter((done) => done.includes(leader) && done.length < 3)).toEqual([]);
      expect(await cluster.leader()).not.toBe(leader);
    },
    storyMs,
  );
}
