/**
 * Two real members and, in the third's place, this test: it greets as a member would and then sends what none would. The two
 * serve reads and writes all the time, in the same term and process; each kind is counted, and logged once.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Channel } from '../../src/node/channel.ts';
import { encodeMessage, type WireMessage } from '../../src/node/codec.ts';
import { frameHeaderBytes, frameOf, maxFrameBytes } from '../../src/node/frames.ts';
import { dial, type Meeting, protocolVersion } from '../../src/node/hello.ts';
import { asIndex, asMemberId, asTerm, type MemberId } from '../../src/raft/types.ts';
import { bytes, TestCluster, type TestMember, textOf, until } from './members.ts';

let cluster: TestCluster;
let leader: TestMember;
let follower: TestMember;
let clusterId: string;
/** By name; `m2` is the test. */
const ids = new Map<string, MemberId>();
let writing: { stop(): Promise<string[]> };
const channels: (Channel | Socket)[] = [];

const hex = (id: string): string => BigInt(id).toString(16);

beforeAll(async () => {
  cluster = await TestCluster.create(3);
  const real = cluster.members.slice(0, 2);
  for (const member of real) member.start();
  await Promise.all(real.map((member) => member.ready()));
  leader = await cluster.leader();
  follower = real.find((member) => member !== leader)!;
  const { header, members } = await leader.client.memberList();
  clusterId = hex(String(header!.clusterId));
  const peers = new Map(members.map(({ ID, peerURLs }) => [peerURLs[0], asMemberId(hex(String(ID)))]));
  for (const member of cluster.members) ids.set(member.name, peers.get(peerUrl(member))!);
  writing = keepWriting();
});

afterAll(async () => {
  for (const channel of channels) 'destroy' in channel ? channel.destroy() : channel.close();
  await cluster?.end();
});

const peerUrl = (member: TestMember): string =>
  member.args.find((arg) => arg.startsWith('--listen-peer-urls='))!.slice('--listen-peer-urls='.length);

/** Writes and reads through both members until it is stopped; fails as soon as one of them fails. */
function keepWriting(): { stop(): Promise<string[]> } {
  const written: string[] = [];
  let stopped = false;
  const run = async (): Promise<void> => {
    while (!stopped) {
      for (const member of [leader, follower]) {
        const key = `key-${String(written.length).padStart(6, '0')}`;
        await member.client.put({ key: bytes(key), value: bytes('v') });
        written.push(key);
        const { count } = await member.client.range({ key: bytes(key) });
        if (Number(count) !== 1) throw new Error(`${key} was written and cannot be read`);
      }
    }
  };
  const running = run();
  running.catch(() => {});
  return {
    stop: async () => {
      stopped = true;
      await running;
      return written;
    },
  };
}

const meeting = (to: TestMember, purpose: Meeting['purpose'] = 'messages'): Meeting => ({
  purpose,
  clusterId,
  from: ids.get('m2')!,
  to: ids.get(to.name)!,
  peerUrls: [peerUrl(cluster.members[2]!)],
});

/** A connection on which everything up to here is as it should be. */
async function greeted(to: TestMember, purpose?: Meeting['purpose']): Promise<Channel> {
  const { channel } = await dial(peerUrl(to), meeting(to, purpose), 10_000);
  channels.push(channel);
  return channel;
}

async function connected(to: TestMember): Promise<Socket> {
  const { hostname, port } = new URL(peerUrl(to));
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  channels.push(socket);
  await once(socket, 'connect');
  return socket;
}

const frameOfJson = (value: unknown): Buffer => frameOf(Buffer.from(JSON.stringify(value)));

const counters = {
  badFrames: 'raftsman_peer_bad_frames_total',
  refused: 'raftsman_peer_refused_total',
  ignored: 'raftsman_peer_ignored_messages_total',
} as const;

/** What happened in `during` to this counter. */
async function counted(
  member: TestMember,
  counter: keyof typeof counters,
  atLeast: number,
  during: () => Promise<void>,
) {
  const before = await member.metric(counters[counter]);
  await during();
  await until(`${counter} of ${member.name} counted`, async () => {
    const value = await member.metric(counters[counter]);
    return value >= before + atLeast;
  });
}

