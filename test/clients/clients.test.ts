import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bytes, TestCluster } from '../node/members.ts';
import { Clients } from './clients.ts';

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await (await TestCluster.create(3)).start();
});
afterAll(() => cluster.end());

const urls = () => cluster.members.map(({ clientUrl }) => clientUrl);
const comparisons = (clients: Clients) => Promise.all(urls().map((url) => clients.compare(url)));

test('what clients were told is written is on every member, although one died while they wrote', async () => {
  const clients = new Clients({ endpoints: urls, seed: 'killed', paceMs: 1 });
  await clients.more(100);
  const leader = await cluster.leader();
  await leader.stop('SIGKILL');
  await clients.more(100);
  leader.start();
  await leader.ready();
  const before = performance.now();
  const followers = await cluster.followers();
  await Promise.all(followers.map((follower) => follower.stop('SIGKILL')));
  for (const follower of followers) follower.start();
  await clients.more(100);
  await clients.stop();
  const found = await comparisons(clients);
  for (const { wrong, acknowledged } of found) {
    expect(wrong).toEqual([]);
    expect(acknowledged).toBe(clients.acknowledged);
  }
  expect(new Set(found.map(({ digest }) => digest)).size).toBe(1);
  // There was no quorum for as long as a process takes to start, and that shows.
  expect(clients.longestPauseMs(before)).toBeGreaterThan(100);
});

test('a write that is lost, altered or invented is found', async () => {
  const clients = new Clients({ endpoints: urls, seed: 'altered', paceMs: 1 });
  await clients.more(100);
  await clients.stop();
  const { client } = cluster.members[0]!;
  await client.deleteRange({ key: bytes('altered/0/00000003') });
  await client.put({ key: bytes('altered/1/00000003'), value: bytes('other') });
  await client.put({ key: bytes('altered/9/00000000'), value: bytes('invented') });
  for (const { wrong } of await comparisons(clients)) {
    expect(wrong).toEqual([
      expect.stringMatching(/^altered\/0\/00000003 was acknowledged at \d+ and is missing$/),
      expect.stringMatching(/^altered\/1\/00000003 was acknowledged at \d+ and is at \d+, version 2$/),
      'altered/9/00000000 is there and nobody wrote it',
    ]);
  }
});

test('beside the state of an earlier revision, what came later should not be there', async () => {
  const clients = new Clients({ endpoints: urls, seed: 'earlier', paceMs: 1 });
  await clients.more(50);
  const upTo = clients.revision;
  await clients.more(50);
  await clients.stop();
  const now = await clients.compare(urls()[0]!, { upTo });
  expect(now.acknowledged).toBeLessThan(clients.acknowledged);
  expect(now.wrong[0]).toMatch(/^earlier\/\d\/\d{8} is there and was written at \d+, after \d+$/);
  expect((await clients.compare(urls()[0]!)).wrong).toEqual([]);
});
