/** RaftRestore: one restore of an archive. Runs once; its record stays. */
import { type Static, Type } from 'typebox';
import { archiveKey, clusterNamePattern, maxClusterName, newClusterSpec } from './cluster.ts';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { count, exactlyOne, nameOf, text, time } from './schema.ts';
import { archiveFacts, progress } from './snapshot.ts';

const anew = 'is immutable: create another RaftRestore instead';

const source = exactlyOne(
  'spec.source',
  {
    snapshotName: nameOf('A RaftSnapshot of this namespace.', { maxLength: 63 }),
    archive: Type.Object(
      {
        storeName: nameOf('The RaftSnapshotStore of this namespace that holds the archive.', { maxLength: 63 }),
        key: archiveKey('The key of the archive in the store.'),
      },
      { description: 'An archive in a store, with or without a RaftSnapshot that tells of it.' },
    ),
  },
  {
    description: 'What to restore: exactly one of snapshotName and archive. Immutable.',
    rules: [{ rule: 'self == oldSelf', message: `spec.source ${anew}`, reason: 'FieldValueForbidden' }],
  },
);

const target = exactlyOne(
  'spec.target',
  {
    newCluster: Type.Object(
      {
        name: Type.String({
          description: 'The name of the RaftCluster to create. There must be none, nor volumes that one has left.',
          minLength: 1,
          maxLength: maxClusterName,
          pattern: clusterNamePattern,
        }),
        spec: newClusterSpec,
      },
      { description: 'A RaftCluster to create from the archive.' },
    ),
  },
  {
    description: 'Where to restore to. Immutable.',
    rules: [{ rule: 'self == oldSelf', message: `spec.target ${anew}`, reason: 'FieldValueForbidden' }],
  },
);

export const restoreSpec = Type.Object(
  { source, target },
  { description: 'What to restore, and where to. Immutable.' },
);

export const restoreStatus = Type.Object(
  {
    observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')),
    conditions,
    startTime: Type.Optional(time('When the restore started.')),
    completionTime: Type.Optional(time('When it ended, well or not.')),
    clusterName: Type.Optional(text('The RaftCluster that the data went to.', 63)),
    progress,
    archive: Type.Optional(
      Type.Object(
        {
          storeName: Type.Optional(nameOf('The RaftSnapshotStore of the archive.')),
          key: Type.Optional(archiveKey('The key of the archive in the store.')),
          sizeBytes: Type.Optional(count('The size of the archive in bytes.')),
          ...archiveFacts,
        },
        { description: 'The archive, as it was verified before anything was created.' },
      ),
    ),
    restored: Type.Optional(
      Type.Object(
        {
          revision: count('The revision that was compared.'),
          keys: count('How many keys every member holds at that revision.'),
          hash: text('The hash of the data of every member at that revision.', 128),
        },
        { description: 'The data that every member of the new cluster turned out to hold.' },
      ),
    ),
  },
  { description: 'How the restore went, and what was restored.' },
);

export type RaftRestoreSpec = Static<typeof restoreSpec>;
export type RaftRestoreStatus = Static<typeof restoreStatus>;
export type RestoreSource = Static<typeof source>;
export type RaftRestore = Resource<'RaftRestore', RaftRestoreSpec, RaftRestoreStatus>;
/** Condition types of a RaftRestore: Verified once the archive proved whole, Complete once the data did. */
export type RestoreCondition = 'Verified' | 'Complete';
