/** Members as processes whose space runs out: by their quota, and on a disk that is really full. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs';
import { open, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { tool } from '../kubernetes/index.ts';
import { bytes, TestCluster, type TestMember, until } from './members.ts';

const exec = promisify(execFile);
const mebibyte = 1 << 20;

let etcdctl: string;
beforeAll(async () => {
  etcdctl = await tool('etcdctl');
}, 10 * 60_000);

const ctl = async (member: TestMember, ...args: string[]): Promise<string> =>
  (await exec(etcdctl, [`--endpoints=${member.clientUrl}`, ...args])).stdout;

const put = (member: TestMember, key: string, size: number) =>
  member.client.put({ key: bytes(key), value: Buffer.alloc(size, key) });
const noSpace = { code: 'ETCD_NO_SPACE', message: 'etcdserver: mvcc: database space exceeded' };

const mounts: string[] = [];
const clusters: TestCluster[] = [];
afterEach(async () => {
  for (const member of clusters.flatMap(({ members }) => members)) if (member.isRunning) await member.stop('SIGKILL');
  for (const folder of mounts.splice(0)) execFileSync('umount', [folder]);
  await Promise.all(clusters.splice(0).map((cluster) => cluster.end()));
});

/** Nothing more goes onto that disk. */
async function fillWholly(member: TestMember): Promise<string> {
  const ballast = join(member.dataDir, 'ballast');
  const file = await open(ballast, 'a');
  const chunk = Buffer.alloc(mebibyte);
  try {
    for (let size = chunk.length; size >= 1; ) {
      const took = await file.write(chunk, 0, size).then(
        ({ bytesWritten }) => bytesWritten,
        () => 0,
      );
      if (took < size) size = Math.floor(size / 2);
    }
  } finally {
    await file.close();
  }
  return ballast;
}

const isStuck = async (member: TestMember) => (await member.metric('raftsman_disk_full')) === 1;

/**
 * Fills disks wholly and has their logs wait for room: with a write that does not fit into what a log has left. One that comes
 * too late is refused, since the alarm stands; then there is room for another try. Resolves with what takes the room.
 */
async function stick(members: readonly TestMember[], via: TestMember, taken: string[]): Promise<string[]> {
  for (let tries = 0; tries < 10; tries++) {
    const ballast = await Promise.all(members.map(fillWholly));
    const key = `stick${tries}`;
    const all = until('the logs waiting', async () => (await Promise.all(members.map(isStuck))).every(Boolean), 4000);
    const refused = put(via, key, 1_300_000).then(
      () => {
        taken.push(key);
        return new Promise<never>(() => {});
      },
      (error: { code?: string }) => error.code,
    );
    const outcome = await Promise.race([all.catch(() => 'not stuck'), refused]);
    if (outcome === true) return ballast;
    await Promise.all(ballast.map((path) => rm(path)));
    await until('the end of the alarm', async () => (await via.client.alarms()).alarms.length === 0);
  }
  throw new Error('the alarm was always faster');
}

async function keysOf(member: TestMember): Promise<string[]> {
  const { kvs } = await member.client.range({ key: bytes('\0'), rangeEnd: bytes('\0'), keysOnly: true });
  return kvs.map(({ key }) => Buffer.from(key).toString());
}

/** An alarm that was on its way while the log waited may still come, and is lifted by the next look at the disk. */
const takenAgain = (member: TestMember, key: string) =>
  until('puts taken again', async () => (await put(member, key, mebibyte)) !== undefined);

/** All members hold the same. */
async function expectSame({ members }: TestCluster): Promise<void> {
  const { header } = await members[0]!.client.hashKv();
  const hashes = await Promise.all(
    members.map(async ({ client, name }) => {
      await until(`${name} following`, async () => (await client.hashKv()).header!.revision >= header!.revision);
      return (await client.hashKv(header!.revision)).hash;
    }),
  );
  expect(new Set(hashes).size).toBe(1);
}

