/** Rules of the core: who votes for whom, what counts as committed, what may be read. */
import type { Mutant } from './mutant.ts';

const checkers = ['core', 'cluster'] as const;
/** Whole clusters come too seldom to where it shows, or the member around the core stands before it. */
const coreAlone = ['core'] as const;

const staleRead = /^read .* saw the state at/;

const elections: readonly Mutant[] = [
  {
    name: 'double-vote',
    rule: 'one vote a term: another candidate does not get it',
    source: 'thesis §3.4, GR-15, D1',
    changes: [
      {
        file: 'raft/election.ts',
        from: '(free && core.vote === null && core.leader === null)',
        to: '(free && core.leader === null)',
      },
    ],
    checkers,
  },
  {
    name: 'forgotten-vote',
    rule: 'a vote is durable before it is given',
    source: 'thesis §3.8, D1, RS-03',
    changes: [
      {
        file: 'raft/election.ts',
        from: `core.sendAfterPersist({ type: 'voteResponse', to, preVote, granted: true });`,
        to: `core.send({ type: 'voteResponse', to, preVote, granted: true });`,
      },
    ],
    checkers,
  },
  {
    name: 'forgotten-term',
    rule: 'the term is durable before anything is promised in it',
    source: 'thesis §3.8, D5, RS-03',
    changes: [
      {
        file: 'raft/raft.ts',
        from: 'const elected = hardState.term !== before.term || hardState.vote !== before.vote;',
        to: 'const elected = hardState.vote !== before.vote;',
      },
    ],
    checkers,
  },
  {
    name: 'own-vote-before-sync',
    rule: 'a candidate counts and asks only once its own vote is durable',
    source: 'thesis §3.8, D1',
    changes: [
      {
        file: 'raft/election.ts',
        from: 'if (preVote) core.send(request);\n    else core.sendAfterPersist(request);',
        to: 'core.send(request);',
      },
      {
        file: 'raft/election.ts',
        from: 'requestVotes(core, false, transfer);',
        to: 'requestVotes(core, false, transfer);\n  ownVoteDurable(core);',
      },
    ],
    checkers,
  },
  {
    name: 'longest-log-wins',
    rule: 'of two logs the one with the later last term is the newer, however long the other',
    source: 'thesis §3.6.1, D2',
    changes: [
      {
        file: 'raft/log.ts',
        from: 'return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.last);',
        to: 'return lastIndex >= this.last;',
      },
    ],
    checkers: coreAlone,
  },
  {
    name: 'pre-vote-unchecked',
    rule: 'who hears of a leader grants no pre-vote',
    source: 'thesis §4.2.3, §9.6, RS-06, RS-08',
    changes: [
      {
        file: 'raft/raft.ts',
        from: 'if (!message.transfer && election.isInTouchWithLeader(core)) {',
        to: 'if (!message.transfer && !message.preVote && election.isInTouchWithLeader(core)) {',
      },
    ],
    checkers: coreAlone,
  },
  {
    name: 'quorum-of-a-minority',
    rule: 'a quorum is more than half, in even clusters as well',
    source: 'GR-08, D3',
    changes: [
      {
        file: 'raft/configuration.ts',
        from: 'return held[quorumSize(voters.length) - 1]!;',
        to: 'return held[voters.length - quorumSize(voters.length)]!;',
      },
    ],
    checkers,
  },
];

