import { describe, expect, test } from '@jest/globals';
import { asTerm } from '../../src/raft/types.ts';
import { a, accepted, b, c, leader, persist, type Received, receive, tick } from './single.ts';

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
