/**
 * From a RaftRestore and what there is of it to what is to be done. Pure.
 *
 * The archive is verified whole before anything is created; the data of every member are compared after; only then is
 * success reported.
 */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition, isTrue } from '../../api/conditions.ts';
import { profileOf } from '../../engines/open.ts';
import { type ArchiveResult, isArchiveResult, type Progress } from '../../jobs/result.ts';
import { type Live, ownedBy } from '../../kube/objects.ts';
import { note, warning } from '../events.ts';
import { checksumInHex, currentJob, expiries } from '../job.ts';
import { same } from '../manifests.ts';
import { jobNames, memberNames } from '../names.ts';
import { archiveFacts } from '../snapshot/status.ts';
import type { Archive, RestoreAction, RestoreObserved, RestorePlan } from './observed.ts';
import { isOfRestore, sourceOf, takenTarget } from './preconditions.ts';
import { restoredCluster, verifyJob } from './resources.ts';
import { restoreStatus } from './status.ts';

const RECHECK_MS = 1_000;
/** Failures that say something about the archive or the order, not about the moment: no later try would end otherwise. */
const final = /^(ARCHIVE_|STORE_KEY_|ENGINE_UNKNOWN|JOB_)/;

export function planRestore(observed: RestoreObserved, now: Date): RestorePlan {
  const { restore } = observed;
  if (restore.metadata.deletionTimestamp !== undefined) return { actions: [] };
  if (restore.status?.completionTime !== undefined) return { actions: expiries(observed.restore, observed.jobs) };
  const source = sourceOf(observed);
  if (source.kind === 'waits') return waits(observed, source.reason, source.message, now);
  if (source.kind === 'rejected') return ends(observed, 'Rejected', source.message, now);
  return isTrue(restore.status?.conditions, 'Verified')
    ? restoring(observed, source.archive, now)
    : verifying(observed, source.archive, now);
}

function verifying(observed: RestoreObserved, archive: Archive, now: Date): RestorePlan {
  const taken = takenTarget(observed);
  if (taken)
    return taken.final
      ? ends(observed, 'Rejected', taken.message, now)
      : waits(observed, taken.reason, taken.message, now);
  const { name } = observed.restore.metadata;
  const [job, state] = currentJob(observed.restore, observed, [jobNames.verifyAgain(name), jobNames.verify(name)], now);
  if (!job || !state) return startVerifying(observed, archive, jobNames.verify(name), now);
  switch (state.kind) {
    case 'starting':
      return runs(observed, 'Verifying', state.obstacle ?? 'the Job that verifies the archive is starting', now, {
        archive,
      });
    case 'running':
      return runs(observed, 'Verifying', 'the archive is read and verified', now, {
        archive,
        ...(observed.progress ? { progress: observed.progress } : {}),
      });
    case 'ending':
      return {
        ...runs(observed, 'Verifying', 'the archive has been read', now, { archive }),
        requeueAfterMs: RECHECK_MS,
      };
    case 'lost': {
      const again = jobNames.verifyAgain(observed.restore.metadata.name);
      return job.metadata.name === again
        ? ends(
            observed,
            'Failed',
            'the Job that verified the archive ended, but its pod was removed before its result was read',
            now,
          )
        : startVerifying(observed, archive, again, now);
    }
    case 'failed': {
      const rejected = final.test(state.code);
      const message = rejected
        ? `archive ${archive.key} in ${archive.storeName} is refused: ${state.message} (${state.code}). Nothing was created`
        : `archive ${archive.key} in ${archive.storeName} could not be verified: ${state.message} (${state.code}). Nothing was created; to try again, create another RaftRestore`;
      return ends(observed, rejected ? 'Rejected' : 'Failed', message, now, { unverified: true });
    }
    case 'succeeded':
      return isArchiveResult(state.result)
        ? verified(observed, archive, state.result, now)
        : ends(observed, 'Failed', 'the Job left the result of another task', now);
  }
}

function startVerifying(observed: RestoreObserved, archive: Archive, name: string, now: Date): RestorePlan {
  const { restore, store, settings } = observed;
  const { storeName = '', key = '', checksum } = archive;
  if (!store || store.metadata.deletionTimestamp !== undefined)
    return waits(
      observed,
      'StoreNotFound',
      `RaftSnapshotStore ${storeName} does not exist: create it, and the restore goes on`,
      now,
    );
  const ready = findCondition(store.status?.conditions, 'Ready');
  if (ready?.status !== 'True')
    return waits(
      observed,
      'StoreNotReady',
      `RaftSnapshotStore ${storeName} is not ready: ${ready?.message ?? 'it has not been checked yet'}`,
      now,
    );
  const job = verifyJob({
    name,
    restore,
    owner: ownedBy(restore),
    store: store.spec,
    key,
    settings,
    ...(checksum === undefined ? {} : { checksum }),
  });
  const { refused } = observed;
  const [reason, message] =
    refused === undefined
      ? ['Verifying', `archive ${key} in ${storeName} is verified before anything is created`]
      : ['JobRefused', `the Job that verifies the archive cannot be made, and is tried again: ${refused}`];
  const plan = runs(observed, reason, message, now, { archive, started: true });
  return { actions: [...plan.actions, { kind: 'createJob', job }] };
}

