/** `--lease-reads` on real members; what a stopped process must not believe is driver.test.ts's. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { bytes, TestCluster, type TestMember, textOf } from './members.ts';

let cluster: TestCluster | undefined;
afterEach(async () => {
  for (const member of cluster?.members ?? []) member.resume();
  await cluster?.end();
  cluster = undefined;
});

async function started(...flags: string[]): Promise<TestCluster> {
  cluster = await TestCluster.create(3, ['--lease-reads=true', ...flags]);
  return cluster.start();
}

async function read(member: TestMember, deadlineMs = 15_000): Promise<string> {
  const { kvs } = await member.client.range({ key: bytes('key') }, { deadlineMs });
  return textOf(kvs[0]!.value);
}

const put = (member: TestMember, value: string) => member.client.put({ key: bytes('key'), value: bytes(value) });

describe('with leases', () => {
  test('RS-10 a leader that a quorum has just answered reads without asking it again', async () => {
    const running = await started('--heartbeat-interval=1000', '--election-timeout=10000');
    const leader = await running.leader();
    await put(leader, 'here');
    expect(await read(leader)).toBe('here');
    for (const follower of await running.followers()) follower.pause();
    expect(await read(leader, 2000)).toBe('here');
  });
});