/** Lines of a member's log with this message, and how many of them say a thing that another says. */
function lines(member: TestMember, message: string): { reasons: string[]; doubled: number } {
  const found = member.output
    .split('\n')
    .filter((line) => line.includes(`"message":"${message}"`))
    .map((line) => {
      const { time: _, ...rest } = JSON.parse(line) as { time: string; reason: string };
      return rest;
    });
  const kinds = new Set(found.map((line) => JSON.stringify(line)));
  return { reasons: found.map(({ reason }) => reason), doubled: found.length - kinds.size };
}

async function term(member: TestMember): Promise<number> {
  return member.metric('raftsman_raft_term');
}

describe('a connection that is not a member’s', () => {
  test('wrong cluster, version, addressee, or our own name: refused, counted, logged once', async () => {
    const good = { protocol: protocolVersion, version: '1', ...meeting(leader) };
    const greetings = [
      { ...good, clusterId: 'bad' },
      { ...good, protocol: 99 },
      { ...good, to: 'ffff' },
      { ...good, from: good.to },
    ];
    for (const greeting of greetings) {
      await counted(leader, 'refused', 3, async () => {
        for (let i = 0; i < 3; i++) {
          const socket = await connected(leader);
          socket.write(frameOfJson(greeting));
          await once(socket.resume(), 'close');
        }
      });
    }
    const { reasons, doubled } = lines(leader, 'refused a connection');
    expect(doubled).toBe(0);
    for (const reason of [/^cluster bad/, /^protocol 99/, /^member ffff was meant/, /this very member/])
      expect(reasons).toContainEqual(expect.stringMatching(reason));
  });

  test('rubbish, cut, oversized and damaged frames before a greeting: closed, counted, logged once', async () => {
    const damaged = frameOfJson({ protocol: protocolVersion });
    damaged[frameHeaderBytes + 2]! ^= 1;
    const oversized = Buffer.alloc(frameHeaderBytes);
    oversized.writeUInt32LE(maxFrameBytes);
    const sent = [Buffer.from('GET / HTTP/1.1\r\n\r\n'), damaged, oversized, frameOfJson({}), frameOfJson([1])];
    await counted(follower, 'badFrames', 2 * sent.length, async () => {
      for (const one of [...sent, ...sent]) {
        const socket = await connected(follower);
        socket.write(one);
        await once(socket.resume(), 'close');
      }
    });
    // A frame that never ends is a connection that breaks.
    const socket = await connected(follower);
    socket.end(frameOfJson(meeting(follower)).subarray(0, 20));
    expect(lines(follower, 'closed a connection that sent what no member sends').doubled).toBe(0);
  });
});

