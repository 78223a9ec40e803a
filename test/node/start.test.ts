/** What stops a member from starting, each with one line, and a new cluster from an archive. */
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { bytes, run, TestCluster, type TestMember } from './members.ts';

const clusters: TestCluster[] = [];
afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.end()));
});

async function newCluster(size: number, flags: readonly string[] = [], token?: string): Promise<TestCluster> {
  const cluster = await TestCluster.create(size, flags, token);
  clusters.push(cluster);
  return cluster;
}

/** Starts a member that must not come up, and returns its last words. */
async function refusal(member: TestMember, ...more: string[]): Promise<{ code: number | null; line: string }> {
  const { code, stderr } = await run(['node', ...member.args, '--log-level=error', ...more]);
  const lines = stderr.trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  return { code, line: lines[0]! };
}

describe('one line and a non-zero exit', () => {
  test('an unknown flag, a bad value and a missing value: exit 2', async () => {
    for (const [args, said] of [
      [['--no-such-flag'], /unknown flag --no-such-flag/],
      [['--heartbeat-interval=fast'], /--heartbeat-interval: "fast" is not a whole number/],
      [['--name'], /--name: needs a value/],
    ] as const) {
      const { code, stderr } = await run(['node', ...args]);
      expect([code, stderr.trimEnd().split('\n').length]).toEqual([2, 1]);
      expect(stderr).toMatch(said);
    }
  });

  test('a data directory of another cluster or member; one of an earlier version is known by its ids', async () => {
    const cluster = await newCluster(1);
    await cluster.start();
    const [member] = cluster.members as [TestMember];
    await member.stop();
    const belongs = 'data directory .* belongs to member [0-9a-f]+ of cluster [0-9a-f]+, but the flags name';
    const another = await refusal(member, '--initial-cluster-token=another');
    expect(another.code).toBe(1);
    expect(another.line).toMatch(new RegExp(`${belongs} a cluster with the token another, not test`));
    expect((await refusal(member, '--name=other')).line).toMatch(new RegExp(`${belongs} member other, not m0`));
    // Of a version that did not write down how the cluster began.
    await rm(join(member.dataDir, 'member', 'genesis.json'));
    expect((await refusal(member, '--initial-cluster-token=another')).line).toMatch(
      new RegExp(`${belongs} member [0-9a-f]+ of cluster [0-9a-f]+: check`),
    );
    member.start();
    await member.ready();
  });

  test('GR-07 a data directory that another process uses', async () => {
    const cluster = await newCluster(1);
    await cluster.start();
    expect((await refusal(cluster.members[0]!)).line).toMatch(/is in use by another process/);
  });

  test('GR-05 an address that is taken, for members or for HTTP', async () => {
    const cluster = await newCluster(1);
    const server = createServer();
    const [member] = cluster.members as [TestMember];
    for (const [url, said] of [
      [member.httpUrl, /cannot listen for HTTP on .*EADDRINUSE/],
      [member.peerUrl, /cannot listen for members on .*EADDRINUSE/],
    ] as const) {
      await new Promise<void>((done) => server.listen(Number(new URL(url).port), '127.0.0.1', done));
      expect((await refusal(member)).line).toMatch(said);
      await new Promise((done) => server.close(done));
    }
  });

  test('an empty disk in a cluster that has formed, whatever the flag says of the cluster', async () => {
    const cluster = await newCluster(3);
    await cluster.start();
    const [lost] = cluster.members as [TestMember];
    await lost.client.put({ key: bytes('a'), value: bytes('1') });
    await lost.stop('SIGKILL');
    await rm(lost.dataDir, { recursive: true });
    const asked = await refusal(lost, '--initial-cluster-state=existing');
    expect(asked.line).toMatch(/member [0-9a-f]+ at .* has taken part in cluster .* data is gone/);
    const byMembers = await refusal(lost);
    expect(byMembers).toEqual({
      code: 1,
      line: expect.stringMatching(/member m[12] says that m0 has taken part .* data is gone/),
    });
    expect(await readdir(lost.dataDir)).not.toContain('member');
  });

  test('RS-21 RA-18 GR-07 a damaged log, with file and offset', async () => {
    const cluster = await newCluster(1);
    await cluster.start();
    const [member] = cluster.members as [TestMember];
    for (let i = 0; i < 20; i++) await member.client.put({ key: bytes(`k${i}`), value: bytes('v') });
    await member.stop();
    const folder = join(member.dataDir, 'member', 'wal');
    const path = join(folder, (await readdir(folder))[0]!);
    const file = await readFile(path);
    file[file.indexOf('k10')]! ^= 1;
    await writeFile(path, file);
    expect((await refusal(member)).line).toMatch(
      /\.wal is damaged at offset \d+: a record does not match its checksum/,
    );
  });
});

