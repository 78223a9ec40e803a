import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import {
  asIndex,
  asMemberId,
  asTerm,
  type Entry,
  type Message,
  type RaftCommand,
  type RaftConfig,
  type SnapshotMessage,
} from '../../src/raft/types.ts';

const a = asMemberId('a');
const b = asMemberId('b');
const c = asMemberId('c');
const cluster = configurationOf([a, b, c]);

/** A member `a` that answers to hand-made events; random draws come from `draws`, then are 0. */
function member(config: Partial<RaftConfig> = {}, draws: number[] = []): Raft {
  return new Raft({ id: a, random: () => draws.shift() ?? 0, ...config }, initialState(cluster));
}

const entry = (index: number, term: number, size = 0): Entry => ({
  index: asIndex(index),
  term: asTerm(term),
  kind: 'normal',
  data: new Uint8Array(size),
});

type Received = Exclude<Message, SnapshotMessage>;

const append = (
  term: number,
  prevIndex: number,
  prevTerm: number,
  entries: Entry[] = [],
  commit = 0,
  from = b,
): Received => ({
  type: 'append',
  from,
  to: a,
  term: asTerm(term),
  prevIndex: asIndex(prevIndex),
  prevTerm: asTerm(prevTerm),
  entries,
  commit: asIndex(commit),
});

const vote = (term: number, lastIndex: number, lastTerm: number, preVote = false, from = c): Received => ({
  type: 'vote',
  from,
  to: a,
  term: asTerm(term),
  lastIndex: asIndex(lastIndex),
  lastTerm: asTerm(lastTerm),
  preVote,
});

function receive(raft: Raft, ...messages: Received[]): RaftCommand[] {
  for (const message of messages) raft.step({ type: 'receive', message });
  return raft.take();
}

/** Completes what is to be written; the messages that waited for it. */
function persist(raft: Raft, commands: RaftCommand[]): { messages: Message[]; commands: RaftCommand[] } {
  const messages: Message[] = [];
  for (const command of commands) {
    if (command.type !== 'persist') continue;
    messages.push(...command.messages);
    raft.step({ type: 'persisted', id: command.id });
  }
  return { messages, commands: raft.take() };
}

function ticksUntilCampaign(raft: Raft): number {
  for (let ticks = 1; ticks < 100; ticks++) {
    raft.step({ type: 'tick' });
    if (raft.role !== 'follower') return ticks;
  }
  return Number.POSITIVE_INFINITY;
}

function tick(raft: Raft, count: number): void {
  for (let at = 0; at < count; at++) raft.step({ type: 'tick' });
}

/** A leader of term 1 whose no-op is durable here. */
function leader(config: Partial<RaftConfig> = {}): Raft {
  const raft = member({ preVote: false, ...config });
  raft.step({ type: 'campaign' });
  persist(raft, raft.take());
  const granted = { type: 'voteResponse', from: b, to: a, term: asTerm(1), preVote: false, granted: true } as const;
  persist(raft, receive(raft, granted));
  expect(raft.role).toBe('leader');
  return raft;
}

const accepted = (index: number, from = b): Received => ({
  type: 'appendResponse',
  from,
  to: a,
  term: asTerm(1),
  accepted: true,
  index: asIndex(index),
  hintIndex: asIndex(0),
  hintTerm: asTerm(0),
});

