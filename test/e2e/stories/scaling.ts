import { expect, test } from '@jest/globals';
import { EtcdClient } from '../../../src/etcd/client.ts';
import { type Day, storyMs } from '../day.ts';

/** Names of the voters, by the members' own list, and of learners, of which none is left when all is calm. */
async function voters(day: Day): Promise<{ voters: string[]; learners: string[] }> {
  const client = new EtcdClient({ endpoints: await day.cluster.urls(), ...day.cluster.connection() });
  try {
    const { members } = await client.memberList();
    const names = (isLearner: boolean) =>
      members
        .filter((member) => member.isLearner === isLearner)
        .map(({ name }) => name)
        .sort();
    return { voters: names(false), learners: names(true) };
  } finally {
    client.close();
  }
}

async function scale(day: Day, from: number, to: number, note = ''): Promise<void> {
  const names = Array.from({ length: to }, (_, n) => `${day.cluster.name}-${n}`);
  await day.step(`kubectl scale ${from} → ${to}${note}`, async () => {
    await day.cluster.scale(to);
    await day.cluster.calm(to);
  });
  expect(await voters(day)).toEqual({ voters: names, learners: [] });
  expect((await day.cluster.pods()).map(({ metadata }) => metadata.name)).toEqual(names);
}

export function scaling(day: () => Day): void {
  test(
    'kubectl scale takes it from one member to five, one at a time, each learning before it votes',
    async () => {
      await scale(day(), 1, 3);
      await scale(day(), 3, 5);
    },
    storyMs,
  );

  test(
    'and back to three and to five again: a disk that was kept gives no new member its old data',
    async () => {
      const before = await day().cluster.get();
      await scale(day(), 5, 3);
      // Kept, because that is what spec.storage.retention says unless told.
      expect((await day().cluster.disks()).map(({ metadata }) => metadata.name).sort()).toHaveLength(5);
      await scale(day(), 3, 5, ' with the disks of the members that had left');
      await scale(day(), 5, 3);
      const after = await day().cluster.get();
      expect(after.status?.clusterId).toBe(before.status?.clusterId);
    },
    storyMs,
  );
}