describe('a new cluster from an archive', () => {
  test('NS-20 has every key at its revision, on every member, in its own configuration, and goes on from there', async () => {
    const source = await newCluster(1);
    await source.start();
    const [from] = source.members as [TestMember];
    for (let i = 0; i < 100; i++) await from.client.put({ key: bytes(`key-${i % 40}`), value: bytes(`value-${i}`) });
    const archive = join(source.folder, 'archive.tar.gz');
    const saved = await run(['archive', 'save', '--endpoints', from.clientUrl, archive]);
    expect(saved).toMatchObject({ code: 0 });
    const before = await from.client.hashKv();

    const target = await newCluster(3, [], 'restored');
    await target.start(`--restore-archive=${archive}`);
    for (const member of target.members) {
      const after = await member.client.hashKv(before.hashRevision);
      expect([after.hash, after.hashRevision]).toEqual([before.hash, before.hashRevision]);
      const { kvs, count } = await member.client.range({ key: bytes('key-'), rangeEnd: bytes('key.') });
      expect(count).toBe(40);
      expect(Math.max(...kvs.map(({ modRevision }) => modRevision))).toBe(101);
    }
    await target.members[0]!.client.put({ key: bytes('new'), value: bytes('1') });
    expect((await target.members[1]!.client.range({ key: bytes('new') })).kvs[0]!.modRevision).toBe(102);

    // Who joins it later begins with nothing, and gets the archive's state from the leader.
    const joined = await target.grow(target.members[0]!);
    expect((await joined.client.range({ key: bytes('key-'), rangeEnd: bytes('key.'), serializable: true })).count).toBe(
      40,
    );

    // Once there is data the archive is not looked at any more.
    await rm(archive);
    await target.members[2]!.stop();
    target.members[2]!.start(`--restore-archive=${archive}`);
    await target.members[2]!.ready();
  });

  test('NS-12 that is damaged, cut or missing leaves nothing behind', async () => {
    const source = await newCluster(1);
    await source.start();
    const [from] = source.members as [TestMember];
    for (let i = 0; i < 100; i++) await from.client.put({ key: bytes(`key-${i}`), value: bytes(`value-${i}`) });
    const good = join(source.folder, 'good.tar.gz');
    await run(['archive', 'save', '--endpoints', from.clientUrl, good]);
    const whole = await readFile(good);
    const bad = join(source.folder, 'bad.tar.gz');
    const target = await newCluster(1, [], 'restored');
    const [member] = target.members as [TestMember];
    for (const make of [
      () => writeFile(bad, whole.subarray(0, -8)),
      () => writeFile(bad, Buffer.concat([whole, Buffer.alloc(16)])),
      () =>
        writeFile(
          bad,
          whole.map((byte, i) => (i === whole.length >> 1 ? byte ^ 1 : byte)),
        ),
      () => rm(bad),
    ]) {
      await make();
      const { code, line } = await refusal(member, `--restore-archive=${bad}`);
      expect([code, line]).toEqual([1, expect.stringContaining(`cannot restore from ${bad}`)]);
      expect(await readdir(member.dataDir)).not.toContain('member');
    }
    await copyFile(good, bad);
    member.start(`--restore-archive=${bad}`);
    await member.ready();
    expect((await member.client.range({ key: bytes('key-99') })).count).toBe(1);
  });
});