describe('election timeouts', () => {
  test.each([
    [0, 10],
    [0.5, 15],
    [0.999, 19],
  ])('GR-09 drawn from [T, 2T): %d gives %i ticks', (draw, ticks) => {
    expect(ticksUntilCampaign(member({}, [draw]))).toBe(ticks);
  });

  test('GR-09 drawn anew when an append of the current term arrives, even one that is rejected', () => {
    const raft = member({}, [0, 0.9]);
    tick(raft, 9);
    const commands = receive(raft, append(0, 5, 0));
    expect(commands).toContainEqual(
      expect.objectContaining({ type: 'send', message: expect.objectContaining({ accepted: false }) }),
    );
    expect(ticksUntilCampaign(raft)).toBe(19);
  });

  test('GR-09 drawn anew when a vote is granted', () => {
    const raft = member({}, [0, 0.9]);
    tick(raft, 9);
    receive(raft, vote(1, 0, 0));
    expect(ticksUntilCampaign(raft)).toBe(19);
  });

  test('GR-09 not restarted by a refused vote, nor by a stale leader', () => {
    const raft = member({}, [0, 0.9]);
    receive(raft, append(5, 0, 0, [entry(1, 5)]));
    tick(raft, 18);
    receive(raft, vote(6, 0, 0), append(4, 0, 0));
    expect(raft.role).toBe('follower');
    expect(ticksUntilCampaign(raft)).toBe(1);
  });

  test('GR-11 a candidate that nobody answers stands again in the next term', () => {
    const raft = member({ preVote: false });
    tick(raft, 10);
    expect([raft.role, raft.term]).toEqual(['candidate', 1]);
    tick(raft, 10);
    expect([raft.role, raft.term]).toEqual(['candidate', 2]);
  });

  test('a pre-vote that nobody answers never raises the term', () => {
    const raft = member();
    tick(raft, 200);
    expect([raft.role, raft.term]).toEqual(['preCandidate', 0]);
  });
});

describe('votes', () => {
  test('D1 a granted vote leaves only with the write that makes it durable', () => {
    const commands = receive(member(), vote(3, 0, 0));
    expect(commands.filter(({ type }) => type === 'send')).toEqual([]);
    expect(commands).toContainEqual(
      expect.objectContaining({
        type: 'persist',
        sync: true,
        hardState: { term: 3, vote: c, commit: 0 },
        messages: [expect.objectContaining({ type: 'voteResponse', granted: true, to: c })],
      }),
    );
  });

  test('GR-15 a stale term is refused with the current one, a second candidate of the term as well', () => {
    const raft = member();
    receive(raft, vote(3, 0, 0));
    const refusals = receive(raft, vote(2, 9, 2, false, b), vote(3, 9, 2, false, b)).filter(
      ({ type }) => type === 'send',
    );
    expect(refusals).toEqual([
      expect.objectContaining({ message: expect.objectContaining({ granted: false, term: 3 }) }),
      expect.objectContaining({ message: expect.objectContaining({ granted: false, term: 3 }) }),
    ]);
  });

  test('thesis §4.2.3 whoever hears a leader ignores votes until the minimum election timeout is over', () => {
    const raft = member({}, [0, 0.9]);
    receive(raft, append(1, 0, 0));
    tick(raft, 9);
    expect(receive(raft, vote(9, 99, 8), vote(9, 99, 8, true))).toEqual([]);
    expect(raft.term).toBe(1);
    tick(raft, 1);
    expect(receive(raft, vote(2, 99, 1, true))).toContainEqual(
      expect.objectContaining({ message: expect.objectContaining({ granted: true, term: 2, preVote: true }) }),
    );
    expect(raft.term).toBe(1);
  });

  test('a real candidacy goes out only when it is durable, and the own vote counts only then', () => {
    const raft = new Raft({ id: a, random: () => 0 }, initialState(configurationOf([a])));
    expect(raft.role).toBe('candidate');
    const [changed, write] = raft.take();
    expect(changed).toMatchObject({ type: 'roleChanged', role: 'candidate', term: 1 });
    expect(write).toMatchObject({ type: 'persist', hardState: { term: 1, vote: 'a' } });
    raft.step({ type: 'persisted', id: 1 });
    expect(raft.role).toBe('leader');
  });

  test('campaign does nothing on a member that knows a leader', () => {
    const raft = member();
    receive(raft, append(1, 0, 0));
    raft.step({ type: 'campaign' });
    expect(raft.role).toBe('follower');
  });
});

