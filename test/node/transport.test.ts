import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createLog } from '../../src/log.ts';
import type { WireMessage } from '../../src/node/codec.ts';
import { frameOf } from '../../src/node/frames.ts';
import { askToJoin, dial, type JoinRequest, type Meeting } from '../../src/node/hello.ts';
import type { ClusterMember } from '../../src/node/identity.ts';
import { dialUrl } from '../../src/node/secure.ts';
import { type Peers, Transport, type TransportHandlers } from '../../src/node/transport.ts';
import { asIndex, asMemberId, asTerm, type MemberId } from '../../src/raft/types.ts';
import { freePorts } from '../ports.ts';
import { until } from './members.ts';

const running: Transport[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((transport) => transport.close()));
});

async function twoMembers() {
  const ports = await freePorts(2);
  const members = ports.map(
    (port, i): ClusterMember => ({ id: asMemberId(`a${i}`), name: `m${i}`, peerUrls: [`http://127.0.0.1:${port}`] }),
  );
  const make = (self: ClusterMember, clusterId = 'c1') => {
    const received: WireMessage[] = [];
    const lines: string[] = [];
    const events: string[] = [];
    const ended: MemberId[] = [];
    const removed = new Set<MemberId>();
    const joins: JoinRequest[] = [];
    const handlers: TransportHandlers = {
      onMessage: (message) => received.push(message),
      onUp: (peer) => events.push(`up ${peer}`),
      onDown: (peer) => events.push(`down ${peer}`),
      onEnded: (peer) => ended.push(peer),
      onSnapshot: () => events.push('snapshot'),
      knows: () => true,
      wasRemoved: (id) => removed.has(id),
      onRemoved: (by) => events.push(`removed by ${by}`),
      onJoin: async (request) => {
        joins.push(request);
        return { ok: true, clusterId, memberId: members[1]!.id, genesis: { token: 't', members } };
      },
    };
    const log = createLog({ write: (line) => lines.push(line) });
    const transport = new Transport({ clusterId, memberId: self.id, peerUrls: self.peerUrls }, handlers, log);
    running.push(transport);
    const listen = (): Promise<void> => transport.start(self.peerUrls);
    const peersOf = (known: readonly ClusterMember[]): Peers =>
      new Map(known.filter(({ id }) => id !== self.id).map(({ id, peerUrls }) => [id, peerUrls]));
    const start = async (known: readonly ClusterMember[] = members): Promise<void> => {
      await listen();
      transport.connect(peersOf(known));
    };
    return { transport, received, lines, events, ended, removed, joins, peersOf, start };
  };
  return { members, make, ports };
}

const heartbeat = (round: number): WireMessage => ({
  type: 'heartbeat',
  from: asMemberId('a0'),
  to: asMemberId('a1'),
  term: asTerm(3),
  commit: asIndex(0),
  round,
});

const meeting = (purpose: Meeting['purpose']): Meeting => ({
  purpose,
  clusterId: 'c1',
  from: asMemberId('a1'),
  to: asMemberId('a0'),
  peerUrls: [],
});

