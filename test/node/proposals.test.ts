import { describe, expect, test } from '@jest/globals';
import type { EtcdError } from '../../src/etcd/errors.ts';
import { Proposals } from '../../src/node/proposals.ts';
import { Reads } from '../../src/node/reads.ts';
import { asIndex, asMemberId, asTerm } from '../../src/raft/types.ts';

function newProposals() {
  const world = { now: 0, leader: true, stepped: [] as number[], lost: [] as string[], answered: new Set<string>() };
  const proposals = new Proposals({
    step: (id) => world.stepped.push(id),
    hasLeader: () => world.leader,
    now: () => world.now,
    timeoutMs: 100,
  });
  const propose = (name: string): void =>
    proposals.propose(
      new Uint8Array(Buffer.from(name)),
      (error: EtcdError) => world.lost.push(`${name}: ${error.code}`),
      () => !world.answered.has(name),
    );
  return { world, proposals, propose };
}

const [one, two, three] = [asTerm(1), asTerm(2), asTerm(3)];

describe('a proposal', () => {
  test('ends when its entry is applied', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    proposals.onAccepted([1], one, asIndex(5), asIndex(4));
    proposals.onApplied(asIndex(5), one);
    world.now = 1000;
    proposals.expire();
    expect([proposals.count, world.lost]).toEqual([0, []]);
  });

  test('RS-11 GR-19 that is in no log is proposed again once there is a leader', () => {
    const { world, proposals, propose } = newProposals();
    world.leader = false;
    propose('a');
    proposals.onDropped([1], 'noLeader');
    proposals.retry();
    expect(world.stepped).toEqual([1]);
    world.leader = true;
    proposals.retry();
    expect(world.stepped).toEqual([1, 2]);
  });

  test('whose place was taken by another leader’s entry is proposed again', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    proposals.onAccepted([1], one, asIndex(5), asIndex(4));
    proposals.onApplied(asIndex(5), two);
    expect(world.stepped).toEqual([1, 2]);
  });

  test('that a leader passed on before it ended, without saying where it is, is applied once: it is not proposed again', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    propose('b');
    proposals.onForwarded([1, 2], one);
    // The entry of `a` is applied here, and its client has its answer; where the entry of `b` went, nobody says either.
    world.answered.add('a');
    proposals.onApplied(asIndex(5), one);
    proposals.onApplied(asIndex(6), two);
    expect(world.stepped).toEqual([1, 2, 3]);
    expect(proposals.count).toBe(1);
  });

  test('that was sent to an earlier term’s leader is proposed again when a later term’s entry is applied, not before', () => {
    const { world, proposals, propose } = newProposals();
    proposals.onApplied(asIndex(1), one);
    propose('a');
    proposals.onForwarded([1], two);
    proposals.onApplied(asIndex(2), two);
    expect(world.stepped).toEqual([1]);
    proposals.onApplied(asIndex(3), three);
    expect(world.stepped).toEqual([1, 2]);
  });

  test('RS-11 RS-12 that a snapshot may contain is never proposed again: its outcome stays unknown until the deadline', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    proposals.onForwarded([1], one);
    proposals.onInstalled();
    proposals.onApplied(asIndex(900), three);
    expect(world.stepped).toEqual([1]);
    world.now = 100;
    proposals.expire();
    expect(world.lost).toEqual(['a: ETCD_TIMEOUT']);
  });

  test('RS-12 that waits too long ends with what etcd says: timed out, or no leader', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    world.now = 50;
    propose('b');
    world.leader = false;
    proposals.onDropped([2], 'noLeader');
    world.now = 120;
    proposals.expire();
    expect(world.lost).toEqual(['a: ETCD_NO_LEADER']);
    world.now = 150;
    proposals.expire();
    expect(world.lost).toEqual(['a: ETCD_NO_LEADER', 'b: ETCD_NO_LEADER']);
    expect(proposals.failed).toBe(2);
  });

  test('GR-20 that may be in the log ends with a timeout, never with words that say it was not done', () => {
    const { world, proposals, propose } = newProposals();
    propose('appended');
    propose('sent');
    proposals.onAccepted([1], one, asIndex(5), asIndex(4));
    proposals.onForwarded([2], one);
    world.leader = false;
    world.now = 100;
    proposals.expire();
    expect(world.lost).toEqual(['appended: ETCD_TIMEOUT_LEADER_LOST', 'sent: ETCD_TIMEOUT_LEADER_LOST']);
    // Applied after all: nobody waits any more.
    proposals.onApplied(asIndex(5), one);
    expect(proposals.count).toBe(0);
  });

  test('while leadership is handed over, or before the new leader has committed, is proposed again', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    propose('b');
    proposals.onDropped([1], 'transferring');
    proposals.onDropped([2], 'termNotCommitted');
    expect(world.stepped).toEqual([1, 2]);
    proposals.retry();
    expect(world.stepped).toEqual([1, 2, 3, 4]);
    expect(world.lost).toEqual([]);
  });

  test('to change the configuration ends at once when the leader says that it cannot be', () => {
    const { world, proposals } = newProposals();
    const change = { type: 'single', member: asMemberId('a'), suffrage: 'voter' } as const;
    for (let i = 0; i < 3; i++)
      proposals.propose(
        { change, context: '', basedOn: asIndex(0) },
        (error) => world.lost.push(`${i}: ${error.code}`),
        () => true,
      );
    proposals.onDropped([1], 'learnerBehind');
    proposals.onDropped([2], 'changePending');
    proposals.onDropped([3], 'changeInvalid');
    expect(world.lost).toEqual(['0: ETCD_LEARNER_NOT_READY', '1: ETCD_CHANGE_PENDING', '2: ETCD_CHANGE_OVERTAKEN']);
    expect(proposals.count).toBe(0);
  });

  test('RS-26 GR-04 beyond the bound is turned away at once', () => {
    const { proposals, propose } = newProposals();
    for (let i = 0; i < 50_000; i++) propose('x');
    expect(() => propose('y')).toThrow(expect.objectContaining({ code: 'ETCD_TOO_MANY_REQUESTS' }));
    expect(proposals.count).toBe(50_000);
  });
});

