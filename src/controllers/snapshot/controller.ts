/** Reconciles RaftSnapshots: one Job each, its progress and its result. */

import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition } from '../../api/conditions.ts';
import { raftCluster, raftSnapshot, raftSnapshotStore } from '../../api/kinds.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import { addFinalizer, removeFinalizer } from '../../kube/finalizers.ts';
import { configMaps, jobs, pods } from '../../kube/kinds.ts';
import { type Key, type KubeObject, keyOf, type Live, type ResourceType, refOf } from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { ownJobs } from '../job.ts';
import { SNAPSHOT } from '../labels.ts';
import { jobNames } from '../names.ts';
import { followJobs, progressPolls } from '../progress.ts';
import { byLabel, jobsOf, selections, type World } from '../world.ts';
import { createOnce, expireJob, namespaceEnds, Refusals, writeStatus } from '../writes.ts';
import { ARCHIVE_FINALIZER, planSnapshot, type SnapshotAction, type SnapshotObserved } from './plan.ts';

export const SNAPSHOT_CONTROLLER = 'snapshot';

export interface SnapshotController {
  readonly definition: ControllerDefinition<RaftSnapshot>;
  close(): void;
}

/** `recheckStore` is told of a store that a snapshot has failed on: it may have gone since it was last looked at. */
export function snapshotController(world: World, recheckStore: (key: Key) => void): SnapshotController {
  const { client, views } = world;
  const { own, managed } = selections(world.namespace);
  const type = raftSnapshot as ResourceType<RaftSnapshot>;
  const polls = progressPolls(world, SNAPSHOT_CONTROLLER);
  const refusals = new Refusals();

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const snapshot = views.snapshots.get(key);
    if (!snapshot) {
      polls.ask(key, []);
      refusals.forget(key);
      return {};
    }
    const now = new Date(context.now);
    const { namespace } = refOf(key);
    const near = (name: string) => keyOf({ namespace: namespace ?? '', name });
    const cluster = views.clusters.get(near(snapshot.spec.clusterName));
    const store = views.stores.get(near(snapshot.spec.storeName));
    const known = {
      snapshot,
      jobs: jobsOf(views, 'snapshot', key, Object.values(jobNames)),
      pods: views.pods.byIndex('snapshot', key),
    };
    const ended = snapshot.status?.completionTime !== undefined || snapshot.metadata.deletionTimestamp !== undefined;
    const progress = followJobs(world, polls, key, ended ? [] : ownJobs(known.snapshot, known.jobs), known.pods, now);
    const observed: SnapshotObserved = {
      ...known,
      settings: world.settings,
      ...(cluster ? { cluster } : {}),
      ...(store ? { store } : {}),
      ...(progress ? { progress } : {}),
      ...refusals.of(key),
    };
    if (isHeld(snapshot) && (await endingNamespace(namespace ?? '', context.signal))) {
      context.log.info('the namespace goes: the archive is left in its store', { archive: snapshot.status?.key });
      await removeFinalizer(client, type, snapshot, ARCHIVE_FINALIZER);
      return {};
    }
    const plan = planSnapshot(observed, now);
    try {
      await act(key, snapshot, plan.actions, context);
    } catch (error) {
      return refusals.note(key, error);
    }
    if (plan.actions.some(({ kind }) => kind === 'createJob')) refusals.forget(key);
    const failed = plan.actions.some((action) => action.kind === 'event' && action.event.reason === 'SnapshotFailed');
    if (failed) recheckStore(near(snapshot.spec.storeName));
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
  }

  async function act(
    key: Key,
    snapshot: Live<RaftSnapshot>,
    actions: readonly SnapshotAction[],
    { signal }: ReconcileContext,
  ): Promise<void> {
    const namespace = refOf(key).namespace ?? '';
    let current = snapshot;
    // What is recorded comes before what is made: a snapshot that is deleted must know what it may have written.
    for (const action of order(actions)) {
      switch (action.kind) {
        case 'addFinalizer':
          current = await addFinalizer(client, type, current, ARCHIVE_FINALIZER);
          views.snapshots.wrote(current);
          break;
        case 'removeFinalizer':
          await removeFinalizer(client, type, current, ARCHIVE_FINALIZER);
          views.snapshots.gone(key);
          break;
        case 'createJob':
          await createOnce(client, jobs, views.jobs, current, action.job);
          break;
        case 'deleteJob':
          await client.delete(
            jobs,
            { namespace, name: action.name },
            { propagationPolicy: 'Background', preconditions: { uid: action.uid }, signal },
          );
          break;
        case 'expireJob':
          await expireJob(client, views.jobs, { namespace, name: action.name }, action.seconds);
          break;
        case 'status':
          current = await writeStatus(client, type, views.snapshots, current, action.status);
          break;
        case 'event':
          world.events.record(current, action.event);
      }
    }
  }

  /**
   * Whether the namespace is being deleted: nothing can run in it any more, and an object held back would only keep it
   * from going. Asked by a dry run, for which no right over namespaces is needed.
   */
  async function endingNamespace(namespace: string, signal: AbortSignal): Promise<boolean> {
    const probe = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'raftsman-dry-run', namespace } };
    try {
      await client.apply<KubeObject>(configMaps, probe, { dryRun: true, signal });
    } catch (error) {
      return namespaceEnds(error);
    }
    return false;
  }

  const ofSnapshot = { selector: managed, keys: byLabel(SNAPSHOT) };
  const where = (index: string) => (object: Live) => views.snapshots.cache.byIndex(index, keyOf(object)).map(keyOf);
  const watches: Watch[] = [
    { kind: jobs, ...ofSnapshot },
    { kind: pods, ...ofSnapshot },
    {
      kind: raftCluster,
      selector: own,
      keys: where('cluster'),
      changed: (before: Live<RaftCluster>, after: Live<RaftCluster>) => serving(before) !== serving(after),
    } as Watch,
    {
      kind: raftSnapshotStore,
      selector: own,
      keys: where('store'),
      changed: (before: Live<RaftSnapshotStore>, after: Live<RaftSnapshotStore>) => usable(before) !== usable(after),
    } as Watch,
  ];
  return {
    definition: { name: SNAPSHOT_CONTROLLER, kind: type, selector: own, watches, workers: world.workers, reconcile },
    close: () => polls.close(),
  };
}

const ranks: Readonly<Record<SnapshotAction['kind'], number>> = {
  addFinalizer: 0,
  status: 1,
  createJob: 2,
  deleteJob: 2,
  expireJob: 2,
  removeFinalizer: 3,
  event: 4,
};

function order(actions: readonly SnapshotAction[]): readonly SnapshotAction[] {
  return actions.toSorted((a, b) => ranks[a.kind] - ranks[b.kind]);
}

/** Deleted, and waiting for us to delete its archive. */
function isHeld({ metadata }: Live<RaftSnapshot>): boolean {
  return metadata.deletionTimestamp !== undefined && (metadata.finalizers?.includes(ARCHIVE_FINALIZER) ?? false);
}

/** What of a cluster matters to its snapshots. */
function serving({ metadata, status }: Live<RaftCluster>): string {
  const compacts = status?.operation?.type === 'Compaction';
  return [metadata.deletionTimestamp, status?.formed, status?.readyReplicas, compacts].join(' ');
}

function usable({ metadata, status }: Live<RaftSnapshotStore>): string {
  const ready = findCondition(status?.conditions, 'Ready');
  return [metadata.deletionTimestamp, metadata.generation, ready?.status, ready?.message].join(' ');
}