const replication: readonly Mutant[] = [
  {
    name: 'acknowledged-before-sync',
    rule: 'fsync before an answer: a follower acknowledges only what is durable',
    source: 'thesis §3.8, §10.2.1, RS-03',
    changes: [{ file: 'raft/following.ts', from: 'core.sendAfterPersist({', to: 'core.send({' }],
    checkers,
  },
  {
    name: 'count-self-before-sync',
    rule: 'a leader counts itself only for what is durable here',
    source: 'thesis §10.2.1, D10, RS-04',
    changes: [
      {
        file: 'raft/replication.ts',
        from: 'id === core.id ? core.log.stable :',
        to: 'id === core.id ? core.log.last :',
      },
    ],
    checkers,
  },
  {
    name: 'old-term-commit',
    rule: 'entries of an older term are not committed by counting their copies',
    source: 'Raft §5.4.2, thesis §3.6.2, GR-18, RS-02',
    changes: [
      {
        file: 'raft/replication.ts',
        from: 'if (held > core.log.commit && core.log.term(held) === core.term) core.commitTo(held);',
        to: 'if (held > core.log.commit) core.commitTo(held);',
      },
    ],
    checkers,
  },
  {
    name: 'truncates-acknowledged',
    rule: 'an old append cuts nothing off that it does not contradict',
    source: 'thesis §3.5, GR-16',
    changes: [
      {
        file: 'raft/following.ts',
        from: 'const missing = log.firstMissing(entries);',
        to: 'const missing = entries[0];',
      },
    ],
    checkers,
  },
  {
    name: 'truncates-committed',
    rule: 'committed entries are never truncated',
    source: 'thesis §3.6, GR-17',
    changes: [
      { file: 'raft/following.ts', from: 'if (prevIndex < log.commit) {', to: 'if (prevIndex < 0) {' },
      {
        file: 'raft/following.ts',
        from: 'const missing = log.firstMissing(entries);',
        to: 'const missing = entries[0];',
      },
    ],
    checkers,
  },
  {
    name: 'leader-overwrites-its-log',
    rule: 'a leader only appends to its log, also what it inherited',
    source: 'thesis §3.5 Leader Append-Only, RS-01',
    changes: [
      {
        file: 'raft/core.ts',
        from: `this.append('noop', noData);`,
        to: `this.truncate(asIndex(this.log.commit + 1));\n    this.append('noop', noData);`,
      },
    ],
    checkers,
  },
  {
    name: 'commit-beyond-the-match',
    rule: 'a heartbeat commits nothing that the follower may have otherwise',
    source: 'thesis §3.5, RS-01',
    changes: [
      {
        file: 'raft/replication.ts',
        from: 'const commit = asIndex(Math.min(progress.match, core.log.commit));',
        to: 'const { commit } = core.log;',
      },
    ],
    checkers,
  },
  {
    name: 'replaced-bytes-count',
    rule: 'a completed write says nothing of entries that have replaced its own (the A-B-A race)',
    source: 'thesis §10.2.1, RS-05',
    changes: [
      {
        file: 'raft/persists.ts',
        from: 'if (persist.through >= index) persist.through = asIndex(index - 1);',
        to: 'if (persist.through < 0) persist.through = asIndex(index - 1);',
      },
      {
        file: 'raft/persists.ts',
        from: 'return done.term === term ? done.through : null;',
        to: 'return term > 0 ? done.through : null;',
      },
    ],
    checkers: coreAlone,
  },
  {
    name: 'apply-before-commit',
    rule: 'only what is committed is applied',
    source: 'thesis §3.5, RS-01',
    changes: [
      {
        file: 'raft/raft.ts',
        from: 'const through = asIndex(Math.min(log.commit, log.stable));',
        to: 'const through = log.stable;',
      },
    ],
    checkers,
  },
  {
    name: 'apply-before-durable',
    rule: 'only what is durable here is applied here',
    source: 'thesis §10.2.1',
    changes: [
      {
        file: 'raft/raft.ts',
        from: 'const through = asIndex(Math.min(log.commit, log.stable));',
        to: 'const through = log.commit;',
      },
    ],
    checkers,
  },
];

const reads: readonly Mutant[] = [
  {
    name: 'read-without-a-round',
    rule: 'no stale read: a leader answers once it has heard from a quorum since',
    source: 'thesis §6.4, D11, RS-09',
    changes: [
      {
        file: 'raft/serving.ts',
        from: `if (voteResult(core.configuration, (id) => (round.answered.has(id) ? true : undefined)) !== 'won') return false;`,
        to: 'void voteResult;',
      },
    ],
    shows: staleRead,
    checkers,
  },
  {
    name: 'read-before-the-own-term',
    rule: 'no stale read: a leader answers once it has committed an entry of its term',
    source: 'thesis §6.4, RS-09',
    changes: [
      {
        file: 'raft/serving.ts',
        from: `if (core.role !== 'leader' || !core.committedInTerm) return;`,
        to: `if (core.role !== 'leader') return;`,
      },
    ],
    shows: staleRead,
    checkers,
  },
  {
    name: 'read-from-a-follower',
    rule: 'no stale read: a follower asks the leader',
    source: 'thesis §6.4, D11, RS-09',
    changes: [
      {
        file: 'raft/serving.ts',
        from: 'else if (core.leader !== null) core.forwardReads.push(id);',
        to: `else if (core.leader !== null) core.emit({ type: 'readReady', ids: [id], index: core.log.commit });`,
      },
    ],
    shows: staleRead,
    checkers,
  },
  {
    name: 'lease-without-end',
    rule: 'a lease ends before anybody else can be elected',
    source: 'thesis §6.4.1, RS-10',
    changes: [
      {
        file: 'raft/reads.ts',
        from: 'if (this.#forsworn || tick > this.#leaseEnd) return [];',
        to: 'if (this.#forsworn || tick < 0) return [];',
      },
    ],
    checkers: coreAlone,
  },
  {
    name: 'lease-not-kept',
    rule: 'who vouched for a lease gives no vote meanwhile',
    source: 'thesis §6.4.1, RS-10',
    changes: [
      {
        file: 'raft/following.ts',
        from: 'if (core.settings.leaseReads) core.silence = core.settings.electionTicks;',
        to: '',
      },
    ],
    checkers: coreAlone,
  },
];

export const raft: readonly Mutant[] = [...elections, ...replication, ...reads];
