/** Members that come, are promoted, move and go, as real processes driven through etcd's RPCs. */
import { rm } from 'node:fs/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { freePorts } from '../ports.ts';
import { bytes, idOf, run, TestCluster, type TestMember, textOf, until } from './members.ts';

let cluster: TestCluster | undefined;
afterEach(async () => {
  await cluster?.end();
  cluster = undefined;
});

async function started(size: number, flags: readonly string[] = []): Promise<TestCluster> {
  cluster = await TestCluster.create(size, flags);
  await cluster.start();
  // A voter that another one is not connected with yet is a reason to refuse changes.
  const { members } = cluster;
  await until('all are connected', async () => {
    const connected = await Promise.all(members.map((member) => member.metric('raftsman_peers_connected')));
    return connected.every((others) => others === size - 1);
  });
  return cluster;
}

const put = (member: TestMember, key: string, value = `value of ${key}`) =>
  member.client.put({ key: bytes(key), value: bytes(value) });

async function get(member: TestMember, key: string, serializable = false): Promise<string | undefined> {
  const { kvs } = await member.client.range({ key: bytes(key), serializable });
  return kvs[0] && textOf(kvs[0].value);
}

/** Name and suffrage of every member, as this one lists them. */
async function members(via: TestMember): Promise<string[]> {
  const list = await via.client.memberList();
  return list.members.map(({ name, isLearner }) => `${name}${isLearner ? ' learns' : ''}`).sort();
}

/** Promotes as soon as the learner has caught up. */
const promote = (via: TestMember, member: TestMember) =>
  until(`${member.name} promoted`, async () => {
    await via.client.memberPromote(await idOf(member, via));
    return true;
  });

describe('growing', () => {
  test('RS-15 a learner gets the log, answers only what etcd’s learners answer, and votes once it is promoted', async () => {
    const running = await started(1);
    const [first] = running.members as [TestMember];
    await put(first, 'before');
    const added = await first.client.memberAdd(['http://127.0.0.1:1'], true);
    expect(added.member).toMatchObject({ name: '', peerURLs: ['http://127.0.0.1:1'], clientURLs: [], isLearner: true });
    expect(added.members).toHaveLength(2);
    await expect(first.client.memberAdd(['http://127.0.0.1:2'], true)).rejects.toThrow(
      'etcdserver: too many learner members in cluster',
    );
    await expect(first.client.memberPromote(added.member!.ID)).rejects.toThrow(
      'etcdserver: can only promote a learner member which is in sync with leader',
    );
    await first.client.memberRemove(added.member!.ID);

    const learner = await running.grow(first);
    expect(await members(first)).toEqual(['m0', 'm1 learns']);
    expect(await get(learner, 'before', true)).toBe('value of before');
    expect((await learner.client.status()).isLearner).toBe(true);
    expect(await learner.metric('etcd_server_is_learner')).toBe(1);
    for (const call of [put(learner, 'x'), get(learner, 'before'), learner.client.memberList()])
      await expect(call).rejects.toThrow('etcdserver: rpc not supported for learner');
    // It counts for nothing: the only voter goes on without it.
    await learner.stop('SIGKILL');
    await put(first, 'alone');
    learner.start();
    await learner.ready();
    await promote(first, learner);
    expect(await members(learner)).toEqual(['m0', 'm1']);
    await expect(first.client.memberPromote(await idOf(learner))).rejects.toThrow(
      'etcdserver: can only promote a learner member',
    );
    expect(await get(learner, 'alone')).toBe('value of alone');
    // Now it counts.
    await first.stop('SIGKILL');
    await expect(put(learner, 'y')).rejects.toThrow(/request timed out|no leader/);
  });

  test('etcd’s way from one member to three: added, then started, each votes as soon as it has caught up', async () => {
    const running = await started(1);
    const [first] = running.members as [TestMember];
    await put(first, 'a');
    const second = await running.grow(first, 'voter');
    await until('two vote', async () => !(await members(first)).join().includes('learns'));
    const third = await running.grow(second, 'voter');
    await until('three vote', async () => !(await members(second)).join().includes('learns'));
    expect(await members(third)).toEqual(['m0', 'm1', 'm2']);
    await first.stop('SIGKILL');
    await put(third, 'b');
    expect([await get(second, 'a'), await get(second, 'b')]).toEqual(['value of a', 'value of b']);
    // A restart knows the others from its own disk, whatever the flags said when it was made.
    await Promise.all([second.stop('SIGKILL'), third.stop('SIGKILL')]);
    await running.start();
    expect(await members(first)).toEqual(['m0', 'm1', 'm2']);
    expect(await get(first, 'b')).toBe('value of b');
  });

  test('a member that joins after the log was compacted gets a snapshot, and the book of members in it', async () => {
    const running = await started(1, ['--snapshot-count=20', '--snapshot-catchup-entries=5']);
    const [first] = running.members as [TestMember];
    for (let i = 0; i < 60; i++) await put(first, `key-${i}`);
    const second = await running.grow(first, 'voter');
    await until('two vote', async () => !(await members(first)).join().includes('learns'));
    expect(await second.metric('raftsman_snapshots_received_total')).toBeGreaterThanOrEqual(1);
    expect(await members(second)).toEqual(['m0', 'm1']);
    await second.stop('SIGKILL');
    second.start();
    await second.ready();
    expect(await get(second, 'key-59')).toBe('value of key-59');
  });
});

