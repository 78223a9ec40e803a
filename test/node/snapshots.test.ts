/** What a member does with snapshots, with a real core, log, folder and state around it; only the network is missing. */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Crc64 } from '../../src/crc64.ts';
import { PutRequest } from '../../src/etcd/gen/rpc.ts';
import { ApplyQueue } from '../../src/node/apply-queue.ts';
import { Channel, controlOf } from '../../src/node/channel.ts';
import { frameOf } from '../../src/node/frames.ts';
import { RefusedError } from '../../src/node/hello.ts';
import { createBackend, KeyValues } from '../../src/node/kv.ts';
import { encodeEntry } from '../../src/node/kv-entries.ts';
import type { MemberDriver, Membership } from '../../src/node/membership.ts';
import type { Quota } from '../../src/node/quota.ts';
import { chunkType } from '../../src/node/snapshot-header.ts';
import { Snapshots } from '../../src/node/snapshots.ts';
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import {
  asIndex,
  asMemberId,
  asTerm,
  type Entry,
  type HardState,
  type Index,
  type RaftCommand,
  type RaftEvent,
  type SnapshotMessage,
} from '../../src/raft/types.ts';
import { openSnapshotFolder } from '../../src/storage/snapshots.ts';
import { Wal } from '../../src/storage/wal.ts';
import { newFolder } from '../storage/folder.ts';
import { memoryLog } from './memory-log.ts';

const [a, b, c] = ['a', 'b', 'c'].map(asMemberId) as [never, never, never];
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});
const settled = (): Promise<void> => new Promise((done) => setImmediate(done));
const until = async (what: () => boolean): Promise<void> => {
  while (!what()) await settled();
};

async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [near] = (await once(server, 'connection')) as [Socket];
  server.close();
  return [near, far];
}

/** A member with these voters; alone it leads at once. Entries wait for `apply` when `holding`. */
async function newMember(voters: readonly string[] = ['a'], { sendAgainAfterMs = 1 } = {}) {
  const folder = await newFolder();
  const { log, messages, lines } = memoryLog();
  const wal = await Wal.create(join(folder, 'wal'), { clusterId: 'c1', memberId: 'a' });
  const store = await openSnapshotFolder({ folder: join(folder, 'snap'), retain: 2, now: Date.now });
  const keyValues = new KeyValues();
  const configuration = configurationOf(voters.map(asMemberId));
  const raft = new Raft({ id: a, random: () => 0, trailingLogs: 3 }, initialState(configuration));
  const marks: { index: number; stored: number[] }[] = [];
  const commands: RaftCommand[] = [];
  const events: RaftEvent[] = [];
  const held: Entry[] = [];
  let holding = false;
  let applied: Index = asIndex(0);
  let hardState: HardState = { term: asTerm(0), vote: null, commit: asIndex(0) };

  const apply = (entries: readonly Entry[]): void => {
    for (const entry of entries) {
      keyValues.apply(entry.index, entry.term, entry.data, entry.kind);
      applied = entry.index;
    }
    raft.step({ type: 'applied', index: applied });
  };
  /** What Raft commands, at once. */
  const turn = async (): Promise<void> => {
    for (let batch = raft.take(); batch.length > 0; batch = raft.take()) {
      for (const command of batch) {
        commands.push(command);
        if (command.type === 'persist') {
          hardState = command.hardState ?? hardState;
          await wal.append({ hardState: command.hardState ?? undefined, entries: command.entries });
          raft.step({ type: 'persisted', id: command.id });
        } else if (command.type === 'apply') {
          if (holding) held.push(...command.entries);
          else apply(command.entries);
        } else if (command.type === 'compact') {
          await snapshots.compact(command.through).catch(() => {});
        }
      }
    }
  };
  const step = (event: RaftEvent): void => {
    events.push(event);
    raft.step(event);
  };
  const snapshots = new Snapshots({
    self: a,
    sendAgainAfterMs,
    store,
    wal: {
      append: async (batch: Parameters<Wal['append']>[0]) => {
        const stored = (await store.list()).map(({ index }) => index);
        if (batch.snapshot) marks.push({ index: batch.snapshot.index, stored });
        await wal.append(batch);
      },
      release: (through: number) => wal.release(through),
    } as Wal,
    keyValues,
    log,
    index: asIndex(0),
    threshold: 1_000_000,
    periodMs: 0,
    random: () => 0,
    raft,
    applied: () => applied,
    hardState: (commit) => ({ ...hardState, commit: asIndex(Math.max(commit, hardState.commit)) }),
    step,
  });
  ends.push(async () => {
    await snapshots.stop();
    keyValues.stop();
    await wal.close();
  });
  for (let i = 0; i < 30 && voters.length === 1 && raft.leader === null; i++) {
    raft.step({ type: 'tick' });
    await turn();
  }
  let id = 0;
  const put = async (key: string, bytes = 10): Promise<void> => {
    const request = PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.alloc(bytes, key) });
    raft.step({ type: 'propose', id: ++id, data: encodeEntry('put', 1, id, PutRequest.encode(request).finish()) });
    await turn();
  };
  return {
    folder,
    log,
    messages,
    lines,
    wal,
    store,
    keyValues,
    raft,
    marks,
    commands,
    events,
    held,
    snapshots,
    turn,
    put,
    apply,
    hold: () => {
      holding = true;
    },
    /** Takes one and lets Raft's answer to it be done. */
    take: async () => {
      const taken = await snapshots.snapshotter.take();
      await turn();
      return taken;
    },
  };
}

