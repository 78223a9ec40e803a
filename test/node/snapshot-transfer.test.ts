import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Channel, controlOf } from '../../src/node/channel.ts';
import { frameOf } from '../../src/node/frames.ts';
import { RefusedError } from '../../src/node/hello.ts';
import { chunkType, type TransferCounters } from '../../src/node/snapshot-header.ts';
import { keepSpoolMs, type ReceiverOptions, SnapshotReceiver, type Verdict } from '../../src/node/snapshot-receiver.ts';
import { type SendOptions, sendSnapshot } from '../../src/node/snapshot-sender.ts';
import { asIndex, asMemberId, asTerm, type SnapshotMessage } from '../../src/raft/types.ts';
import { type FolderSnapshotStore, openSnapshotFolder } from '../../src/storage/snapshots.ts';
import type { OpenSnapshot } from '../../src/storage/types.ts';
import { newFolder } from '../storage/folder.ts';
import { ManualClock } from './manual-clock.ts';
import { memoryLog } from './memory-log.ts';

const from = asMemberId('a');
const to = asMemberId('b');
const configuration = { voters: [from, to], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
const messageAt = (index: number): SnapshotMessage => ({
  type: 'snapshot',
  from,
  to,
  term: asTerm(3),
  meta: { index: asIndex(index), term: asTerm(2), configuration, configurationIndex: asIndex(0) },
});
const counters = (): TransferCounters => ({
  sentSnapshots: 0,
  receivedSnapshots: 0,
  resumedSnapshots: 0,
  badStreams: 0,
  sentBytes: 0,
  receivedBytes: 0,
});
/** Bytes of which no two places look alike. */
const state = (bytes: number, seed = 1): Uint8Array =>
  new Uint8Array(bytes).map((_, i) => ((i * 2654435761 + seed * 97) >>> 13) & 0xff);

interface Side {
  readonly folder: string;
  readonly store: FolderSnapshotStore;
}

async function newSide(): Promise<Side> {
  const folder = await newFolder();
  return { folder, store: await openSnapshotFolder({ folder, retain: 2, now: Date.now }) };
}

async function save({ store }: Side, index: number, bytes: Uint8Array): Promise<OpenSnapshot> {
  const sink = await store.create({ version: 1, index, term: 2, configuration, configurationIndex: 0 });
  await sink.write(bytes);
  return store.open((await sink.close()).id);
}

async function stateOf({ store }: Side): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const snapshot = await store.open((await store.list())[0]!.id);
  for await (const chunk of snapshot.read()) parts.push(chunk.slice());
  await snapshot.close();
  return new Uint8Array(Buffer.concat(parts));
}

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** What happens to each connection in turn: it is cut after so many bytes, or a byte on it is changed. The rest are fine. */
interface Trouble {
  readonly cutAfter?: number;
  readonly changeByte?: number;
}

