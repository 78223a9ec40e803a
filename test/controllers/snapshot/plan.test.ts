import { describe, expect, test } from '@jest/globals';
import { findCondition } from '../../../src/api/conditions.ts';
import type { RaftSnapshotStatus } from '../../../src/api/snapshot.ts';
import { ARCHIVE_FINALIZER, planSnapshot, type SnapshotObserved } from '../../../src/controllers/snapshot/plan.ts';
import { expectGolden } from '../golden.ts';
import {
  archiveResult,
  checksumHex,
  clusterOf,
  completeJob,
  condition,
  endedPod,
  failedJob,
  formedStatus,
  jobOf,
  jobPod,
  now,
  ownerOf,
  settings,
  snapshotOf,
  storeOf,
} from '../objects.ts';

const owner = ownerOf('RaftSnapshot', 'n');
const key = 'default/c/n-uid-of-n.snap';

function look(more: Partial<SnapshotObserved> = {}): SnapshotObserved {
  const cluster = clusterOf('c', {}, formedStatus);
  return { snapshot: snapshotOf(), cluster, store: storeOf(), jobs: [], pods: [], settings, ...more };
}

const kinds = (observed: SnapshotObserved) => planSnapshot(observed, now).actions.map(({ kind }) => kind);
const statusOf = (observed: SnapshotObserved): RaftSnapshotStatus | undefined =>
  planSnapshot(observed, now).actions.find((action) => action.kind === 'status')?.status;
const complete = (observed: SnapshotObserved) => findCondition(statusOf(observed)?.conditions, 'Complete');
const events = (observed: SnapshotObserved) =>
  planSnapshot(observed, now).actions.flatMap((action) => (action.kind === 'event' ? [action.event.reason] : []));
const jobs = (observed: SnapshotObserved) =>
  planSnapshot(observed, now).actions.flatMap((action) => (action.kind === 'createJob' ? [action.job] : []));
const without = <K extends keyof SnapshotObserved>(field: K): SnapshotObserved => {
  const { [field]: _, ...rest } = look();
  return rest as unknown as SnapshotObserved;
};

describe('a snapshot that cannot be taken yet waits and says what would help', () => {
  const forming = clusterOf('c', {}, { ...formedStatus, formed: false });
  const operation = { type: 'Compaction', holder: 'RaftCompaction/x', since: '2026-11-22T00:00:00Z' } as const;
  const compacting = clusterOf('c', {}, { ...formedStatus, operation });
  const noQuorum = clusterOf('c', {}, { ...formedStatus, readyReplicas: 1 });
  test.each([
    ['ClusterNotFound', without('cluster')],
    ['ClusterNotFound', look({ cluster: clusterOf('c', {}, formedStatus, { deletionTimestamp: 'x' }) })],
    ['ClusterNotReady', look({ cluster: forming })],
    ['ClusterNotReady', look({ cluster: noQuorum })],
    ['ClusterHibernated', look({ cluster: clusterOf('c', { replicas: 0 }, formedStatus) })],
    ['WaitingForCompaction', look({ cluster: compacting })],
    ['StoreNotFound', without('store')],
    ['StoreNotReady', look({ store: storeOf('s', false) })],
    ['StoreNotReady', look({ store: storeOf('s', null) })],
  ])('%s', (reason, observed) => {
    expect(complete(observed)).toMatchObject({ status: 'False', reason });
    expect(events(observed)).toEqual([reason]);
    expect(jobs(observed)).toEqual([]);
    expect(statusOf(observed)?.completionTime).toBeUndefined();
  });

  test('and tells it once', () => {
    const observed = without('cluster');
    const told = { ...observed, snapshot: { ...observed.snapshot, status: statusOf(observed)! } };
    expect(planSnapshot(told, now)).toEqual({ actions: [] });
  });
});

