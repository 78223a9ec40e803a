/**
 * Anything a peer can send, in any order, to a member in any role: it never throws, never takes back what is committed, and
 * never lowers its term or its commit index.
 */
import { describe, test } from '@jest/globals';
import fc from 'fast-check';
import { encodeConfiguration } from '../../src/raft/membership.ts';
import type { Raft } from '../../src/raft/raft.ts';
import { asIndex, type RaftCommand, type RaftEvent } from '../../src/raft/types.ts';
import { cluster, leader, member, persist } from './single.ts';

const small = fc.oneof(
  { weight: 12, arbitrary: fc.nat(6) },
  fc.constantFrom(
    -1,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 40,
    2 ** 52,
    2 ** 52 + 1,
    Number.MAX_SAFE_INTEGER,
  ),
);
const id = fc.constantFrom('a', 'b', 'c', 'd', '1', 'ffffffffffffffff');
const to = fc.oneof({ weight: 15, arbitrary: fc.constant('a') }, id);
const data = fc.oneof(
  fc.uint8Array({ maxLength: 4 }),
  fc.constant(encodeConfiguration({ ...cluster, learners: [cluster.voters[1]!] }, '')),
);
const entries: fc.Arbitrary<{ index?: number; term: number; kind: string; data: Uint8Array }[]> = fc.oneof(
  fc.array(fc.record({ index: small, term: small, kind: fc.constantFrom('normal', 'noop', 'configuration'), data }), {
    maxLength: 3,
  }),
  // What fits: contiguous from `prevIndex`, filled in below.
  fc.array(fc.record({ term: fc.nat(6), kind: fc.constantFrom('normal', 'configuration'), data }), { maxLength: 4 }),
);
const anyConfiguration = fc.oneof(
  fc.constant(cluster),
  fc.record({
    voters: fc.array(id),
    votersOutgoing: fc.array(id),
    learners: fc.anything(),
    learnersNext: fc.array(id),
  }),
  fc.anything(),
);

/** Every field that any message has; a type takes those that are its own. */
const fields = {
  from: id,
  to,
  term: small,
  preVote: fc.boolean(),
  transfer: fc.boolean(),
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
  proposals: fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('normal'), id: fc.nat(9), data }),
      fc.record({
        kind: fc.constant('change'),
        id: fc.nat(9),
        context: fc.constant(''),
        change: fc.record({
          type: fc.constant('single'),
          member: id,
          suffrage: fc.constantFrom('voter', 'learner', 'none'),
        }),
      }),
    ),
    { maxLength: 2 },
  ),
  entries,
  meta: fc.record({ index: small, term: small, configuration: anyConfiguration, configurationIndex: small }),
};
const types = [
  'vote',
  'voteResponse',
  'append',
  'append',
  'appendResponse',
  'heartbeat',
  'heartbeatResponse',
  'commit',
  'timeoutNow',
  'propose',
  'proposeResponse',
  'readIndex',
  'readIndexResponse',
] as const;

const message = fc.record({ ...fields, type: fc.constantFrom(...types) }).map((one) => ({
  ...one,
  entries: one.entries.map((entry, k) => ({ index: one.prevIndex + 1 + k, ...entry })),
}));
const snapshot = fc.record({ ...fields, type: fc.constant('snapshot') });
const event = fc.oneof(
  { weight: 20, arbitrary: message.map((one) => ({ type: 'receive', message: one })) },
  { weight: 2, arbitrary: snapshot.map((one) => ({ type: 'snapshotOffered', message: one })) },
  { weight: 4, arbitrary: fc.constantFrom({ type: 'tick' }, { type: 'propose', id: 1, data: new Uint8Array(1) }) },
  { weight: 1, arbitrary: fc.constantFrom({ type: 'campaign' }, { type: 'readIndex', id: 7 }, { type: 'timeLost' }) },
);

const roles: Record<string, () => Raft> = {
  follower: () => member(),
  leader: () => leader(),
  'leader that leases reads': () => leader({ leaseReads: true }),
  candidate: () => {
    const raft = member({ preVote: false });
    raft.step({ type: 'campaign' });
    persist(raft, raft.take());
    return raft;
  },
  'pre-candidate': () => {
    const raft = member();
    raft.step({ type: 'campaign' });
    raft.take();
    return raft;
  },
};

/** Plain, since it is asked a million times. */
function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

/** Carries out what a driver would, and holds every command against what was committed before. */
class Watched {
  readonly raft: Raft;
  #applied: number;

  constructor(raft: Raft) {
    this.raft = raft;
    this.#applied = raft.status().applied;
  }

  step(one: unknown): void {
    const { raft } = this;
    const { term, commit } = raft;
    raft.step(one as RaftEvent);
    for (let commands = raft.take(); commands.length > 0; commands = raft.take()) {
      for (const command of commands) this.#perform(command, commit);
    }
    must(raft.term >= term && Number.isSafeInteger(raft.term + 1), `term ${raft.term} after ${term}`);
    must(raft.commit >= commit && raft.commit <= raft.lastIndex, `commit ${raft.commit} after ${commit}`);
  }

  #perform(command: RaftCommand, commit: number): void {
    const { raft } = this;
    switch (command.type) {
      case 'persist':
        must(
          !((command.entries[0]?.index ?? commit + 1) <= commit),
          `entry ${command.entries[0]?.index} overwritten, committed ${commit}`,
        );
        raft.step({ type: 'persisted', id: command.id });
        return;
      case 'apply':
        for (const entry of command.entries) {
          must(entry.index === this.#applied + 1, `${entry.index} applied after ${this.#applied}`);
          this.#applied = entry.index;
        }
        raft.step({ type: 'applied', index: asIndex(this.#applied) });
        return;
      case 'receiveSnapshot':
        raft.step({ type: 'snapshotReceived', message: command.message });
        return;
      case 'installSnapshot':
        must(command.meta.index > commit, `a snapshot at ${command.meta.index} installed, committed ${commit}`);
        this.#applied = command.meta.index;
        raft.step({ type: 'persisted', id: command.id });
        raft.step({ type: 'applied', index: command.meta.index });
        return;
      case 'sendSnapshot':
        raft.step({ type: 'snapshotSent', to: command.message.to, ok: command.message.to < 'c' });
        return;
      default:
        return;
    }
  }
}

describe('whatever is received, from members and from strangers', () => {
  test.each(Object.keys(roles))(
    'a %s neither throws, nor takes back what is committed, nor lowers its term',
    (role) => {
      fc.assert(
        fc.property(fc.array(event, { maxLength: 40 }), (events) => {
          const watched = new Watched(roles[role]!());
          for (const one of events) watched.step(one);
          // It still does its work: alone it cannot win, but it stands.
          for (let ticks = 0; ticks < 40; ticks++) watched.step({ type: 'tick' });
        }),
        { seed: 20261122, numRuns: 200 },
      );
    },
  );
});
