import { describe, expect, test } from '@jest/globals';
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import { asIndex, asTerm, type Entry, type MemberId } from '../../src/raft/types.ts';
import {
  a,
  append,
  b,
  c,
  entry,
  member,
  persist,
  type Received,
  receive,
  tick,
  ticksUntilCampaign,
  vote,
} from './single.ts';

/** A member that has heard of its leader `b`, perhaps with some entries. */
function follower(id: MemberId, draws: number[] = [], entries: Entry[] = []): Raft {
  const raft = member({ id }, draws);
  hearLeader(raft, id, entries);
  return raft;
}

const hearLeader = (raft: Raft, to: MemberId, entries: Entry[] = []) =>
  receive(raft, { ...append(1, 0, 0, entries), to } as Received);
const preVoteFor = (to: MemberId, from: MemberId) => ({ ...vote(2, 0, 0), from, to, preVote: true }) as Received;
const granted = expect.objectContaining({ message: expect.objectContaining({ type: 'voteResponse', granted: true }) });

describe('election timeouts', () => {
  test.each([
    [0, 10],
    [0.5, 15],
    [0.999, 19],
  ])('GR-09 drawn from [T, 2T): %d gives %i ticks', (draw, ticks) => {
    expect(ticksUntilCampaign(member({}, [draw]))).toBe(ticks);
  });

  test('GR-09 drawn anew when an append of the current term arrives, even one that is rejected', () => {
    const raft = member({}, [0, 0, 0.9]);
    receive(raft, append(1, 0, 0));
    tick(raft, 9);
    const commands = receive(raft, append(1, 5, 1));
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

  test.each([
    ['the first of the others stands a tick after the minimum', a, 11],
    ['the second a tick later', c, 12],
  ])('GR-09 RS-07 when the connection with the leader is lost, %s, whatever was drawn', (_, id, ticks) => {
    const raft = follower(id, [0.9, 0.9]);
    tick(raft, 4);
    raft.step({ type: 'unreachable', member: b });
    expect(ticksUntilCampaign(raft)).toBe(ticks - 4);
  });

  test.each([
    ['the first of the others asks for pre-votes at once', a, 0],
    ['the second stands a tick later than it could have won', c, 2],
  ])('RS-07 when the leader has ended, %s, whatever was drawn', (_, id, ticks) => {
    const raft = follower(id, [0.9, 0.9]);
    tick(raft, 4);
    raft.step({ type: 'ended', member: b });
    expect(raft.role === 'preCandidate' ? 0 : ticksUntilCampaign(raft)).toBe(ticks);
  });

  test('RS-07 who knows that the leader has ended grants a pre-vote, and who has heard of it since does not', () => {
    const [ended, heard] = [follower(c), follower(c)];
    for (const raft of [ended, heard]) raft.step({ type: 'ended', member: b });
    hearLeader(heard, c);
    expect(receive(ended, preVoteFor(c, a))).toContainEqual(granted);
    expect(receive(heard, preVoteFor(c, a))).not.toContainEqual(granted);
  });

  test('RS-07 a pre-vote that came before the news that the leader has ended is granted with it, unless a tick has passed', () => {
    const [soon, late] = [follower(c), follower(c)];
    const toAsker = expect.objectContaining({
      message: expect.objectContaining({ type: 'voteResponse', to: a, granted: true }),
    });
    for (const raft of [soon, late]) {
      expect(receive(raft, preVoteFor(c, a))).not.toContainEqual(toAsker);
      if (raft === late) tick(raft, 1);
      raft.step({ type: 'ended', member: b });
    }
    expect(soon.take()).toContainEqual(toAsker);
    expect(late.take()).not.toContainEqual(toAsker);
  });

  test('RS-07 whoever has to refuse a pre-vote for its own longer log, and knows that the leader has ended, stands at once', () => {
    const raft = follower(c, [], [entry(1, 1)]);
    raft.step({ type: 'ended', member: b });
    expect(raft.role).toBe('follower');
    receive(raft, preVoteFor(c, a));
    expect(raft.role).toBe('preCandidate');
  });

  test('§6.4.1 who has vouched for a lease neither stands nor votes before it is over, although the leader has ended', () => {
    const raft = member({ leaseReads: true });
    receive(raft, { type: 'heartbeat', from: b, to: a, term: asTerm(1), commit: asIndex(0), round: 1 } as Received);
    raft.step({ type: 'ended', member: b });
    expect(raft.role).toBe('follower');
    expect(receive(raft, preVoteFor(a, c))).not.toContainEqual(granted);
    expect(ticksUntilCampaign(raft)).toBe(10);
  });

  test('GR-09 a leader that is heard again, or another that cannot be reached, changes nothing', () => {
    const raft = member({}, [0.9, 0.9, 0.9]);
    receive(raft, append(1, 0, 0));
    raft.step({ type: 'unreachable', member: c });
    expect(raft.role).toBe('follower');
    raft.step({ type: 'unreachable', member: b });
    receive(raft, append(1, 0, 0));
    expect(ticksUntilCampaign(raft)).toBe(19);
  });

  test('GR-11 a candidate raises the term, votes for itself and asks all others, with its last entry', () => {
    const raft = member({ preVote: false });
    persist(raft, receive(raft, append(4, 0, 0, [entry(1, 4)])));
    tick(raft, 10);
    const commands = raft.take();
    expect(commands).toContainEqual({ type: 'roleChanged', role: 'candidate', term: 5, leader: null });
    expect(commands).toContainEqual(
      expect.objectContaining({ type: 'persist', hardState: expect.objectContaining({ term: 5, vote: a }) }),
    );
    expect(persist(raft, commands).messages).toEqual(
      [b, c].map((to) => expect.objectContaining({ type: 'vote', to, term: 5, lastIndex: 1, lastTerm: 4 })),
    );
  });

  test('GR-11 a candidate that hears of a leader of its term follows it', () => {
    const raft = member({ preVote: false });
    tick(raft, 10);
    receive(raft, append(1, 0, 0));
    expect([raft.role, raft.term, raft.leader]).toEqual(['follower', 1, b]);
  });

  test('GR-11 a candidate that nobody answers stands again in the next term', () => {
    const raft = member({ preVote: false });
    tick(raft, 10);
    expect([raft.role, raft.term]).toEqual(['candidate', 1]);
    tick(raft, 10);
    expect([raft.role, raft.term]).toEqual(['candidate', 2]);
  });

  test('RS-06 a pre-vote that nobody answers never raises the term', () => {
    const raft = member();
    tick(raft, 200);
    expect([raft.role, raft.term]).toEqual(['preCandidate', 0]);
  });
});

describe('votes', () => {
  test('D1 RS-03 a granted vote leaves only with the write that makes it durable', () => {
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
    // The one who has the vote asks with an old term, another with an old and with the current one.
    const asked = [vote(2, 9, 1), vote(2, 9, 1, false, b), vote(3, 9, 2, false, b)];
    const refusals = receive(raft, ...asked).filter(({ type }) => type === 'send');
    expect(refusals).toEqual(
      asked.map(({ from: to }) => ({
        type: 'send',
        message: expect.objectContaining({ to, granted: false, term: 3 }),
      })),
    );
  });

  test('GR-15 the same candidate gets the vote of the term again', () => {
    const raft = member();
    persist(raft, receive(raft, vote(3, 0, 0)));
    expect(receive(raft, vote(3, 0, 0))).toContainEqual({
      type: 'send',
      message: expect.objectContaining({ type: 'voteResponse', to: c, granted: true, term: 3 }),
    });
  });

  test('RS-07 RS-17 thesis §4.2.3 whoever hears a leader ignores votes until the minimum election timeout is over', () => {
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

  test('RS-03 a real candidacy goes out only when it is durable, and the own vote counts only then', () => {
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