describe('two members', () => {
  test('find each other in any order of starting, and again after one was away; meanwhile messages are dropped', async () => {
    const { members, make } = await twoMembers();
    const first = make(members[0]!);
    await first.start();
    expect(first.transport.send(heartbeat(1))).toBe(false);
    const second = make(members[1]!);
    await second.start();
    await until('both ways', async () => first.events.includes('up a1') && second.events.includes('up a0'));
    expect(first.transport.send(heartbeat(2))).toBe(true);
    first.transport.flush();
    await until('the message', async () => second.received.length === 1);
    expect(second.received[0]).toEqual(heartbeat(2));
    await second.transport.close();
    await until('down', async () => first.events.includes('down a1'));
    expect(first.transport.send(heartbeat(3))).toBe(false);
    const again = make(members[1]!);
    await again.start();
    await until('up again', async () => first.events.filter((event) => event === 'up a1').length === 2);
    first.transport.send(heartbeat(4));
    first.transport.flush();
    await until('the next message', async () => again.received.length === 1);
    expect(first.transport.counters.droppedMessages).toBe(2);
  });

  test('RS-07 a member that listens no more has ended, one that does not answer has not', async () => {
    const { members, make, ports } = await twoMembers();
    const first = make(members[0]!);
    await first.start();
    await until('nobody listens', async () => first.ended.includes(members[1]!.id));
    const silent = createServer();
    const connections: Socket[] = [];
    silent.on('connection', (socket) => connections.push(socket.on('error', () => {})));
    await new Promise<void>((resolve) => silent.listen(ports[1], '127.0.0.1', resolve));
    await until('it is found', async () => connections.length > 0);
    const before = first.ended.length;
    // What is refused without an answer is not refused by the machine.
    for (let n = 1; n < 4; n++) {
      connections.at(-1)!.destroy();
      await until('it is dialled again', async () => connections.length > n);
    }
    expect(first.ended).toHaveLength(before);
    for (const socket of connections) socket.destroy();
    silent.close();
  });

  test('RS-07 over TLS as well a name whose addresses all refuse is no question of security', () => {
    const refused = ['127.0.0.1', '::1'].map((address) => Object.assign(new Error(address), { code: 'ECONNREFUSED' }));
    // As Node has it for a name with several addresses.
    const error = Object.assign(new AggregateError(refused), { code: 'ECONNREFUSED' });
    for (const scheme of ['http', 'https']) {
      const { socket, explain } = dialUrl(`${scheme}://127.0.0.1:1`, undefined);
      socket.on('error', () => {}).destroy();
      expect(explain(error)).toBe(error);
    }
  });

  test.each([
    ['as soon as it is dialled', false],
    ['as soon as it has answered', true],
  ])('one that closes every connection %s is dialled less and less often', async (_, answers) => {
    const { members, make, ports } = await twoMembers();
    const dialled: number[] = [];
    const server = createServer((socket) => {
      dialled.push(performance.now());
      socket.on('error', () => {});
      if (!answers) socket.destroy();
      else socket.once('data', () => socket.end(frameOf(Buffer.from(JSON.stringify({ ok: true, knowsYou: true })))));
    });
    await new Promise<void>((resolve) => server.listen(ports[1], '127.0.0.1', resolve));
    const first = make(members[0]!);
    await first.start();
    await until('it was dialled often', async () => dialled.length > 8);
    // 10 ms, and half as much again each time; timers may be a millisecond early.
    expect(dialled[8]! - dialled[0]!).toBeGreaterThan(480);
    expect(first.ended).toEqual([]);
    server.close();
  });

  test('one whose name cannot be resolved is reached where it was last heard from', async () => {
    const { members, make, ports } = await twoMembers();
    const nameless = { ...members[1]!, peerUrls: [`http://nobody.invalid:${ports[1]}`] };
    const first = make(members[0]!);
    await first.start([members[0]!, nameless]);
    await until('it was tried', async () => first.lines.some((line) => line.includes('nobody.invalid')));
    const second = make(members[1]!);
    await second.start();
    await until('both ways', async () => first.events.includes('up a1') && second.events.includes('up a0'));
  });

  test('of different clusters refuse each other, and say so once', async () => {
    const { members, make } = await twoMembers();
    const first = make(members[0]!);
    const stranger = make(members[1]!, 'c2');
    await Promise.all([first.start(), stranger.start()]);
    await until('several attempts', async () => first.transport.counters.refusedConnections > 2);
    expect(first.lines.filter((line) => line.includes('refused a connection'))).toHaveLength(1);
    expect(first.lines.join()).toMatch(/this is a member of cluster c1/);
    expect([first.events, stranger.events]).toEqual([[], []]);
  });

  test('a probe learns what the member list knows', async () => {
    const { members, make } = await twoMembers();
    await make(members[0]!).start();
    const { channel, welcome } = await dial(members[0]!.peerUrls[0]!, meeting('probe'), 1000);
    channel.close();
    expect(welcome).toEqual({ knowsYou: true });
    await expect(
      dial(members[0]!.peerUrls[0]!, { ...meeting('probe'), to: asMemberId('ff') }, 1000),
    ).rejects.toMatchObject({
      code: 'PEER_REFUSED',
      message: expect.stringMatching(/member ff was meant/),
    });
  });
});

