/** Rules of the core about who the members are, and about what a snapshot says of them. */
import type { Mutant } from './mutant.ts';

const checkers = ['core', 'cluster'] as const;
/** Whole clusters come too seldom to where it shows, or the member around the core stands before it. */
const coreAlone = ['core'] as const;

export const membership: readonly Mutant[] = [
  {
    name: 'two-configurations',
    rule: 'no change while the one before is not committed',
    source: 'thesis §4.1, RS-13',
    changes: [{ file: 'raft/serving.ts', from: `if (committed !== latest) return 'changePending';`, to: '' }],
    checkers: coreAlone,
  },
  {
    name: 'change-before-the-own-term',
    rule: 'no change before the leader has committed an entry of its term',
    source: 'raft-dev 2015, RS-13',
    changes: [{ file: 'raft/serving.ts', from: `if (!core.committedInTerm) return 'termNotCommitted';`, to: '' }],
    checkers: coreAlone,
  },
  {
    name: 'learner-counted',
    rule: 'a learner’s copy counts for no commit',
    source: 'thesis §4.2.1, RS-15',
    changes: [
      {
        file: 'raft/configuration.ts',
        from: 'majorityIndex(configuration.voters, match)',
        to: 'majorityIndex([...configuration.voters, ...configuration.learners], match)',
      },
    ],
    checkers,
  },
  {
    name: 'learner-elects',
    rule: 'a learner’s vote elects nobody',
    source: 'thesis §4.2.1, RS-15',
    changes: [
      {
        file: 'raft/configuration.ts',
        from: `export function votersOf({ voters, votersOutgoing }: Configuration): MemberId[] {\n  return [...new Set([...voters, ...votersOutgoing])];`,
        to: `export function votersOf({ voters, votersOutgoing, learners }: Configuration): MemberId[] {\n  return [...new Set([...voters, ...votersOutgoing, ...learners])];`,
      },
      {
        file: 'raft/configuration.ts',
        from: 'majorityVote(configuration.voters, vote)',
        to: 'majorityVote([...configuration.voters, ...configuration.learners], vote)',
      },
    ],
    checkers,
  },
  {
    name: 'joint-by-one-half',
    rule: 'a joint configuration needs both majorities',
    source: 'thesis §4.3, RS-14',
    changes: [
      {
        file: 'raft/configuration.ts',
        from: 'const held = Math.min(majorityIndex(configuration.voters, match), majorityIndex(configuration.votersOutgoing, match));',
        to: 'const held = majorityIndex(configuration.voters, match);',
      },
      {
        file: 'raft/configuration.ts',
        from: `return incoming === 'won' && outgoing === 'won' ? 'won' : 'pending';`,
        to: `return incoming === 'won' ? 'won' : 'pending';`,
      },
    ],
    checkers: coreAlone,
  },
  {
    name: 'configuration-not-taken-back',
    rule: 'a configuration that is cut off counts no more',
    source: 'thesis §4.1, D9, RS-13',
    changes: [{ file: 'raft/core.ts', from: 'this.configurations.truncate(index);', to: '' }],
    checkers: coreAlone,
  },
  {
    name: 'snapshot-behind-configuration',
    rule: 'no snapshot while the committed configuration is not applied',
    source: 'HR-20',
    changes: [{ file: 'raft/raft.ts', from: 'if (applied < configurationIndex) {', to: 'if (applied < 0) {' }],
    checkers: coreAlone,
  },
  {
    name: 'snapshot-of-an-uncommitted-configuration',
    rule: 'a snapshot holds the committed configuration, not the newest',
    source: 'HR-19, HR-20',
    changes: [
      {
        file: 'raft/raft.ts',
        from: 'const { configuration, index: configurationIndex } = configurations.committed;',
        to: 'const { configuration, index: configurationIndex } = configurations.latest;',
      },
      { file: 'raft/raft.ts', from: 'if (applied < configurationIndex) {', to: 'if (applied < 0) {' },
    ],
    checkers,
  },
  {
    name: 'snapshot-forgets-configuration',
    rule: 'a snapshot holds the configuration of its position, not an earlier one',
    source: 'HR-03, HR-19, RA-01',
    changes: [
      {
        file: 'raft/raft.ts',
        from: 'return { index: applied, term, configuration, configurationIndex };',
        to: 'return { ...this.#core.snapshot, index: applied, term };',
      },
    ],
    checkers,
  },
  {
    name: 'snapshot-over-newer-state',
    rule: 'a snapshot that the log holds already replaces nothing',
    source: 'thesis §5, GR-28, RA-16',
    changes: [
      {
        file: 'raft/following.ts',
        from: `  if (hasSnapshot(core, message)) {\n    core.emit({ type: 'refuseSnapshot', message, reason: 'the log holds everything in it' });\n    return;\n  }\n`,
        to: '',
      },
    ],
    checkers: coreAlone,
  },
];