describe('proposals that a leader has no room for', () => {
  test('RS-26 are proposed again until their time is up, and then the client is told so: nothing of it is in the log', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    proposals.onDropped([1], 'tooManyUncommitted');
    proposals.expire();
    proposals.retry();
    expect([world.stepped, world.lost]).toEqual([[1, 2], []]);
    proposals.onDropped([2], 'tooManyUncommitted');
    world.now = 1000;
    proposals.expire();
    expect([proposals.count, world.lost]).toEqual([0, ['a: ETCD_TOO_MANY_REQUESTS']]);
  });

  test('RS-26 GR-20 and that found room at last may be in the log when their time is up: a timeout', () => {
    const { world, proposals, propose } = newProposals();
    propose('a');
    proposals.onDropped([1], 'tooManyUncommitted');
    proposals.retry();
    world.now = 1000;
    proposals.expire();
    expect(world.lost).toEqual(['a: ETCD_TIMEOUT']);
  });
});

describe('reads', () => {
  function newReads() {
    const world = { now: 0, leader: true, asked: [] as number[] };
    const options = { hasLeader: () => world.leader, now: () => world.now, timeoutMs: 100, retryMs: 10 };
    return { world, reads: new Reads({ ...options, step: (id) => world.asked.push(id) }) };
  }

  test('of one turn share a round; a read after it needs the next', async () => {
    const { world, reads } = newReads();
    const first = [reads.linearize(), reads.linearize()];
    reads.closeRound();
    const second = reads.linearize();
    expect(world.asked).toEqual([1, 2]);
    reads.onReady([1], asIndex(0));
    await Promise.all(first);
    reads.onReady([2], asIndex(0));
    await second;
  });

  test('RS-09 wait until what was committed is applied here', async () => {
    const { reads } = newReads();
    let done = false;
    const read = reads.linearize().then(() => {
      done = true;
    });
    reads.onReady([1], asIndex(7));
    reads.onApplied(asIndex(6));
    await Promise.resolve();
    expect(done).toBe(false);
    reads.onApplied(asIndex(7));
    await read;
  });

  test('are asked again when no answer comes, answered by either, and given up in the end', async () => {
    const { world, reads } = newReads();
    const read = reads.linearize();
    world.now = 10;
    reads.tick();
    expect(world.asked).toEqual([1, 2]);
    reads.onReady([1], asIndex(0));
    await read;
    const late = reads.linearize();
    world.now = 60;
    reads.closeRound();
    const later = reads.linearize();
    world.leader = false;
    world.now = 110;
    reads.tick();
    await expect(late).rejects.toMatchObject({ code: 'ETCD_NO_LEADER' });
    reads.askAgain();
    reads.onReady([world.asked.at(-1)!], asIndex(0));
    await later;
  });
});