describe('members that come and go', () => {
  test('one that is not known yet is heard and answered where it says it is, until it goes again', async () => {
    const { members, make } = await twoMembers();
    const [old, fresh] = [make(members[0]!), make(members[1]!)];
    await old.start([members[0]!]);
    await fresh.start();
    await until('both ways', async () => old.events.includes('up a1') && fresh.events.includes('up a0'));
    expect(old.transport.send(heartbeat(1))).toBe(true);
    old.transport.flush();
    await until('the answer', async () => fresh.received.length === 1);
    // It stays when it becomes a member.
    old.transport.connect(old.peersOf(members));
    expect(old.transport.connected()).toEqual(['a1']);
    old.transport.connect(old.peersOf([members[0]!]));
    expect(old.transport.connected()).toEqual(['a1']);
    await fresh.transport.close();
    await until('forgotten', async () => old.transport.connected().length === 0);
    expect(old.events).toContain('down a1');
  });

  test('not many who are not known are heard, so that nobody can make a member dial the world; known ones always are', async () => {
    const { members, make, ports } = await twoMembers();
    const { transport, start } = make(members[0]!);
    await start();
    const url = `http://127.0.0.1:${ports[0]}`;
    const visit = (from: string) => dial(url, { ...meeting('messages'), from: asMemberId(from) }, 1000);
    const visitors = await Promise.all(Array.from({ length: 16 }, (_, i) => visit(`b${i.toString(16)}`)));
    await expect(visit('bbb')).rejects.toThrow('16 members unknown here are connected already');
    expect(transport.counters.refusedConnections).toBe(1);
    const { channel } = await visit('a1');
    channel.close();
    visitors[0]!.channel.close();
    await until('there is room again', async () => {
      const visitor = await visit('bbb');
      visitors.push(visitor);
      return true;
    });
    for (const visitor of visitors) visitor.channel.close();
  });

  test('one that moved is dialled where it is now', async () => {
    const { members, make } = await twoMembers();
    const [first, second] = [make(members[0]!), make(members[1]!)];
    const [nowhere] = await freePorts(1);
    await first.start([members[0]!, { ...members[1]!, peerUrls: [`http://127.0.0.1:${nowhere}`] }]);
    // One way only: it is not where the first looks for it.
    await second.start();
    await until('heard', async () => first.lines.join().includes('cannot reach a member yet'));
    expect(first.transport.connected()).toEqual([]);
    first.transport.connect(first.peersOf(members));
    await until('both ways', async () => first.events.includes('up a1') && second.events.includes('up a0'));
  });

  test('one that was removed is told so on the connection that there is, and whenever it dials', async () => {
    const { members, make } = await twoMembers();
    const [first, gone] = [make(members[0]!), make(members[1]!)];
    await Promise.all([first.start(), gone.start()]);
    await until('both ways', async () => first.events.includes('up a1') && gone.events.includes('up a0'));
    first.removed.add(members[1]!.id);
    first.transport.connect(first.peersOf([members[0]!]));
    await until('told', async () => gone.events.includes('removed by a0'));
    await gone.transport.close();
    const again = make(members[1]!);
    await again.start();
    await until('told again', async () => again.events.includes('removed by a0'));
    expect(first.lines.join()).toMatch(/member a1 was removed from this cluster/);
    expect(first.transport.connected()).toEqual([]);
  });

  test('one without data asks who it is and learns how the cluster began', async () => {
    const { members, make } = await twoMembers();
    const first = make(members[0]!);
    await first.start();
    const request: JoinRequest = { purpose: 'join', name: 'm1', peerUrls: members[1]!.peerUrls };
    expect(await askToJoin(members[0]!.peerUrls[0]!, request, 1000)).toEqual({
      clusterId: 'c1',
      memberId: 'a1',
      genesis: { token: 't', members },
    });
    expect(first.joins).toMatchObject([request]);
  });
});

describe('bytes that no member sends', () => {
  test.each([
    ['rubbish', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['no greeting', frameOf(Buffer.from('{"hello":"?"}'))],
    ['no JSON', frameOf(Buffer.from('{{'))],
  ])('%s: the connection is closed, it is counted, and the member goes on', async (_, bytes) => {
    const { members, make, ports } = await twoMembers();
    const first = make(members[0]!);
    await first.start();
    for (let i = 0; i < 3; i++) {
      const socket = connect(ports[0]!, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(bytes);
      await once(socket, 'close');
    }
    expect(first.transport.counters.badFrames).toBe(3);
    expect(first.lines.filter((line) => line.includes('what no member sends'))).toHaveLength(1);
    const second = make(members[1]!);
    await second.start();
    await until('still there', async () => first.events.includes('up a1'));
  });
});