/** Installs on this member what is stored there. */
const queueOf = (
  { keyValues, snapshots }: Awaited<ReturnType<typeof newMember>>,
  onInstalled: () => void,
  onFailure: (error: unknown) => void,
): ApplyQueue =>
  new ApplyQueue({
    stateMachine: keyValues,
    onEntry: () => {},
    onApplied: () => {},
    install: (meta, durable) => snapshots.install(meta, durable),
    onInstalled,
    onFailure,
  });

const messageAt = (index: number, term = 5): SnapshotMessage => ({
  type: 'snapshot',
  from: b,
  to: a,
  term: asTerm(term),
  meta: {
    index: asIndex(index),
    term: asTerm(term),
    configuration: configurationOf([a, b, c]),
    configurationIndex: asIndex(0),
  },
});

describe('an own snapshot', () => {
  test('RA-01 RA-06 GR-24 holds the state as applied, its index and term, and the configuration with this member in it', async () => {
    const member = await newMember();
    for (let i = 0; i < 5; i++) await member.put(`key-${i}`);
    const meta = await member.take();
    const { applied, term } = member.raft.status();
    expect(meta).toMatchObject({ index: applied, term, configuration: { voters: ['a'] }, configurationIndex: 0 });
    expect(meta.index).toBeLessThanOrEqual(member.raft.commit);
    const again = new KeyValues();
    const stored = await member.store.open(meta.id);
    await again.restore(stored.read());
    await stored.close();
    expect([again.appliedIndex, again.appliedTerm, again.keys]).toEqual([meta.index, meta.term, 5]);
    expect(await again.hash()).toEqual(await member.keyValues.hash());
  });

  test('GR-24 of a state machine that holds nothing yet is a state that holds nothing', async () => {
    const member = await newMember();
    expect(member.raft.status().applied).toBe(1);
    const stored = await member.store.open((await member.take()).id);
    const again = new KeyValues();
    await again.restore(stored.read());
    await stored.close();
    expect([again.appliedIndex, again.keys, again.revision]).toEqual([1, 0, 1]);
  });

  test('HR-02 its id is all that it takes to open it, by whoever opens the folder', async () => {
    const member = await newMember();
    await member.put('key');
    const { id } = await member.take();
    const elsewhere = await openSnapshotFolder({ folder: join(member.folder, 'snap'), retain: 2, now: Date.now });
    const opened = await elsewhere.open(id);
    expect(opened.meta.id).toBe(id);
    await opened.close();
  });

  test('RA-07 its file is there before the log tells of it, and the log before it is let go after that', async () => {
    const member = await newMember();
    for (let i = 0; i < 9; i++) await member.put(`key-${i}`);
    const { index } = await member.take();
    expect(member.marks).toEqual([{ index, stored: [index] }]);
    const order = member.messages();
    expect(order.indexOf('took a snapshot')).toBeLessThan(order.indexOf('compacting the log'));
    expect(member.events.map(({ type }) => type)).toEqual(['snapshotTaken']);
  });

  test('RA-04 holds what is applied and nothing of what is only committed; and what was committed is applied after it', async () => {
    const member = await newMember();
    await member.put('before');
    member.hold();
    await member.put('after-1');
    await member.put('after-2');
    const { index } = await member.take();
    expect(member.raft.commit).toBe(index + 2);
    expect(member.held.map((entry) => entry.index)).toEqual([index + 1, index + 2]);
    const stored = await member.store.open((await member.store.list())[0]!.id);
    const again = new KeyValues();
    await again.restore(stored.read());
    await stored.close();
    expect([again.appliedIndex, again.keys]).toEqual([index, 1]);
    member.apply(member.held);
    expect(member.keyValues.keys).toBe(3);
  });

  test('RA-04 HR-17 a member that stops meanwhile takes none', async () => {
    const member = await newMember();
    await member.put('key');
    const taking = member.snapshots.snapshotter.take();
    const outcome = expect(taking).rejects.toMatchObject({ code: 'SNAPSHOT_STOPPED' });
    await member.snapshots.stop();
    await outcome;
    expect(await member.store.list()).toEqual([]);
    expect(member.marks).toEqual([]);
  });

  test('RA-10 HR-31 the log is compacted once and says so; to where it is already is no error and not worth a word', async () => {
    const member = await newMember();
    for (let i = 0; i < 9; i++) await member.put(`key-${i}`);
    const { index } = await member.take();
    const through = index - 3;
    expect(member.raft.status().firstIndex).toBe(through + 1);
    const said = (): unknown[] => member.lines.filter(({ message }) => message === 'compacting the log');
    expect(said()).toMatchObject([{ from: 1, through }]);
    expect((await member.take()).index).toBe(index);
    expect(said().length).toBe(1);
    for (let i = 0; i < 2; i++) await member.put(`more-${i}`);
    await member.take();
    expect(said()).toMatchObject([
      { from: 1, through },
      { from: through + 1, through: through + 2 },
    ]);
  });

  test('RA-10 HR-26 any other failure to compact is returned and logged, and the next compaction makes up for it', async () => {
    const member = await newMember();
    for (let i = 0; i < 9; i++) await member.put(`key-${i}`);
    const release = member.wal.release.bind(member.wal);
    let broken = true;
    member.wal.release = async (through) => {
      if (broken) throw new Error('EIO');
      await release(through);
    };
    await expect(member.take()).rejects.toMatchObject({
      code: 'SNAPSHOT_LOG_NOT_COMPACTED',
      message: 'log compaction failed: EIO',
    });
    expect(member.messages()).toContain('could not remove old log segments');
    expect((await member.store.list()).length).toBe(1);
    expect(member.raft.status().snapshotIndex).toBe(member.raft.status().applied);
    broken = false;
    await member.put('more');
    await expect(member.take()).resolves.toMatchObject({ index: member.raft.status().applied });
  });

  test("a member that stops waits until no more of its log is removed: its folder may be another process's next", async () => {
    const member = await newMember();
    for (let i = 0; i < 5; i++) await member.put(`key-${i}`);
    await member.take();
    const [begun, held, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), [] as string[]];
    member.wal.release = async () => {
      begun.resolve();
      await held.promise;
      told.push('removed');
    };
    void member.snapshots.compact(member.raft.lastIndex);
    await begun.promise;
    const stopped = member.snapshots.stop().then(() => told.push('stopped'));
    await settled();
    held.resolve();
    await stopped;
    expect(told).toEqual(['removed', 'stopped']);
  });

  test('D13 HR-20 right after a change of the members it can be taken on an idle cluster: the change is applied like everything else', async () => {
    const member = await newMember();
    await member.put('key');
    const change = { type: 'single', member: b, suffrage: 'learner' } as const;
    member.raft.step({ type: 'change', id: 99, change, context: '' });
    await member.turn();
    const { applied, configurationIndex } = member.raft.status();
    expect(configurationIndex).toBe(applied);
    const meta = await member.take();
    expect(meta).toMatchObject({
      index: applied,
      configurationIndex: applied,
      configuration: { voters: ['a'], learners: ['b'] },
    });
  });

  test('HR-20 while that change is committed and not applied it is refused, nothing is made, and afterwards it works', async () => {
    const member = await newMember();
    await member.put('key');
    member.hold();
    const change = { type: 'single', member: b, suffrage: 'learner' } as const;
    member.raft.step({ type: 'change', id: 99, change, context: '' });
    await member.turn();
    await expect(member.take()).rejects.toThrow(
      /cannot take snapshot now, wait until the configuration entry at 3 has been applied \(have applied 2\)/,
    );
    expect(await member.store.list()).toEqual([]);
    member.apply(member.held);
    await expect(member.take()).resolves.toMatchObject({ index: 3, configurationIndex: 3 });
  });

  test('HR-10 D17 the event loop turns between any two slices of a large state', async () => {
    const member = await newMember();
    for (let i = 0; i < 60; i++) await member.put(`key-${i}`, 100_000);
    let turns = 0;
    let running = true;
    const count = (): void => {
      turns++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    const { size } = await member.take();
    running = false;
    expect(turns).toBeGreaterThanOrEqual(size / 65_536);
  });
});

