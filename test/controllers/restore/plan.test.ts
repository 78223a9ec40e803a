import { describe, expect, test } from '@jest/globals';
import type { RaftClusterStatus } from '../../../src/api/cluster.ts';
import { findCondition } from '../../../src/api/conditions.ts';
import type { RaftRestoreStatus } from '../../../src/api/restore.ts';
import type { Proof, RestoreObserved } from '../../../src/controllers/restore/observed.ts';
import { planRestore } from '../../../src/controllers/restore/plan.ts';
import { expectGolden } from '../golden.ts';
import {
  archiveResult,
  checksumHex,
  clusterOf,
  completeJob,
  condition,
  diskOf,
  endedPod,
  failedJob,
  formedStatus,
  jobOf,
  jobPod,
  now,
  ownerOf,
  restoreOf,
  settings,
  snapshotOf,
  storeOf,
} from '../objects.ts';

const owner = ownerOf('RaftRestore', 'r');
const key = 'default/c/n.snap';
const fromSnapshot = { snapshotName: 'n' };
const fromArchive = { archive: { storeName: 's', key } };
const done = {
  key,
  checksum: checksumHex,
  completionTime: 'x',
  conditions: [condition('Complete', 'True', 'Succeeded')],
};

function look(more: Partial<RestoreObserved> = {}): RestoreObserved {
  return {
    restore: restoreOf(fromSnapshot),
    snapshot: snapshotOf('n', {}, done),
    store: storeOf(),
    jobs: [],
    pods: [],
    disks: [],
    proofs: new Map(),
    settings,
    ...more,
  };
}

const plan = (observed: RestoreObserved) => planRestore(observed, now).actions;
const kinds = (observed: RestoreObserved) => plan(observed).map(({ kind }) => kind);
const statusOf = (observed: RestoreObserved): RaftRestoreStatus | undefined =>
  plan(observed).find((action) => action.kind === 'status')?.status;
const complete = (observed: RestoreObserved) => findCondition(statusOf(observed)?.conditions, 'Complete');
const events = (observed: RestoreObserved) =>
  plan(observed).flatMap((action) => (action.kind === 'event' ? [action.event.reason] : []));
const without = <K extends keyof RestoreObserved>(observed: RestoreObserved, field: K): RestoreObserved => {
  const { [field]: _, ...rest } = observed;
  return rest as unknown as RestoreObserved;
};
/** Nothing was created and nothing will be. */
const ended = (observed: RestoreObserved, reason: 'Rejected' | 'Failed') => {
  expect(complete(observed)).toMatchObject({ status: 'False', reason });
  expect(statusOf(observed)?.completionTime).toBeDefined();
  expect(kinds(observed)).not.toContain('createCluster');
  expect(kinds(observed)).not.toContain('createJob');
};

describe('what is missing is waited for', () => {
  test.each([
    ['SnapshotNotFound', without(look(), 'snapshot')],
    ['SnapshotNotComplete', look({ snapshot: snapshotOf('n') })],
    ['StoreNotFound', without(look(), 'store')],
    ['StoreNotReady', look({ store: storeOf('s', false) })],
    ['TargetTerminating', look({ target: clusterOf('c2', {}, undefined, { deletionTimestamp: 'x' }) })],
    ['TargetTerminating', look({ disks: [diskOf('c2', 0, 't', true, { deletionTimestamp: 'x' })] })],
    ['TargetDisksLeft', look({ disks: [diskOf('c2', 0, 't', true)] })],
  ])('%s', (reason, observed) => {
    expect(complete(observed)).toMatchObject({ status: 'False', reason });
    expect(statusOf(observed)?.completionTime).toBeUndefined();
    expect(kinds(observed)).toEqual(['status', 'event']);
  });

  test('disks of other clusters, and of ordinals that the target will not have, are none of its business', () => {
    expect(kinds(look({ disks: [diskOf('c2', 3, 't'), diskOf('other', 0, 't')] }))).toContain('createJob');
  });
});

describe('what cannot be right is rejected, and nothing is created', () => {
  test('an existing cluster is never touched', () => {
    const observed = look({ target: clusterOf('c2', {}, formedStatus) });
    ended(observed, 'Rejected');
    expect(complete(observed)?.message).toContain('RaftCluster c2 exists');
    expect(events(observed)).toEqual(['RestoreRejected']);
  });

  test('a snapshot that failed holds no archive', () => {
    ended(look({ snapshot: snapshotOf('n', {}, { completionTime: 'x' }) }), 'Rejected');
  });

  test('a snapshot that goes and takes its archive with it', () => {
    const going = snapshotOf('n', { deletionPolicy: 'Delete' }, done, { deletionTimestamp: 'x' });
    ended(look({ snapshot: going }), 'Rejected');
  });
});

