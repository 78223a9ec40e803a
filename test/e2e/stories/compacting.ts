import { expect, test } from '@jest/globals';
import type { RaftCompaction } from '../../../src/api/compaction.ts';
import { findCondition } from '../../../src/api/conditions.ts';
import { raftCompaction } from '../../../src/api/kinds.ts';
import { EtcdClient } from '../../../src/etcd/client.ts';
import type { ResourceType } from '../../../src/kube/objects.ts';
import { type Day, storyMs } from '../day.ts';
import { type LiveCluster, patienceMs } from '../live-cluster.ts';

/** Something to let go, in small pieces between those that stay: one key, many times, beside those that clients compare. */
async function overwrite(cluster: LiveCluster): Promise<void> {
  const client = new EtcdClient({ endpoints: await cluster.urls(), deadlineMs: patienceMs, ...cluster.connection() });
  try {
    for (let n = 0; n < 1600; n += 40)
      await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          client.put({ key: Buffer.from('often'), value: Buffer.alloc(1024, n + i) }),
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
      await day().step('compaction and defragmentation', async () => {
        await kubectl.apply(
          JSON.stringify({
            apiVersion: 'raftsman.dev/v1alpha1',
            kind: 'RaftCompaction',
            metadata: { name: 'now' },
            spec: {
              clusterName: cluster.name,
              keepRevisions: 10,
              defragment: { freeRatioPercent: 0, minReclaimBytes: 0 },
            },
          }),
        );
        await cluster.until(
          'to be compacted',
          patienceMs,
          async () => (await find()).status?.completionTime !== undefined,
        );
        await cluster.calm(3);
      });
      const { status } = await find();
      expect(findCondition(status?.conditions, 'Complete')).toMatchObject({ status: 'True', reason: 'Succeeded' });
      expect(status!.compactedRevision).toBeGreaterThan(10);
      const last = status!.members!.find(({ name }) => name === leader);
      expect(status!.members!.map(({ result }) => result)).toEqual(['Defragmented', 'Defragmented', 'Defragmented']);
      expect(last!.sizeBytesAfter).toBeLessThanOrEqual(last!.sizeBytesBefore);
      // It was not to stop while it led.
      expect(await cluster.leader()).not.toBe(leader);
    },
    storyMs,
  );
}