describe('following', () => {
  test('GR-16 an old leader is told the current term', () => {
    const raft = member();
    receive(raft, append(4, 0, 0));
    expect(receive(raft, append(3, 0, 0, [entry(1, 3)], 0, c))).toEqual([
      { type: 'send', message: expect.objectContaining({ type: 'appendResponse', accepted: false, term: 4, to: c }) },
    ]);
  });

  test('GR-17 what is committed is never cut off, whatever is sent', () => {
    const raft = member();
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1)], 2)));
    receive(raft, append(2, 0, 0, [entry(1, 2)], 1));
    expect(raft.status()).toMatchObject({ term: 2, commit: 2, lastIndex: 2 });
    receive(raft, append(2, 1, 1, [entry(2, 2), entry(3, 2)], 3));
    expect(raft.status()).toMatchObject({ commit: 2, lastIndex: 2 });
  });

  test('an entry is acknowledged only by the write that makes it durable, and the same again waits for it', () => {
    const raft = member();
    const first = receive(raft, append(1, 0, 0, [entry(1, 1)]));
    const again = receive(raft, append(1, 0, 0, [entry(1, 1)]));
    expect(again).toEqual([
      expect.objectContaining({
        type: 'persist',
        entries: [],
        hardState: null,
        sync: false,
        messages: [expect.objectContaining({ index: 1 })],
      }),
    ]);
    expect(persist(raft, [...first, ...again]).messages).toHaveLength(2);
    expect(receive(raft, append(1, 0, 0, [entry(1, 1)]))).toEqual([
      { type: 'send', message: expect.objectContaining({ accepted: true, index: 1 }) },
    ]);
  });

  test('the commit index covers only what is known to match the leader', () => {
    const raft = member();
    receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]));
    // The new leader committed other entries at 2 and 3, which have not arrived yet.
    receive(raft, append(2, 1, 1, [], 3, c));
    expect(raft.commit).toBe(1);
  });

  test('many appends of one batch share a write and an acknowledgement', () => {
    const raft = member();
    const commands = receive(
      raft,
      append(1, 0, 0, [entry(1, 1)]),
      append(1, 1, 1, [entry(2, 1)]),
      append(1, 2, 1, [entry(3, 1)]),
    );
    const writes = commands.filter((command) => command.type === 'persist');
    expect(writes).toHaveLength(1);
    expect(writes[0]).toMatchObject({ entries: [{ index: 1 }, { index: 2 }, { index: 3 }], messages: [{ index: 3 }] });
  });

  test('RA-24 what is handed out for apply is contiguous, committed and durable', () => {
    const raft = member();
    const commands = receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)], 2));
    expect(commands.some(({ type }) => type === 'apply')).toBe(false);
    const after = persist(raft, commands).commands;
    expect(after).toEqual([{ type: 'apply', entries: [entry(1, 1), entry(2, 1)] }]);
  });

  test('what waits for the state machine is bounded', () => {
    const raft = member({ maxApplyingBytes: 300 });
    const entries = [1, 2, 3, 4].map((index) => entry(index, 1, 100));
    const { commands } = persist(raft, receive(raft, append(1, 0, 0, entries, 4)));
    const sizes = (list: RaftCommand[]) => list.flatMap((one) => (one.type === 'apply' ? [one.entries.length] : []));
    expect(sizes(commands)).toEqual([2]);
    // One more fits into the rest of the bound, since a portion is never empty.
    expect(sizes(raft.take())).toEqual([1]);
    expect(sizes(raft.take())).toEqual([]);
    raft.step({ type: 'applied', index: asIndex(2) });
    expect(sizes(raft.take())).toEqual([1]);
  });

  test('heartbeats are answered without waiting for the disk', () => {
    const raft = member();
    const commands = receive(raft, append(1, 0, 0, [entry(1, 1)]), {
      type: 'heartbeat',
      from: b,
      to: a,
      term: asTerm(1),
      commit: asIndex(99),
      round: 4,
    });
    expect(commands).toContainEqual({
      type: 'send',
      message: expect.objectContaining({ type: 'heartbeatResponse', round: 4 }),
    });
    expect(raft.commit).toBe(1);
  });
});

