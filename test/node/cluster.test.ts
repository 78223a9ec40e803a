/** Three members as real processes: nothing that was acknowledged is lost, whoever dies. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { bytes, TestCluster, type TestMember, textOf } from './members.ts';

let cluster: TestCluster | undefined;
afterEach(async () => {
  await cluster?.end();
  cluster = undefined;
});

async function started(size: number, flags: readonly string[] = []): Promise<TestCluster> {
  cluster = await TestCluster.create(size, flags);
  return cluster.start();
}

const put = (member: TestMember, key: string, value = `value of ${key}`) =>
  member.client.put({ key: bytes(key), value: bytes(value) });

async function all(member: TestMember, serializable = false): Promise<Map<string, string>> {
  const { kvs } = await member.client.range({ key: bytes('\0'), rangeEnd: bytes('\0'), serializable });
  return new Map(kvs.map(({ key, value }) => [textOf(key), textOf(value)]));
}

/** Puts through all running members in turn until stopped; remembers what was acknowledged. */
function keepWriting(members: readonly TestMember[]) {
  const acknowledged: string[] = [];
  let stopped = false;
  const writers = [0, 1, 2, 3].map(async (writer) => {
    for (let i = 0; !stopped; i++) {
      const key = `w${writer}-${i}`;
      const member = members[(i + writer) % members.length]!;
      try {
        await put(member, key);
        acknowledged.push(key);
      } catch {
        await new Promise((done) => setTimeout(done, 20));
      }
    }
  });
  return {
    acknowledged,
    stop: async () => {
      stopped = true;
      await Promise.all(writers);
    },
    reaches: async (count: number) => {
      const goal = acknowledged.length + count;
      const deadline = performance.now() + 25_000;
      while (acknowledged.length < goal) {
        if (performance.now() > deadline) throw new Error(`only ${acknowledged.length} of ${goal} writes went through`);
        await new Promise((done) => setTimeout(done, 10));
      }
    },
  };
}

