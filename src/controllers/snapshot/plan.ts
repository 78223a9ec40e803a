/** From a RaftSnapshot and what there is of it to what is to be done. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition, isTrue, setCondition } from '../../api/conditions.ts';
import type { RaftSnapshot, RaftSnapshotStatus } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import { type ArchiveResult, isArchiveResult, type Progress } from '../../jobs/result.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Job, Pod } from '../../kube/kinds.ts';
import { type Live, type Manifest, ownedBy } from '../../kube/objects.ts';
import { quorumOf } from '../cluster/quorum.ts';
import { note, warning } from '../events.ts';
import { currentJob, type ExpireJob, expiries, ownJobs, readJob } from '../job.ts';
import { same } from '../manifests.ts';
import { archiveKey, jobNames } from '../names.ts';
import type { PodSettings } from '../restricted.ts';
import { deleteJob, saveJob } from './resources.ts';
import { snapshotStatus } from './status.ts';

/** On snapshots with deletionPolicy Delete: their archive is deleted before they go. */
export const ARCHIVE_FINALIZER = 'raftsman.dev/archive';

export interface SnapshotObserved {
  readonly snapshot: Live<RaftSnapshot>;
  readonly cluster?: Live<RaftCluster>;
  readonly store?: Live<RaftSnapshotStore>;
  readonly jobs: readonly Live<Job>[];
  readonly pods: readonly Live<Pod>[];
  /** The running Job's last answer. */
  readonly progress?: Progress;
  /** Why the Job could not be made at the last try. */
  readonly refused?: string;
  readonly settings: PodSettings;
}

