/** Snapshots of real member processes. */
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { freePorts } from '../ports.ts';
import { bytes, TestCluster, type TestMember, until } from './members.ts';
import { PeerProxy } from './proxy.ts';

let cluster: TestCluster | undefined;
const proxies: PeerProxy[] = [];
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.close();
  await cluster?.end();
  cluster = undefined;
}, 60_000);

const created = async (size: number, flags: readonly string[] = []): Promise<TestCluster> => {
  cluster = await TestCluster.create(size, flags);
  return cluster;
};

const put = (member: TestMember, key: string, size = 10) =>
  member.client.put({ key: bytes(key), value: new Uint8Array(size).fill(key.length) });

/** So many keys of so many bytes, several at a time. */
async function fill(member: TestMember, name: string, count: number, size: number): Promise<void> {
  for (let i = 0; i < count; i += 20) {
    await Promise.all(Array.from({ length: Math.min(20, count - i) }, (_, j) => put(member, `${name}-${i + j}`, size)));
  }
}

async function keysOf(member: TestMember): Promise<number> {
  const all = { key: bytes('\0'), rangeEnd: bytes('\0'), countOnly: true };
  return Number((await member.client.range(all)).count);
}

async function sameEverywhere(members: readonly TestMember[]): Promise<void> {
  const { header } = await members[0]!.client.hashKv();
  const hashes = await Promise.all(members.map(({ client }) => client.hashKv(header!.revision)));
  expect(new Set(hashes.map(({ hash }) => hash)).size).toBe(1);
}

const post = async (member: TestMember, path: string): Promise<{ status: number; body: Record<string, unknown> }> => {
  const response = await fetch(member.httpUrl + path, { method: 'POST' });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};

const linesOf = (member: TestMember): Record<string, unknown>[] =>
  member.output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('a snapshot that a person asks for', () => {
  test('HR-15 HR-31 POST /snapshot takes one whatever the count says, tells what it is, and the metrics have its steps', async () => {
    const [member] = (await (await created(1, ['--snapshot-count=1000000'])).start()).members as [TestMember];
    await put(member, 'a');
    const { status, body } = await post(member, '/snapshot');
    expect(status).toBe(200);
    expect(body).toEqual({
      id: expect.stringMatching(/^\d+-\d+-\d+$/),
      index: expect.any(Number),
      term: expect.any(Number),
      sizeBytes: expect.any(Number),
    });
    const folder = join(member.dataDir, 'member', 'snap', String(body['id']));
    expect((await readFile(join(folder, 'state.bin'))).length).toBe(body['sizeBytes']);
    expect(await member.metric('raftsman_snapshot_index')).toBe(body['index']);
    for (const step of ['take', 'create', 'persist', 'compact']) {
      expect(await member.metric(`raftsman_snapshot_duration_seconds_count\\{step="${step}"\\}`)).toBe(1);
    }
    expect(linesOf(member).map(({ message }) => message)).toEqual(
      expect.arrayContaining(['taking a snapshot', 'took a snapshot']),
    );
    // And a restart begins with it.
    await member.stop('SIGKILL');
    member.output = '';
    member.start();
    await member.ready();
    expect(linesOf(member)).toContainEqual(
      expect.objectContaining({ message: 'member started', snapshotIndex: body['index'] }),
    );
    expect(await keysOf(member)).toBe(1);
  }, 60_000);

  test('HR-15 its error comes back with a status and a reason: 409 before anything was applied, 500 when the disk does not do it', async () => {
    const { members } = await created(3, ['--snapshot-count=1000000']);
    const [alone] = members as [TestMember, TestMember, TestMember];
    alone.start();
    await until('HTTP', async () => (await alone.http('/livez')).status === 200);
    expect(await post(alone, '/snapshot')).toEqual({
      status: 409,
      body: { code: 'RAFT_SNAPSHOT_REFUSED', error: expect.stringContaining('nothing new to snapshot') },
    });
    for (const member of members.slice(1)) member.start();
    await alone.ready();
    await put(alone, 'a');
    const folder = join(alone.dataDir, 'member', 'snap');
    await rename(folder, `${folder}-away`);
    const refused = await post(alone, '/snapshot');
    expect(refused).toEqual({
      status: 500,
      body: { code: 'SNAPSHOT_NOT_CREATED', error: expect.stringContaining('failed to create snapshot: ENOENT') },
    });
    // HR-14: it goes on, and the next one is well.
    await rename(`${folder}-away`, folder);
    expect((await post(alone, '/snapshot')).status).toBe(200);
    await put(alone, 'b');
  }, 60_000);
});

test('HR-35 ES-22 a damaged newest snapshot is passed over for the one before it, and no write is lost', async () => {
  const [member] = (await (await created(1, ['--snapshot-count=1000000', '--snapshot-catchup-entries=1'])).start())
    .members as [TestMember];
  await fill(member, 'first', 40, 100);
  const older = (await post(member, '/snapshot')).body;
  await fill(member, 'second', 40, 100);
  const newer = (await post(member, '/snapshot')).body;
  await fill(member, 'third', 40, 100);
  await member.stop('SIGKILL');
  const path = join(member.dataDir, 'member', 'snap', String(newer['id']), 'state.bin');
  const state = await readFile(path);
  state[state.length >> 1]! ^= 1;
  await writeFile(path, state);
  member.output = '';
  member.start();
  await member.ready();
  expect(linesOf(member)).toContainEqual(
    expect.objectContaining({ message: 'a stored snapshot cannot be loaded', id: newer['id'] }),
  );
  expect(linesOf(member)).toContainEqual(
    expect.objectContaining({ message: 'member started', snapshotIndex: older['index'] }),
  );
  expect(await keysOf(member)).toBe(120);
}, 60_000);

