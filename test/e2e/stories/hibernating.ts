import { expect, test } from '@jest/globals';
import { type Day, storyMs } from '../day.ts';
import { patienceMs } from '../live-cluster.ts';

export function hibernating(day: () => Day): void {
  test(
    'scaled to none it keeps its disks, and comes back as the same cluster with the same data',
    async () => {
      const before = await day().cluster.get();
      const disks = (await day().cluster.disks()).map(({ metadata }) => metadata.uid).sort();
      await day().step('hibernated and back', async () => {
        await day().cluster.scale(0);
        await day().cluster.until('to have no pods', patienceMs, async () => (await day().cluster.pods()).length === 0);
        const asleep = await day().cluster.get();
        expect(asleep.status?.size).toBe(before.status?.size);
        expect((await day().cluster.disks()).map(({ metadata }) => metadata.uid).sort()).toEqual(disks);
        await day().cluster.scale(3);
        await day().cluster.calm(3);
      });
      const after = await day().cluster.get();
      expect(after.status?.clusterId).toBe(before.status?.clusterId);
      expect(after.status?.members?.map(({ id }) => id)).toEqual(before.status?.members?.map(({ id }) => id));
    },
    storyMs,
  );
}
