/** Three real members that speak TLS with each other and with clients, and whom they turn away. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';
import { createLog } from '../../src/log.ts';
import { Certificates } from '../../src/node/certificates.ts';
import { dial, type Meeting } from '../../src/node/hello.ts';
import { asMemberId } from '../../src/raft/types.ts';
import { newAuthority } from '../kubernetes/certificates.ts';
import { bytes, TestCluster, type TestMember, type TestTls, textOf, until } from './members.ts';
import { clientOf, MountedSecret, serving } from './tls-files.ts';

const [first, second, strange] = [newAuthority('first'), newAuthority('second'), newAuthority('strange')];

let folder: string;
let cluster: TestCluster;
/** All members', for both kinds of connections. */
let secret: MountedSecret;
let tls: TestTls;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-tls-'));
  secret = await MountedSecret.create(join(folder, 'members'), { pair: serving(first), authorities: [first] });
  tls = { flags: [...secret.flags('client'), ...secret.flags('peer')], client: clientOf(first) };
  cluster = await TestCluster.create(3, ['--snapshot-count=50', '--snapshot-catchup-entries=5'], 'tls', tls);
  await cluster.start();
});

const writers: { stop(): Promise<unknown> }[] = [];

afterAll(async () => {
  await Promise.all(writers.map((writes) => writes.stop()));
  await cluster?.end();
  await rm(folder, { recursive: true, force: true });
});

async function refusal(member: TestMember, url: string, given?: ClientTls): Promise<unknown> {
  const client = new EtcdClient({ endpoints: [url], deadlineMs: 5000, ...(given && { tls: given }) });
  try {
    await client.put({ key: bytes('stranger'), value: bytes('1') });
    throw new Error(`${member.name} let it in`);
  } catch (error) {
    return error;
  } finally {
    client.close();
  }
}

/** Reasons in the member's log lines with this message, each line once. */
function reasons(member: TestMember, message: string): string[] {
  const lines = member.output.split('\n').filter((line) => line.includes(`"message":"${message}"`));
  return lines.map((line) => (JSON.parse(line) as { reason: string }).reason);
}

describe('clients', () => {
  test('without certificate, with one of another authority, or without TLS are told so, counted, and logged once', async () => {
    const [member] = cluster.members as [TestMember];
    const before = await member.metric('raftsman_client_refused_total');
    const { ca } = tls.client;
    for (let i = 0; i < 2; i++) {
      expect(await refusal(member, member.clientUrl, { ca: ca! })).toMatchObject({
        code: 'ETCD_TLS_REFUSED',
        message: `${member.clientUrl}: no secure connection: tlsv13 alert certificate required`,
      });
      expect(await refusal(member, member.clientUrl, clientOf(strange, [first]))).toMatchObject({
        code: 'ETCD_UNREACHABLE',
      });
      expect(await refusal(member, member.clientUrl.replace('https', 'http'))).toMatchObject({
        code: 'ETCD_UNREACHABLE',
      });
    }
    await until('all counted', async () => (await member.metric('raftsman_client_refused_total')) >= before + 6);
    expect(reasons(member, 'refused a client')).toEqual([
      'it shows no certificate',
      expect.stringMatching(/^its certificate is not accepted/),
      expect.stringMatching(/^it does not speak TLS/),
    ]);
    expect((await member.client.range({ key: bytes('stranger') })).count).toBe(0);
  });

  test('do not talk to a member whose certificate is of another authority or for another host', async () => {
    const [member] = cluster.members as [TestMember];
    expect(await refusal(member, member.clientUrl, clientOf(first, [strange]))).toMatchObject({
      code: 'ETCD_TLS_REFUSED',
      message: expect.stringMatching(/certificate/),
    });
    expect(await refusal(member, member.clientUrl, { ...tls.client, serverName: 'elsewhere' })).toMatchObject({
      code: 'ETCD_TLS_REFUSED',
      message: expect.stringMatching(/Host: elsewhere/),
    });
    const named = new EtcdClient({ endpoints: [member.clientUrl], tls: { ...tls.client, serverName: 'localhost' } });
    expect((await named.status()).header).toBeDefined();
    named.close();
  });

  test.each([
    ['a key without its certificate', { key: bytes('x') }, /given together, and the certificate is missing/],
    ['a bundle that is none', { ca: bytes('-----BEGIN CERTIFICATE-----\nx') }, /cannot be used/],
  ])('with %s are not made', (_, given, message) => {
    const make = (): EtcdClient => new EtcdClient({ endpoints: ['https://127.0.0.1:1'], tls: given });
    expect(make).toThrow(
      expect.objectContaining({ code: 'ETCD_TLS_INVALID', message: expect.stringMatching(message) }),
    );
  });
});

