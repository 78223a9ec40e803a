import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { EtcdClient } from '../../../src/etcd/client.ts';
import { type Day, storyMs } from '../day.ts';
import { patienceMs } from '../live-cluster.ts';

const lookEveryMs = 50;
/** Two looks that lie further apart may have missed one between, on a machine that is busy. */
const closeMs = 200;

/** The members' own list at a time, by id. */
interface Look {
  readonly at: number;
  readonly voters: readonly string[];
  readonly learners: readonly string[];
}

async function lookWith(client: EtcdClient): Promise<Look> {
  const { members } = await client.memberList();
  const ids = (isLearner: boolean) =>
    members.flatMap((member) => (member.isLearner === isLearner ? [member.ID] : [])).sort();
  return { at: performance.now(), voters: ids(false), learners: ids(true) };
}

/** Looks at the member list again and again while `work` goes on. Member 0 stays all the while: it is asked. */
async function watched(day: Day, work: () => Promise<unknown>): Promise<Look[]> {
  const [url] = await day.cluster.urls();
  const client = new EtcdClient({ endpoints: [url!], ...day.cluster.connection() });
  try {
    const looks = [await lookWith(client)];
    let done = false;
    const looking = (async () => {
      while (!done) {
        // It knows no leader for a moment when that one goes.
        const look = await lookWith(client).catch(() => undefined);
        if (look) looks.push(look);
        await delay(lookEveryMs);
      }
    })();
    await work().finally(() => {
      done = true;
    });
    await looking;
    looks.push(await lookWith(client));
    return looks;
  } finally {
    client.close();
  }
}

/** One voter more or less at a time, and nobody votes who has not learned. */
function expectOneAtATime(looks: readonly Look[]): void {
  const known = new Set(looks[0]!.voters);
  const unlearned = looks.flatMap(({ voters, learners }) => {
    for (const id of learners) known.add(id);
    return voters.filter((id) => !known.has(id));
  });
  expect(unlearned).toEqual([]);
  expect(Math.max(...looks.map(({ learners }) => learners.length))).toBeLessThanOrEqual(2);
  const changes = looks.slice(1).map(({ at, voters }, n) => {
    const before = looks[n]!;
    const close = at - before.at < closeMs;
    const [come, gone] = [
      voters.filter((id) => !before.voters.includes(id)),
      before.voters.filter((id) => !voters.includes(id)),
    ];
    return close ? come.length + gone.length : 0;
  });
  expect(Math.max(...changes)).toBeLessThanOrEqual(1);
}

async function scale(day: Day, from: number, to: number, note = ''): Promise<void> {
  const names = Array.from({ length: to }, (_, n) => `${day.cluster.name}-${n}`);
  let looks: Look[] = [];
  await day.step(`kubectl scale ${from} → ${to}${note}`, async () => {
    looks = await watched(day, async () => {
      await day.cluster.scale(to);
      await day.cluster.calm(to);
    });
  });
  expectOneAtATime(looks);
  expect(looks[0]!.voters).toHaveLength(from);
  expect(looks.at(-1)!.voters).toHaveLength(to);
  expect(looks.at(-1)!.learners).toEqual([]);
  expect((await day.cluster.pods()).map(({ metadata }) => metadata.name)).toEqual(names);
  for (const newcomer of names.slice(from)) {
    await day.cluster.untilTold('AddingMember', `${newcomer} is added as a learner`);
    await day.cluster.untilTold('PromotingMember', `${newcomer} has caught up`);
  }
}

/** What a person does to have a certain member lead. */
async function lead(day: Day, member: string): Promise<void> {
  const { cluster } = day;
  const id = (await cluster.memberStatus(member))!.id!;
  const leader = await cluster.leader();
  if (leader === member) return;
  const urls = await cluster.urls();
  const at = (await cluster.pods()).findIndex(({ metadata }) => metadata.name === leader);
  const client = new EtcdClient({ endpoints: [urls[at]!], deadlineMs: 20_000, ...cluster.connection() });
  try {
    await client.moveLeader(BigInt(`0x${id}`).toString());
  } finally {
    client.close();
  }
  await cluster.until(`to be led by ${member}`, patienceMs, ({ status }) => status?.leader === member);
}

/** Disks by name. */
async function disks(day: Day): Promise<Map<string, string>> {
  return new Map((await day.cluster.disks()).map(({ metadata }) => [metadata.name, metadata.uid]));
}

export function scaling(day: () => Day): void {
  test(
    'kubectl scale takes it from one member to five: each learns before it votes, and the voters change one at a time',
    async () => {
      await scale(day(), 1, 3);
      await scale(day(), 3, 5);
    },
    storyMs,
  );

  test(
    'and back to three although the last one leads: it hands leadership over before it goes',
    async () => {
      const last = `${day().cluster.name}-4`;
      await lead(day(), last);
      await scale(day(), 5, 3);
      await day().cluster.untilTold('MovingLeader', `${last} hands leadership over`);
    },
    storyMs,
  );

  test(
    'and to five and to three again: a disk that was kept gives no new member its old data, and all five have everything',
    async () => {
      const before = await day().cluster.get();
      // Kept, because that is what spec.storage.retention says unless told.
      const kept = await disks(day());
      expect([...kept.keys()].sort()).toHaveLength(5);
      await scale(day(), 3, 5, ' with the disks of the members that had left');
      const now = await disks(day());
      const anew = [...now].filter(([name, uid]) => kept.get(name) !== uid).map(([name]) => name);
      expect(anew.sort()).toEqual([3, 4].map((ordinal) => `data-${day().cluster.name}-${ordinal}`));
      expect(await day().compare()).toEqual([]);
      day().write();
      await scale(day(), 5, 3);
      const after = await day().cluster.get();
      expect(after.status?.clusterId).toBe(before.status?.clusterId);
    },
    storyMs,
  );
}
