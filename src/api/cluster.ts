/** RaftCluster: a Raft cluster and everything that it runs on. */
import { type Static, Type } from 'typebox';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { networkPolicy } from './network.ts';
import { podTemplate } from './pod.ts';
import {
  choice,
  count,
  flag,
  immutable,
  integer,
  listOf,
  mapOf,
  nameOf,
  quantity,
  rules,
  text,
  time,
  withoutTransitions,
} from './schema.ts';
import { tlsSpec } from './tls.ts';

/**
 * Longest name of a cluster. It is the StatefulSet's name, the start of its Services' names and the value of a label, so
 * it is a DNS label that starts with a letter, with room for `-client` and the pods' ordinals and revision hashes.
 */
export const maxClusterName = 40;
export const clusterNamePattern = '^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$';

/** The key of an archive in its store: relative, forward slashes, no way out of the store. */
export const archiveKey = (description: string) =>
  Type.String({
    description,
    minLength: 1,
    maxLength: 1024,
    pattern: '^[A-Za-z0-9_-][A-Za-z0-9._=+-]*(/[A-Za-z0-9_-][A-Za-z0-9._=+-]*)*$',
  });

/** In hex, as sha256sum prints it; jobs and HashiCorp's tools say `sha-256=` and base64 of the same (NS-05). */
export const checksum = (description: string) =>
  Type.String({ description, minLength: 64, maxLength: 64, pattern: '^[0-9a-f]{64}$' });

const timing = (type: string, field: string) =>
  Type.Object(
    {
      heartbeatMilliseconds: integer('How often the leader tells the members that it is there, in milliseconds.', {
        minimum: 10,
        maximum: 10_000,
        default: 100,
      }),
      electionMilliseconds: integer(
        'How long a member waits for the leader before it stands for election, in milliseconds: at least 5 heartbeats.',
        { minimum: 50, maximum: 50_000, default: 1000 },
      ),
    },
    {
      description: `Settings of the ${type} engine.`,
      default: {},
      ...rules({
        rule: 'self.electionMilliseconds >= 5 * self.heartbeatMilliseconds',
        message: `spec.engine.${field}.electionMilliseconds must be at least 5 times spec.engine.${field}.heartbeatMilliseconds`,
        fieldPath: '.electionMilliseconds',
      }),
    },
  );

const engine = Type.Object(
  {
    type: choice(
      ['Embedded', 'Etcd'],
      "The kind of members. Embedded: Raftsman's own node, which speaks the etcd v3 protocol. Etcd: upstream etcd.",
      {
        default: 'Embedded',
        ...rules(immutable('spec.engine.type', 'restore a snapshot into a new cluster to change the engine')),
      },
    ),
    version: Type.Optional(
      text("The engine's version, such as 3.6.8 for Etcd. Default: the newest that the operator knows.", 64),
    ),
    image: Type.Optional(
      Type.String({
        description:
          "The container image of the members. Default: the operator's own image, and for Etcd the one of the version.",
        minLength: 1,
        maxLength: 512,
        pattern: '^[^\\s]+$',
      }),
    ),
    flags: Type.Optional(
      mapOf(text('The value of the flag.', 4096), {
        description:
          'More flags of the members, without dashes, such as max-request-bytes. Those that the operator sets itself are refused.',
        maxProperties: 64,
      }),
    ),
    quotaBytes: Type.Optional(
      integer('The size of the data, history included, above which writes are refused, in bytes.', {
        minimum: 16_777_216,
        maximum: 1_099_511_627_776,
      }),
    ),
    embedded: timing('Embedded', 'embedded'),
    etcd: timing('Etcd', 'etcd'),
  },
  { description: 'The kind of Raft system and its settings.', default: {} },
);