/** Only the snapshots that the test asks for, and no log behind them. */
const few = ['--snapshot-count=1000000', '--snapshot-catchup-entries=1'];

describe('followers that lag', () => {
  /** Members that reach each other by way of proxies. */
  async function behindProxies(size: number, flags: readonly string[]) {
    const running = await created(size, flags);
    const { members } = running;
    const taken = members.flatMap(({ args }) =>
      [...args.join(' ').matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => port),
    );
    const targets = (await freePorts(size * 4)).filter((port) => !taken.includes(String(port)));
    const proxied = new Map<TestMember, PeerProxy>();
    const start = (member: TestMember): void => {
      member.start(`--listen-peer-urls=http://127.0.0.1:${targets[members.indexOf(member)]}`);
    };
    for (const [i, member] of members.entries()) {
      const advertised = Number(/listen-peer-urls=http:\/\/127.0.0.1:(\d+)/.exec(member.args.join(' '))![1]);
      const proxy = await PeerProxy.listen(advertised, targets[i]!);
      proxies.push(proxy);
      proxied.set(member, proxy);
      start(member);
    }
    await Promise.all(members.map((member) => member.ready(60_000)));
    const slowDown = (member: TestMember, bytesPerSecond: number): void => {
      proxied.get(member)!.bytesPerSecond = bytesPerSecond;
    };
    return { running, members, start, slowDown, proxied };
  }

  test('ES-07 two at once: one is sent to, the other is told unavailable and served after it; both end with the same state', async () => {
    const { running, start, slowDown } = await behindProxies(5, few);
    const leader = await running.leader();
    const [one, other] = (await running.followers()) as [TestMember, TestMember];
    for (const follower of [one, other]) await follower.stop('SIGKILL');
    await fill(leader, 'key', 200, 20_000);
    await post(leader, '/snapshot');
    for (const follower of [one, other]) {
      slowDown(follower, 100_000);
      start(follower);
    }
    // Raft asks for both, again and again, while the first takes its time, and they never overlap.
    const refused = () => leader.metric('raftsman_snapshots_unavailable_total');
    await until('the other to be told three times', async () => (await refused()) >= 3, 60_000);
    for (const follower of [one, other]) slowDown(follower, 4_000_000);
    await Promise.all([one.ready(60_000), other.ready(60_000)]);
    for (const member of running.members) expect(await keysOf(member)).toBe(200);
    await sameEverywhere(running.members);
    const [first, second] = [one, other]
      .map((member) => {
        const at = (message: string): string =>
          String(linesOf(member).findLast((line) => line['message'] === message)!['time']);
        return { from: at('receiving a snapshot'), to: at('received a snapshot') };
      })
      .sort((a, b) => (a.from < b.from ? -1 : 1));
    expect(first!.to <= second!.from).toBe(true);
  }, 180_000);

  test('RS-20 a restore slower than the log grows still ends: the log from the snapshot on is kept for whom it is sent to', async () => {
    const flags = ['--snapshot-count=40', '--snapshot-catchup-entries=5'];
    const { running, start, slowDown } = await behindProxies(3, flags);
    const leader = await running.leader();
    const [member] = (await running.followers()) as [TestMember];
    await member.stop('SIGKILL');
    await fill(leader, 'before', 200, 20_000);
    // Longer than a read may take: becoming ready has to outlast that, too.
    slowDown(member, 500_000);
    start(member);
    // Writes go on, and with them snapshots and compactions: many times over what is kept for followers otherwise.
    let stop = false;
    let written = 200;
    const writing = (async () => {
      for (let i = 0; !stop; i += 10) {
        await fill(leader, `during-${i}`, 10, 100);
        written += 10;
      }
    })();
    try {
      await until(
        'the follower has caught up',
        async () => {
          if ((await member.metric('raftsman_snapshots_received_total')) < 1) return false;
          return (await member.http('/readyz')).status === 200;
        },
        60_000,
      );
    } finally {
      stop = true;
      await writing;
    }
    expect(written).toBeGreaterThan(300);
    expect(await member.metric('raftsman_snapshots_received_total')).toBe(1);
    await until('the same keys', async () => (await keysOf(member)) === written);
    await sameEverywhere(running.members);
  }, 180_000);

  test('RS-19 a connection that breaks in the middle of a snapshot: the next one goes on, not from the start', async () => {
    const { running, start, slowDown, proxied } = await behindProxies(3, few);
    const leader = await running.leader();
    const [member] = (await running.followers()) as [TestMember];
    await member.stop('SIGKILL');
    await fill(leader, 'key', 200, 20_000);
    const size = Number((await post(leader, '/snapshot')).body['sizeBytes']);
    slowDown(member, 2_000_000);
    start(member);
    const received = (): Promise<number> => member.metric('raftsman_snapshot_received_bytes_total');
    await until('a part of it', async () => (await received()) > size / 4);
    proxied.get(member)!.cut();
    const all = async (): Promise<boolean> => (await member.metric('raftsman_snapshots_received_total')) === 1;
    await until('all of it', all, 60_000);
    expect(await member.metric('raftsman_snapshot_streams_resumed_total')).toBeGreaterThanOrEqual(1);
    expect(await received()).toBeLessThan(size * 1.2);
    await member.ready();
    expect(await keysOf(member)).toBe(200);
    await sameEverywhere(running.members);
    const left = await readdir(join(member.dataDir, 'member', 'snap'));
    expect(left.filter((name) => name.endsWith('.tmp'))).toEqual([]);
  }, 180_000);
});
