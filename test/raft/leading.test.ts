import { describe, expect, test } from '@jest/globals';
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import { asIndex, asTerm, type MemberId, type RaftCommand } from '../../src/raft/types.ts';
import {
  a,
  accepted,
  append,
  b,
  c,
  entry,
  leader,
  member,
  persist,
  type Received,
  receive,
  tick,
  ticksUntilCampaign,
} from './single.ts';

const granted = { type: 'voteResponse', from: b, to: a, term: asTerm(1), preVote: false, granted: true } as const;

/** Whom a tick sends one. */
function heartbeats(raft: ReturnType<typeof member>): readonly string[] {
  tick(raft, 1);
  return raft
    .take()
    .flatMap((one) => (one.type === 'send' && one.message.type === 'heartbeat' ? [one.message.to] : []));
}

describe('leading', () => {
  test('GR-13 opens the term with a no-op to everybody, from its own last entry on, and sends heartbeats', () => {
    const raft = member({ preVote: false });
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1)])));
    tick(raft, 10);
    persist(raft, raft.take());
    const elected = receive(raft, { ...granted, term: asTerm(2) });
    const opened = [b, c].map((to) => ({
      type: 'send',
      message: expect.objectContaining({
        type: 'append',
        to,
        prevIndex: 1,
        prevTerm: 1,
        entries: [{ index: 2, term: 2, kind: 'noop', data: new Uint8Array() }],
      }),
    }));
    expect(elected).toEqual(expect.arrayContaining(opened));
    expect(heartbeats(raft)).toEqual([b, c]);
  });

  test('GR-13 a leader no more sends no heartbeats', () => {
    const raft = leader();
    expect(heartbeats(raft)).toEqual([b, c]);
    receive(raft, append(2, 1, 1, [], 0));
    expect(raft.role).toBe('follower');
    expect(heartbeats(raft)).toEqual([]);
    expect(raft.status().progress).toEqual([]);
  });

  test('GR-13 knows nothing of the others at first', () => {
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

  test('D10 RS-04 a quorum without the own disk commits, the own disk alone does not', () => {
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

  test('D11 RS-09 a read is confirmed by answers to its own round, not by older ones', () => {
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

  const header = { from: b, to: a, term: asTerm(5) };
  test.each<[Received, string | null]>([
    [append(5, 0, 0), b],
    [{ ...header, type: 'heartbeat', commit: asIndex(0), round: 0 }, b],
    [{ ...header, type: 'commit', commit: asIndex(0) }, b],
    [{ ...accepted(1), term: asTerm(5) }, null],
    [{ ...header, type: 'heartbeatResponse', round: 0 }, null],
    [{ ...header, type: 'voteResponse', preVote: false, granted: false }, null],
    [{ ...header, type: 'voteResponse', preVote: true, granted: false }, null],
    [{ ...header, type: 'readIndexResponse', ids: [], index: null }, null],
  ])('GR-14 a higher term ends the leadership and clears the vote, whatever brings it: %j', (message, known) => {
    const raft = leader();
    const commands = receive(raft, message);
    expect([raft.role, raft.term, raft.leader]).toEqual(['follower', 5, known]);
    expect(commands).toContainEqual(
      expect.objectContaining({
        type: 'persist',
        sync: true,
        hardState: expect.objectContaining({ term: 5, vote: null }),
      }),
    );
  });

  test('RS-07 thesis §6.2 without a quorum of answers in an election timeout it steps down', () => {
    const [alone, answered, unchecked] = [leader(), leader(), leader({ checkQuorum: false })];
    tick(alone, 10);
    for (let timeout = 0; timeout < 3; timeout++) {
      receive(answered, accepted(1));
      for (const raft of [answered, unchecked]) tick(raft, 10);
    }
    expect([alone.role, answered.role, unchecked.role]).toEqual(['follower', 'leader', 'leader']);
  });

  test.each([
    [3, 'append'],
    [2, 'snapshot'],
  ])(
    'RA-12 GR-30 with 4 and 5 kept behind a snapshot, a follower that ends at %i gets the rest by %s',
    (last, means) => {
      const raft = leader({ trailingLogs: 2 });
      receive(raft, accepted(1));
      for (const id of [1, 2, 3, 4]) raft.step({ type: 'propose', id, data: new Uint8Array(1) });
      persist(raft, raft.take());
      receive(raft, accepted(5), accepted(last, c));
      raft.step({ type: 'applied', index: asIndex(5) });
      raft.step({ type: 'snapshotTaken', meta: raft.snapshotMeta(asIndex(5)) });
      expect(raft.take()).toContainEqual({ type: 'compact', through: 3 });
      raft.step({ type: 'unreachable', member: c });
      const commands = raft.take();
      expect(commands).toEqual([
        means === 'append'
          ? {
              type: 'send',
              message: expect.objectContaining({ to: c, prevIndex: 3, entries: [{}, {}].map(expect.anything) }),
            }
          : { type: 'sendSnapshot', message: expect.objectContaining({ to: c }) },
      ]);
    },
  );

  test('an acknowledgement of what it never had is ignored', () => {
    const raft = leader();
    expect(receive(raft, accepted(99))).toEqual([expect.objectContaining({ type: 'ignored', from: b })]);
    expect(raft.commit).toBe(0);
  });

  test('GR-02 a request carries a bounded number of entries: 200 when the bound in bytes says so', () => {
    const raft = leader({ maxMessageBytes: 200 * 33 });
    persist(raft, receive(raft, accepted(1)));
    for (let id = 1; id <= 300; id++) raft.step({ type: 'propose', id, data: new Uint8Array(1) });
    const sizes = raft
      .take()
      .flatMap((one) =>
        one.type === 'send' && one.message.type === 'append' && one.message.to === b
          ? [one.message.entries.length]
          : [],
      );
    expect(sizes).toEqual([200, 100]);
  });

  test("GR-03 ticks of 50 ms make goraft's heartbeats and elections of 50 and 150 ms, and both can be set", () => {
    const timing = { heartbeatTicks: 1, electionTicks: 3 };
    const raft = leader(timing);
    expect(heartbeats(raft)).toEqual([b, c]);
    expect(heartbeats(raft)).toEqual([b, c]);
    for (const [draw, ticks] of [
      [0, 3],
      [0.5, 4],
      [0.99, 5],
    ] as const) {
      expect(ticksUntilCampaign(member(timing, [draw]))).toBe(ticks);
    }
    const slow = leader({ heartbeatTicks: 2, electionTicks: 20 });
    expect(heartbeats(slow)).toEqual([]);
    expect(heartbeats(slow)).toEqual([b, c]);
    expect(ticksUntilCampaign(member({ heartbeatTicks: 2, electionTicks: 20 }))).toBe(20);
  });

  test('GR-01 a member is a follower, asks for pre-votes, stands or leads: nothing else, from its first step on', () => {
    const raft = member();
    const roles: string[] = [raft.role];
    for (const step of [
      () => raft.step({ type: 'campaign' }),
      () => persist(raft, receive(raft, { ...granted, preVote: true })),
      () => receive(raft, granted),
      () => receive(raft, append(2, 0, 0)),
    ]) {
      step();
      roles.push(raft.role);
    }
    expect(roles).toEqual(['follower', 'preCandidate', 'candidate', 'leader', 'follower']);
  });

  test('RS-13 a change that was thought out for another configuration is refused, whatever it would do', () => {
    const raft = new Raft({ id: a, random: () => 0 }, initialState(configurationOf([a])));
    /** Takes until there is nothing left to write; what was said of proposals on the way. */
    const settle = (): RaftCommand[] => {
      const said: RaftCommand[] = [];
      for (let commands = raft.take(); commands.length > 0; ) {
        said.push(...commands.filter(({ type }) => type.startsWith('proposals')));
        ({ commands } = persist(raft, commands));
      }
      return said;
    };
    settle();
    const add = (id: number, who: MemberId, basedOn?: number): void => {
      const change = { type: 'single', member: who, suffrage: 'learner' } as const;
      const based = basedOn === undefined ? {} : { basedOn: asIndex(basedOn) };
      raft.step({ type: 'change', id, change, context: '', ...based });
    };
    add(1, b, 0);
    expect(settle()).toMatchObject([{ type: 'proposalsAccepted', ids: [1], firstIndex: 2 }]);
    add(2, c, 0);
    expect(settle()).toMatchObject([{ type: 'proposalsDropped', ids: [2], reason: 'changeInvalid' }]);
    add(3, c, 2);
    expect(settle()).toMatchObject([{ type: 'proposalsAccepted', ids: [3], firstIndex: 3 }]);
    expect(raft.status().configuration.learners).toEqual([b, c]);
  });
});