describe('taking a snapshot', () => {
  test('golden: the Job', () => {
    expectGolden('snapshot-job.yaml', jobs(look()));
  });

  test('the key is recorded with the start', () => {
    expect(statusOf(look())).toMatchObject({ key, startTime: '2026-11-22T02:14:00Z' });
    expect(events(look())).toEqual(['SnapshotStarted']);
  });

  test('with deletionPolicy Delete the finalizer is there before the first byte', () => {
    const observed = look({ snapshot: snapshotOf('n', { deletionPolicy: 'Delete' }) });
    expect(kinds(observed).slice(0, 2)).toEqual(['addFinalizer', 'createJob']);
    expect(kinds(look())).not.toContain('addFinalizer');
  });

  test('a Job that cannot be made is said, and tried again', () => {
    const observed = look({ refused: 'exceeded quota' });
    expect(complete(observed)).toMatchObject({ reason: 'JobRefused' });
    expect(jobs(observed)).toHaveLength(1);
  });

  test('progress shows while it runs, and never goes back', () => {
    const job = jobOf('n-save', owner);
    const pods = [jobPod(job, { phase: 'Running', podIP: '10.0.0.9' })];
    const progress = { phase: 'Saving', bytes: 512, totalBytes: 1024, percent: 50 } as const;
    const running = look({ jobs: [job], pods, progress });
    expect(complete(running)).toMatchObject({ reason: 'Running' });
    expect(statusOf(running)?.progress).toEqual({ percent: 50, bytes: 512, totalBytes: 1024 });
    const again = {
      ...running,
      snapshot: snapshotOf('n', {}, statusOf(running)),
      progress: { ...progress, bytes: 1, percent: 0 },
    };
    expect(statusOf(again)?.progress).toEqual({ percent: 50, bytes: 1, totalBytes: 1024 });
  });

  test('a pod that cannot start is seen in the condition', () => {
    const job = jobOf('n-save', owner);
    const waiting = { reason: 'ImagePullBackOff', message: 'not found' };
    const pods = [jobPod(job, { phase: 'Pending', containerStatuses: [{ name: 'job', state: { waiting } }] })];
    expect(complete(look({ jobs: [job], pods }))?.message).toContain('ImagePullBackOff: not found');
  });

  test('a Job of the same name that belongs to another object is not ours', () => {
    const foreign = jobOf('n-save', ownerOf('RaftSnapshot', 'n', 'another-uid'), completeJob);
    expect(jobs(look({ jobs: [foreign] }))).toHaveLength(1);
  });

  test('success records what the archive holds, before its Job may go', () => {
    const job = jobOf('n-save', owner, completeJob);
    const observed = look({ jobs: [job], pods: [endedPod(job, JSON.stringify(archiveResult))] });
    expect(kinds(observed)).toEqual(['status', 'event', 'expireJob']);
    expect(statusOf(observed)).toMatchObject({
      completionTime: '2026-11-22T02:13:50Z',
      progress: { percent: 100, bytes: 999, totalBytes: 999 },
      index: 12,
      term: 2,
      revision: 7,
      keys: 5,
      hash: '0badcafe',
      sizeBytes: 999,
      checksum: checksumHex,
      clusterId: 'cafe',
      engine: 'Embedded',
      key,
    });
    expect(complete(observed)).toMatchObject({ status: 'True', reason: 'Succeeded' });
    expect(events(observed)).toEqual(['SnapshotCompleted']);
  });

  test('failure is final and says what the Job said', () => {
    const job = jobOf('n-save', owner, failedJob());
    const message = JSON.stringify({ error: { code: 'STORE_FULL', message: 'no room left', permanent: false } });
    const observed = look({ jobs: [job], pods: [endedPod(job, message, 1)] });
    expect(complete(observed)).toMatchObject({ status: 'False', reason: 'Failed' });
    expect(complete(observed)?.message).toContain('no room left (STORE_FULL)');
    expect(statusOf(observed)?.completionTime).toBeDefined();
    expect(events(observed)).toEqual(['SnapshotFailed']);
  });

  test('a result that was lost is had by running once more, once', () => {
    const job = jobOf('n-save', owner, completeJob);
    const later = new Date(now.getTime() + 60_000);
    const plan = planSnapshot(look({ jobs: [job] }), later);
    expect(plan.actions.find((action) => action.kind === 'createJob')).toMatchObject({
      job: { metadata: { name: 'n-save-2' } },
    });
    const again = planSnapshot(look({ jobs: [job, jobOf('n-save-2', owner, completeJob)] }), later);
    expect(again.actions.map(({ kind }) => kind)).toEqual(['status', 'event', 'expireJob', 'expireJob']);
  });
});

