/** Objects as the API server would serve them, for tables of plans. */
import type { NewClusterSpec, RaftCluster, RaftClusterStatus } from '../../src/api/cluster.ts';
import type { Condition } from '../../src/api/conditions.ts';
import {
  raftCluster,
  raftRestore,
  raftSnapshot,
  raftSnapshotPolicy,
  raftSnapshotStore,
  withDefaults,
} from '../../src/api/kinds.ts';
import { apiVersion } from '../../src/api/meta.ts';
import type { RaftSnapshotPolicy } from '../../src/api/policy.ts';
import type { RaftRestore } from '../../src/api/restore.ts';
import type { RaftSnapshot } from '../../src/api/snapshot.ts';
import type { RaftSnapshotStore } from '../../src/api/store.ts';
import type { MemberViews } from '../../src/controllers/cluster/members.ts';
import { CLUSTER, COMPONENT, FORMED, MANAGED_BY, MEMBER, TEMPLATE, TOKEN } from '../../src/controllers/labels.ts';
import { embeddedProfile } from '../../src/engines/embedded/profile.ts';
import type { Member } from '../../src/engines/engine.ts';
import type { Job, PersistentVolumeClaim, Pod } from '../../src/kube/kinds.ts';
import type { Live, OwnerReference } from '../../src/kube/objects.ts';

export const now = new Date('2026-11-22T02:14:00Z');
export const settings = { image: 'raftsman:test', imagePullPolicy: 'IfNotPresent' } as const;
export const namespace = 'default';
/** Certificates have tables of their own (tls/). */
const plain = { tls: { mode: 'Disabled' } } as const;
export const profile = embeddedProfile;

export function meta(name: string, more: object = {}) {
  return {
    name,
    namespace,
    uid: `uid-of-${name}`,
    resourceVersion: '100',
    generation: 1,
    creationTimestamp: '2026-11-22T00:00:00Z',
    ...more,
  };
}

export function condition(type: string, status: 'True' | 'False', reason: string, message = reason): Condition {
  return { type, status, reason, message, lastTransitionTime: '2026-11-22T00:00:00Z', observedGeneration: 1 };
}

export function clusterOf(name = 'c', spec: object = {}, status?: RaftClusterStatus, more: object = {}) {
  return withDefaults(raftCluster, {
    apiVersion,
    kind: 'RaftCluster',
    metadata: meta(name, more),
    spec: { storage: { size: '1Gi' }, ...plain, ...spec },
    ...(status === undefined ? {} : { status }),
  }) as Live<RaftCluster>;
}

export const formedStatus: RaftClusterStatus = {
  formed: true,
  readyReplicas: 3,
  membersReady: '3/3',
  clusterId: 'cafe',
  conditions: [condition('Ready', 'True', 'MembersReady')],
};

export function storeOf(name = 's', ready: boolean | null = true, spec: object = { s3: { bucket: 'snaps' } }) {
  return withDefaults(raftSnapshotStore, {
    apiVersion,
    kind: 'RaftSnapshotStore',
    metadata: meta(name),
    spec,
    ...(ready === null
      ? {}
      : {
          status: {
            conditions: [condition('Ready', ready ? 'True' : 'False', ready ? 'Reachable' : 'BucketNotFound')],
          },
        }),
  }) as Live<RaftSnapshotStore>;
}

export function snapshotOf(name = 'n', spec: object = {}, status?: RaftSnapshot['status'], more: object = {}) {
  return withDefaults(raftSnapshot, {
    apiVersion,
    kind: 'RaftSnapshot',
    metadata: meta(name, more),
    spec: { clusterName: 'c', storeName: 's', ...spec },
    ...(status === undefined ? {} : { status }),
  }) as Live<RaftSnapshot>;
}

export function policyOf(spec: object = {}, status?: RaftSnapshotPolicy['status'], more: object = {}) {
  return withDefaults(raftSnapshotPolicy, {
    apiVersion,
    kind: 'RaftSnapshotPolicy',
    metadata: meta('p', more),
    spec: { clusterName: 'c', storeName: 's', schedule: '*/10 * * * *', ...spec },
    ...(status === undefined ? {} : { status }),
  }) as Live<RaftSnapshotPolicy>;
}

export function restoreOf(
  source: RaftRestore['spec']['source'],
  status?: RaftRestore['status'],
  spec: Partial<NewClusterSpec> = {},
) {
  return withDefaults(raftRestore, {
    apiVersion,
    kind: 'RaftRestore',
    metadata: meta('r'),
    spec: { source, target: { newCluster: { name: 'c2', spec: { storage: { size: '1Gi' }, ...plain, ...spec } } } },
    ...(status === undefined ? {} : { status }),
  }) as Live<RaftRestore>;
}