describe('members', () => {
  test('turn others away: no certificate, another authority, no TLS; counted, logged once, and nobody waits', async () => {
    const leader = await cluster.leader();
    const counted = (): Promise<number> => leader.metric('raftsman_peer_refused_total');
    const before = await counted();
    const log = createLog({ write: () => {} });
    const filesOf = async (name: string, authority: typeof first, withOwn = true): Promise<Certificates> => {
      const content = { pair: serving(authority), authorities: [first] };
      const { folder: at } = await MountedSecret.create(join(folder, name), content);
      const own = withOwn ? { certFile: join(at, 'tls.crt'), keyFile: join(at, 'tls.key') } : {};
      const none = { certFile: undefined, keyFile: undefined, allowedCommonNames: [], allowedHostnames: [] };
      const trustedCaFile = join(at, 'ca.crt');
      return Certificates.open({ ...none, ...own, use: 'peer', trustedCaFile, clientCertAuth: true }, log);
    };
    const { clusterId, memberId } = await identity(leader);
    const meeting: Meeting = { purpose: 'messages', clusterId, from: asMemberId('1'), to: memberId, peerUrls: [] };
    const [none, foreign] = [await filesOf('none', first, false), await filesOf('foreign', strange)];
    const good = await filesOf('good', first);
    const elsewhere = { ...meeting, clusterId: 'bad' };
    await expect(dial(leader.peerUrl, elsewhere, 5000, good)).rejects.toMatchObject({ code: 'PEER_REFUSED' });
    const writes = keepWriting();
    for (let i = 0; i < 2; i++) {
      await expect(dial(leader.peerUrl, meeting, 5000, none)).rejects.toThrow('certificate required');
      await expect(dial(leader.peerUrl, meeting, 5000, foreign)).rejects.toThrow(/not accept the certificate/);
      await expect(dial(leader.peerUrl.replace('https', 'http'), meeting, 5000)).rejects.toThrow(
        /must begin with https/,
      );
    }
    await until('all counted', async () => (await counted()) >= before + 7);
    expect(reasons(leader, 'refused a connection')).toEqual([
      expect.stringMatching(/^cluster bad; this is a member of/),
      'it shows no certificate',
      expect.stringMatching(/^its certificate is not accepted/),
      expect.stringMatching(/^it does not speak TLS/),
    ]);
    const { longestMs } = await writes.stop();
    expect(longestMs).toBeLessThan(3000);
    for (const certificates of [none, foreign, good]) certificates.stop();
  });

  test('join over TLS, and are sent a snapshot over it', async () => {
    const leader = await cluster.leader();
    for (let i = 0; i < 120; i++) await leader.client.put({ key: bytes(`k${i}`), value: bytes('v'.repeat(10_000)) });
    const joined = await cluster.grow(leader, 'voter');
    expect(await joined.metric('raftsman_snapshots_received_total')).toBe(1);
    const there = await leader.client.hashKv();
    expect((await joined.client.hashKv(there.hashRevision)).hash).toBe(there.hash);
    const { members } = await leader.client.memberList();
    expect(members.flatMap(({ peerURLs }) => peerURLs).every((url) => url.startsWith('https://'))).toBe(true);
    await leader.client.memberRemove(members.find(({ name }) => name === joined.name)!.ID);
    expect(await joined.ended()).toBe(1);
    cluster.members.pop();
  });

  test('take new leaves and a new authority while clients write, and no write waits longer than an election', async () => {
    const [follower] = (await cluster.followers()) as [TestMember];
    const leaders = await follower.metric('etcd_server_leader_changes_seen_total');
    const writes = keepWriting();
    const logged = async (times: number): Promise<void> => {
      await until(`read ${times} times by all`, async () =>
        cluster.members.every(({ output }) => output.split('certificates read again').length - 1 >= times),
      );
    };
    // As an operator does it: trust both, then show the new, then trust the new only. Each of the two kinds logs.
    await secret.swap({ pair: serving(first), authorities: [first, second] });
    await logged(2);
    writes.use(clientOf(second, [first, second]));
    await secret.swap({ pair: serving(second), authorities: [first, second] });
    await logged(4);
    await secret.swap({ pair: serving(second), authorities: [second] });
    await logged(6);
    tls.client = clientOf(second);
    const [member] = cluster.members as [TestMember];
    expect(await refusal(member, member.clientUrl, clientOf(first, [second]))).toMatchObject({
      code: 'ETCD_UNREACHABLE',
    });
    writes.use(tls.client);
    await until('written with the new ones', async () => writes.sinceUse() > 20);
    const { longestMs, failed } = await writes.stop();
    expect(longestMs).toBeLessThan(3000);
    expect(failed).toEqual([]);
    // Connections from before stay; one that is made anew has to do with the new ones.
    expect(await follower.metric('etcd_server_leader_changes_seen_total')).toBe(leaders);
    await follower.stop('SIGKILL');
    follower.start();
    await follower.ready();
  });

  test('all stopped and started again, have everything and let the same in as before', async () => {
    const [member] = cluster.members as [TestMember];
    member.client.close();
    member.client = member.newClient();
    await member.client.put({ key: bytes('before'), value: bytes('restart') });
    await Promise.all(cluster.members.map((one) => one.stop()));
    await cluster.start();
    expect(textOf((await member.client.range({ key: bytes('before') })).kvs[0]!.value)).toBe('restart');
    expect(await refusal(member, member.clientUrl, clientOf(first, [second]))).toMatchObject({
      code: 'ETCD_UNREACHABLE',
    });
  });
});