describe('three members', () => {
  test('elect a leader, take writes through every member and answer the same everywhere', async () => {
    const { members } = await started(3);
    for (const [i, member] of members.entries()) await put(member, `key-${i}`);
    for (const member of members) {
      expect([...(await all(member)).keys()]).toEqual(['key-0', 'key-1', 'key-2']);
      const list = await member.client.memberList();
      expect(list.members.map(({ name }) => name).sort()).toEqual(['m0', 'm1', 'm2']);
      expect(list.members.flatMap(({ clientURLs }) => clientURLs).sort()).toEqual(
        members.map(({ clientUrl }) => clientUrl).sort(),
      );
      expect(await member.http('/health')).toEqual({ status: 200, text: '{"health":"true","reason":""}' });
      expect((await member.http('/livez')).status).toBe(200);
      expect(JSON.parse((await member.http('/version')).text)).toMatchObject({
        etcdserver: expect.any(String),
        raftsman: expect.any(String),
      });
    }
    const hashes = await Promise.all(members.map(({ client }) => client.hashKv(4)));
    expect(new Set(hashes.map(({ hash }) => hash)).size).toBe(1);
  });

  test('D10 kill -9 of the leader under load: every acknowledged write is there, and the old leader catches up', async () => {
    const running = await started(3);
    const writing = keepWriting(running.members);
    await writing.reaches(200);
    const leader = await running.leader();
    await leader.stop('SIGKILL');
    await writing.reaches(200);
    leader.start();
    await leader.ready();
    await writing.reaches(50);
    await writing.stop();
    for (const member of running.members) {
      const found = await all(member);
      expect(writing.acknowledged.filter((key) => found.get(key) !== `value of ${key}`)).toEqual([]);
    }
  });

  test('RS-07 after kill -9 of the leader nobody waits for an election timeout: its machine says that it has ended', async () => {
    const running = await started(3, ['--election-timeout=50000', '--heartbeat-interval=1000']);
    const leader = await running.leader();
    const [next] = await running.followers();
    await put(next!, 'before');
    await leader.stop('SIGKILL');
    // A client waits for a fifth of the time at most in which no follower may stand by itself.
    await next!.client.put({ key: bytes('after'), value: bytes('v') }, { deadlineMs: 10_000 });
    expect([...(await all(next!)).keys()]).toEqual(['after', 'before']);
  });

  test('D1 kill -9 of a follower, then of all members at once: every acknowledged write is there after the restart', async () => {
    const running = await started(3);
    const writing = keepWriting(running.members);
    await writing.reaches(200);
    const follower = (await running.followers())[0]!;
    await follower.stop('SIGKILL');
    await writing.reaches(200);
    await Promise.all(running.members.map((member) => (member.isRunning ? member.stop('SIGKILL') : undefined)));
    await writing.stop();
    await running.start();
    for (const member of running.members) {
      const found = await all(member);
      expect(writing.acknowledged.filter((key) => !found.has(key))).toEqual([]);
    }
  });

  test('RA-15 RA-21 GR-30 a member that lags behind the log gets a snapshot from the leader and ends with the same state', async () => {
    const running = await started(3, ['--snapshot-count=50', '--snapshot-catchup-entries=10']);
    const [lagging] = await running.followers();
    await put(lagging!, 'before');
    await put(lagging!, 'deleted meanwhile');
    await lagging!.stop('SIGKILL');
    const leader = await running.leader();
    await leader.client.deleteRange({ key: bytes('deleted meanwhile') });
    for (let i = 0; i < 30; i++)
      await Promise.all(Array.from({ length: 10 }, (_, j) => put(leader, `key-${i}-${j}`, 'x'.repeat(1000))));
    lagging!.start();
    await lagging!.ready();
    expect((await all(lagging!)).size).toBe(301);
    expect(await lagging!.metric('raftsman_snapshots_received_total')).toBeGreaterThanOrEqual(1);
    const { header } = await leader.client.hashKv();
    const hashes = await Promise.all(running.members.map(({ client }) => client.hashKv(header!.revision)));
    expect(new Set(hashes.map(({ hash }) => hash)).size).toBe(1);
    // And what it got is good enough to start from.
    await lagging!.stop('SIGKILL');
    lagging!.start();
    await lagging!.ready();
    expect((await all(lagging!)).size).toBe(301);
  });

  test('RA-17 RA-21 a restart begins at the snapshot and goes on with the log; HR-27 the log behind it is let go', async () => {
    const running = await started(1, ['--snapshot-count=100', '--snapshot-catchup-entries=20']);
    const [member] = running.members as [TestMember];
    for (let i = 0; i < 250; i++) await put(member, `key-${i}`);
    expect(await member.metric('raftsman_snapshots_taken_total')).toBeGreaterThanOrEqual(2);
    expect(await member.metric('raftsman_raft_first_index')).toBeGreaterThan(100);
    await member.stop('SIGKILL');
    member.output = '';
    await running.start();
    expect((await all(member)).size).toBe(250);
    const line = member.output.split('\n').find((text) => text.includes('member started'))!;
    expect(JSON.parse(line)).toMatchObject({ isNew: false, snapshotIndex: expect.any(Number) });
    expect((JSON.parse(line) as { snapshotIndex: number }).snapshotIndex).toBeGreaterThan(100);
    expect((await member.client.range({ key: bytes('key-0') })).kvs[0]!.modRevision).toBe(2);
  });

  test('RS-12 GR-20 without a quorum a write ends with etcd’s words, a serializable read is answered, and health says why', async () => {
    const running = await started(3);
    const leader = await running.leader();
    await put(leader, 'kept');
    for (const follower of await running.followers()) await follower.stop('SIGKILL');
    const said = await put(leader, 'lost').then(
      () => '',
      (error: Error) => error.message,
    );
    expect(said).toMatch(/^etcdserver: (request timed out(, possibly due to previous leader failure)?|no leader)$/);
    await expect(leader.client.range({ key: bytes('kept') })).rejects.toThrow(
      /^etcdserver: (request timed out|no leader)$/,
    );
    expect((await all(leader, true)).has('kept')).toBe(true);
    expect(await leader.http('/health')).toEqual({ status: 503, text: '{"health":"false","reason":"RAFT NO LEADER"}' });
    expect((await leader.http('/readyz')).status).toBe(503);
    expect((await leader.http('/livez')).status).toBe(200);

    // A timeout left it open what became of the write; now all agree on one answer.
    for (const member of running.members) if (!member.isRunning) member.start();
    await Promise.all(running.members.map((member) => member.ready()));
    const has = await Promise.all(running.members.map(async (member) => (await all(member)).has('lost')));
    expect(new Set(has).size).toBe(1);
    if (said === 'etcdserver: no leader') expect(has[0]).toBe(false);
  });

  test('SIGTERM stops a member in good order, and the others go on', async () => {
    const running = await started(3);
    const leader = await running.leader();
    await put(leader, 'a');
    expect(await leader.stop('SIGTERM')).toBe(0);
    const [other] = running.members.filter((member) => member !== leader);
    await put(other!, 'b');
    expect([...(await all(other!)).keys()]).toEqual(['a', 'b']);
  });

  test('D11 RS-25 a leader that was stopped and wakes up does not answer a linearizable read with what is old', async () => {
    const running = await started(3);
    const old = await running.leader();
    await put(old, 'key', 'old');
    old.pause();
    const [other] = running.members.filter((member) => member !== old);
    await put(other!, 'key', 'new');
    old.resume();
    const { kvs } = await old.client.range({ key: bytes('key') });
    expect(textOf(kvs[0]!.value)).toBe('new');
  });
});