/** The archive is good: what it holds is recorded, and then the cluster is created. */
function verified(observed: RestoreObserved, archive: Archive, result: ArchiveResult, now: Date): RestorePlan {
  const { restore } = observed;
  if (result.revision === undefined || result.keys === undefined || result.hash === undefined) {
    const message = `archive ${archive.key} was made by another program: it does not say what its data must be, so that a restore could not be proven. Nothing was created`;
    return ends(observed, 'Rejected', message, now, { unverified: true });
  }
  if (archive.checksum !== undefined && archive.checksum !== checksumInHex(result.checksum)) {
    const message = `archive ${archive.key} is not the one that the snapshot wrote: its SHA-256 is ${checksumInHex(result.checksum)}, not ${archive.checksum}. Nothing was created`;
    return ends(observed, 'Rejected', message, now, { unverified: true });
  }
  const facts: Archive = { ...archive, sizeBytes: result.sizeBytes, ...archiveFacts(result) };
  const message = `archive ${archive.key} is whole: revision ${result.revision}, ${result.keys} keys`;
  const status = restoreStatus(
    restore,
    [
      { type: 'Verified', status: 'True', reason: 'ArchiveWhole', message },
      { type: 'Complete', status: 'False', reason: 'Restoring', message: `${message}; its cluster is created` },
    ],
    now,
    { archive: facts, percent: VERIFIED_PERCENT },
  );
  return {
    actions: [
      { kind: 'status', status },
      { kind: 'event', event: note('RestoreVerified', 'VerifyArchive', message) },
      ...expiries(observed.restore, observed.jobs),
    ],
  };
}

/** Where the phases of a restore begin and end on the way from 0 to 100. */
export const VERIFIED_PERCENT = 40;
const SERVING_PERCENT = 95;

function restoring(observed: RestoreObserved, archive: Archive, now: Date): RestorePlan {
  const { restore, target } = observed;
  const { name } = restore.spec.target.newCluster;
  if (!target || !isOfRestore(restore, target)) {
    if (restore.status?.clusterName !== undefined)
      return ends(
        observed,
        'Failed',
        `RaftCluster ${name} was deleted while it was restored: create another RaftRestore`,
        now,
      );
    const taken = takenTarget(observed);
    if (taken)
      return taken.final
        ? ends(observed, 'Rejected', taken.message, now)
        : waits(observed, taken.reason, taken.message, now);
    return { actions: [{ kind: 'createCluster', cluster: restoredCluster(restore, archive) }] };
  }
  if (target.metadata.deletionTimestamp !== undefined)
    return ends(
      observed,
      'Failed',
      `RaftCluster ${name} was deleted while it was restored: create another RaftRestore`,
      now,
    );
  const ready = findCondition(target.status?.conditions, 'Ready');
  if (!target.status?.formed || ready?.status !== 'True') {
    const message = `RaftCluster ${name}: ${ready?.message ?? 'its members are being created'}`;
    return runs(observed, 'Restoring', message, now, {
      archive,
      percent: restoringPercent(observed, target),
      target: name,
    });
  }
  return proving(observed, archive, target, now);
}

function restoringPercent({ progress }: RestoreObserved, { status, spec }: RaftCluster): number {
  const span = SERVING_PERCENT - VERIFIED_PERCENT;
  const fetched = (progress?.percent ?? 0) / 200;
  const served = (status?.readyReplicas ?? 0) / spec.replicas;
  return Math.floor(VERIFIED_PERCENT + span * Math.max(fetched, served));
}