describe('a snapshot that has ended', () => {
  const done = { completionTime: '2026-11-22T02:00:00Z', conditions: [condition('Complete', 'False', 'Failed')] };

  test('stays as it ended, whatever becomes of its cluster, store and Job', () => {
    expect(planSnapshot({ ...look(), snapshot: snapshotOf('n', {}, done) }, now)).toEqual({ actions: [] });
    const expired = jobOf('n-save', owner, completeJob, { ttlSecondsAfterFinished: 300 });
    expect(planSnapshot(look({ snapshot: snapshotOf('n', {}, done), jobs: [expired] }), now)).toEqual({ actions: [] });
  });
});

describe('deleting a snapshot', () => {
  const deleting = (status: RaftSnapshotStatus = { key }) =>
    snapshotOf('n', { deletionPolicy: 'Delete' }, status, { deletionTimestamp: 'x', finalizers: [ARCHIVE_FINALIZER] });

  test('with policy Retain the archive stays', () => {
    expect(kinds(look({ snapshot: snapshotOf('n', {}, { key }, { deletionTimestamp: 'x' }) }))).toEqual([]);
  });

  test('a Job that still writes is ended first, and its pod waited for', () => {
    const job = jobOf('n-save', owner);
    expect(kinds(look({ snapshot: deleting(), jobs: [job] }))).toEqual(['deleteJob']);
    const pods = [jobPod(job, { phase: 'Running' })];
    expect(kinds(look({ snapshot: deleting(), pods }))).toEqual([]);
  });

  test('then the archive is deleted by a Job, and only then the object goes', () => {
    const [job] = jobs(look({ snapshot: deleting() }));
    expect(job).toMatchObject({ metadata: { name: 'n-delete' } });
    expect(JSON.stringify(job)).toContain(`"args":["job","delete","--key=${key}"]`);
    const removal = jobOf('n-delete', owner, completeJob);
    const pods = [endedPod(removal, JSON.stringify({ key }))];
    expect(kinds(look({ snapshot: deleting(), jobs: [removal], pods }))).toEqual(['removeFinalizer']);
  });

  test('one that never started has nothing to delete', () => {
    expect(kinds(look({ snapshot: deleting({}) }))).toEqual(['removeFinalizer']);
  });

  test('a key that this object did not write is never deleted', () => {
    expect(kinds(look({ snapshot: deleting({ key: 'default/other/precious.snap' }) }))).toEqual(['removeFinalizer']);
  });

  test('without its store it waits and says the two ways out', () => {
    const { store: _, ...observed } = look({ snapshot: deleting() });
    const stuck = planSnapshot(observed, now).actions;
    expect(stuck.map(({ kind }) => kind)).toEqual(['status', 'event']);
    expect(JSON.stringify(stuck)).toContain('bring it back, or take finalizer raftsman.dev/archive off');
  });

  test('a deletion that failed is tried again after a while', () => {
    const removal = { ...jobOf('n-delete', owner, failedJob()) };
    const fresh = { ...removal, metadata: { ...removal.metadata, creationTimestamp: '2026-11-22T02:13:50Z' } };
    expect(planSnapshot(look({ snapshot: deleting(), jobs: [fresh] }), now).requeueAfterMs).toBe(20_000);
    expect(kinds(look({ snapshot: deleting(), jobs: [removal] }))).toEqual(['deleteJob']);
  });
});