describe('a member that sends what no member sends', () => {
  test('bytes that are no message: the connection is closed, counted, logged once', async () => {
    const good = encodeMessage({ type: 'heartbeat', ...envelope(leader, 1), commit: asIndex(0), round: 0 });
    const negative = Buffer.from(good);
    negative.fill(0xff, frameHeaderBytes + 1, frameHeaderBytes + 9);
    const damaged = Buffer.from(good);
    damaged[damaged.length - 1]! ^= 1;
    const tooLong = Buffer.alloc(frameHeaderBytes);
    tooLong.writeUInt32LE(maxFrameBytes + 1);
    const sent = [
      frameOf(negative.subarray(frameHeaderBytes)),
      frameOf(Buffer.concat([good.subarray(frameHeaderBytes), Buffer.of(1)])),
      frameOf(good.subarray(frameHeaderBytes, -3)),
      frameOf(Buffer.of(200, 1, 2, 3)),
      frameOfJson({ anything: true }),
      damaged,
      tooLong,
    ];
    for (const member of [leader, follower]) {
      await counted(member, 'badFrames', 2 * sent.length, async () => {
        for (const one of [...sent, ...sent]) {
          const channel = await greeted(member);
          const closed = new Promise<void>((resolve) => {
            channel.handOver({ onPayload: () => {}, onClose: () => resolve() });
          });
          channel.send(one);
          channel.flush();
          await closed;
        }
      });
      expect(lines(member, 'closed a connection that sent what no member sends').doubled).toBe(0);
    }
  });

  test('impossible terms and positions, a second leader, an acknowledgement of what is not there: ignored, counted, logged once', async () => {
    for (const member of [leader, follower]) {
      const now = await term(member);
      const messages = nonsense(member, now);
      const channel = await greeted(member);
      await counted(member, 'ignored', 50 * messages.length, async () => {
        for (let i = 0; i < 50; i++) for (const message of messages) channel.send(encodeMessage(message));
        channel.flush();
      });
      const { reasons, doubled } = lines(member, 'ignored a message');
      expect(doubled).toBe(0);
      expect(reasons).toEqual(
        expect.arrayContaining([
          'impossible term',
          'impossible position',
          'entries with impossible terms',
          'leads a term that has another leader',
          'proposes what cannot be applied',
          'a candidate whose log is of its own term or a later one',
          ...(member === leader ? ['acknowledged entries that the leader does not have'] : []),
        ]),
      );
      expect(await term(member)).toBe(now);
    }
  });

  test('old messages, a thousand times and in any order, and votes that nobody needs: answered or passed over', async () => {
    for (const member of [leader, follower]) {
      const now = await term(member);
      const channel = await greeted(member);
      for (let i = 0; i < 1000; i++) {
        for (const message of outdated(member, now, i)) channel.send(encodeMessage(message));
        if (i % 100 === 0) channel.flush();
      }
      channel.flush();
      await until('they were read', async () => channel.waitingBytes === 0);
      // The next message shows that those before it were worked off.
      await counted(member, 'ignored', 1, async () => {
        channel.send(
          encodeMessage({
            type: 'vote',
            ...envelope(member, 0),
            preVote: true,
            transfer: false,
            lastIndex: asIndex(0),
            lastTerm: asTerm(0),
          }),
        );
        channel.flush();
      });
      expect(await term(member)).toBe(now);
    }
  });

  test('snapshots whose header, size or checksum is nonsense are taken by nobody', async () => {
    const revision = async (): Promise<number> =>
      Number((await follower.client.range({ key: bytes('key-000000') })).header!.revision);
    const before = await revision();
    const now = await term(follower);
    const message = {
      type: 'snapshot',
      from: ids.get('m2'),
      to: ids.get(follower.name),
      // A later leader's, or it would not be listened to.
      term: now + 1,
      meta: {
        index: 1_000_000,
        term: now,
        configurationIndex: 0,
        configuration: {
          voters: [...ids.values()],
          votersOutgoing: [],
          learners: [],
          learnersNext: [],
          autoLeave: false,
        },
      },
    };
    const { meta } = message;
    const headers: unknown[] = [
      {},
      { message: { ...message, meta: null }, size: 1, crc: '' },
      { message: { ...message, to: 'ff' }, size: 1, crc: '' },
      { message: { ...message, meta: { ...meta, index: -1 } }, size: 1, crc: '' },
      { message: { ...message, meta: { ...meta, configuration: { voters: [] } } }, size: 1, crc: '' },
      { message: { ...message, meta: { ...meta, configuration: { voters: ['a'] } } }, size: 1, crc: '' },
      { message: { ...message, meta: { ...meta, term: now + 2 } }, size: 1, crc: '' },
      { message: { ...message, term: 2 ** 53 - 1 }, size: 1, crc: '' },
      { message, size: -1, crc: '' },
      { message, size: 10, crc: 'not a checksum' },
      { message, size: 5, crc: '0000000000000000' },
      { message, size: 2 ** 50, crc: '0000000000000000' },
    ];
    for (const header of headers) {
      const channel = await greeted(follower, 'snapshot');
      const answered = new Promise<void>((resolve) => {
        channel.handOver({ onPayload: () => {}, onClose: () => resolve() });
      });
      channel.sendControl(header as object);
      channel.send(frameOf(Buffer.concat([Buffer.of(1), Buffer.alloc(10, 7)])));
      channel.sendControl({ end: true });
      await answered;
    }
    expect(await follower.metric('raftsman_snapshots_received_total')).toBe(0);
    expect(await until('it serves', revision)).toBeGreaterThanOrEqual(before);
  });

  test('and all the time both served, from the processes that were started', async () => {
    const written = await writing.stop();
    expect(written.length).toBeGreaterThan(10);
    for (const member of [leader, follower]) {
      expect(member.isRunning).toBe(true);
      const { kvs } = await member.client.range({ key: bytes('key-'), rangeEnd: bytes('key.') });
      expect(kvs.map(({ key }) => textOf(key)).sort()).toEqual(written);
      expect(member.output).not.toMatch(/"level":"error"/);
    }
  });
});

