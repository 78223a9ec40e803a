import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createLog } from '../../src/log.ts';
import type { WireMessage } from '../../src/node/codec.ts';
import { frameOf } from '../../src/node/frames.ts';
import { dial } from '../../src/node/hello.ts';
import type { ClusterIdentity, ClusterMember } from '../../src/node/identity.ts';
import { Transport } from '../../src/node/transport.ts';
import { asIndex, asMemberId, asTerm } from '../../src/raft/types.ts';
import { freePorts, until } from './members.ts';

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
    const identity: ClusterIdentity = { clusterId, self, members };
    const transport = new Transport(
      identity,
      {
        onMessage: (message) => received.push(message),
        onUp: (peer) => events.push(`up ${peer}`),
        onDown: (peer) => events.push(`down ${peer}`),
        onSnapshot: () => events.push('snapshot'),
        knows: () => true,
      },
      createLog({ write: (line) => lines.push(line) }),
    );
    running.push(transport);
    return { transport, received, lines, events, start: () => transport.start(self.peerUrls) };
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

  test('a probe learns what the member list knows, a stranger nothing', async () => {
    const { members, make } = await twoMembers();
    await make(members[0]!).start();
    const url = members[0]!.peerUrls[0]!;
    const meeting = { clusterId: 'c1', from: asMemberId('a1'), to: asMemberId('a0'), purpose: 'probe' as const };
    const { channel, welcome } = await dial(url, meeting, 1000);
    channel.close();
    expect(welcome).toEqual({ knowsYou: true });
    await expect(dial(url, { ...meeting, from: asMemberId('ff') }, 1000)).rejects.toMatchObject({
      code: 'PEER_REFUSED',
      message: expect.stringMatching(/ff is not a member/),
    });
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
