/**
 * RaftCompaction: one run that lets go of old revisions and gives back what they held. RaftCompactionPolicy: when such
 * runs are made.
 */
import { type Static, Type } from 'typebox';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { scheduleSpec, scheduleStatus } from './scheduled.ts';
import { choice, count, flag, integer, listOf, nameOf, type Rule, rules, text, time } from './schema.ts';

/** What is done to a cluster: the same fields in a run and in the policy that makes runs. */
const work = {
  keepRevisions: Type.Optional(
    integer('Compact the history up to this many revisions before the newest. Not beside keepSeconds.', {
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
    }),
  ),
  keepSeconds: Type.Optional(
    integer(
      'Compact the history up to the revision that was the newest this many seconds ago. Never more than that: while the operator does not know that revision, nothing is compacted. Not beside keepRevisions.',
      { minimum: 1, maximum: 31_536_000 },
    ),
  ),
  defragment: Type.Optional(
    Type.Object(
      {
        freeRatioPercent: integer('Only members of whose data file at least this much is free, in percent.', {
          minimum: 0,
          maximum: 100,
          default: 30,
        }),
        minReclaimBytes: integer('Only members that would win at least so many bytes.', {
          minimum: 0,
          maximum: Number.MAX_SAFE_INTEGER,
          default: 67_108_864,
        }),
      },
      {
        description:
          'Give free space back to the file system, one member at a time, the leader last, where it is worth it. Without it no member is defragmented.',
      },
    ),
  ),
  disarm: flag(
    'Whether to end the alarm NoSpace, which refuses writes, once every member is clearly below its quota again.',
    true,
  ),
};

const workRules: readonly Rule[] = [
  {
    rule: '!(has(self.keepRevisions) && has(self.keepSeconds))',
    message: 'spec must have at most one of keepRevisions and keepSeconds',
  },
  {
    rule: 'has(self.keepRevisions) || has(self.keepSeconds) || has(self.defragment)',
    message: 'spec must have keepRevisions, keepSeconds or defragment: with none of them there is nothing to do',
  },
];

export const compactionSpec = Type.Object(
  { clusterName: nameOf('The RaftCluster of this namespace to compact.', { maxLength: 63 }), ...work },
  {
    description: 'What to compact, and how far. Immutable.',
    ...rules(...workRules, {
      rule: 'self == oldSelf',
      message: 'spec is immutable: create another RaftCompaction instead',
      reason: 'FieldValueForbidden',
    }),
  },
);

const member = Type.Object(
  {
    name: nameOf("The member's name."),
    result: Type.Optional(
      choice(['Defragmented', 'Skipped'], 'What became of it. Skipped: not worth it, which message says.'),
    ),
    sizeBytesBefore: count('What its data took before the run, free space included, in bytes.'),
    inUseBytesBefore: count('How much of that was in use.'),
    sizeBytesAfter: Type.Optional(count('What they take since.')),
    inUseBytesAfter: Type.Optional(count('How much of that is in use.')),
    durationMilliseconds: Type.Optional(count('How long its defragmentation took.')),
    message: Type.Optional(text('Why it was defragmented or not.', 1024)),
  },
  { description: 'What the run did to one member.' },
);

export const compactionStatus = Type.Object(
  {
    observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')),
    conditions,
    startTime: Type.Optional(time('When the run began.')),
    completionTime: Type.Optional(time('When it ended, well or not.')),
    clusterId: Type.Optional(text('The id of the Raft cluster, in hex.', 64)),
    revision: Type.Optional(count('The newest revision when the run began.')),
    compactedRevision: Type.Optional(
      count('The oldest revision that can still be read since. Absent: the history was left as it was.'),
    ),
    compactedAt: Type.Optional(time('When the history was compacted, or found to need it not.')),
    history: Type.Optional(text('How far the history was compacted and why no further, for people.', 1024)),
    reclaimedBytes: Type.Optional(count('What all members together take less than before, in bytes.')),
    disarmed: Type.Optional(flag('Whether the alarm NoSpace was ended.')),
    members: Type.Optional(listOf(member, { description: 'What was won, by member.', maxItems: 32, keys: ['name'] })),
  },
  { description: 'How the run went, and what it won.' },
);

const sample = Type.Object(
  { time: time('The time.'), revision: count('The newest revision at that time.') },
  { description: 'How far the data were at a time.' },
);

export const compactionPolicySpec = Type.Object(
  {
    clusterName: nameOf('The RaftCluster of this namespace to compact.', { maxLength: 63 }),
    ...scheduleSpec('compaction'),
    successfulHistoryLimit: integer('How many good compactions to keep for people to look at.', {
      minimum: 1,
      maximum: 100,
      default: 3,
    }),
    ...work,
  },
  { description: 'When to compact, how far, and when to defragment.', ...rules(...workRules) },
);

export const compactionPolicyStatus = Type.Object(
  {
    ...scheduleStatus('compaction', 'RaftCompaction'),
    lastCompactionName: Type.Optional(text('The last RaftCompaction that was started.', 253)),
    clusterId: Type.Optional(text('The id of the Raft cluster that revisions is about, in hex.', 64)),
    revisions: Type.Optional(
      listOf(sample, {
        description: 'For keepSeconds: how far the data were, as the compactions of this policy found them.',
        maxItems: 16,
      }),
    ),
  },
  { description: 'What the policy has done and will do next.' },
);

export type RaftCompactionSpec = Static<typeof compactionSpec>;
export type RaftCompactionStatus = Static<typeof compactionStatus>;
export type CompactedMember = Static<typeof member>;
export type RevisionSample = Static<typeof sample>;
export type RaftCompaction = Resource<'RaftCompaction', RaftCompactionSpec, RaftCompactionStatus>;
export type RaftCompactionPolicySpec = Static<typeof compactionPolicySpec>;
export type RaftCompactionPolicyStatus = Static<typeof compactionPolicyStatus>;
export type RaftCompactionPolicy = Resource<
  'RaftCompactionPolicy',
  RaftCompactionPolicySpec,
  RaftCompactionPolicyStatus
>;