describe('the archive is verified whole before anything is created', () => {
  const verifying = (status: Parameters<typeof jobOf>[2], message?: string, exitCode = 0) => {
    const job = jobOf('r-verify', owner, status);
    return look({ jobs: [job], pods: message === undefined ? [] : [endedPod(job, message, exitCode)] });
  };
  const failure = (code: string) =>
    verifying(failedJob(), JSON.stringify({ error: { code, message: 'it is cut short', permanent: true } }), 3);

  test('golden: the Job', () => {
    const actions = plan(look());
    expectGolden(
      'verify-job.yaml',
      actions.flatMap((action) => (action.kind === 'createJob' ? [action.job] : [])),
    );
    expect(actions.map(({ kind }) => kind)).toEqual(['status', 'event', 'createJob']);
  });

  test('which archive it is, is written down: the snapshot may go meanwhile', () => {
    const status = statusOf(look())!;
    expect(status.archive).toEqual({ storeName: 's', key, checksum: checksumHex });
    const alone = without(look({ restore: restoreOf(fromSnapshot, status) }), 'snapshot');
    expect(kinds(alone)).toContain('createJob');
  });

  test('an archive by its key needs no snapshot', () => {
    expect(kinds(without(look({ restore: restoreOf(fromArchive) }), 'snapshot'))).toContain('createJob');
  });

  test('progress shows in percent and bytes', () => {
    const job = jobOf('r-verify', owner);
    const observed = look({
      jobs: [job],
      pods: [jobPod(job, { phase: 'Running', podIP: '10.0.0.9' })],
      progress: { phase: 'Verifying', bytes: 50, totalBytes: 100, percent: 50 },
    });
    expect(statusOf(observed)?.progress).toEqual({ percent: 20, bytes: 50, totalBytes: 100 });
  });

  test.each(['ARCHIVE_TRUNCATED', 'ARCHIVE_TRAILING_BYTES', 'ARCHIVE_HASH_MISMATCH', 'STORE_KEY_MISSING'])(
    '%s is final: rejected, nothing created',
    (code) => {
      const observed = failure(code);
      ended(observed, 'Rejected');
      expect(findCondition(statusOf(observed)?.conditions, 'Verified')).toMatchObject({ status: 'False' });
      expect(complete(observed)?.message).toContain(`it is cut short (${code}). Nothing was created`);
    },
  );

  test('a store that was away is a failure of this try only', () => {
    ended(failure('STORE_UNREACHABLE'), 'Failed');
  });

  test('an archive of another program cannot be proven and is rejected', () => {
    const { revision: _, keys: __, hash: ___, ...foreign } = archiveResult;
    ended(verifying(completeJob, JSON.stringify(foreign)), 'Rejected');
  });

  test('an archive that is not the one the snapshot wrote is rejected', () => {
    const other = { ...archiveResult, checksum: `sha-256=${Buffer.alloc(32).toString('base64')}` };
    ended(verifying(completeJob, JSON.stringify(other)), 'Rejected');
  });

  test('a good one is recorded with what it holds', () => {
    const observed = verifying(completeJob, JSON.stringify(archiveResult));
    expect(kinds(observed)).toEqual(['status', 'event', 'expireJob']);
    expect(events(observed)).toEqual(['RestoreVerified']);
    expect(statusOf(observed)).toMatchObject({
      archive: { storeName: 's', key, checksum: checksumHex, revision: 7, keys: 5, hash: '0badcafe' },
    });
    expect(findCondition(statusOf(observed)?.conditions, 'Verified')).toMatchObject({ status: 'True' });
  });
});