describe('who may not come', () => {
  test('a member that nobody added, with what to do about it', async () => {
    const running = await started(1);
    const stranger = await running.newMember();
    const { code, stderr } = await run(['node', ...stranger.args, '--log-level=error']);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^raftsman node: .* \(m1\) is not a member of cluster .*: add it first \(etcdctl member add m1 --peer-urls=.*\).*\n$/,
    );
  });

  test('GR-04 GR-21 addresses in use, unknown members and bad addresses are refused in etcd’s words', async () => {
    const running = await started(3);
    const [first] = running.members as [TestMember];
    const refusals: [Promise<unknown>, string][] = [
      [first.client.memberAdd([first.peerUrl]), 'etcdserver: Peer URLs already exists'],
      [first.client.memberAdd(['ftp://127.0.0.1:1']), 'etcdserver: given member URLs are invalid'],
      [first.client.memberAdd([]), 'etcdserver: given member URLs are invalid'],
      [first.client.memberRemove('12345'), 'etcdserver: member not found'],
      [first.client.memberPromote('12345'), 'etcdserver: member not found'],
      [first.client.memberUpdate('12345', ['http://127.0.0.1:1']), 'etcdserver: member not found'],
      [
        first.client.memberUpdate(await idOf(first), [running.members[1]!.peerUrl]),
        'etcdserver: Peer URLs already exists',
      ],
    ];
    for (const [call, message] of refusals) await expect(call).rejects.toThrow(message);
    expect(await members(first)).toEqual(['m0', 'm1', 'm2']);
  });

  test('RS-13 GR-21 changes asked for at the same time through different members: what was allowed once happens once', async () => {
    const running = await started(3);
    const outcomes = async (calls: readonly Promise<unknown>[]): Promise<string[]> => {
      const settled = await Promise.allSettled(calls);
      return settled.map((one) => (one.status === 'fulfilled' ? 'done' : (one.reason as Error).message)).sort();
    };
    const everywhere = <T>(call: (member: TestMember, at: number) => Promise<T>): Promise<T>[] =>
      running.members.map(call);
    const exists = 'etcdserver: Peer URLs already exists';
    expect(await outcomes(everywhere(({ client }) => client.memberAdd(['http://127.0.0.1:1'])))).toEqual([
      'done',
      exists,
      exists,
    ]);
    const many = 'etcdserver: too many learner members in cluster';
    const learners = everywhere(({ client }, at) => client.memberAdd([`http://127.0.0.1:${at + 2}`], true));
    expect(await outcomes(learners)).toEqual(['done', many, many]);
    const { members: list } = await running.members[0]!.client.memberList();
    expect(list).toHaveLength(5);
    const gone = list.find(({ peerURLs }) => peerURLs.includes('http://127.0.0.1:1'))!;
    const unknown = 'etcdserver: member not found';
    expect(await outcomes(everywhere(({ client }) => client.memberRemove(gone.ID)))).toEqual([
      'done',
      unknown,
      unknown,
    ]);
  });

  test('a change that would leave too few who run is refused', async () => {
    const running = await started(3);
    const leader = await running.leader();
    const [up, down] = (await running.followers()) as [TestMember, TestMember];
    await down.stop('SIGKILL');
    await until('noticed', async () => (await leader.metric('raftsman_peers_connected')) === 1);
    await expect(leader.client.memberRemove(await idOf(up, leader))).rejects.toThrow('etcdserver: unhealthy cluster');
    await expect(leader.client.memberAdd(['http://127.0.0.1:1'])).rejects.toThrow('etcdserver: unhealthy cluster');
    await leader.client.memberRemove(await idOf(down, leader));
    expect((await members(leader)).length).toBe(2);
    await put(up, 'goes on');
  });

  test('the last voter cannot be removed, and no more may be added than have started', async () => {
    const running = await started(1);
    const [only] = running.members as [TestMember];
    const few = 'etcdserver: re-configuration failed due to not enough started members';
    await expect(only.client.memberRemove(await idOf(only))).rejects.toThrow(few);
    await only.client.memberAdd(['http://127.0.0.1:1']);
    await expect(only.client.memberAdd(['http://127.0.0.1:2'])).rejects.toThrow(few);
    // Which has cost the cluster nothing.
    await put(only, 'goes on');
  });
});

