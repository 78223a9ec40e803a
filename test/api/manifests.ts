/** Manifests of every kind: good ones, and bad ones with what the API server must say of each. */
import { apiVersion, type Manifest } from '../../src/api/index.ts';

export interface Example {
  readonly title: string;
  readonly manifest: Manifest;
}

const of = (kind: string, spec: unknown, name = 'demo'): Manifest => ({ apiVersion, kind, metadata: { name }, spec });

export const cluster = (spec: object = {}, name?: string) =>
  of('RaftCluster', { storage: { size: '1Gi' }, ...spec }, name);
export const store = (spec: object = { volume: { claimName: 'archives' } }, name?: string) =>
  of('RaftSnapshotStore', spec, name);
export const snapshot = (spec: object = {}, name?: string) =>
  of('RaftSnapshot', { clusterName: 'demo', storeName: 'archives', ...spec }, name);
export const policy = (spec: object = {}, name?: string) =>
  of('RaftSnapshotPolicy', { clusterName: 'demo', storeName: 'archives', schedule: '30 2 * * *', ...spec }, name);
export const restore = (spec: object = {}, name?: string) =>
  of(
    'RaftRestore',
    {
      source: { snapshotName: 'demo-29000000' },
      target: { newCluster: { name: 'again', spec: { storage: { size: '1Gi' } } } },
      ...spec,
    },
    name,
  );
export const compaction = (spec: object = {}, name?: string) =>
  of('RaftCompaction', { clusterName: 'demo', keepRevisions: 1000, ...spec }, name);
export const compactionPolicy = (spec: object = {}, name?: string) =>
  of('RaftCompactionPolicy', { clusterName: 'demo', schedule: '30 2 * * *', keepSeconds: 3600, ...spec }, name);
const s3 = (spec: object) => store({ s3: { bucket: 'archives', ...spec } });
const pods = (podTemplate: object) => cluster({ podTemplate });

const schedules = [
  '0 0 * * 0',
  '0 0 * * 7',
  '0 0,12 * * *',
  '0 0 * * MON',
  '00 02 * * *',
  '*/60 * * * *',
  '5/15 * * * *',
  '0 */6 * JAN-JUN,dec MON-FRI',
  '0 9-17/2 1,15 * ?',
  '@hourly',
  '@daily',
  '@midnight',
  '@weekly',
  '@monthly',
  '@yearly',
  '@annually',
];

const everything = cluster({
  replicas: 5,
  engine: {
    type: 'Embedded',
    version: '0.1.0',
    image: 'example.org/raftsman:0.1.0',
    embedded: { heartbeatMilliseconds: 50 },
  },
  storage: { size: 1073741824, storageClassName: 'fast.ssd' },
  log: { snapshotThreshold: 100, snapshotPeriodSeconds: 0, trailingLogs: 0 },
  bootstrap: { restore: { storeName: 'archives', key: 'demo/2026/07/a_b-c.snap', checksum: 'ab'.repeat(32) } },
  paused: true,
  networkPolicy: {
    enabled: true,
    clients: [
      { podSelector: { matchLabels: { app: 'api' } }, namespaceSelector: {} },
      { namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'In', values: ['a', 'b'] }] } },
      { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } },
      { ipBlock: { cidr: 'fd00::/8' } },
    ],
  },
  podTemplate: {
    metadata: { labels: { team: 'data' }, annotations: { 'example.org/note': 'anything: at all' } },
    resources: {
      requests: { cpu: '100m', memory: '128Mi', 'ephemeral-storage': 1e9 },
      limits: { cpu: 2, memory: '1.5Gi' },
    },
    nodeSelector: { 'kubernetes.io/arch': 'amd64' },
    tolerations: [
      { operator: 'Exists' },
      { key: 'dedicated', value: 'raft', effect: 'NoExecute', tolerationSeconds: 30 },
    ],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'disk', operator: 'In', values: ['ssd'] }] }],
        },
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 5, preference: { matchFields: [{ key: 'metadata.name', operator: 'NotIn', values: ['old'] }] } },
        ],
      },
      podAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 1, podAffinityTerm: { topologyKey: 'zone', namespaces: ['default'], labelSelector: {} } },
        ],
      },
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { 'raftsman.dev/cluster': 'demo' } } },
        ],
      },
    },
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway', minDomains: 2, matchLabelKeys: ['x'] },
    ],
    priorityClassName: 'high',
    imagePullSecrets: [{ name: 'registry' }],
    serviceAccountName: 'members',
  },
});