describe('after verification', () => {
  const verified: RaftRestoreStatus = {
    archive: { storeName: 's', key, checksum: checksumHex, revision: 7, keys: 5, hash: '0badcafe', engine: 'Embedded' },
    conditions: [condition('Verified', 'True', 'ArchiveWhole'), condition('Complete', 'False', 'Restoring')],
    progress: { percent: 40, bytes: 999 },
  };
  const restore = restoreOf(fromSnapshot, verified);
  const target = (status?: RaftClusterStatus, uid = restore.metadata.uid, more: object = {}) =>
    clusterOf('c2', {}, status, { annotations: { 'raftsman.dev/restore-uid': uid }, ...more });
  const created = { restore: restoreOf(fromSnapshot, { ...verified, clusterName: 'c2' }) };

  test('golden: the cluster is created, held to the very archive that was verified', () => {
    const actions = plan(look({ restore }));
    expect(actions.map(({ kind }) => kind)).toEqual(['createCluster']);
    expectGolden(
      'restored-cluster.yaml',
      actions.flatMap((action) => (action.kind === 'createCluster' ? [action.cluster] : [])),
    );
  });

  test('a name that was taken meanwhile is left alone', () => {
    ended(look({ restore, target: clusterOf('c2') }), 'Rejected');
    expect(complete(look({ restore, disks: [diskOf('c2', 0, 't', true)] }))).toMatchObject({
      reason: 'TargetDisksLeft',
    });
  });

  test('its members are waited for, with what they say', () => {
    const status = {
      readyReplicas: 1,
      conditions: [condition('Ready', 'False', 'MembersStarting', '1 of 3 members serve')],
    };
    const observed = look({ ...created, target: target(status) });
    expect(complete(observed)).toMatchObject({ reason: 'Restoring', message: 'RaftCluster c2: 1 of 3 members serve' });
    expect(statusOf(observed)?.progress?.percent).toBe(58);
  });

  test('a cluster that is deleted meanwhile ends the restore', () => {
    ended(look(created), 'Failed');
    ended(
      look({ ...created, target: target(formedStatus, restore.metadata.uid, { deletionTimestamp: 'x' }) }),
      'Failed',
    );
  });

  const proofs = (...hashes: (string | Proof)[]) =>
    new Map(
      hashes.map((proof, ordinal) => [
        `c2-${ordinal}`,
        typeof proof === 'string' ? { fingerprint: { revision: 7, keys: 5, hash: proof } } : proof,
      ]),
    );
  const serving = { ...created, target: target(formedStatus) };

  test('success only once every member’s own data are those of the archive', () => {
    const two = look({ ...serving, proofs: proofs('0badcafe', '0badcafe') });
    expect(complete(two)).toMatchObject({ status: 'False', reason: 'Comparing' });
    expect(complete(two)?.message).toContain('waiting for c2-2');
    const all = look({ ...serving, proofs: proofs('0badcafe', '0badcafe', '0badcafe') });
    expect(complete(all)).toMatchObject({ status: 'True', reason: 'Succeeded' });
    expect(statusOf(all)).toMatchObject({
      restored: { revision: 7, keys: 5, hash: '0badcafe' },
      progress: { percent: 100 },
    });
    expect(events(all)).toEqual(['RestoreCompleted']);
  });

  test('a member with other data fails the restore, whatever the others hold', () => {
    const observed = look({ ...serving, proofs: proofs('0badcafe', 'deadbeef', '0badcafe') });
    expect(complete(observed)).toMatchObject({ status: 'False', reason: 'Failed' });
    expect(complete(observed)?.message).toContain('c2-1 has 5 keys with hash deadbeef');
    expect(complete(observed)?.message).toContain('Do not use this cluster');
  });

  test('a member that cannot answer now is asked again; one that has not the revision never will', () => {
    const away = { code: 'ENGINE_UNAVAILABLE', error: 'no connection' };
    expect(complete(look({ ...serving, proofs: proofs('0badcafe', away) }))).toMatchObject({ reason: 'Comparing' });
    const lacks = { code: 'ENGINE_REVISION_UNAVAILABLE', error: 'required revision is a future revision' };
    expect(complete(look({ ...serving, proofs: proofs('0badcafe', lacks) }))).toMatchObject({ reason: 'Failed' });
  });

  test('a revision that a client has compacted away is not called a difference', () => {
    const gone = { code: 'ENGINE_REVISION_UNAVAILABLE', error: 'required revision has been compacted' };
    const ended = complete(look({ ...serving, proofs: proofs('0badcafe', gone) }));
    expect(ended).toMatchObject({ reason: 'Failed', message: expect.stringContaining('No difference was seen') });
    expect(ended?.message).not.toContain('Do not use this cluster');
  });

  test('a restore that has ended stays as it ended', () => {
    const over = restoreOf(fromSnapshot, { ...verified, completionTime: 'x' });
    expect(plan(look({ restore: over, target: clusterOf('c2') }))).toEqual([]);
  });
});