const storage = Type.Object(
  {
    size: quantity('The size of the volume of each member, such as 10Gi: at least 16Mi.', {
      ...rules(
        {
          rule: 'quantity(string(self)).compareTo(quantity("16Mi")) >= 0',
          message: 'spec.storage.size must be at least 16Mi: it holds the log and two snapshots of all data',
        },
        {
          rule: 'quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0',
          message: 'spec.storage.size can only grow: restore a snapshot into a new cluster of the size wanted',
          reason: 'FieldValueForbidden',
        },
      ),
    }),
    storageClassName: Type.Optional(nameOf("The StorageClass of the volumes. Default: the cluster's default class.")),
    retention: Type.Object(
      {
        whenScaled: choice(['Retain', 'Delete'], 'What becomes of the volume of a member that was removed.', {
          default: 'Retain',
        }),
        whenDeleted: choice(['Retain', 'Delete'], 'What becomes of the volumes when the RaftCluster is deleted.', {
          default: 'Retain',
        }),
      },
      { description: 'What becomes of volumes that no member uses any more.', default: {} },
    ),
  },
  {
    description: 'The volume of each member.',
    ...rules({
      rule: 'has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)',
      message: 'spec.storage.storageClassName is immutable: restore a snapshot into a new cluster of the class wanted',
      fieldPath: '.storageClassName',
      reason: 'FieldValueForbidden',
    }),
  },
);

const log = Type.Object(
  {
    snapshotThreshold: integer('A member snapshots its state once this many log entries are not in a snapshot yet.', {
      minimum: 1,
      maximum: 1_000_000_000,
      default: 8192,
    }),
    snapshotPeriodSeconds: integer(
      'How often a member looks whether the threshold is reached, at least, in seconds; 0: after every entry.',
      { minimum: 0, maximum: 86_400, default: 120 },
    ),
    trailingLogs: integer(
      'How many log entries stay behind a snapshot, so that a member that lags a little needs no whole snapshot.',
      { minimum: 0, maximum: 1_000_000_000, default: 10_240 },
    ),
  },
  { description: 'When members snapshot their state and how much log they keep.', default: {} },
);

const bootstrap = Type.Object(
  {
    restore: Type.Object(
      {
        storeName: nameOf('The RaftSnapshotStore that holds the archive.'),
        key: archiveKey('The key of the archive in the store.'),
        checksum: Type.Optional(checksum('The SHA-256 of the archive, in hex. Any other archive is refused.')),
      },
      { description: 'The archive that all members start from.' },
    ),
  },
  { description: 'What the members start from when they first start. Usually written by a RaftRestore.' },
);

const replicas = integer(
  'How many members vote. An odd number: an even one survives no more failures than one member less. 0: hibernated.',
  { minimum: 0, maximum: 9, default: 3 },
);

const members = {
  replicas,
  engine,
  storage,
  log,
  tls: tlsSpec,
  podTemplate: Type.Optional(podTemplate),
  networkPolicy,
  paused: flag('Whether the operator leaves everything of this cluster as it is.', false),
};

export const clusterSpec = Type.Object(
  { ...members, bootstrap: Type.Optional(bootstrap) },
  {
    description: 'The cluster as it should be.',
    ...rules({
      rule: 'has(self.bootstrap) == has(oldSelf.bootstrap) && (!has(self.bootstrap) || self.bootstrap == oldSelf.bootstrap)',
      message: 'spec.bootstrap is immutable: it says what the cluster started from; create another RaftCluster instead',
      fieldPath: '.bootstrap',
      reason: 'FieldValueForbidden',
    }),
  },
);

/** The spec of a cluster that a restore will create: everything but where its data come from. */
export const newClusterSpec = withoutTransitions(
  Type.Object(members, { description: 'The spec of the RaftCluster, without bootstrap.' }),
);

const memberStatus = Type.Object(
  {
    name: nameOf("The member's name, which is its pod's."),
    id: Type.Optional(text("The member's id in the cluster, in hex.", 64)),
    role: Type.Optional(choice(['Leader', 'Follower', 'Candidate', 'Learner'], 'What the member does at present.')),
    ready: flag('Whether the member serves.'),
    state: Type.Optional(
      choice(
        ['Serving', 'Starting', 'Learning', 'Slow', 'Hung', 'Dead', 'Lost'],
        'How the member is. Hung: it holds its port and does not answer. Lost: its data are gone or corrupt.',
      ),
    ),
    message: Type.Optional(text('What keeps the member from serving.', 1024)),
  },
  { description: 'One member as the operator last saw it.' },
);

