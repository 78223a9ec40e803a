/** The kinds: how the API server serves each, and the schema that its type, defaults and CRD come from. */
import type { TSchema } from 'typebox';
import { clusterNamePattern, clusterSpec, clusterStatus, maxClusterName, type RaftCluster } from './cluster.ts';
import {
  compactionPolicySpec,
  compactionPolicyStatus,
  compactionSpec,
  compactionStatus,
  type RaftCompaction,
  type RaftCompactionPolicy,
} from './compaction.ts';
import { group, type Resource, version } from './meta.ts';
import { policySpec, policyStatus, type RaftSnapshotPolicy } from './policy.ts';
import { type RaftRestore, restoreSpec, restoreStatus } from './restore.ts';
import { maxPolicyName } from './scheduled.ts';
import { fillDefaults, type Rule } from './schema.ts';
import { maxRunName, type RaftSnapshot, snapshotSpec, snapshotStatus } from './snapshot.ts';
import { type RaftSnapshotStore, storeSpec, storeStatus } from './store.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  /** 0 shows always, 1 with `-o wide` only. */
  readonly priority?: 0 | 1;
}

/** A kind, in the terms of the API server. */
export interface KindDefinition<T extends Resource<string, unknown, unknown>> {
  readonly group: typeof group;
  readonly version: typeof version;
  readonly kind: T['kind'];
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly namespaced: true;
  readonly description: string;
  readonly spec: TSchema;
  readonly status: TSchema;
  /** Rules on the whole object; they may look at `self.metadata.name`. */
  readonly rules: readonly Rule[];
  readonly columns: readonly Column[];
  readonly selectableFields: readonly string[];
  readonly scale?: {
    readonly specReplicasPath: string;
    readonly statusReplicasPath: string;
    readonly labelSelectorPath: string;
  };
  /** Never set: carries the type only. */
  readonly shape?: T;
}

const age: Column = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'How long ago the object was created.',
};

const condition = (
  type: string,
  field: 'status' | 'reason' | 'message',
  name: string,
  description: string,
  priority: 0 | 1 = 0,
): Column => ({
  name,
  type: 'string',
  jsonPath: `.status.conditions[?(@.type=="${type}")].${field}`,
  description,
  priority,
});

const column = (
  name: string,
  type: Column['type'],
  jsonPath: string,
  description: string,
  priority: 0 | 1 = 0,
): Column => ({
  name,
  type,
  jsonPath,
  description,
  priority,
});

const namedLabel = (max: number, why: string): Rule => ({
  rule: `self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= ${max}`,
  message: `metadata.name must be lower-case letters, digits and hyphens, at most ${max} of them: ${why}`,
});

export const raftCluster: KindDefinition<RaftCluster> = {
  group,
  version,
  kind: 'RaftCluster',
  plural: 'raftclusters',
  singular: 'raftcluster',
  shortNames: ['raft'],
  namespaced: true,
  description:
    'A RaftCluster is a Raft cluster: its members, their volumes and the Services that lead to them. Snapshots of it are RaftSnapshots, taken by hand or by a RaftSnapshotPolicy.',
  spec: clusterSpec,
  status: clusterStatus,
  rules: [
    {
      rule: `self.metadata.name.matches('${clusterNamePattern}')`,
      message: `metadata.name must start with a letter and be lower-case letters, digits and hyphens, at most ${maxClusterName} of them: Services and pods are named after it`,
    },
  ],
  columns: [
    condition('Ready', 'status', 'Ready', 'Whether the cluster serves with all its members.'),
    column('Members', 'string', '.status.membersReady', 'Members that serve, out of those that should.'),
    column('Leader', 'string', '.status.leader', 'The member that leads.'),
    column('Last-Snapshot', 'date', '.status.lastSnapshot.time', 'How long ago the last good snapshot was complete.'),
    // A column of type date prints ages, and `<invalid>` for what is yet to come.
    column('Next-Snapshot', 'string', '.status.nextSnapshotTime', 'When the next snapshot is due.'),
    age,
    condition('Ready', 'reason', 'Reason', 'Why the cluster is ready or not.', 1),
    condition('Progressing', 'reason', 'Progress', 'What is being done, or what keeps it from being done.', 1),
    column('Revision', 'integer', '.status.revision', 'The revision of the data.', 1),
    column('Version', 'string', '.status.version', 'The version that the members run.', 1),
    column('Cluster-ID', 'string', '.status.clusterId', 'The id of the Raft cluster.', 1),
  ],
  selectableFields: [],
  scale: {
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas',
    labelSelectorPath: '.status.selector',
  },
};

