/** The driver with a real core and a real state, between a disk that is always done and a peer that the test plays. */
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { createLog } from '../../src/log.ts';
import type { WireMessage } from '../../src/node/codec.ts';
import { Driver } from '../../src/node/driver.ts';
import { KeyValues } from '../../src/node/kv.ts';
import type { Transport } from '../../src/node/transport.ts';
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { asIndex, asMemberId, asTerm, type MemberId, type Message } from '../../src/raft/types.ts';
import type { FolderSnapshotStore } from '../../src/storage/snapshots.ts';
import type { Wal } from '../../src/storage/wal.ts';

const [self, peer] = ['a', 'b'].map(asMemberId) as [MemberId, MemberId];
const tickMs = 1000;

const drivers: Driver[] = [];
afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all(drivers.splice(0).map((driver) => driver.stop()));
});

/** What a follower in good health answers. */
function answerTo(message: Message): WireMessage | undefined {
  const envelope = { from: peer, to: self, term: message.term };
  switch (message.type) {
    case 'vote':
      return { ...envelope, type: 'voteResponse', preVote: message.preVote, granted: true };
    case 'append': {
      const index = asIndex(message.prevIndex + message.entries.length);
      return { ...envelope, type: 'appendResponse', accepted: true, index, hintIndex: asIndex(0), hintTerm: asTerm(0) };
    }
    case 'heartbeat':
      return { ...envelope, type: 'heartbeatResponse', round: message.round };
    default:
      return undefined;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function turns(until: () => boolean, atMost = 1000): Promise<void> {
  for (let i = 0; i < atMost && !until(); i++) await turn();
}

function newDriver(random = () => 0) {
  const world = { peerAnswers: true, sent: [] as Message[], leader: null as string | null };
  const driver = new Driver({
    raft: { id: self, electionTicks: 10, heartbeatTicks: 1, random, leaseReads: true },
    restored: initialState(configurationOf([self, peer])),
    wal: { append: () => Promise.resolve() } as unknown as Wal,
    store: { list: async () => [] } as unknown as FolderSnapshotStore,
    keyValues: new KeyValues(),
    log: createLog({ write: () => {} }),
    tickMs,
    electionMs: 10 * tickMs,
    requestTimeoutMs: 20 * tickMs,
    snapshotCount: 1000,
    snapshotPeriodMs: 0,
    onLeader: (leader) => {
      world.leader = leader;
    },
    onConfiguration: () => {},
    onFatal: (error) => {
      throw error;
    },
  });
  drivers.push(driver);
  driver.start({
    send: (message: WireMessage) => {
      world.sent.push(message);
      const answer = world.peerAnswers ? answerTo(message) : undefined;
      if (answer) setImmediate(() => driver.receive(answer));
      return true;
    },
    flush: () => {},
  } as unknown as Transport);
  return { driver, world };
}

async function leading() {
  const { driver, world } = newDriver();
  driver.campaign();
  await turns(() => world.leader === self);
  expect(world.leader).toBe(self);
  return { driver, world };
}

test('GR-05 a new member does nothing by itself before its time is up', async () => {
  const { driver, world } = newDriver();
  await turns(() => false, 50);
  expect([world.sent, world.leader, driver.status().role, driver.term]).toEqual([[], null, 'follower', 0]);
});

describe('a leader with leases', () => {
  test('RS-10 RS-25 reads without a round while a quorum’s answer is fresh, and not once it has lost time', async () => {
    const { driver, world } = await leading();
    await driver.reads.linearize();
    world.peerAnswers = false;
    await driver.reads.linearize();

    // The process was stopped: timers did not run, the world went on.
    const now = performance.now();
    jest.spyOn(performance, 'now').mockReturnValue(now + 2 * tickMs);
    let answered = false;
    const read = driver.reads.linearize().then(() => {
      answered = true;
    });
    const before = world.sent.length;
    await turns(() => answered, 50);
    expect(answered).toBe(false);
    const asked = world.sent.slice(before).filter(({ type }) => type === 'heartbeat');
    expect(asked).not.toHaveLength(0);
    driver.receive(answerTo(asked.at(-1)!)!);
    await read;
  });
});

describe('leadership', () => {
  test('RS-18 is handed over to who has the whole log; until then nothing is taken and nothing is lost', async () => {
    const { driver, world } = await leading();
    world.peerAnswers = false;
    const outcome = driver.transfers.handOver(peer);
    const lost: unknown[] = [];
    await turns(() => world.sent.some(({ type }) => type === 'timeoutNow'));
    driver.proposals.propose(
      new Uint8Array(9),
      (error) => lost.push(error),
      () => true,
    );
    await turns(() => false, 20);
    const appended = world.sent.flatMap((message) => (message.type === 'append' ? message.entries : []));
    expect(appended).toHaveLength(1);
    expect([driver.proposals.count, lost]).toEqual([1, []]);

    // The other one leads now: the proposal goes there.
    const term = asTerm(driver.term + 1);
    driver.receive({ type: 'heartbeat', from: peer, to: self, term, commit: asIndex(0), round: 0 });
    expect(await outcome).toBeNull();
    await turns(() => world.sent.some(({ type }) => type === 'propose'));
    expect(world.sent.at(-1)).toMatchObject({ type: 'propose', to: peer, term });
    expect(lost).toEqual([]);
  });

  test('that is not this member’s is not handed over, and a stopping member leaves nobody waiting', async () => {
    const { driver } = newDriver();
    expect(await driver.transfers.handOver(peer)).toBe('notLeader');
    const { driver: leader, world } = await leading();
    world.peerAnswers = false;
    const waiting = leader.transfers.handOver(peer);
    await leader.stop();
    expect(await waiting).toBe('deposed');
    expect(leader.transfers.counters).toEqual({ done: 0, failed: 1 });
  });
});

describe('answers to an earlier process of this member, which come when the leader has them', () => {
  /** One that follows the peer, and has asked it for something. */
  async function asking(random: () => number, ask: (driver: Driver) => void) {
    const { driver, world } = newDriver(random);
    const term = asTerm(1);
    driver.receive({ type: 'heartbeat', from: peer, to: self, term, commit: asIndex(0), round: 0 });
    await turns(() => world.leader === peer);
    ask(driver);
    await turns(() => world.sent.some(({ type }) => type === 'readIndex' || type === 'propose'));
    return { driver, world, asked: world.sent.at(-1)!, answer: { from: peer, to: self, term } as const };
  }

  test('RS-09 confirm no read of this one: what it reads may have changed since', async () => {
    const read = (driver: Driver): void => void driver.reads.linearize().catch(() => {});
    const before = await asking(() => 0.2, read);
    let isAnswered = false;
    const { driver, answer } = await asking(
      () => 0.7,
      (asked) => {
        void asked.reads.linearize().then(() => {
          isAnswered = true;
        });
      },
    );
    const { ids } = before.asked as Extract<Message, { type: 'readIndex' }>;
    driver.receive({ ...answer, type: 'readIndexResponse', ids, index: asIndex(0) });
    await turns(() => isAnswered, 50);
    expect(isAnswered).toBe(false);
  });

  test('RS-11 make it propose nothing again, which would be done twice', async () => {
    const propose = (driver: Driver): void =>
      driver.proposals.propose(
        new Uint8Array(9),
        () => {},
        () => true,
      );
    const before = await asking(() => 0.2, propose);
    const { driver, world, answer } = await asking(() => 0.7, propose);
    const ids = (before.asked as Extract<Message, { type: 'propose' }>).proposals.map(({ id }) => id);
    driver.receive({ ...answer, type: 'proposeResponse', ids, firstIndex: null, reason: 'notLeader' });
    await turns(() => false, 50);
    expect(world.sent.filter(({ type }) => type === 'propose')).toHaveLength(1);
  });
});