async function identity(member: TestMember) {
  const { header } = await member.client.status();
  const hex = (id: string): string => BigInt(id).toString(16);
  return { clusterId: hex(header!.clusterId), memberId: asMemberId(hex(header!.memberId)) };
}

/** Puts one after the other through a client of all members, until it is stopped. */
function keepWriting() {
  const endpoints = cluster.members.map(({ clientUrl }) => clientUrl);
  const make = (given: ClientTls): EtcdClient => new EtcdClient({ endpoints, tls: given, deadlineMs: 5000 });
  let client = make(tls.client);
  const failed: string[] = [];
  let [longestMs, acknowledged, stopped] = [0, 0, false];
  const running = (async () => {
    for (let i = 0; !stopped; i++) {
      const from = performance.now();
      try {
        await client.put({ key: bytes(`writing/${i}`), value: bytes(String(i)) });
      } catch (error) {
        failed.push((error as Error).message);
      }
      acknowledged++;
      longestMs = Math.max(longestMs, performance.now() - from);
    }
  })();
  const writes = {
    /** Writes acknowledged since. */
    sinceUse: () => acknowledged,
    /** From the next write on, new connections with these. */
    use(given: ClientTls): void {
      const before = client;
      client = make(given);
      acknowledged = 0;
      setTimeout(() => before.close(), 5000).unref();
    },
    async stop() {
      stopped = true;
      await running;
      client.close();
      return { longestMs, failed };
    },
  };
  writers.push(writes);
  return writes;
}