export const raftSnapshotStore: KindDefinition<RaftSnapshotStore> = {
  group,
  version,
  kind: 'RaftSnapshotStore',
  plural: 'raftsnapshotstores',
  singular: 'raftsnapshotstore',
  shortNames: ['rsstore'],
  namespaced: true,
  description: 'A RaftSnapshotStore is a place where snapshot archives live: a volume, or a bucket of S3 or the like.',
  spec: storeSpec,
  status: storeStatus,
  rules: [namedLabel(63, 'objects are labelled with it')],
  columns: [
    condition('Ready', 'status', 'Ready', 'Whether the store can be used.'),
    condition('Ready', 'reason', 'Reason', 'Why it can be used or not.'),
    column('Bucket', 'string', '.spec.s3.bucket', 'The bucket.'),
    column('Claim', 'string', '.spec.volume.claimName', 'The PersistentVolumeClaim.'),
    age,
    column('Endpoint', 'string', '.spec.s3.endpoint', 'The URL of the S3 server.', 1),
  ],
  selectableFields: [],
};

export const raftSnapshot: KindDefinition<RaftSnapshot> = {
  group,
  version,
  kind: 'RaftSnapshot',
  plural: 'raftsnapshots',
  singular: 'raftsnapshot',
  shortNames: ['rsnap'],
  namespaced: true,
  description:
    'A RaftSnapshot takes one snapshot of a RaftCluster, archives it in a RaftSnapshotStore, and tells of the archive from then on. To try again, create another one.',
  spec: snapshotSpec,
  status: snapshotStatus,
  rules: [namedLabel(maxRunName, 'Jobs are named after it')],
  columns: [
    column('Cluster', 'string', '.spec.clusterName', 'The RaftCluster.'),
    condition('Complete', 'status', 'Complete', 'Whether the archive is whole and in its store.'),
    condition('Complete', 'reason', 'Reason', 'What the snapshot is at, or how it ended.'),
    column('Progress', 'integer', '.status.progress.percent', 'How much is done, in percent.'),
    column('Revision', 'integer', '.status.revision', 'The revision of the data in the archive.'),
    column('Size', 'integer', '.status.sizeBytes', 'The size of the archive in bytes.'),
    age,
    column('Store', 'string', '.spec.storeName', 'The RaftSnapshotStore.', 1),
    column('Keys', 'integer', '.status.keys', 'How many keys the archive holds.', 1),
    column('Key', 'string', '.status.key', 'The key of the archive in the store.', 1),
  ],
  selectableFields: ['.spec.clusterName', '.spec.storeName'],
};

export const raftSnapshotPolicy: KindDefinition<RaftSnapshotPolicy> = {
  group,
  version,
  kind: 'RaftSnapshotPolicy',
  plural: 'raftsnapshotpolicies',
  singular: 'raftsnapshotpolicy',
  shortNames: ['rsp'],
  namespaced: true,
  description: 'A RaftSnapshotPolicy says when RaftSnapshots of a RaftCluster are taken and which of them are kept.',
  spec: policySpec,
  status: policyStatus,
  rules: [namedLabel(maxPolicyName, 'its snapshots are named after it')],
  columns: [
    column('Cluster', 'string', '.spec.clusterName', 'The RaftCluster.'),
    column('Schedule', 'string', '.spec.schedule', 'When snapshots are due.'),
    column('Time-Zone', 'string', '.spec.timeZone', 'The time zone of the schedule.'),
    column('Suspend', 'string', '.spec.suspend', 'Whether no new snapshots start.'),
    condition('Ready', 'status', 'Ready', 'Whether the policy is in force.'),
    column('Last-Success', 'date', '.status.lastSuccessfulTime', 'How long ago the last good snapshot was complete.'),
    column('Next', 'string', '.status.nextScheduleTime', 'When the next snapshot is due.'),
    age,
    column('Store', 'string', '.spec.storeName', 'The RaftSnapshotStore.', 1),
    column('Last-Snapshot', 'string', '.status.lastSnapshotName', 'The last RaftSnapshot that was started.', 1),
  ],
  selectableFields: ['.spec.clusterName', '.spec.storeName'],
};

export const raftRestore: KindDefinition<RaftRestore> = {
  group,
  version,
  kind: 'RaftRestore',
  plural: 'raftrestores',
  singular: 'raftrestore',
  shortNames: ['rrestore'],
  namespaced: true,
  description:
    'A RaftRestore restores one archive. It verifies the whole archive before it creates anything, and compares the data after. To try again, create another one.',
  spec: restoreSpec,
  status: restoreStatus,
  rules: [namedLabel(maxRunName, 'Jobs are named after it')],
  columns: [
    column('Target', 'string', '.spec.target.newCluster.name', 'The RaftCluster to create.'),
    condition('Verified', 'status', 'Verified', 'Whether the archive proved whole.'),
    condition('Complete', 'status', 'Complete', 'Whether the data were restored and compared.'),
    condition('Complete', 'reason', 'Reason', 'What the restore is at, or how it ended.'),
    column('Progress', 'integer', '.status.progress.percent', 'How much is done, in percent.'),
    column('Revision', 'integer', '.status.archive.revision', 'The revision of the data in the archive.'),
    age,
    column('Snapshot', 'string', '.spec.source.snapshotName', 'The RaftSnapshot that is restored.', 1),
    column('Keys', 'integer', '.status.restored.keys', 'How many keys were restored.', 1),
  ],
  selectableFields: [],
};

