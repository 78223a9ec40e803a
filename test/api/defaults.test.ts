import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  kinds,
  raftCluster,
  raftRestore,
  raftSnapshotPolicy,
  raftSnapshotStore,
  withDefaults,
} from '../../src/api/index.ts';
import { examples } from './manifests.ts';

const metadata = { name: 'demo', namespace: 'default' };

describe('defaults', () => {
  test('of a cluster', () => {
    const cluster = withDefaults(raftCluster, {
      apiVersion: 'raftsman.dev/v1alpha1',
      kind: 'RaftCluster',
      metadata,
      spec: { storage: { size: '1Gi' } },
    });
    expect(cluster.spec).toEqual({
      replicas: 3,
      engine: {
        type: 'Embedded',
        embedded: { heartbeatMilliseconds: 100, electionMilliseconds: 1000 },
        etcd: { heartbeatMilliseconds: 100, electionMilliseconds: 1000 },
      },
      storage: { size: '1Gi', retention: { whenScaled: 'Retain', whenDeleted: 'Retain' } },
      log: { snapshotThreshold: 8192, snapshotPeriodSeconds: 120, trailingLogs: 10240 },
      tls: {
        mode: 'Managed',
        managed: { caDays: 3650, caOverlapDays: 30, caGeneration: 1, certificateDays: 90, renewBeforeDays: 30 },
      },
      networkPolicy: { enabled: true },
      paused: false,
    });
  });

  test('fill what is missing beside what is given, at every depth', () => {
    const spec = {
      storage: { size: '1Gi' },
      log: { trailingLogs: 5 },
      engine: { embedded: { heartbeatMilliseconds: 20 } },
    };
    const cluster = withDefaults(raftCluster, {
      apiVersion: 'raftsman.dev/v1alpha1',
      kind: 'RaftCluster',
      metadata,
      spec,
    });
    expect(cluster.spec.log).toEqual({ snapshotThreshold: 8192, snapshotPeriodSeconds: 120, trailingLogs: 5 });
    expect(cluster.spec.engine.embedded).toEqual({ heartbeatMilliseconds: 20, electionMilliseconds: 1000 });
    expect(spec.log).toEqual({ trailingLogs: 5 });
  });

  test('of the cluster that a restore makes are those of a cluster', () => {
    const restore = withDefaults(raftRestore, {
      apiVersion: 'raftsman.dev/v1alpha1',
      kind: 'RaftRestore',
      metadata,
      spec: {
        source: { snapshotName: 's' },
        target: { newCluster: { name: 'c', spec: { storage: { size: '1Gi' } } } },
      },
    });
    expect(restore.spec.target.newCluster.spec).toMatchObject({ replicas: 3, log: { snapshotThreshold: 8192 } });
  });

  test('of a policy and a store', () => {
    const of = (kind: string, spec: unknown) => ({ apiVersion: 'raftsman.dev/v1alpha1', kind, metadata, spec });
    const policy = withDefaults(
      raftSnapshotPolicy,
      of('RaftSnapshotPolicy', { clusterName: 'c', storeName: 's', schedule: '@daily', retention: null }),
    );
    expect(policy.spec).toEqual({
      clusterName: 'c',
      storeName: 's',
      schedule: '@daily',
      timeZone: 'Etc/UTC',
      suspend: false,
      concurrencyPolicy: 'Forbid',
      retention: { last: 7 },
      failedHistoryLimit: 3,
      deletionPolicy: 'Delete',
    });
    const store = withDefaults(
      raftSnapshotStore,
      of('RaftSnapshotStore', { s3: { bucket: 'abc', credentialsSecret: { name: 'x' } } }),
    );
    expect(store.spec.s3).toMatchObject({
      region: 'us-east-1',
      forcePathStyle: false,
      credentialsSecret: { accessKeyIdKey: 'AWS_ACCESS_KEY_ID', secretAccessKeyKey: 'AWS_SECRET_ACCESS_KEY' },
    });
  });

  test('applied twice are the same as once, and modify nothing', () => {
    fc.assert(
      fc.property(fc.constantFrom(...examples), ({ manifest }) => {
        const kind = kinds.find((definition) => definition.kind === manifest.kind)!;
        const copy = structuredClone(manifest);
        const once = withDefaults(kind as typeof raftCluster, manifest);
        expect(withDefaults(kind as typeof raftCluster, once)).toEqual(once);
        expect(manifest).toEqual(copy);
      }),
      { seed: 2 },
    );
  });
});