export const examples: readonly Example[] = [
  { title: 'the least cluster', manifest: cluster() },
  { title: 'a cluster with every field', manifest: everything },
  { title: 'a cluster of one', manifest: cluster({ replicas: 1 }) },
  { title: 'an even number of members', manifest: cluster({ replicas: 4 }) },
  { title: 'a hibernated cluster', manifest: cluster({ replicas: 0 }) },
  { title: 'a cluster with certificates of its own', manifest: cluster({ tls: { mode: 'Managed' } }) },
  {
    title: 'certificates that last a day and a CA that is replaced at once',
    manifest: cluster({
      tls: { mode: 'Managed', managed: { caDays: 2, caOverlapDays: 0, certificateDays: 1, renewBeforeDays: 0 } },
    }),
  },
  {
    title: 'certificates of cert-manager',
    manifest: cluster({ tls: { mode: 'CertManager', certManager: { issuerRef: { name: 'own-ca' } } } }),
  },
  {
    title: 'certificates in given Secrets',
    manifest: cluster({ tls: { mode: 'Secrets', secrets: { server: 'a', peer: 'b', client: 'c.d' } } }),
  },
  { title: 'plain text', manifest: cluster({ tls: { mode: 'Disabled' } }) },
  { title: 'a cluster with the longest name', manifest: cluster({}, 'c'.repeat(40)) },
  ...['16Mi', '1.5Gi', '20000000', '1e9', 17_000_000].map((size) => ({
    title: `storage of ${size}`,
    manifest: cluster({ storage: { size } }),
  })),
  { title: 'a volume store', manifest: store() },
  { title: 'a folder of a volume', manifest: store({ volume: { claimName: 'archives', path: 'raft/prod.1' } }) },
  { title: 'the least bucket', manifest: s3({}) },
  {
    title: 'a bucket with every field',
    manifest: s3({
      prefix: 'backups/prod',
      endpoint: 'https://s3.example.org:9000',
      region: 'eu-central-1',
      forcePathStyle: true,
      credentialsSecret: { name: 's3', accessKeyIdKey: 'id', secretAccessKeyKey: 'secret', sessionTokenKey: 'token' },
    }),
  },
  { title: 'the least snapshot', manifest: snapshot() },
  { title: 'a snapshot with the longest name', manifest: snapshot({ deletionPolicy: 'Delete' }, 's'.repeat(52)) },
  ...schedules.map((schedule) => ({ title: `a policy at ${schedule}`, manifest: policy({ schedule }) })),
  { title: 'a compaction by revisions', manifest: compaction({ keepRevisions: 0 }) },
  { title: 'a compaction that only defragments', manifest: compaction({ keepRevisions: undefined, defragment: {} }) },
  {
    title: 'a compaction policy with every field',
    manifest: compactionPolicy({
      timeZone: 'Europe/Berlin',
      suspend: true,
      startingDeadlineSeconds: 600,
      concurrencyPolicy: 'Forbid',
      successfulHistoryLimit: 1,
      failedHistoryLimit: 0,
      defragment: { freeRatioPercent: 50, minReclaimBytes: 0 },
      disarm: false,
    }),
  },
  {
    title: 'a policy with every field',
    manifest: policy({
      timeZone: 'America/Argentina/Buenos_Aires',
      suspend: true,
      startingDeadlineSeconds: 600,
      concurrencyPolicy: 'Replace',
      retention: { last: 30 },
      failedHistoryLimit: 0,
      deletionPolicy: 'Retain',
    }),
  },
  { title: 'a restore of a snapshot', manifest: restore() },
  {
    title: 'a restore of an archive',
    manifest: restore({ source: { archive: { storeName: 'archives', key: 'a/b.snap' } } }),
  },
];