export type SnapshotAction =
  | { readonly kind: 'addFinalizer' }
  | { readonly kind: 'removeFinalizer' }
  | { readonly kind: 'createJob'; readonly job: Manifest }
  | { readonly kind: 'deleteJob'; readonly name: string; readonly uid: string }
  /** The result is recorded: the Job and its log may go after so long. */
  | ExpireJob
  | { readonly kind: 'status'; readonly status: RaftSnapshotStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface SnapshotPlan {
  readonly actions: readonly SnapshotAction[];
  readonly requeueAfterMs?: number;
}

const RECHECK_MS = 1_000;
const RETRY_DELETE_MS = 30_000;

export function planSnapshot(observed: SnapshotObserved, now: Date): SnapshotPlan {
  const { snapshot } = observed;
  if (snapshot.metadata.deletionTimestamp !== undefined) return planDeletion(observed, now);
  if (snapshot.status?.completionTime !== undefined) return { actions: expiries(observed.snapshot, observed.jobs) };
  const finalizer = wantsFinalizer(snapshot) ? [{ kind: 'addFinalizer' } as const] : [];
  const { name } = observed.snapshot.metadata;
  const [job, state] = currentJob(observed.snapshot, observed, [jobNames.saveAgain(name), jobNames.save(name)], now);
  if (!job || !state) return start(observed, finalizer, now);
  switch (state.kind) {
    case 'starting':
      return says(observed, 'JobStarting', state.obstacle ?? 'the Job is starting', now, { actions: finalizer });
    case 'running': {
      const { progress } = observed;
      const said = progress ? `${progress.phase}: ${progress.bytes} bytes` : 'the Job runs';
      return says(observed, 'Running', said, now, { actions: finalizer, ...(progress ? { progress } : {}) });
    }
    case 'ending':
      return { ...says(observed, 'Running', 'the Job is ending', now, {}), requeueAfterMs: RECHECK_MS };
    case 'succeeded':
      return isArchiveResult(state.result)
        ? succeed(observed, state.result, job, now)
        : fail(observed, 'the Job left the result of another task', now);
    case 'failed':
      return fail(observed, `${state.message} (${state.code})`, now);
    case 'lost': {
      const again = jobNames.saveAgain(snapshot.metadata.name);
      if (job.metadata.name === again || !observed.store)
        return fail(observed, 'the Job ended, but its pod was removed before its result was read', now);
      return says(observed, 'JobStarting', 'the result of the Job was lost: it is run once more', now, {
        actions: [{ kind: 'createJob', job: saveJob(jobInput(observed, observed.store, again)) }],
      });
    }
  }
}

function jobInput({ snapshot, cluster, settings }: SnapshotObserved, store: Live<RaftSnapshotStore>, name: string) {
  const key = snapshot.status?.key ?? keyOfArchive(snapshot);
  return {
    name,
    snapshot,
    owner: ownedBy(snapshot),
    store: store.spec,
    key,
    settings,
    ...(cluster ? { cluster } : {}),
  };
}

export function keyOfArchive({ metadata, spec }: Live<RaftSnapshot>): string {
  const { namespace = 'default', name, uid } = metadata;
  return archiveKey({ namespace, cluster: spec.clusterName, name, uid });
}

function wantsFinalizer({ spec, metadata }: Live<RaftSnapshot>): boolean {
  return spec.deletionPolicy === 'Delete' && !metadata.finalizers?.includes(ARCHIVE_FINALIZER);
}

/** Nothing runs yet: either something is missing, which is waited for, or the Job is made. */
function start(observed: SnapshotObserved, before: readonly SnapshotAction[], now: Date): SnapshotPlan {
  const missing = obstacle(observed);
  const { snapshot, store, cluster } = observed;
  if (missing || !store || !cluster) {
    const { reason, message } = missing ?? { reason: 'Pending', message: 'waiting' };
    return says(observed, reason, message, now, { actions: before });
  }
  const job = saveJob(jobInput(observed, store, jobNames.save(snapshot.metadata.name)));
  const { refused } = observed;
  const [reason, message] =
    refused === undefined
      ? ['JobStarting', 'the Job is starting']
      : ['JobRefused', `the Job cannot be made, and is tried again: ${refused}`];
  return says(observed, reason, message, now, {
    started: true,
    // The finalizer first: from the Job's first byte on there may be something to delete.
    actions: [...before, { kind: 'createJob', job }],
  });
}

interface Missing {
  readonly reason: string;
  readonly message: string;
}

function obstacle({ snapshot, cluster, store }: SnapshotObserved): Missing | undefined {
  const { clusterName, storeName } = snapshot.spec;
  if (!cluster || cluster.metadata.deletionTimestamp !== undefined)
    return {
      reason: 'ClusterNotFound',
      message: `spec.clusterName: RaftCluster ${clusterName} does not exist: the snapshot is taken once it does`,
    };
  if (!store || store.metadata.deletionTimestamp !== undefined)
    return {
      reason: 'StoreNotFound',
      message: `spec.storeName: RaftSnapshotStore ${storeName} does not exist: create it, and the snapshot is taken`,
    };
  const ready = findCondition(store.status?.conditions, 'Ready');
  if (ready?.status !== 'True')
    return {
      reason: 'StoreNotReady',
      message: `RaftSnapshotStore ${storeName} is not ready: ${ready?.message ?? 'it has not been checked yet'}`,
    };
  const { status, spec } = cluster;
  if (spec.replicas === 0)
    return {
      reason: 'ClusterHibernated',
      message: `RaftCluster ${clusterName} hibernates (spec.replicas is 0): the snapshot is taken once it wakes`,
    };
  if (!status?.formed)
    return {
      reason: 'ClusterNotReady',
      message: `RaftCluster ${clusterName} is still being started or restored: the snapshot is taken when all its members have served`,
    };
  if ((status.readyReplicas ?? 0) < quorumOf(spec.replicas))
    return {
      reason: 'ClusterNotReady',
      message: `RaftCluster ${clusterName} has no quorum: ${findCondition(status.conditions, 'Ready')?.message ?? `${status.membersReady} members serve`}`,
    };
  // Its stream would hold up a member that is to be defragmented, with all that wait for that member.
  if (status.operation?.type === 'Compaction')
    return {
      reason: 'WaitingForCompaction',
      message: `${status.operation.holder} goes on: the snapshot is taken after that`,
    };
  return undefined;
}

interface Saying {
  readonly actions?: readonly SnapshotAction[];
  readonly progress?: Progress;
  readonly started?: boolean;
}

/** The condition of a snapshot that has not ended, where it says something new, and what is to be done beside. */
function says(observed: SnapshotObserved, reason: string, message: string, now: Date, saying: Saying): SnapshotPlan {
  const { snapshot } = observed;
  const before = findCondition(snapshot.status?.conditions, 'Complete');
  const status = snapshotStatus(snapshot, { status: 'False', reason, message }, now, {
    ...(saying.started && snapshot.status?.startTime === undefined
      ? { startedAt: now, key: keyOfArchive(snapshot) }
      : {}),
    ...(saying.progress ? { progress: saying.progress } : {}),
  });
  const actions: SnapshotAction[] = [...(saying.actions ?? [])];
  if (!same(status, snapshot.status)) actions.push({ kind: 'status', status });
  const waits = reason !== 'Running' && reason !== 'JobStarting';
  if (waits && before?.reason !== reason) {
    const tell = reason.startsWith('Waiting') ? note : warning;
    actions.push({ kind: 'event', event: tell(reason, 'TakeSnapshot', message) });
  }
  if (saying.started && snapshot.status?.startTime === undefined) {
    const text = `taking a snapshot of ${snapshot.spec.clusterName} into ${snapshot.spec.storeName}`;
    actions.push({ kind: 'event', event: note('SnapshotStarted', 'TakeSnapshot', text) });
  }
  return { actions };
}

function succeed(observed: SnapshotObserved, result: ArchiveResult, job: Live<Job>, now: Date): SnapshotPlan {
  const { snapshot } = observed;
  const held = result.revision === undefined ? '' : ` at revision ${result.revision}`;
  const keys = result.keys === undefined ? '' : ` with ${result.keys} keys`;
  const message = `${snapshot.spec.clusterName}${held}${keys} is in ${snapshot.spec.storeName} as ${result.key}`;
  const finished = Date.parse(job.status?.completionTime ?? '');
  const status = snapshotStatus(snapshot, { status: 'True', reason: 'Succeeded', message }, now, {
    ...(snapshot.status?.startTime === undefined ? { startedAt: now } : {}),
    completedAt: Number.isNaN(finished) ? now : new Date(finished),
    progress: { phase: 'Done', bytes: result.sizeBytes, totalBytes: result.sizeBytes, percent: 100 },
    result,
  });
  return {
    actions: [
      { kind: 'status', status },
      { kind: 'event', event: note('SnapshotCompleted', 'TakeSnapshot', message) },
      ...expiries(observed.snapshot, observed.jobs),
    ],
  };
}

function fail(observed: SnapshotObserved, why: string, now: Date): SnapshotPlan {
  const { snapshot } = observed;
  const message = `the snapshot failed: ${why}. To try again, create another RaftSnapshot`;
  const status = snapshotStatus(snapshot, { status: 'False', reason: 'Failed', message }, now, { completedAt: now });
  return {
    actions: [
      { kind: 'status', status },
      { kind: 'event', event: warning('SnapshotFailed', 'TakeSnapshot', message) },
      ...expiries(observed.snapshot, observed.jobs),
    ],
  };
}

function planDeletion(observed: SnapshotObserved, now: Date): SnapshotPlan {
  const { snapshot, store } = observed;
  if (!snapshot.metadata.finalizers?.includes(ARCHIVE_FINALIZER)) return { actions: [] };
  const own = ownJobs(observed.snapshot, observed.jobs);
  const saves = own.filter(({ metadata }) => metadata.name !== jobNames.remove(snapshot.metadata.name));
  const removal = own.find(({ metadata }) => metadata.name === jobNames.remove(snapshot.metadata.name));
  // A Job that still writes would put the archive back.
  if (saves.length > 0)
    return {
      actions: saves
        .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
        .map(({ metadata }) => ({ kind: 'deleteJob', name: metadata.name, uid: metadata.uid })),
    };
  const writing = observed.pods.some(({ metadata, status }) => {
    const ended = status?.phase === 'Succeeded' || status?.phase === 'Failed';
    return !ended && metadata.ownerReferences?.some(({ uid }) => uid !== removal?.metadata.uid);
  });
  if (writing) return { actions: [] };
  const key = snapshot.status?.key;
  if (key === undefined || isForeignKey(snapshot, key)) return { actions: [{ kind: 'removeFinalizer' }] };
  const state = removal && readJob(removal, observed.pods, now);
  if (state?.kind === 'succeeded' || state?.kind === 'lost') return { actions: [{ kind: 'removeFinalizer' }] };
  if (state?.kind === 'failed' && removal) {
    const message = `archive ${key} could not be deleted: ${state.message}; trying again`;
    const since = Date.parse(removal.metadata.creationTimestamp);
    const waitMs = since + RETRY_DELETE_MS - now.getTime();
    if (waitMs > 0) return { ...stuck(observed, 'ArchiveNotDeleted', message, now), requeueAfterMs: waitMs };
    return { actions: [{ kind: 'deleteJob', name: removal.metadata.name, uid: removal.metadata.uid }] };
  }
  if (removal) {
    const obstacle = state?.kind === 'starting' ? state.obstacle : undefined;
    return obstacle === undefined ? { actions: [] } : stuck(observed, 'ArchiveNotDeleted', obstacle, now);
  }
  if (!store || !isTrue(store.status?.conditions, 'Ready')) {
    const what = store ? 'is not ready' : 'does not exist';
    const message = `archive ${key} cannot be deleted: RaftSnapshotStore ${snapshot.spec.storeName} ${what}: bring it back, or take finalizer ${ARCHIVE_FINALIZER} off this object to leave the archive where it is`;
    return stuck(observed, 'ArchiveNotDeleted', message, now);
  }
  const job = deleteJob(jobInput(observed, store, jobNames.remove(snapshot.metadata.name)));
  return { actions: [{ kind: 'createJob', job }] };
}

/** Only what this very object wrote is deleted with it, whatever somebody put into its status. */
function isForeignKey(snapshot: Live<RaftSnapshot>, key: string): boolean {
  return key !== keyOfArchive(snapshot);
}

function stuck({ snapshot }: SnapshotObserved, reason: string, message: string, now: Date): SnapshotPlan {
  const condition = {
    type: 'Deleting',
    status: 'False' as const,
    reason,
    message: message.slice(0, 4096),
    observedGeneration: snapshot.metadata.generation,
  };
  const before = snapshot.status?.conditions;
  const conditions = setCondition(before, condition, now) as NonNullable<RaftSnapshotStatus['conditions']>;
  // Looked at again even if nothing changes here: the namespace may be going.
  if (conditions === before) return { actions: [], requeueAfterMs: RETRY_DELETE_MS };
  const told = findCondition(before, 'Deleting')?.message === condition.message;
  return {
    actions: [
      { kind: 'status', status: { ...snapshot.status, conditions } },
      ...(told ? [] : [{ kind: 'event' as const, event: warning(reason, 'DeleteArchive', message) }]),
    ],
    requeueAfterMs: RETRY_DELETE_MS,
  };
}
