/** RaftSnapshot: one archived snapshot of a cluster. Runs once; its record stays. */
import { type Static, Type } from 'typebox';
import { archiveKey, checksum } from './cluster.ts';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { choice, count, immutable, integer, nameOf, rules, text, time } from './schema.ts';

/** Longest name of a RaftSnapshot or RaftRestore: leaves eleven characters for what is appended to name its Jobs. */
export const maxRunName = 52;

const anew = 'create another RaftSnapshot instead';

export const deletionPolicy = (path: string, byDefault: 'Retain' | 'Delete', description: string, advice?: string) =>
  choice(['Retain', 'Delete'], description, {
    default: byDefault,
    ...(advice === undefined ? {} : rules(immutable(path, advice))),
  });

export const snapshotSpec = Type.Object(
  {
    clusterName: nameOf('The RaftCluster of this namespace to take the snapshot of.', {
      maxLength: 63,
      ...rules(immutable('spec.clusterName', anew)),
    }),
    storeName: nameOf('The RaftSnapshotStore of this namespace that gets the archive.', {
      maxLength: 63,
      ...rules(immutable('spec.storeName', anew)),
    }),
    deletionPolicy: deletionPolicy(
      'spec.deletionPolicy',
      'Retain',
      'What happens to the archive when this object is deleted: Retain leaves it in the store, Delete deletes it too.',
      anew,
    ),
  },
  { description: 'What to take a snapshot of, and where to put it. Immutable.' },
);

export const progress = Type.Optional(
  Type.Object(
    {
      percent: integer('How much is done, in percent.', { minimum: 0, maximum: 100 }),
      bytes: count('How many bytes have been moved.'),
      totalBytes: Type.Optional(count('How many bytes there are to move, once that is known.')),
    },
    { description: 'How far the transfer is.' },
  ),
);

/** What an archive holds, as its maker or its verifier found it. */
export const archiveFacts = {
  index: Type.Optional(count('The Raft index of the last log entry in the archive.')),
  term: Type.Optional(count('The Raft term of that entry.')),
  revision: Type.Optional(count('The revision of the data in the archive.')),
  keys: Type.Optional(count('How many keys the archive holds.')),
  hash: Type.Optional(text('The hash of the data at that revision, as the engine computes it.', 128)),
  checksum: Type.Optional(checksum('The SHA-256 of the compressed archive, in hex, as sha256sum prints it.')),
  engine: Type.Optional(text('The engine that the data come from.', 63)),
  engineVersion: Type.Optional(text('Its version.', 64)),
  clusterId: Type.Optional(text('The id of the Raft cluster that the data come from, in hex.', 64)),
};

export const snapshotStatus = Type.Object(
  {
    observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')),
    conditions,
    startTime: Type.Optional(time('When the Job started.')),
    completionTime: Type.Optional(time('When it ended, well or not.')),
    progress,
    key: Type.Optional(archiveKey('The key of the archive in the store.')),
    sizeBytes: Type.Optional(count('The size of the archive in bytes.')),
    ...archiveFacts,
  },
  { description: 'How the snapshot went, and what is in the archive.' },
);

export type RaftSnapshotSpec = Static<typeof snapshotSpec>;
export type RaftSnapshotStatus = Static<typeof snapshotStatus>;
export type Progress = Static<typeof progress>;
export type RaftSnapshot = Resource<'RaftSnapshot', RaftSnapshotSpec, RaftSnapshotStatus>;
/** Condition types of a RaftSnapshot. */
export type SnapshotCondition = 'Complete';
/** Reasons of the `Complete` condition of records that run once. The last three are final. */
export type RunReason = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Rejected';