export interface Refused extends Example {
  /** What the message must hold, the field above all. */
  readonly message: readonly string[];
}

const refuse = (manifest: Manifest, ...message: string[]): Refused => ({
  title: message.join(' … '),
  manifest,
  message,
});

const badSchedules = [
  '',
  '* * * *',
  '0 0 * * * *',
  '@reboot',
  '@every 1h',
  '@Daily',
  'daily',
  '0 0 * * $',
  '-5 * * * *',
  '0 0 L * *\n0 0 * * *',
];

export const refused: readonly Refused[] = [
  refuse(of('RaftCluster', undefined), 'spec', 'Required value'),
  refuse(of('RaftCluster', {}), 'spec.storage', 'Required value'),
  refuse(cluster({ storage: {} }), 'spec.storage.size', 'Required value'),
  refuse(cluster({ replicas: -1 }), 'spec.replicas', 'greater than or equal to 0'),
  refuse(cluster({ replicas: 11 }), 'spec.replicas', 'less than or equal to 9'),
  refuse(cluster({ replicas: '3' }), 'spec.replicas', 'must be of type integer'),
  refuse(cluster({ storage: { size: '15Mi' } }), 'spec.storage.size must be at least 16Mi'),
  refuse(cluster({ storage: { size: 16 } }), 'spec.storage.size must be at least 16Mi'),
  refuse(cluster({ storage: { size: '-1Gi' } }), 'spec.storage.size must be at least 16Mi'),
  refuse(cluster({ storage: { size: '10 GB' } }), 'spec.storage.size', 'should match'),
  refuse(
    cluster({ storage: { size: '1Gi', storageClassName: 'Fast_SSD' } }),
    'spec.storage.storageClassName',
    'should match',
  ),
  refuse(cluster({ engine: { type: 'Consul' } }), 'spec.engine.type', 'supported values: "Embedded", "Etcd"'),
  refuse(
    cluster({ networkPolicy: { clients: [{}] } }),
    'spec.networkPolicy.clients must each have either ipBlock, or podSelector',
  ),
  refuse(
    cluster({ networkPolicy: { clients: [{ podSelector: {}, ipBlock: { cidr: '10.0.0.0/8' } }] } }),
    'spec.networkPolicy.clients must each have either ipBlock, or podSelector',
  ),
  refuse(
    cluster({ networkPolicy: { clients: [{ ipBlock: { cidr: '10.0.0.0' } }] } }),
    'spec.networkPolicy.clients[0].ipBlock.cidr',
    'should match',
  ),
  refuse(cluster({ engine: { image: '' } }), 'spec.engine.image', 'at least 1 chars long'),
  refuse(
    cluster({ engine: { embedded: { electionMilliseconds: 499 } } }),
    'spec.engine.embedded.electionMilliseconds must be at least 5 times spec.engine.embedded.heartbeatMilliseconds',
  ),
  refuse(cluster({ log: { snapshotThreshold: 0 } }), 'spec.log.snapshotThreshold', 'greater than or equal to 1'),
  refuse(cluster({ log: { trailingLogs: -1 } }), 'spec.log.trailingLogs', 'greater than or equal to 0'),
  refuse(cluster({ tls: { mode: 'CertManager' } }), 'spec.tls.certManager goes with spec.tls.mode CertManager'),
  refuse(
    cluster({ tls: { mode: 'Managed', certManager: { issuerRef: { name: 'x' } } } }),
    'spec.tls.certManager goes with spec.tls.mode CertManager',
  ),
  refuse(cluster({ tls: { mode: 'Secrets' } }), 'spec.tls.secrets goes with spec.tls.mode Secrets'),
  refuse(cluster({ tls: { mode: 'Secrets', secrets: { server: 'a', peer: 'b' } } }), 'spec.tls.secrets.client'),
  refuse(
    cluster({ tls: { mode: 'Managed', managed: { certificateDays: 10, renewBeforeDays: 10 } } }),
    'spec.tls.managed.renewBeforeDays must be less than spec.tls.managed.certificateDays',
  ),
  refuse(
    cluster({ tls: { mode: 'Managed', managed: { caDays: 100 } } }),
    'spec.tls.managed.caDays must be at least twice certificateDays',
  ),
  refuse(cluster({ bootstrap: {} }), 'spec.bootstrap.restore', 'Required value'),
  refuse(
    cluster({ bootstrap: { restore: { storeName: 's', key: '../other/secret' } } }),
    'spec.bootstrap.restore.key',
    'should match',
  ),
  refuse(
    cluster({ bootstrap: { restore: { storeName: 's', key: 'k', checksum: 'abc' } } }),
    'spec.bootstrap.restore.checksum',
  ),
  refuse(cluster({}, 'c'.repeat(41)), 'metadata.name must start with a letter', 'at most 40'),
  refuse(cluster({}, '1st'), 'metadata.name must start with a letter'),
  refuse(cluster({}, 'a.b'), 'metadata.name must start with a letter'),
  refuse(
    pods({ resources: { limits: { memory: 'lots' } } }),
    'spec.podTemplate.resources.limits.memory',
    'should match',
  ),
  refuse(pods({ tolerations: [{ effect: 'Never' }] }), 'spec.podTemplate.tolerations[0].effect', 'supported values'),
  refuse(
    pods({
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' },
        { maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' },
      ],
    }),
    'spec.podTemplate.topologySpreadConstraints[1]',
    'Duplicate value',
  ),

  refuse(store({}), 'spec must have exactly one of volume, s3'),
  refuse(store({ volume: { claimName: 'a' }, s3: { bucket: 'archives' } }), 'spec must have exactly one of volume, s3'),
  refuse(store({ volume: {} }), 'spec.volume.claimName', 'Required value'),
  refuse(store({ volume: { claimName: 'a', path: '../up' } }), 'spec.volume.path', 'should match'),
  refuse(store({ volume: { claimName: 'a', path: '/abs' } }), 'spec.volume.path', 'should match'),
  refuse(store({ s3: {} }), 'spec.s3.bucket', 'Required value'),
  refuse(s3({ bucket: 'No_Such' }), 'spec.s3.bucket', 'should match'),
  refuse(s3({ endpoint: 's3.example.org' }), 'spec.s3.endpoint', 'should match'),
  refuse(s3({ endpoint: 'https://user:pass@s3.example.org' }), 'spec.s3.endpoint', 'should match'),
  refuse(s3({ prefix: 'a//b' }), 'spec.s3.prefix', 'should match'),
  refuse(s3({ credentialsSecret: {} }), 'spec.s3.credentialsSecret.name', 'Required value'),

  refuse(snapshot({ clusterName: undefined }), 'spec.clusterName', 'Required value'),
  refuse(snapshot({ clusterName: '' }), 'spec.clusterName', 'at least 1 chars long'),
  refuse(snapshot({ storeName: 'Upper' }), 'spec.storeName', 'should match'),
  refuse(snapshot({ deletionPolicy: 'Keep' }), 'spec.deletionPolicy', 'supported values: "Retain", "Delete"'),
  refuse(snapshot({}, 's'.repeat(53)), 'metadata.name must be', 'at most 52'),

  ...badSchedules.map(
    (schedule): Refused => ({
      ...refuse(policy({ schedule }), 'spec.schedule must be five cron fields'),
      title: `spec.schedule: ${JSON.stringify(schedule)}`,
    }),
  ),
  refuse(policy({ schedule: 'TZ=UTC 0 0 * * *' }), 'spec.schedule must not contain TZ=', 'spec.timeZone'),
  refuse(policy({ schedule: 'CRON_TZ=UTC @daily' }), 'spec.schedule must not contain TZ=', 'spec.timeZone'),
  refuse(policy({ schedule: undefined }), 'spec.schedule', 'Required value'),
  refuse(policy({ schedule: `0 0 * * ${'1,'.repeat(64)}1` }), 'spec.schedule', 'may not be more than 128'),
  ...[compaction, compactionPolicy].flatMap((either) => [
    refuse(either({ keepRevisions: 1, keepSeconds: 1 }), 'spec must have at most one of keepRevisions and keepSeconds'),
    refuse(
      either({ keepRevisions: undefined, keepSeconds: undefined }),
      'spec must have keepRevisions, keepSeconds or defragment',
    ),
    refuse(either({ keepRevisions: -1, keepSeconds: undefined }), 'spec.keepRevisions', 'greater than or equal to 0'),
    refuse(either({ defragment: { freeRatioPercent: 101 } }), 'spec.defragment.freeRatioPercent'),
  ]),
  refuse(compaction({ clusterName: undefined }), 'spec.clusterName', 'Required value'),
  refuse(compactionPolicy({ schedule: 'hourly' }), 'spec.schedule must be five cron fields'),
  refuse(compactionPolicy({}, 'p'.repeat(44)), 'metadata.name must be', 'at most 43'),
  refuse(policy({ timeZone: 'Europe Berlin' }), 'spec.timeZone', 'should match'),
  refuse(policy({ concurrencyPolicy: 'forbid' }), 'spec.concurrencyPolicy', 'supported values'),
  refuse(policy({ retention: { last: 0 } }), 'spec.retention.last', 'greater than or equal to 1'),
  refuse(policy({ startingDeadlineSeconds: 1 }), 'spec.startingDeadlineSeconds', 'greater than or equal to 10'),
  refuse(policy({}, 'p'.repeat(44)), 'metadata.name must be', 'at most 43'),

  refuse(restore({ source: {} }), 'spec.source must have exactly one of snapshotName, archive'),
  refuse(
    restore({ source: { snapshotName: 's', archive: { storeName: 's', key: 'k' } } }),
    'spec.source must have exactly one of snapshotName, archive',
  ),
  refuse(restore({ source: { archive: { storeName: 's' } } }), 'spec.source.archive.key', 'Required value'),
  refuse(restore({ target: {} }), 'spec.target must have exactly one of newCluster'),
  refuse(
    restore({ target: { newCluster: { name: 'Again', spec: { storage: { size: '1Gi' } } } } }),
    'spec.target.newCluster.name',
    'should match',
  ),
  refuse(
    restore({ target: { newCluster: { name: 'again', spec: { replicas: 10, storage: { size: '1Gi' } } } } }),
    'spec.target.newCluster.spec.replicas',
    'less than or equal to 9',
  ),
];