export const raftCompaction: KindDefinition<RaftCompaction> = {
  group,
  version,
  kind: 'RaftCompaction',
  plural: 'raftcompactions',
  singular: 'raftcompaction',
  shortNames: ['rcomp'],
  namespaced: true,
  description:
    'A RaftCompaction lets go of old revisions of a RaftCluster, once, and gives back what they held, one member at a time. To do it again, create another one.',
  spec: compactionSpec,
  status: compactionStatus,
  rules: [namedLabel(maxRunName, 'what names it has room for that')],
  columns: [
    column('Cluster', 'string', '.spec.clusterName', 'The RaftCluster.'),
    condition('Complete', 'status', 'Complete', 'Whether everything was done.'),
    condition('Complete', 'reason', 'Reason', 'What the compaction is at, or how it ended.'),
    column('Compacted', 'integer', '.status.compactedRevision', 'The oldest revision that can still be read.'),
    column('Reclaimed', 'integer', '.status.reclaimedBytes', 'What all members take less than before, in bytes.'),
    age,
    column('Revision', 'integer', '.status.revision', 'The newest revision when it began.', 1),
    condition('Complete', 'message', 'Message', 'What it is at, in words.', 1),
  ],
  selectableFields: ['.spec.clusterName'],
};

export const raftCompactionPolicy: KindDefinition<RaftCompactionPolicy> = {
  group,
  version,
  kind: 'RaftCompactionPolicy',
  plural: 'raftcompactionpolicies',
  singular: 'raftcompactionpolicy',
  shortNames: ['rcp'],
  namespaced: true,
  description:
    'A RaftCompactionPolicy says when RaftCompactions of a RaftCluster are made, how much history they keep and when they defragment.',
  spec: compactionPolicySpec,
  status: compactionPolicyStatus,
  rules: [namedLabel(maxPolicyName, 'its compactions are named after it')],
  columns: [
    column('Cluster', 'string', '.spec.clusterName', 'The RaftCluster.'),
    column('Schedule', 'string', '.spec.schedule', 'When compactions are due.'),
    column('Time-Zone', 'string', '.spec.timeZone', 'The time zone of the schedule.'),
    column('Suspend', 'string', '.spec.suspend', 'Whether no new compactions start.'),
    condition('Ready', 'status', 'Ready', 'Whether the policy is in force.'),
    column('Last-Success', 'date', '.status.lastSuccessfulTime', 'How long ago the last good compaction was complete.'),
    column('Next', 'string', '.status.nextScheduleTime', 'When the next compaction is due.'),
    age,
    column('Keep-Revisions', 'integer', '.spec.keepRevisions', 'How many revisions are kept.', 1),
    column('Keep-Seconds', 'integer', '.spec.keepSeconds', 'For how long revisions are kept.', 1),
    column('Last-Compaction', 'string', '.status.lastCompactionName', 'The last RaftCompaction that was started.', 1),
  ],
  selectableFields: ['.spec.clusterName'],
};

/** All kinds, in the order in which people meet them. */
export const kinds = [
  raftCluster,
  raftSnapshotStore,
  raftSnapshot,
  raftSnapshotPolicy,
  raftRestore,
  raftCompaction,
  raftCompactionPolicy,
] as const;

export type AnyKind = (typeof kinds)[number];
export type AnyResource = NonNullable<AnyKind['shape']>;

/** A manifest as people write it: any part of the object may be missing where the schema has a default. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Resource<string, unknown, unknown>['metadata'];
  readonly spec?: unknown;
  readonly status?: unknown;
}

/**
 * The manifest with all defaults filled in, as the API server would store it. Checks nothing: what the schema refuses,
 * the API server refuses.
 */
export function withDefaults<T extends Resource<string, unknown, unknown>>(
  definition: KindDefinition<T>,
  manifest: Manifest,
): T {
  const spec = fillDefaults(definition.spec, manifest.spec);
  const status = fillDefaults(definition.status, manifest.status);
  return {
    ...manifest,
    ...(spec === undefined ? {} : { spec }),
    ...(status === undefined ? {} : { status }),
  } as unknown as T;
}