describe('the frozen view of the state', () => {
  const options = { index: 1, term: 1, attachment: {} };

  test('HR-24 cannot be read after it was given back, and cannot be given back twice', async () => {
    const member = await newMember();
    await member.put('key');
    const frozen = member.keyValues.snapshot();
    expect(frozen.header).toMatchObject({ ...options, index: 2, attachment: expect.anything() });
    expect([...frozen.slices()].length).toBe(1);
    frozen.release();
    expect(() => frozen.slices()).toThrow('was released');
    expect(() => frozen.release()).toThrow('was released');
  });

  test.each(['to its end', 'until the client goes away'])(
    'HR-24 a client that reads it %s gives it back',
    async (how) => {
      const member = await newMember();
      for (let i = 0; i < 3; i++) await member.put(`key-${i}`, 60_000);
      let released = 0;
      const snapshot = member.keyValues.snapshot.bind(member.keyValues);
      member.keyValues.snapshot = () => {
        const frozen = snapshot();
        return {
          ...frozen,
          release: () => {
            released++;
            frozen.release();
          },
        };
      };
      const driver = { clusterId: 'c1', memberId: 'a' } as unknown as MemberDriver;
      const membership = { configuration: { members: [], index: 0 } } as unknown as Membership;
      const { slices } = await createBackend(member.keyValues, driver, membership, {} as Quota).snapshot();
      for await (const _ of slices) if (how !== 'to its end') break;
      expect(released).toBe(1);
    },
  );
});