export function ownerOf(kind: string, name: string, uid = `uid-of-${name}`): OwnerReference {
  return { apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true };
}

export interface PodLook {
  readonly ready?: boolean;
  readonly template?: string;
  readonly deleting?: boolean;
  readonly waiting?: { reason: string; message?: string };
}

export function memberPod(cluster: string, ordinal: number, look: PodLook = {}): Live<Pod> {
  const { ready = true, template = 't1', deleting = false, waiting } = look;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: meta(`${cluster}-${ordinal}`, {
      labels: { [MANAGED_BY]: 'raftsman', [CLUSTER]: cluster, [COMPONENT]: 'member' },
      annotations: { [TEMPLATE]: template },
      ...(deleting ? { deletionTimestamp: '2026-11-22T02:13:00Z' } : {}),
    }),
    spec: {},
    status: {
      phase: waiting ? 'Pending' : 'Running',
      podIP: `10.0.0.${ordinal + 1}`,
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      ...(waiting ? { containerStatuses: [{ name: 'member', state: { waiting } }] } : {}),
    },
  } as Live<Pod>;
}

/** The member list of voters with these ordinals, or of the first so many. */
export function listOf(
  cluster: string,
  ordinals: number | readonly number[] = 3,
  more: Partial<Member> = {},
): Member[] {
  const all = typeof ordinals === 'number' ? Array.from({ length: ordinals }, (_, ordinal) => ordinal) : ordinals;
  return all.map((ordinal) => {
    const name = `${cluster}-${ordinal}`;
    const host = `${name}.${cluster}-peers.${namespace}.svc`;
    const urls = { peerUrls: [`http://${host}:2380`], clientUrls: [`http://${host}:2379`] };
    return { id: `${ordinal}a`, name, ...urls, isLearner: false, ...more };
  });
}

export function viewsOf(cluster: string, leader = 0, count = 3, more: object = {}): MemberViews {
  return new Map(
    Array.from({ length: count }, (_, ordinal) => [
      `${cluster}-${ordinal}`,
      {
        failures: 0,
        status: {
          memberId: `${ordinal}a`,
          clusterId: 'cafe',
          name: `${cluster}-${ordinal}`,
          leaderId: `${leader}a`,
          isLearner: false,
          term: 2,
          index: 10,
          appliedIndex: 10,
          revision: 7,
          sizeBytes: 100,
          sizeInUseBytes: 100,
          version: '3.6.0',
          members: [],
          alarms: [],
          errors: [],
          ...more,
        },
      },
    ]),
  );
}

export function diskOf(cluster: string, ordinal: number, token: string, formed = false, more: object = {}) {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: meta(`data-${cluster}-${ordinal}`, {
      annotations: { [TOKEN]: token, ...(formed ? { [FORMED]: token, [MEMBER]: `cafe/${ordinal}a` } : {}) },
      ...more,
    }),
    spec: {},
  } as Live<PersistentVolumeClaim>;
}

export function jobOf(name: string, owner: OwnerReference, status: Job['status'] = {}, spec: object = {}): Live<Job> {
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: meta(name, { ownerReferences: [owner] }),
    spec,
    status,
  } as Live<Job>;
}

export const completeJob: Job['status'] = {
  conditions: [{ type: 'Complete', status: 'True' }],
  completionTime: '2026-11-22T02:13:50Z',
};

export function failedJob(reason = 'BackoffLimitExceeded', message?: string): Job['status'] {
  return { conditions: [{ type: 'Failed', status: 'True', reason, ...(message ? { message } : {}) }] };
}

export function jobPod(job: Live<Job>, status: Pod['status'], name = `${job.metadata.name}-x`): Live<Pod> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: meta(name, { ownerReferences: [ownerOf('Job', job.metadata.name)] }),
    spec: {},
    status,
  } as Live<Pod>;
}

/** A pod whose process left `message` and this status. */
export function endedPod(job: Live<Job>, message: string, exitCode = 0, name?: string): Live<Pod> {
  return jobPod(
    job,
    {
      phase: exitCode === 0 ? 'Succeeded' : 'Failed',
      containerStatuses: [{ name: 'job', state: { terminated: { exitCode, message } } }],
    },
    name,
  );
}

export const checksumHex = 'ab'.repeat(32);
export const archiveResult = {
  key: 'default/c/n-uid-of-n.snap',
  index: 12,
  term: 2,
  sizeBytes: 999,
  checksum: `sha-256=${Buffer.from(checksumHex, 'hex').toString('base64')}`,
  revision: 7,
  keys: 5,
  hash: '0badcafe',
  engine: 'Embedded',
  engineVersion: '0.1.0',
  clusterId: 'cafe',
  cluster: 'c',
};