describe('going', () => {
  test('a removed follower stops, says why, and stays away until its data is gone and it is added again', async () => {
    const running = await started(3);
    const leader = await running.leader();
    const [gone, other] = (await running.followers()) as [TestMember, TestMember];
    const id = await idOf(gone);
    await leader.client.memberRemove(id);
    expect(await gone.ended()).toBe(1);
    expect(gone.output).toMatch(
      /raftsman node: NODE_REMOVED: member [0-9a-f]+ was removed from its cluster .* delete .*m\d and add a new/,
    );
    const again = await run(['node', ...gone.args, '--log-level=error']);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringMatching(/was removed from its cluster/) });
    expect((await members(other)).length).toBe(2);
    await put(other, 'without it');

    await rm(gone.dataDir, { recursive: true });
    const added = await leader.client.memberAdd([gone.peerUrl]);
    expect(added.member!.ID).not.toBe(id);
    gone.start('--initial-cluster-state=existing');
    await gone.ready();
    await until('three vote', async () => {
      const list = await members(leader);
      return list.length === 3 && !list.join().includes('learns');
    });
    expect(await get(gone, 'without it')).toBe('value of without it');
  });

  test('RS-17 one that was removed while it was away learns it from whoever it dials, and disturbs nobody', async () => {
    const running = await started(3);
    const leader = await running.leader();
    const [gone] = (await running.followers()) as [TestMember];
    await gone.stop('SIGKILL');
    const id = await idOf(gone, leader);
    await until('removed', async () => (await leader.client.memberRemove(id)).members.length === 2);
    const { raftTerm } = await leader.client.status();
    gone.start();
    expect(await gone.ended()).toBe(1);
    expect(gone.output).toMatch(/was removed from its cluster/);
    const [after] = await Promise.all([leader.client.status(), put(leader, 'quiet')]);
    expect(after.raftTerm).toBe(raftTerm);
  });

  test('RS-16 two become one, and it is the leader that goes', async () => {
    const running = await started(2);
    const leader = await running.leader();
    const [rest] = (await running.followers()) as [TestMember];
    await put(leader, 'before');
    await leader.client.memberRemove(await idOf(leader));
    expect(await leader.ended()).toBe(1);
    await put(rest, 'after');
    expect([await get(rest, 'before'), await members(rest)]).toEqual(['value of before', [rest.name]]);
    await rest.stop('SIGKILL');
    rest.start();
    await rest.ready();
    expect(await get(rest, 'after')).toBe('value of after');
  });

  test('RS-16 a leader removes itself, answers, hands over, and stops', async () => {
    const running = await started(3);
    const leader = await running.leader();
    const rest = running.members.filter((member) => member !== leader);
    await put(leader, 'before');
    const { members: left } = await leader.client.memberRemove(await idOf(leader));
    expect(left).toHaveLength(2);
    expect(await leader.ended()).toBe(1);
    for (const member of rest) {
      await put(member, `through ${member.name}`);
      expect(await get(member, 'before')).toBe('value of before');
    }
    expect((await running.leader()) === leader).toBe(false);
  });
});

describe('moving', () => {
  test('a member is found at its new address without a restart of the others', async () => {
    const running = await started(3);
    const leader = await running.leader();
    const [moved] = (await running.followers()) as [TestMember];
    const [port] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    const { members: list } = await leader.client.memberUpdate(await idOf(moved), [url]);
    expect(list.flatMap(({ peerURLs }) => peerURLs)).toContain(url);
    await moved.stop();
    await put(leader, 'meanwhile');
    moved.start(`--listen-peer-urls=${url}`, `--initial-advertise-peer-urls=${url}`);
    await moved.ready();
    expect(await get(moved, 'meanwhile')).toBe('value of meanwhile');
    await until('both ways', async () => (await leader.metric('raftsman_peers_connected')) === 2);
  });

  test('RS-18 GR-04 leadership moves to whom the leader is told, and only the leader takes the order', async () => {
    const running = await started(3);
    const leader = await running.leader();
    const [next] = (await running.followers()) as [TestMember];
    await expect(next.client.moveLeader(await idOf(next))).rejects.toThrow('etcdserver: not leader');
    await expect(leader.client.moveLeader('12345')).rejects.toThrow('etcdserver: bad leader transferee');
    const learner = await running.grow(leader);
    await expect(leader.client.moveLeader(await idOf(learner, leader))).rejects.toThrow(
      'etcdserver: bad leader transferee',
    );
    await leader.client.moveLeader(await idOf(next));
    expect(await running.leader()).toBe(next);
    expect(await leader.metric('raftsman_leader_transfers_total')).toBe(1);
    // To itself: nothing to do.
    await next.client.moveLeader(await idOf(next));
  });

  test('a leader that is told to stop hands over first: there is another one when it exits', async () => {
    const running = await started(3, ['--election-timeout=10000']);
    const leader = await running.leader();
    const [one] = (await running.followers()) as [TestMember];
    await put(leader, 'a');
    expect(await leader.stop('SIGTERM')).toBe(0);
    const { leader: now } = await one.client.status();
    expect(now).not.toBe('0');
    expect((await running.followers()).length).toBe(1);
    await put(one, 'b');
  });
});