const operation = Type.Object(
  {
    type: choice(
      ['ScaleUp', 'ScaleDown', 'ReplaceMember', 'Update', 'Snapshot', 'Restore', 'Compaction', 'GrowDisk', 'Rotation'],
      'What is being done.',
    ),
    holder: Type.Optional(text('The object that does it, as Kind/name. Absent: the cluster itself.', 512)),
    member: Type.Optional(text('The member that it is about.', 253)),
    message: Type.Optional(text('What is being done, for people.', 1024)),
    since: time('When it began.'),
  },
  { description: 'The one operation on this cluster: others wait until it is over.' },
);

const alarm = Type.Object(
  {
    type: choice(['NoSpace', 'Corrupt'], 'The kind of alarm.'),
    member: text('The name of the member whose alarm it is, its id where it has no name, or unknown.', 253),
    message: text('What it means and what to do.', 1024),
  },
  { description: 'An alarm that stands in the cluster.' },
);

export const clusterStatus = Type.Object(
  {
    observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')),
    conditions,
    replicas: Type.Optional(integer('How many members there are.', { minimum: 0, maximum: 1000 })),
    readyReplicas: Type.Optional(integer('How many members serve.', { minimum: 0, maximum: 1000 })),
    membersReady: Type.Optional(text('Members that serve out of those that should, such as 3/3.', 16)),
    selector: Type.Optional(text('The label selector of the member pods, for the scale subresource.', 1024)),
    leader: Type.Optional(text('The name of the member that leads.', 253)),
    clusterId: Type.Optional(text('The id of the Raft cluster, in hex. Never changes while the cluster lives.', 64)),
    term: Type.Optional(count('The Raft term.')),
    revision: Type.Optional(count('The revision of the data.')),
    version: Type.Optional(text('The version that the members run.', 64)),
    formed: Type.Optional(
      flag('Whether all members have once served together. From then on an empty disk is a lost member.'),
    ),
    size: Type.Optional(
      integer('How many members the cluster has or, hibernated, had: the pods that there are when it runs.', {
        minimum: 0,
        maximum: 1000,
      }),
    ),
    operation: Type.Optional(operation),
    certificatesExpire: Type.Optional(time('When the first certificate of the cluster ends, unless it is renewed.')),
    alarms: Type.Optional(listOf(alarm, { description: 'Alarms that stand.', maxItems: 64, keys: ['type', 'member'] })),
    members: Type.Optional(listOf(memberStatus, { description: 'The members.', maxItems: 32, keys: ['name'] })),
    lastSnapshot: Type.Optional(
      Type.Object(
        {
          name: nameOf('The RaftSnapshot.'),
          time: time('When it was complete.'),
          revision: Type.Optional(count('The revision of the data in it.')),
        },
        { description: 'The last good snapshot of this cluster.' },
      ),
    ),
    nextSnapshotTime: Type.Optional(time('When the next snapshot is due, by the policies of this cluster.')),
    restoredFrom: Type.Optional(
      Type.Object(
        {
          storeName: nameOf('The RaftSnapshotStore of the archive.'),
          key: archiveKey('The key of the archive in the store.'),
          revision: Type.Optional(count('The revision of the data in it.')),
        },
        { description: 'The archive that this cluster started from.' },
      ),
    ),
  },
  { description: 'The cluster as the operator last saw it.' },
);

export type RaftClusterSpec = Static<typeof clusterSpec>;
export type NewClusterSpec = Static<typeof newClusterSpec>;
export type RaftClusterStatus = Static<typeof clusterStatus>;
export type MemberStatus = Static<typeof memberStatus>;
export type MemberState = NonNullable<MemberStatus['state']>;
export type Operation = Static<typeof operation>;
export type Alarm = Static<typeof alarm>;
export type PodTemplate = Static<typeof podTemplate>;
export type RaftCluster = Resource<'RaftCluster', RaftClusterSpec, RaftClusterStatus>;
/** Condition types of a RaftCluster. */
export type ClusterCondition = 'Available' | 'Ready' | 'Progressing' | 'Degraded' | 'CertificatesReady';