export interface Transition {
  readonly title: string;
  readonly manifest: Manifest;
  /** A JSON merge patch of the spec. */
  readonly patch: object;
  /** What the refusal must say; without it, the change must be accepted. */
  readonly message?: string;
}

const replacement = { newCluster: { name: 'other', spec: { storage: { size: '1Gi' } } } };
const bootstrap = { restore: { storeName: 'archives', key: 'a' } };

export const transitions: readonly Transition[] = [
  {
    title: 'the size of a cluster',
    manifest: cluster(),
    patch: { replicas: 5 },
  },
  {
    title: 'a smaller disk',
    manifest: cluster(),
    patch: { storage: { size: '512Mi' } },
    message: 'spec.storage.size can only grow',
  },
  { title: 'a larger disk', manifest: cluster(), patch: { storage: { size: '2Gi' } } },
  { title: 'the size of a disk in other words', manifest: cluster(), patch: { storage: { size: '1024Mi' } } },
  {
    title: 'the class of a disk',
    manifest: cluster({ storage: { size: '1Gi', storageClassName: 'a' } }),
    patch: { storage: { storageClassName: 'b' } },
    message: 'spec.storage.storageClassName is immutable',
  },
  {
    title: 'the class of a disk, added',
    manifest: cluster(),
    patch: { storage: { storageClassName: 'b' } },
    message: 'spec.storage.storageClassName is immutable',
  },
  {
    title: 'the class of a disk, removed',
    manifest: cluster({ storage: { size: '1Gi', storageClassName: 'a' } }),
    patch: { storage: { storageClassName: null } },
    message: 'spec.storage.storageClassName is immutable',
  },
  {
    title: 'encryption, turned on',
    manifest: cluster({ tls: { mode: 'Disabled' } }),
    patch: { tls: { mode: 'Managed' } },
    message: 'spec.tls.mode is immutable',
  },
  {
    title: 'encryption, turned off',
    manifest: cluster({ tls: { mode: 'Managed' } }),
    patch: { tls: { mode: 'Disabled' } },
    message: 'spec.tls.mode is immutable',
  },
  {
    title: 'a new CA',
    manifest: cluster({ tls: { mode: 'Managed' } }),
    patch: { tls: { managed: { caGeneration: 2, caOverlapDays: 0 } } },
  },
  {
    title: 'the bootstrap',
    manifest: cluster({ bootstrap }),
    patch: { bootstrap: { restore: { key: 'b' } } },
    message: 'spec.bootstrap is immutable',
  },
  { title: 'the bootstrap, added', manifest: cluster(), patch: { bootstrap }, message: 'spec.bootstrap is immutable' },
  {
    title: 'the bootstrap, removed',
    manifest: cluster({ bootstrap }),
    patch: { bootstrap: null },
    message: 'spec.bootstrap is immutable',
  },
  {
    title: 'settings of a cluster',
    manifest: cluster(),
    patch: { paused: true, log: { trailingLogs: 7 }, podTemplate: { priorityClassName: 'x' } },
  },
  {
    title: 'the cluster of a snapshot',
    manifest: snapshot(),
    patch: { clusterName: 'other' },
    message: 'spec.clusterName is immutable: create another RaftSnapshot instead',
  },
  {
    title: 'the store of a snapshot',
    manifest: snapshot(),
    patch: { storeName: 'other' },
    message: 'spec.storeName is immutable: create another RaftSnapshot instead',
  },
  {
    title: 'what a compaction keeps',
    manifest: compaction(),
    patch: { keepRevisions: 10 },
    message: 'spec is immutable: create another RaftCompaction instead',
  },
  { title: 'a compaction policy', manifest: compactionPolicy(), patch: { keepSeconds: null, keepRevisions: 5 } },
  {
    title: 'the deletionPolicy of a snapshot',
    manifest: snapshot(),
    patch: { deletionPolicy: 'Delete' },
    message: 'spec.deletionPolicy is immutable: create another RaftSnapshot instead',
  },
  {
    title: 'the source of a restore',
    manifest: restore(),
    patch: { source: { snapshotName: 'other' } },
    message: 'spec.source is immutable: create another RaftRestore instead',
  },
  {
    title: 'the target of a restore',
    manifest: restore(),
    patch: { target: replacement },
    message: 'spec.target is immutable: create another RaftRestore instead',
  },
  {
    title: 'a policy',
    manifest: policy(),
    patch: { schedule: '@weekly', clusterName: 'other', retention: { last: 1 } },
  },
  { title: 'a store', manifest: store(), patch: { volume: null, s3: { bucket: 'archives' } } },
];