async function created(size: number, ...flags: string[]): Promise<TestCluster> {
  const cluster = await TestCluster.create(size, flags);
  clusters.push(cluster);
  return cluster;
}

/** Puts until one is refused; how many were taken. */
async function fill(member: TestMember, size: number, atMost: number): Promise<number> {
  for (let i = 0; i < atMost; i++) {
    try {
      await put(member, `fill${i}`, size);
    } catch (error) {
      expect(error).toMatchObject(noSpace);
      return i;
    }
  }
  throw new Error(`${atMost} puts of ${size} bytes were all taken`);
}

/** Deletes all keys and their history. Resolves when every member has given the space back. */
async function empty(cluster: TestCluster, via: TestMember): Promise<void> {
  const { header } = await via.client.deleteRange({ key: bytes('\0'), rangeEnd: bytes('\0') });
  await via.client.compact(header!.revision, true);
  for (const member of cluster.members)
    await until('the space given back', async () => (await member.client.status()).dbSize < 10_000);
}

describe('a small quota', () => {
  test('RS-24 puts are refused on every member, all else goes on, a restart changes nothing; delete, compact and disarm heal it', async () => {
    const cluster = await created(3, '--quota-backend-bytes=100000');
    await cluster.start();
    const [first, second] = cluster.members as [TestMember, TestMember];
    const taken = await fill(first, 9000, 20);
    expect(taken).toBe(11);
    const listed = /^memberID:(\d+) alarm:NOSPACE\s*$/;
    const [, alarmed] = listed.exec(await ctl(second, 'alarm', 'list')) ?? [];
    expect(alarmed).toBe((await first.client.status()).header!.memberId);

    const refusing = async (): Promise<void> => {
      for (const member of cluster.members) {
        await expect(put(member, 'more', 1)).rejects.toMatchObject(noSpace);
        await expect(ctl(member, 'put', 'a', 'b')).rejects.toThrow(noSpace.message);
        expect((await member.client.range({ key: bytes('fill'), rangeEnd: bytes('fill~') })).count).toBe(taken);
        expect(await member.client.status()).toMatchObject({
          dbSizeQuota: 100_000,
          errors: [`memberID:${alarmed} alarm:NOSPACE `],
        });
        expect(await member.http('/health')).toEqual({
          status: 503,
          text: '{"health":"false","reason":"ALARM NOSPACE"}',
        });
        expect((await member.http('/health?exclude=NOSPACE')).status).toBe(200);
        expect((await member.http('/readyz')).status).toBe(200);
        expect(await member.metric('etcd_server_quota_backend_bytes')).toBe(100_000);
        expect(await member.metric('etcd_debugging_server_alarms{[^}]*alarm_type="NOSPACE"}')).toBe(1);
      }
    };
    await refusing();
    expect((await second.client.deleteRange({ key: bytes('nothing') })).deleted).toBe(0);
    const taking = await fetch(`${second.httpUrl}/snapshot`, { method: 'POST' });
    expect(taking.status).toBe(200);
    const added = await second.client.memberAdd(['http://127.0.0.1:9'], true);
    await second.client.memberRemove(added.member!.ID);

    for (const member of cluster.members) await member.stop();
    await cluster.start();
    await refusing();

    await empty(cluster, second);
    await expect(put(first, 'more', 1)).rejects.toMatchObject(noSpace);
    expect(await ctl(second, 'alarm', 'disarm')).toMatch(listed);
    expect(await ctl(second, 'alarm', 'list')).toBe('');
    for (const member of cluster.members) await put(member, 'more', 1);
    expect((await first.http('/health')).status).toBe(200);
    const said = first.output.split('\n').filter((line) => line.includes('space ran out'));
    // Once; and once more if the second life met the alarm in the log and not in its snapshot.
    expect([1, 2]).toContain(said.length);
  }, 120_000);

  test('RS-24 disarmed while there is too much, it comes again with the next put', async () => {
    const cluster = await created(1, '--quota-backend-bytes=50000');
    await cluster.start();
    const [member] = cluster.members as [TestMember];
    await fill(member, 9000, 20);
    await ctl(member, 'alarm', 'disarm');
    await expect(put(member, 'large', 9000)).rejects.toMatchObject(noSpace);
    expect((await member.client.alarms()).alarms).toHaveLength(1);
  });
});