describe('what Raft wants sent', () => {
  const wish = (index: number, to = b): SnapshotMessage => ({ ...messageAt(index), from: a, to });

  test('ES-04 ES-06 nothing waits for it to be prepared; then it goes to a connection of its own, and Raft hears only the outcome', async () => {
    const member = await newMember();
    await member.put('key');
    const { index } = await member.take();
    const opened: string[] = [];
    member.snapshots.start(async (to) => {
      opened.push(to);
      throw new RefusedError('who are you');
    });
    member.events.length = 0;
    const sending = member.snapshots.send(wish(index));
    expect(member.snapshots.counters.unavailableSnapshots).toBe(1);
    expect(member.events).toEqual([]);
    await sending;
    expect(opened).toEqual(['b']);
    expect(member.events).toEqual([{ type: 'snapshotSent', to: 'b', ok: false }]);
    expect(member.snapshots.counters).toMatchObject({ failedSnapshotSends: 1, sentSnapshots: 0 });
    expect(member.messages()).toContain('could not send a snapshot');
  });

  test('after one that could not be sent Raft hears of it, and asks again, only after a pause; others are served meanwhile', async () => {
    const member = await newMember(['a'], { sendAgainAfterMs: 3_600_000 });
    await member.put('key');
    const { index } = await member.take();
    const opened: string[] = [];
    member.snapshots.start(async (to) => {
      opened.push(to);
      throw new RefusedError('my disk is full');
    });
    member.events.length = 0;
    const first = member.snapshots.send(wish(index, b));
    await until(() => member.snapshots.counters.failedSnapshotSends === 1);
    const second = member.snapshots.send(wish(index, c));
    await until(() => member.snapshots.counters.failedSnapshotSends === 2);
    await settled();
    expect(opened).toEqual(['b', 'c']);
    expect(member.events).toEqual([]);
    await member.snapshots.stop();
    await Promise.all([first, second]);
  });

  test('ES-07 of two who want one while it is prepared the second is told at once that it is not its turn', async () => {
    const member = await newMember();
    await member.put('key');
    const { index } = await member.take();
    const outcome = Promise.withResolvers<never>();
    const opened: string[] = [];
    member.snapshots.start((to) => {
      opened.push(to);
      return outcome.promise;
    });
    member.events.length = 0;
    const first = member.snapshots.send(wish(index, b));
    await member.snapshots.send(wish(index, c));
    expect(opened).toEqual(['b']);
    expect(member.events).toEqual([{ type: 'snapshotSent', to: 'c', ok: false }]);
    await member.snapshots.send(wish(index, c));
    expect(opened).toEqual(['b']);
    outcome.reject(new RefusedError('enough'));
    await first;
    await member.snapshots.send(wish(index, c));
    expect(opened).toEqual(['b', 'c']);
  });

  test('RS-20 a wish is served by what was prepared for it, however many newer ones are taken meanwhile', async () => {
    const member = await newMember();
    await member.put('key');
    const { index } = await member.take();
    const opened: string[] = [];
    member.snapshots.start(async (to) => {
      opened.push(to);
      throw new RefusedError('who are you');
    });
    const sending = member.snapshots.send(wish(index));
    for (let i = 0; i < 5; i++) {
      await member.put(`newer-${i}`);
      await member.take();
    }
    await sending;
    expect(opened).toEqual(['b']);
  });

  test('a stored one that is damaged is not sent: one is taken in its place', async () => {
    const member = await newMember();
    await member.put('key');
    const damaged = await member.take();
    const path = join(member.folder, 'snap', damaged.id, 'state.bin');
    const state = await readFile(path);
    state[20]! ^= 1;
    await writeFile(path, state);
    member.snapshots.start(async () => {
      throw new RefusedError('who are you');
    });
    await member.snapshots.send(wish(damaged.index));
    expect(member.lines).toContainEqual(
      expect.objectContaining({ message: 'a stored snapshot cannot be sent', id: damaged.id }),
    );
    const [newest] = await member.store.list();
    expect(newest).toMatchObject({ index: damaged.index, crc: damaged.crc });
    expect(newest!.id).not.toBe(damaged.id);
  });

  test('ES-07 RS-20 none that is older than what Raft counts on: one is taken when the stored ones do not reach', async () => {
    const member = await newMember();
    await member.put('key');
    const { index } = await member.take();
    await member.put('more');
    member.snapshots.start(async () => {
      throw new RefusedError('who are you');
    });
    await member.snapshots.send(wish(index + 1));
    expect((await member.store.list()).map((meta) => meta.index)).toEqual([index + 1, index]);
  });
});