describe('leading', () => {
  test('GR-13 opens the term with a no-op to everybody', () => {
    expect(leader().status()).toMatchObject({
      lastIndex: 1,
      commit: 0,
      progress: [
        { member: b, next: 1 },
        { member: c, next: 1 },
      ],
    });
  });

  test('GR-19 proposals of one batch share a write, a message per follower and an outcome', () => {
    const raft = leader();
    receive(raft, accepted(1), accepted(1, c));
    for (const id of [7, 8, 9]) raft.step({ type: 'propose', id, data: new Uint8Array(1) });
    const commands = raft.take();
    expect(commands).toContainEqual({ type: 'proposalsAccepted', ids: [7, 8, 9], term: 1, firstIndex: 2 });
    expect(commands.filter((one) => one.type === 'send')).toHaveLength(2);
    expect(commands.filter((one) => one.type === 'persist')).toHaveLength(1);
  });

  test('D10 a quorum without the own disk commits, the own disk alone does not', () => {
    const raft = leader();
    receive(raft, accepted(1));
    expect(raft.commit).toBe(1);
    raft.step({ type: 'propose', id: 1, data: new Uint8Array(1) });
    const commands = raft.take();
    receive(raft, accepted(2));
    expect(raft.commit).toBe(1);
    persist(raft, commands);
    expect(raft.commit).toBe(2);
  });

  test('D11 a read is confirmed by answers to its own round, not by older ones', () => {
    const raft = leader();
    persist(raft, receive(raft, accepted(1)));
    const answer = (round: number): Received => ({ type: 'heartbeatResponse', from: b, to: a, term: asTerm(1), round });
    raft.step({ type: 'readIndex', id: 1 });
    raft.take();
    expect(receive(raft, answer(0)).filter((one) => one.type === 'readReady')).toEqual([]);
    raft.step({ type: 'readIndex', id: 2 });
    expect(receive(raft, answer(1))).toContainEqual({ type: 'readReady', ids: [1], index: 1 });
    expect(receive(raft, answer(1)).filter((one) => one.type === 'readReady')).toEqual([]);
    expect(receive(raft, answer(2))).toContainEqual({ type: 'readReady', ids: [2], index: 1 });
  });

  test('GR-14 a higher term in any answer ends the leadership', () => {
    const raft = leader();
    receive(raft, { ...accepted(1), term: asTerm(5) });
    expect([raft.role, raft.term, raft.leader]).toEqual(['follower', 5, null]);
  });

  test('thesis §6.2 without a quorum of answers in an election timeout it steps down', () => {
    const raft = leader();
    tick(raft, 10);
    expect(raft.role).toBe('follower');
    expect(leader({ checkQuorum: false }).role).toBe('leader');
  });

  test('an acknowledgement of what it never had is ignored', () => {
    const raft = leader();
    expect(receive(raft, accepted(99))).toEqual([expect.objectContaining({ type: 'ignored', from: b })]);
    expect(raft.commit).toBe(0);
  });
});