/** Whether this process may mount a file system of its own. */
const canMount = ((): boolean => {
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'raftsman-test', folder], { stdio: 'ignore' });
    execFileSync('umount', [folder]);
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(folder);
  }
})();

/** Gives a member that has not started a disk of its own. */
function giveDisk(member: TestMember, megabytes: number): void {
  mkdirSync(member.dataDir);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'raftsman-test', member.dataDir]);
  mounts.push(member.dataDir);
}

(canMount ? describe : describe.skip)('a disk of its own that fills', () => {
  test('RS-24 one member’s disk stops the puts of all; when there is room again, they go on by themselves', async () => {
    const cluster = await created(3);
    const [first, second, third] = cluster.members as [TestMember, TestMember, TestMember];
    giveDisk(second, 128);
    await cluster.start();
    await put(first, 'k', 10);
    const ballast = join(second.dataDir, 'ballast');
    await writeFile(ballast, Buffer.alloc(105 * mebibyte));
    await until('the alarm', async () => (await third.client.alarms()).alarms.length === 1);
    await expect(put(first, 'more', 1)).rejects.toMatchObject(noSpace);
    expect((await third.client.range({ key: bytes('k') })).count).toBe(1);
    expect((await third.client.deleteRange({ key: bytes('k') })).deleted).toBe(1);
    await rm(ballast);
    await until('the end of the alarm', async () => (await third.client.alarms()).alarms.length === 0);
    await put(first, 'more', 1);
    expect(second.output).toContain('the disk runs out of space');
    expect(second.output).toContain('the disk has space again');
  }, 120_000);

  test('RS-24 puts fill it up to the floor and no further: the member lives, snapshots, gives space back and goes on', async () => {
    const cluster = await created(1, '--snapshot-catchup-entries=1');
    const [member] = cluster.members as [TestMember];
    giveDisk(member, 100);
    await cluster.start();
    const taken = await fill(member, mebibyte, 160);
    expect(taken).toBeGreaterThan(10);
    const { bavail, bsize } = await statfs(member.dataDir);
    // What the floor is made of is still there, but for the puts between two looks: a quarter of the disk, and a snapshot.
    expect(bavail * bsize).toBeGreaterThan((25 + taken - 4) * mebibyte);
    expect((await member.client.range({ key: bytes('fill'), rangeEnd: bytes('fill~') })).count).toBe(taken);
    await empty(cluster, member);
    for (let i = 0; i < 3; i++) {
      await member.client.deleteRange({ key: bytes('nothing') });
      expect((await fetch(`${member.httpUrl}/snapshot`, { method: 'POST' })).status).toBe(200);
    }
    await until('the end of the alarm', async () => (await member.client.alarms()).alarms.length === 0);
    await put(member, 'more', mebibyte);
  }, 120_000);

  test('RS-24 filled wholly by somebody else under a member alone: it waits, reads go on, it comes up again on the full disk, and heals', async () => {
    const cluster = await created(1);
    const [member] = cluster.members as [TestMember];
    giveDisk(member, 100);
    await cluster.start();
    const taken = ['a', 'b'];
    for (const key of taken) await put(member, key, 1000);
    const [ballast] = (await stick([member], member, taken)) as [string];
    expect(member.isRunning).toBe(true);
    expect((await keysOf(member)).sort()).toEqual([...taken].sort());
    await expect(put(member, 'more', 1)).rejects.toMatchObject(noSpace);
    expect((await member.client.alarms()).alarms).toHaveLength(1);
    expect((await member.http('/health')).text).toContain('ALARM NOSPACE');
    expect(member.output).toContain('the disk is full: the log waits for room');

    await member.stop('SIGKILL');
    member.start();
    await member.ready();
    expect((await keysOf(member)).sort()).toEqual([...taken].sort());
    // There is no room for a large write, and enough for the alarm.
    await until('the alarm', async () => (await member.client.alarms()).alarms.length === 1);
    await expect(put(member, 'more', 1)).rejects.toMatchObject(noSpace);
    expect((await member.client.deleteRange({ key: bytes('a') })).deleted).toBe(1);

    await rm(ballast);
    await until('the end of the alarm', async () => (await member.client.alarms()).alarms.length === 0);
    await takenAgain(member, 'more');
    expect((await keysOf(member)).sort()).toEqual(['b', 'more', ...taken.slice(2)].sort());
    await until('health', async () => (await member.http('/health')).status === 200);
  }, 180_000);

  test.each(['leader', 'follower'])(
    'RS-24 filled wholly by somebody else under the %s of three: it stays up, the others serve and tell, and all agree when it heals',
    async (role) => {
      const cluster = await created(3);
      for (const member of cluster.members) giveDisk(member, 100);
      await cluster.start();
      const leader = await cluster.leader();
      const [follower] = await cluster.followers();
      const full = role === 'leader' ? leader : follower!;
      const taken = ['a', 'b'];
      for (const key of taken) await put(leader, key, 1000);
      const [ballast] = (await stick([full], leader, taken)) as [string];
      const other = await until('another leader', async () => {
        const now = await cluster.leader();
        return now !== full && now;
      });
      await until('the alarm', async () => (await other.client.alarms()).alarms.length === 1);
      await expect(put(other, 'more', 1)).rejects.toMatchObject(noSpace);
      await expect(put(full, 'more', 1)).rejects.toMatchObject(noSpace);
      expect(await keysOf(other)).toEqual(expect.arrayContaining(taken));
      expect((await other.client.deleteRange({ key: bytes('a') })).deleted).toBe(1);
      expect((await other.http('/readyz')).status).toBe(200);
      expect((await full.http('/readyz')).text).toContain('the disk is full');
      expect((await full.client.range({ key: bytes('b'), serializable: true })).count).toBe(1);

      await full.stop('SIGKILL');
      full.start();
      await until('an answer', async () => (await full.client.status()) !== undefined);
      await rm(ballast);
      await until('the end of the alarm', async () => (await other.client.alarms()).alarms.length === 0);
      await full.ready();
      await takenAgain(full, 'more');
      const found = await keysOf(full);
      expect(found).toEqual(expect.arrayContaining(['b', 'more', ...taken.slice(2)]));
      expect(found).not.toContain('a');
      await expectSame(cluster);
    },
    180_000,
  );

  test('RS-24 filled wholly under all three at once: none ends, each still answers reads, and puts go on when there is room', async () => {
    const cluster = await created(3);
    for (const member of cluster.members) giveDisk(member, 100);
    await cluster.start();
    const leader = await cluster.leader();
    const taken = ['a', 'b'];
    for (const key of taken) await put(leader, key, 1000);
    const ballast = await stick(cluster.members, leader, taken);
    for (const member of cluster.members) {
      expect(await keysOf(member)).toEqual(expect.arrayContaining(taken));
      await expect(put(member, 'more', 1)).rejects.toMatchObject(noSpace);
      expect((await member.http('/health')).text).toContain('ALARM NOSPACE');
      expect((await member.http('/readyz')).status).toBe(200);
    }
    for (const path of ballast) await rm(path);
    await until('the end of the alarms', async () => (await leader.client.alarms()).alarms.length === 0);
    for (const member of cluster.members) await takenAgain(member, `more on ${member.name}`);
    expect(await keysOf(leader)).toEqual(expect.arrayContaining(taken));
    await expectSame(cluster);
  }, 180_000);
});