/** Every member's own data, at the revision that the archive's became, against what the archive says of itself. */
function proving(observed: RestoreObserved, archive: Archive, target: Live<RaftCluster>, now: Date): RestorePlan {
  const { proofs } = observed;
  const { name } = target.metadata;
  const members = memberNames(name, target.spec.replicas);
  const wrong: string[] = [];
  const gone: string[] = [];
  const open: string[] = [];
  for (const member of members) {
    const { fingerprint, code, error } = proofs.get(member) ?? {};
    if (fingerprint) {
      const { keys, hash } = fingerprint;
      if (keys !== archive.keys || hash !== archive.hash) wrong.push(`${member} has ${keys} keys with hash ${hash}`);
    } else if (code === 'ENGINE_REVISION_UNAVAILABLE') {
      // Compacted away by a client is no difference; a revision that was never reached is.
      (/compacted/.test(error ?? '') ? gone : wrong).push(`${member}: ${error}`);
    } else open.push(error === undefined ? member : `${member} (${error})`);
  }
  if (wrong.length > 0) {
    const message = `the data of RaftCluster ${name} are not those of the archive (revision ${archive.revision}, ${archive.keys} keys, hash ${archive.hash}): ${wrong.join('; ')}. Do not use this cluster: delete it and its disks, and create another RaftRestore`;
    return ends(observed, 'Failed', message, now);
  }
  if (gone.length > 0) {
    const message = `the data of RaftCluster ${name} can no longer be compared with the archive, because revision ${archive.revision} is not there any more: ${gone.join('; ')}. No difference was seen. For a proof, restore into another cluster that no client compacts before it is complete`;
    return ends(observed, 'Failed', message, now);
  }
  if (open.length > 0)
    return runs(observed, 'Comparing', `the data are compared with the archive: waiting for ${open.join(', ')}`, now, {
      archive,
      percent: SERVING_PERCENT,
      target: name,
    });
  return succeeds(observed, archive, target, members.length, now);
}

function succeeds(
  observed: RestoreObserved,
  archive: Archive,
  { metadata: { name }, spec }: Live<RaftCluster>,
  members: number,
  now: Date,
): RestorePlan {
  const { keys = 0, hash = '' } = archive;
  const archived = archive.revision ?? 0;
  const revision = profileOf(spec.engine.type).restoredRevision(archived);
  const moved = revision === archived ? '' : `, which is revision ${revision} here`;
  const message = `all ${members} members of RaftCluster ${name} hold the ${keys} keys of revision ${archived}${moved}, hash ${hash}`;
  const status = restoreStatus(
    observed.restore,
    [{ type: 'Complete', status: 'True', reason: 'Succeeded', message }],
    now,
    { completed: true, percent: 100, ...whole(archive), clusterName: name, restored: { revision, keys, hash } },
  );
  return {
    actions: [
      { kind: 'status', status },
      { kind: 'event', event: note('RestoreCompleted', 'CompareData', message) },
      ...expiries(observed.restore, observed.jobs),
    ],
  };
}

/** All bytes of an archive that has been verified. */
function whole({ sizeBytes }: Archive): { bytes?: number; totalBytes?: number } {
  return sizeBytes === undefined ? {} : { bytes: sizeBytes, totalBytes: sizeBytes };
}

interface Running {
  readonly archive: Archive;
  readonly progress?: Progress;
  readonly percent?: number;
  readonly started?: boolean;
  readonly target?: string;
}

function runs(observed: RestoreObserved, reason: string, message: string, now: Date, running: Running): RestorePlan {
  const { restore } = observed;
  const { progress, percent } = running;
  const status = restoreStatus(restore, [{ type: 'Complete', status: 'False', reason, message }], now, {
    archive: running.archive,
    ...(running.started ? { started: true } : {}),
    ...(percent === undefined ? {} : { percent, ...whole(running.archive) }),
    ...(running.target === undefined ? {} : { clusterName: running.target }),
    ...(progress
      ? {
          percent: Math.floor(((progress.percent ?? 0) * VERIFIED_PERCENT) / 100),
          bytes: progress.bytes,
          ...(progress.totalBytes === undefined ? {} : { totalBytes: progress.totalBytes }),
        }
      : {}),
  });
  const actions: RestoreAction[] = same(status, restore.status) ? [] : [{ kind: 'status', status }];
  if (running.started && restore.status?.startTime === undefined)
    actions.push({ kind: 'event', event: note('RestoreStarted', 'VerifyArchive', message) });
  return { actions };
}

function waits({ restore }: RestoreObserved, reason: string, message: string, now: Date): RestorePlan {
  const before = findCondition(restore.status?.conditions, 'Complete');
  const status = restoreStatus(restore, [{ type: 'Complete', status: 'False', reason, message }], now, {});
  const actions: RestoreAction[] = same(status, restore.status) ? [] : [{ kind: 'status', status }];
  if (before?.reason !== reason) actions.push({ kind: 'event', event: warning(reason, 'Restore', message) });
  return { actions };
}

export function ends(
  observed: RestoreObserved,
  reason: 'Rejected' | 'Failed',
  message: string,
  now: Date,
  { unverified = false } = {},
): RestorePlan {
  const status = restoreStatus(
    observed.restore,
    [
      ...(unverified ? [{ type: 'Verified', status: 'False', reason: 'ArchiveRefused', message } as const] : []),
      { type: 'Complete', status: 'False', reason, message },
    ],
    now,
    { completed: true },
  );
  const event = warning(reason === 'Rejected' ? 'RestoreRejected' : 'RestoreFailed', 'Restore', message);
  return {
    actions: [{ kind: 'status', status }, { kind: 'event', event }, ...expiries(observed.restore, observed.jobs)],
  };
}