describe('snapshots', () => {
  function applied(): Raft {
    const raft = member({ trailingLogs: 1 });
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)], 3)));
    raft.step({ type: 'applied', index: asIndex(3) });
    return raft;
  }

  test('HR-03 HR-19 the meta is that of the applied state, with the committed configuration', () => {
    expect(applied().snapshotMeta(asIndex(2))).toEqual({
      index: 2,
      term: 1,
      configuration: cluster,
      configurationIndex: 0,
    });
  });

  test('HR-18 GR-23 nothing applied, nothing to snapshot', () => {
    expect(() => member().snapshotMeta(asIndex(0))).toThrow(expect.objectContaining({ code: 'RAFT_SNAPSHOT_REFUSED' }));
  });

  test('HR-20 refused behind a configuration that is not applied, allowed at it', () => {
    const state = initialState(cluster);
    const snapshot = { ...state.snapshot, configurationIndex: asIndex(2) };
    const raft = new Raft({ id: a, random: () => 0 }, { ...state, snapshot });
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1)], 2)));
    raft.step({ type: 'applied', index: asIndex(1) });
    expect(() => raft.snapshotMeta(asIndex(1))).toThrow(
      'cannot take snapshot now, wait until the configuration entry at 2 has been applied (have applied 1)',
    );
    raft.step({ type: 'applied', index: asIndex(2) });
    expect(raft.snapshotMeta(asIndex(2)).configurationIndex).toBe(2);
  });

  test('HR-25 RA-08 only a durable snapshot compacts, and leaves the trailing entries', () => {
    const raft = applied();
    const meta = raft.snapshotMeta(asIndex(3));
    expect(raft.take().filter(({ type }) => type === 'compact')).toEqual([]);
    raft.step({ type: 'snapshotTaken', meta });
    expect(raft.take()).toEqual([{ type: 'compact', through: 2 }]);
    raft.step({ type: 'snapshotTaken', meta });
    expect(raft.take()).toEqual([]);
  });

  const snapshot = (index: number, term: number): SnapshotMessage => ({
    type: 'snapshot',
    from: b,
    to: a,
    term: asTerm(term),
    meta: { index: asIndex(index), term: asTerm(term), configuration: cluster, configurationIndex: asIndex(0) },
  });

  test('GR-29 RA-13 D5 an installed snapshot sets log, commit and configuration, and the term never goes back', () => {
    const raft = member();
    receive(raft, append(7, 0, 0, [entry(1, 1)]));
    const message = { ...snapshot(20, 3), term: asTerm(7) };
    raft.step({ type: 'snapshotOffered', message });
    expect(raft.take()).toEqual([{ type: 'receiveSnapshot', message }]);
    raft.step({ type: 'snapshotReceived', message });
    const types = raft.take().map(({ type }) => type);
    expect(types).toEqual(['installSnapshot', 'persist']);
    expect(raft.status()).toMatchObject({
      term: 7,
      commit: 20,
      applied: 0,
      firstIndex: 21,
      lastIndex: 20,
      snapshotIndex: 20,
    });
    raft.step({ type: 'applied', index: asIndex(20) });
    expect(raft.status().applied).toBe(20);
  });

  test('RA-16 a snapshot at or behind the commit index is refused', () => {
    const raft = applied();
    raft.step({ type: 'snapshotOffered', message: snapshot(2, 1) });
    expect(raft.take()[0]).toMatchObject({ type: 'refuseSnapshot' });
  });

  test('GR-28 a snapshot whose last entry is here keeps the log, and commits it', () => {
    const raft = member();
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)], 0)));
    raft.step({ type: 'snapshotOffered', message: snapshot(2, 1) });
    expect(raft.take()[0]).toMatchObject({ type: 'refuseSnapshot' });
    expect(raft.status()).toMatchObject({ commit: 2, lastIndex: 3 });
  });

  test('a snapshot of an old term is refused, its sender told', () => {
    const raft = member();
    receive(raft, append(9, 0, 0));
    raft.step({ type: 'snapshotOffered', message: snapshot(20, 3) });
    expect(raft.take()).toEqual([
      { type: 'send', message: expect.objectContaining({ accepted: false, term: 9 }) },
      expect.objectContaining({ type: 'refuseSnapshot' }),
    ]);
  });
});