/** A sender and a receiver with a real connection and real folders between them; Raft is what the test says. */
async function pair(receiving: Partial<ReceiverOptions> = {}, troubles: Trouble[] = []) {
  const [source, target] = [await newSide(), await newSide()];
  const sent = counters();
  const received = counters();
  const clock = new ManualClock();
  const { log, messages } = memoryLog();
  const asked: string[] = [];
  const receiver = new SnapshotReceiver({
    self: to,
    store: target.store,
    log,
    counters: received,
    clock,
    offer: async (): Promise<Verdict> => {
      asked.push('offered');
      return { wanted: true };
    },
    stored: async (): Promise<Verdict> => {
      asked.push('stored');
      return { wanted: true };
    },
    ...receiving,
  });
  const server: Server = createServer((socket) => {
    trouble(socket, troubles.shift());
    void receiver.receive(from, new Channel(socket, { onPayload: () => {}, onClose: () => {} }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const open: Channel[] = [];
  const openChannel = (): Promise<Channel> =>
    new Promise((resolve, reject) => {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      const channel = new Channel(socket, { onPayload: () => {}, onClose: () => {} });
      open.push(channel);
      socket.once('connect', () => resolve(channel));
      socket.once('error', reject);
    });
  ends.push(() => {
    for (const channel of open) channel.close();
    server.close();
    void receiver.stop();
  });
  const send = (snapshot: OpenSnapshot, more: Partial<SendOptions> = {}): Promise<void> =>
    sendSnapshot({
      message: messageAt(snapshot.meta.index),
      snapshot,
      openChannel,
      counters: sent,
      giveUpAfterMs: 5000,
      signal: new AbortController().signal,
      ...more,
    });
  return { source, target, sent, received, clock, messages, asked, receiver, openChannel, send };
}

/** Stands between the socket and whoever reads it. */
function trouble(socket: Socket, { cutAfter, changeByte }: Trouble = {}): void {
  if (cutAfter === undefined && changeByte === undefined) return;
  const emit = socket.emit.bind(socket);
  let seen = 0;
  socket.emit = ((event: string, ...args: unknown[]) => {
    if (event !== 'data') return emit(event, ...args);
    const chunk = args[0] as Buffer;
    const at = seen;
    seen += chunk.length;
    if (changeByte !== undefined && at <= changeByte && changeByte < seen) chunk[changeByte - at]! ^= 1;
    if (cutAfter === undefined || seen <= cutAfter) return emit('data', chunk);
    if (at < cutAfter) emit('data', chunk.subarray(0, cutAfter - at));
    socket.destroy();
    return true;
  }) as typeof socket.emit;
}

const until = async (what: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await what())) await new Promise((done) => setTimeout(done, 5));
};

describe('a snapshot goes from one member to another', () => {
  test('ES-15 ES-20 chunk by chunk off the disk, and arrives whole and durable with what it is', async () => {
    const { source, target, sent, received, asked, send } = await pair();
    const snapshot = await save(source, 7, state(1_000_000));
    await send(snapshot);
    expect(Buffer.compare(await stateOf(target), state(1_000_000))).toBe(0);
    const { id: _, ...what } = snapshot.meta;
    expect((await target.store.list())[0]).toMatchObject(what);
    expect(asked).toEqual(['offered', 'stored']);
    expect(sent).toMatchObject({ sentSnapshots: 1, sentBytes: 1_000_000 });
    expect(received).toMatchObject({ receivedSnapshots: 1, receivedBytes: 1_000_000, resumedSnapshots: 0 });
  });

  test('an empty one arrives too', async () => {
    const { source, target, send } = await pair();
    await send(await save(source, 7, state(0)));
    expect((await stateOf(target)).length).toBe(0);
  });

  test('RS-19 ES-16 where a connection breaks the next goes on: every byte is written once, and the whole is checked', async () => {
    const { source, target, sent, received, send } = await pair({}, [{ cutAfter: 300_000 }, { cutAfter: 200_000 }]);
    const snapshot = await save(source, 7, state(1_000_000));
    await send(snapshot);
    expect(Buffer.compare(await stateOf(target), state(1_000_000))).toBe(0);
    expect(received).toMatchObject({ receivedSnapshots: 1, resumedSnapshots: 2, receivedBytes: 1_000_000 });
    expect(sent.resumedSnapshots).toBe(2);
    expect((await readdir(target.folder)).length).toBe(1);
  });

  test('ES-20 a byte that changes on the way is found out by its frame; what came before is kept, and the rest comes again', async () => {
    const { source, target, received, send } = await pair({}, [{ changeByte: 500_000 }]);
    await send(await save(source, 7, state(1_000_000)));
    expect(Buffer.compare(await stateOf(target), state(1_000_000))).toBe(0);
    expect(received).toMatchObject({ resumedSnapshots: 1, receivedBytes: 1_000_000 });
  });

  test('a dead connection that nobody noticed does not keep the next one waiting', async () => {
    const { source, target, openChannel, received, send } = await pair();
    const snapshot = await save(source, 7, state(500_000));
    // It says what it sends, sends a part of it, and is never heard of again.
    const silent = await openChannel();
    silent.sendControl({ message: messageAt(7), size: snapshot.meta.size, crc: snapshot.meta.crc });
    await silent.sendSlowly(frame(state(500_000).subarray(0, 60_000)));
    await until(() => received.receivedBytes === 60_000);
    await send(snapshot);
    expect(Buffer.compare(await stateOf(target), state(500_000))).toBe(0);
    expect(received).toMatchObject({ resumedSnapshots: 1, receivedBytes: 500_000 });
  });

  test('RS-19 GR-28 what Raft does not want is refused before a byte of it is sent, and the sender is told that all is well', async () => {
    const { source, target, sent, send } = await pair({ offer: async () => ({ wanted: false, reason: 'has it' }) });
    await send(await save(source, 7, state(1_000_000)));
    expect(sent).toMatchObject({ sentSnapshots: 1, sentBytes: 0 });
    expect(await readdir(target.folder)).toEqual([]);
  });

  test('what Raft does not want any more once it is here is removed again', async () => {
    const { source, target, send } = await pair({ stored: async () => ({ wanted: false, reason: 'has it by now' }) });
    await send(await save(source, 7, state(1000)));
    expect(await target.store.list()).toEqual([]);
  });
});

describe('a snapshot that does not arrive', () => {
  test('ES-16 ES-18 D18 a disk that takes no more: the sender hears why, Raft hears nothing, nothing is left behind, and it is not tried again', async () => {
    const target = await newSide();
    let attempts = 0;
    const { source, asked, send } = await pair({
      store: {
        remove: (id) => target.store.remove(id),
        create: async (about) => {
          attempts++;
          const sink = await target.store.create(about);
          const write = async (chunk: Uint8Array): Promise<void> => {
            if (sink.size > 100_000) throw new Error('no space left on device');
            await sink.write(chunk);
          };
          return new Proxy(sink, {
            get: (object, name) => {
              if (name === 'write') return write;
              const value = Reflect.get(object, name, object) as unknown;
              return typeof value === 'function' ? (value.bind(object) as unknown) : value;
            },
          });
        },
      },
    });
    // Long enough that the sender is still at it when it is told: what comes is taken in, so that the reason gets through.
    await expect(send(await save(source, 7, state(20_000_000)))).rejects.toThrow('no space left on device');
    expect(asked).toEqual(['offered']);
    expect(attempts).toBe(1);
    expect(await readdir(target.folder)).toEqual([]);
  });

  test('ES-19 ES-20 D18 when it cannot be made durable at its end, it is not there, and Raft hears nothing of it', async () => {
    const { source, target, asked, send, messages } = await pair({
      store: {
        remove: async () => {},
        create: async () => {
          const sink = await target.store.create({
            version: 1,
            index: 7,
            term: 2,
            configuration,
            configurationIndex: 0,
          });
          // Somebody has taken the name meanwhile.
          await mkdir(join(target.folder, sink.id, 'taken'), { recursive: true });
          return sink;
        },
      },
    });
    await expect(send(await save(source, 7, state(1000)))).rejects.toThrow('snapshot to save has existed');
    expect(asked).toEqual(['offered']);
    expect(messages()).toContain('could not receive a snapshot');
    expect((await readdir(target.folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('ES-15 ES-20 bytes that are not those that were announced: CRC mismatch, nothing is kept, nothing is tried again', async () => {
    const { source, target, asked, received, send } = await pair();
    const snapshot = await save(source, 7, state(200_000));
    await writeFile(join(source.folder, snapshot.meta.id, 'state.bin'), state(200_000, 2));
    await expect(send(snapshot)).rejects.toThrow('CRC mismatch');
    expect(asked).toEqual(['offered']);
    expect(received.receivedSnapshots).toBe(0);
    expect(await readdir(target.folder)).toEqual([]);
  });

  test.each([
    ['fewer bytes than announced', 500, 400, '400 of 500 bytes'],
    ['more bytes than announced', 500, 600, 'more than the announced 500 bytes'],
  ])('ES-16 RS-19 %s are refused and nothing is kept', async (_, announced, actual, reason) => {
    const { target, openChannel } = await pair();
    const channel = await openChannel();
    const answers: unknown[] = [];
    channel.handOver({ onPayload: (payload) => answers.push(controlOf(payload)), onClose: () => {} });
    channel.sendControl({ message: messageAt(7), size: announced, crc: '00' });
    await until(() => answers.length === 1);
    await channel.sendSlowly(frame(state(actual)));
    channel.sendControl({ end: true });
    await until(() => answers.length === 2);
    expect(answers).toEqual([{ from: 0 }, { stored: false, reason }]);
    expect(await readdir(target.folder)).toEqual([]);
  });

  test('a header that makes no sense is refused, counted each time and told once', async () => {
    const { openChannel, messages, received } = await pair();
    for (const header of [
      {},
      { message: { ...messageAt(7), from: to }, size: 1, crc: '' },
      { message: messageAt(-1), size: 1, crc: '' },
      { message: messageAt(7), size: -1, crc: '' },
      { message: messageAt(7), size: 1e300, crc: '' },
      { message: messageAt(7), size: 1 },
      { message: { ...messageAt(7), meta: null }, size: 1, crc: '' },
    ]) {
      const channel = await openChannel();
      const answer = new Promise((resolve) => {
        channel.handOver({ onPayload: (payload) => resolve(controlOf(payload)), onClose: () => {} });
      });
      channel.sendControl(header);
      expect(await answer).toEqual({ stored: false, reason: 'the header of a snapshot makes no sense' });
    }
    expect(received.badStreams).toBe(7);
    expect(messages()).toEqual(['a snapshot holds what no member sends']);
  });

  test('ES-15 an error where it is read reaches the receiver: it keeps a beginning that is no snapshot', async () => {
    const { source, target, asked, received, send } = await pair();
    const snapshot = await save(source, 7, state(300_000));
    const failing: OpenSnapshot = {
      ...snapshot,
      async *read(offset) {
        for await (const chunk of snapshot.read(offset)) {
          yield chunk;
          throw new Error('the disk does not answer');
        }
      },
    };
    await expect(send(failing)).rejects.toThrow('the disk does not answer');
    await until(() => received.receivedBytes > 0);
    expect(asked).toEqual(['offered']);
    expect(await target.store.list()).toEqual([]);
  });

  test('connections that break without getting any further are given up after a while; a refusal at once', async () => {
    const { source, send } = await pair();
    const snapshot = await save(source, 7, state(1000));
    let attempts = 0;
    const unreachable = async (): Promise<Channel> => {
      attempts++;
      throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    };
    await expect(send(snapshot, { openChannel: unreachable, giveUpAfterMs: 400 })).rejects.toThrow('ECONNREFUSED');
    expect(attempts).toBeGreaterThan(1);
    attempts = 0;
    const refusing = async (): Promise<Channel> => {
      attempts++;
      throw new RefusedError('a is not a member of this cluster');
    };
    await expect(send(snapshot, { openChannel: refusing })).rejects.toThrow('not a member');
    expect(attempts).toBe(1);
  });

  test('a snapshot of a later term than that of the leader who was to send it does not go out: no leader sends such a one', async () => {
    const { source, asked, send } = await pair();
    const snapshot = await save(source, 7, state(1000));
    const message = { ...messageAt(7), term: asTerm(snapshot.meta.term - 1) };
    await expect(send(snapshot, { message })).rejects.toThrow('this member led term');
    expect(asked).toEqual([]);
  });

  test('HR-17 a member that stops ends what it sends', async () => {
    const { source, send } = await pair({ offer: () => new Promise(() => {}) });
    const stopping = new AbortController();
    const sending = send(await save(source, 7, state(1000)), { signal: stopping.signal });
    stopping.abort(new Error('the member stops'));
    await expect(sending).rejects.toThrow('the member stops');
  });
});

describe('what is kept of a broken stream', () => {
  /** A receiver that holds the first 200 KB or so of a snapshot at index 7. */
  async function broken() {
    const all = await pair({}, [{ cutAfter: 200_000 }]);
    const snapshot = await save(all.source, 7, state(1_000_000));
    await expect(all.send(snapshot, { giveUpAfterMs: -1 })).rejects.toThrow();
    await until(() => all.clock.pending === 1);
    expect((await readdir(all.target.folder)).filter((name) => name.endsWith('.tmp')).length).toBe(1);
    expect(await all.target.store.list()).toEqual([]);
    return { ...all, snapshot };
  }
  const left = async ({ target }: { target: Side }): Promise<string[]> =>
    (await readdir(target.folder)).filter((name) => name.endsWith('.tmp'));

  test('ES-22 goes on with the same snapshot much later, and is never taken for a snapshot', async () => {
    const all = await broken();
    all.clock.advance(keepSpoolMs - 1);
    await all.send(all.snapshot);
    expect(all.received).toMatchObject({ resumedSnapshots: 1, receivedBytes: 1_000_000 });
    expect(all.clock.pending).toBe(0);
    expect(await left(all)).toEqual([]);
  });

  test('RS-19 goes when another snapshot is offered, even one of the same size', async () => {
    const all = await broken();
    await all.send(await save(all.source, 8, state(1_000_000, 2)));
    expect(Buffer.compare(await stateOf(all.target), state(1_000_000, 2))).toBe(0);
    expect(all.received.resumedSnapshots).toBe(0);
    expect(await left(all)).toEqual([]);
  });

  test('ES-16 goes after a while', async () => {
    const all = await broken();
    all.clock.advance(keepSpoolMs);
    await until(async () => (await left(all)).length === 0);
  });

  test('ES-16 goes when the member stops', async () => {
    const all = await broken();
    await all.receiver.stop();
    expect(await left(all)).toEqual([]);
  });

  test('ES-16 ES-20 goes at the next start, when a kill -9 left it', async () => {
    const all = await broken();
    await openSnapshotFolder({ folder: all.target.folder, retain: 2, now: Date.now });
    expect(await readdir(all.target.folder)).toEqual([]);
  });
});

const frame = (bytes: Uint8Array): Buffer => frameOf(Buffer.concat([Buffer.of(chunkType), bytes]));