const envelope = (to: TestMember, term: number) => ({
  from: ids.get('m2')!,
  to: ids.get(to.name)!,
  term: asTerm(term),
});

/** Each of them is ignored, by a leader and by its follower. */
function nonsense(member: TestMember, now: number): WireMessage[] {
  const to = envelope(member, now);
  const entry = (index: number, term: number) => ({
    index: asIndex(index),
    term: asTerm(term),
    kind: 'normal' as const,
    data: bytes('nonsense'),
  });
  const append = {
    type: 'append' as const,
    ...to,
    prevIndex: asIndex(0),
    prevTerm: asTerm(0),
    commit: asIndex(0),
    entries: [],
  };
  const vote = { type: 'vote' as const, preVote: false, transfer: false, lastIndex: asIndex(0), lastTerm: asTerm(0) };
  const top = 2 ** 52 + 1;
  return [
    { type: 'heartbeat', ...envelope(member, top), commit: asIndex(0), round: 0 },
    { ...vote, ...envelope(member, top) },
    { ...vote, ...to, lastTerm: to.term },
    { ...append, prevIndex: asIndex(top) },
    { ...append, commit: asIndex(top) },
    { ...append, entries: [entry(1, now + 1)] },
    { ...append, entries: [entry(1, now), entry(2, 1)], prevTerm: asTerm(now), prevIndex: asIndex(0) },
    // A second leader of the term, who would overwrite and commit.
    { ...append, entries: [entry(1, 1)], commit: asIndex(1) },
    { type: 'heartbeat', ...to, commit: asIndex(1_000_000), round: 0 },
    { type: 'commit', ...to, commit: asIndex(1_000_000) },
    { type: 'heartbeatResponse', ...to, round: 0, term: asTerm(top) },
    { type: 'propose', ...to, proposals: [{ kind: 'normal', id: 1, data: bytes('nonsense') }] },
    ...(member === leader
      ? [
          {
            type: 'appendResponse' as const,
            ...to,
            accepted: true,
            index: asIndex(1_000_000_000),
            hintIndex: asIndex(0),
            hintTerm: asTerm(0),
          },
        ]
      : []),
  ];
}

/** What a member may have said long ago, or says in vain. */
function outdated(member: TestMember, now: number, i: number): WireMessage[] {
  const old = envelope(member, Math.max(1, now - 1));
  const past: WireMessage[] =
    now > 1
      ? [
          { type: 'heartbeat', ...old, commit: asIndex(i), round: i },
          { type: 'commit', ...old, commit: asIndex(i) },
          { type: 'append', ...old, prevIndex: asIndex(i), prevTerm: asTerm(1), commit: asIndex(i), entries: [] },
        ]
      : [];
  const to = envelope(member, now);
  return [
    ...past,
    { type: 'voteResponse', ...to, preVote: i % 2 === 0, granted: true },
    { type: 'heartbeatResponse', ...to, round: i % 7 },
    {
      type: 'appendResponse',
      ...to,
      accepted: i % 2 === 0,
      index: asIndex(0),
      hintIndex: asIndex(0),
      hintTerm: asTerm(0),
    },
    { type: 'readIndexResponse', ...to, ids: [i], index: asIndex(1) },
    { type: 'proposeResponse', ...to, ids: [2_000_000_000 + i], firstIndex: asIndex(1), reason: null },
    { type: 'proposeResponse', ...to, ids: [2_000_000_000 + i], firstIndex: null, reason: 'noLeader' },
    // A vote in a far term: whoever hears a leader does not even look at it.
    {
      type: 'vote',
      ...envelope(member, now + 1000),
      preVote: false,
      transfer: false,
      lastIndex: asIndex(1e9),
      lastTerm: asTerm(now),
    },
  ];
}