describe('what comes from the leader', () => {
  test('HR-17 ES-20 when the member stops, a stream that has just ended is not waited for: Raft is not asked any more, and it goes', async () => {
    const member = await newMember(['a', 'b', 'c']);
    const [near, far] = await socketPair();
    const done: unknown[] = [];
    const sender = new Channel(far, { onPayload: (payload) => done.push(controlOf(payload)), onClose: () => {} });
    member.snapshots.receive(b, new Channel(near, { onPayload: () => {}, onClose: () => {} }));
    const state = Buffer.from('state');
    const crc = new Crc64().update(state).digest();
    sender.sendControl({ message: messageAt(50), size: state.length, crc });
    await until(() => {
      const wanted = member.raft.take().find(({ type }) => type === 'receiveSnapshot');
      if (wanted?.type === 'receiveSnapshot') member.snapshots.onWanted(wanted.message);
      return wanted !== undefined;
    });
    await until(() => done.length === 1);
    // Raft hears of what is stored and does not answer, as a driver that has stopped.
    sender.send(frameOf(Buffer.concat([Buffer.of(chunkType), state])));
    sender.sendControl({ end: true });
    await until(() => member.events.some(({ type }) => type === 'snapshotReceived'));
    await member.snapshots.stop();
    expect(await member.store.list()).toEqual([]);
    // The connection breaks: nobody was told that it is stored.
    await until(() => sender.isClosed);
    expect(done).toEqual([{ from: 0 }]);
    sender.close();
    near.destroy();
  });

  test('RA-14 a snapshot of nothing is refused where it is offered, never installed and never loaded', async () => {
    const member = await newMember(['a', 'b', 'c']);
    member.raft.step({ type: 'snapshotOffered', message: messageAt(0) });
    await member.turn();
    expect(member.commands.map(({ type }) => type)).toEqual(expect.arrayContaining(['refuseSnapshot']));
    expect(member.commands.map(({ type }) => type)).not.toContain('receiveSnapshot');
    expect(() => member.raft.snapshotMeta(asIndex(0))).toThrow('nothing new to snapshot');
    // The beginning of a cluster is such a one: it has no file, and none is looked for.
    expect(member.raft.status().snapshotIndex).toBe(0);
    expect(await member.store.list()).toEqual([]);
  });

  test('HR-16 while it is being installed no own one is taken: the state is not yet where Raft is', async () => {
    const member = await newMember(['a', 'b', 'c']);
    member.raft.step({ type: 'snapshotOffered', message: messageAt(50) });
    member.raft.step({ type: 'snapshotReceived', message: messageAt(50) });
    await expect(member.take()).rejects.toMatchObject({
      code: 'RAFT_SNAPSHOT_REFUSED',
      message: expect.stringContaining('is being installed'),
    });
  });

  test('D18 one that cannot be loaded stops the member: nothing goes on as if it were', async () => {
    const member = await newMember(['a', 'b', 'c']);
    const sink = await member.store.create({ version: 1, ...messageAt(50).meta });
    await sink.write(Buffer.from('this is no state'));
    await sink.close();
    const failures: unknown[] = [];
    const queue = queueOf(
      member,
      () => failures.push('installed'),
      (error) => failures.push(error),
    );
    queue.push({ type: 'install', meta: messageAt(50).meta, durable: Promise.resolve() });
    queue.push({ type: 'apply', entries: [] });
    await until(() => failures.length > 0);
    expect(failures).toMatchObject([{ code: 'MVCC_SNAPSHOT_CORRUPT' }]);
  });

  test('a member that stops meanwhile ends loading it, and touches neither its log nor whom it knows after that: the next start does it', async () => {
    const leader = await newMember();
    for (let i = 0; i < 5; i++) await leader.put(`key-${i}`);
    const member = await newMember(['a', 'b', 'c']);
    const { meta } = messageAt(50);
    const sink = await member.store.create({ version: 1, ...meta });
    for (const slice of leader.keyValues.snapshot().slices()) await sink.write(slice);
    await sink.close();
    const told: string[] = [];
    member.keyValues.watchMembers(() => told.push('other members'));
    const queue = queueOf(
      member,
      () => told.push('installed'),
      (error) => told.push((error as Error).message),
    );
    const recorded = Promise.withResolvers<void>();
    queue.push({ type: 'install', meta, durable: recorded.promise });
    const stopped = Promise.all([queue.stop(), member.snapshots.stop()]).then(() => told.push('stopped'));
    await settled();
    expect(told).toEqual([]);
    recorded.resolve();
    await stopped;
    expect(told).toEqual(['the member stops', 'stopped']);
    expect(member.keyValues.keys).toBe(0);
    expect(member.messages()).not.toContain('compacting the log');
  });
});