describe('a driver that breaks the protocol', () => {
  test('is told so', () => {
    const wrong = expect.objectContaining({ code: 'RAFT_DRIVER_ORDER' });
    expect(() => member().step({ type: 'applied', index: asIndex(1) })).toThrow(wrong);
    expect(() => member().step({ type: 'persisted', id: 1 })).toThrow(wrong);
    const meta = { index: asIndex(5), term: asTerm(1), configuration: cluster, configurationIndex: asIndex(0) };
    expect(() => member().step({ type: 'snapshotTaken', meta })).toThrow(wrong);
  });
});

describe('a peer that sends nonsense', () => {
  test.each([
    ['to somebody else', { ...append(1, 0, 0), to: c }, 'addressed to another member'],
    ['from ourselves', { ...append(1, 0, 0), from: a }, 'claims to come from this member'],
    ['a term that is no number', append(Number.NaN, 0, 0), 'impossible term'],
    ['a term without successor', append(Number.MAX_SAFE_INTEGER, 0, 0), 'impossible term'],
    ['a negative position', append(1, -1, 0), 'impossible position'],
    ['a gap', append(1, 0, 0, [entry(2, 1)]), 'entries with a gap'],
    ['entries of the future', append(1, 0, 0, [entry(1, 2)]), 'entries with impossible terms'],
    ['terms that fall', append(3, 0, 0, [entry(1, 3), entry(2, 1)]), 'entries with impossible terms'],
    ['a vote for nothing', vote(0, 0, 0), 'vote asked for term 0'],
  ])('is ignored and reported: %s', (_, message, reason) => {
    const raft = member();
    expect(receive(raft, message)).toEqual([{ type: 'ignored', from: message.from, reason }]);
    expect(raft.term).toBe(0);
  });

  test('a second leader of the term is ignored', () => {
    const raft = member();
    receive(raft, append(1, 0, 0));
    expect(receive(raft, append(1, 0, 0, [entry(1, 1)], 1, c))).toEqual([
      expect.objectContaining({ type: 'ignored', from: c }),
    ]);
    expect(raft.lastIndex).toBe(0);
  });

  test('nothing that can be received makes any member throw, or its commit index go back', () => {
    const small = fc.oneof(
      { weight: 9, arbitrary: fc.nat(5) },
      fc.constantFrom(-1, 2 ** 40, Number.NaN, 0.5, Number.MAX_SAFE_INTEGER),
    );
    const message = fc.record({
      type: fc.constantFrom(
        'vote',
        'voteResponse',
        'append',
        'appendResponse',
        'heartbeat',
        'heartbeatResponse',
        'commit',
        'propose',
        'proposeResponse',
        'readIndex',
        'readIndexResponse',
      ),
      from: fc.constantFrom('a', 'b', 'c', 'stranger'),
      to: fc.constant('a'),
      term: small,
      preVote: fc.boolean(),
      granted: fc.boolean(),
      accepted: fc.boolean(),
      index: small,
      firstIndex: fc.option(small),
      lastIndex: small,
      lastTerm: small,
      prevIndex: small,
      prevTerm: small,
      hintIndex: small,
      hintTerm: small,
      round: small,
      commit: small,
      reason: fc.constant(null),
      ids: fc.array(fc.nat(9), { maxLength: 2 }),
      proposals: fc.array(fc.record({ id: fc.nat(9), data: fc.uint8Array({ maxLength: 3 }) }), { maxLength: 2 }),
      entries: fc.array(
        fc.record({ index: small, term: small, kind: fc.constant('normal'), data: fc.uint8Array({ maxLength: 3 }) }),
        { maxLength: 3 },
      ),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 30 }), fc.boolean(), (messages, leads) => {
        const raft = leads ? leader() : member();
        for (const one of messages) {
          const before = raft.commit;
          persist(raft, receive(raft, one as unknown as Received));
          raft.step({ type: 'tick' });
          expect(raft.commit).toBeGreaterThanOrEqual(before);
        }
      }),
      { seed: 4, numRuns: 2000 },
    );
  });
});
