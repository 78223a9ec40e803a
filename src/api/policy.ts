/** RaftSnapshotPolicy: when snapshots are taken and how long they are kept. */
import { type Static, Type } from 'typebox';
import type { Resource } from './meta.ts';
import { scheduleSpec, scheduleStatus } from './scheduled.ts';
import { integer, nameOf, text } from './schema.ts';
import { deletionPolicy } from './snapshot.ts';

export const policySpec = Type.Object(
  {
    clusterName: nameOf('The RaftCluster of this namespace to take snapshots of.', { maxLength: 63 }),
    storeName: nameOf('The RaftSnapshotStore of this namespace that gets the archives.', { maxLength: 63 }),
    ...scheduleSpec('snapshot'),
    retention: Type.Object(
      {
        last: integer('How many good snapshots to keep. The last good one is never deleted.', {
          minimum: 1,
          maximum: 10_000,
          default: 7,
        }),
      },
      { description: 'Which snapshots of this policy are kept. The others are deleted.', default: {} },
    ),
    deletionPolicy: deletionPolicy(
      'spec.deletionPolicy',
      'Delete',
      'The deletionPolicy of the snapshots that this policy makes: whether their archives go with them.',
    ),
  },
  { description: 'When to take snapshots, and which to keep.' },
);

export const policyStatus = Type.Object(
  {
    ...scheduleStatus('snapshot', 'RaftSnapshot'),
    lastSnapshotName: Type.Optional(text('The last RaftSnapshot that was started.', 253)),
  },
  { description: 'What the policy has done and will do next.' },
);

export type RaftSnapshotPolicySpec = Static<typeof policySpec>;
export type RaftSnapshotPolicyStatus = Static<typeof policyStatus>;
export type RaftSnapshotPolicy = Resource<'RaftSnapshotPolicy', RaftSnapshotPolicySpec, RaftSnapshotPolicyStatus>;
