/** Reconciles RaftRestores: verify, create, compare. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition, isTrue } from '../../api/conditions.ts';
import { raftCluster, raftRestore, raftSnapshot, raftSnapshotStore } from '../../api/kinds.ts';
import type { RaftRestore } from '../../api/restore.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import type { Fingerprint } from '../../engines/engine.ts';
import { isAlreadyExists, isInvalid } from '../../kube/errors.ts';
import { type Job, jobs, persistentVolumeClaims, pods } from '../../kube/kinds.ts';
import {
  type Key,
  type KubeObject,
  keyOf,
  type Live,
  type Manifest,
  type ResourceType,
  refOf,
} from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { podReady } from '../cluster/members.ts';
import { ownJobs } from '../job.ts';
import { CLUSTER, isMember, RESTORE } from '../labels.ts';
import { jobNames } from '../names.ts';
import { Polls, type Question } from '../polls.ts';
import { followJobs, progressOf, progressPolls } from '../progress.ts';
import { byLabel, jobsOf, selections, type World } from '../world.ts';
import { createOnce, expireJob, messageOf, Refusals, writeStatus } from '../writes.ts';
import type { Proof, RestoreAction, RestoreObserved } from './observed.ts';
import { ends, planRestore } from './plan.ts';
import { isOfRestore } from './preconditions.ts';

export const RESTORE_CONTROLLER = 'restore';
/** Hashing a large state takes its time; the operator only waits for it. */
const PROOF_TIMEOUT_MS = 600_000;
const PROOF_RETRY_MS = 1_000;

export interface RestoreController {
  readonly definition: ControllerDefinition<RaftRestore>;
  close(): void;
}

export function restoreController(world: World): RestoreController {
  const { client, views } = world;
  const { own, managed } = selections(world.namespace);
  const type = raftRestore as ResourceType<RaftRestore>;
  const clusters = raftCluster as ResourceType<RaftCluster>;
  const refusals = new Refusals();
  const progress = progressPolls(world, RESTORE_CONTROLLER);
  const proofs = new Polls<Fingerprint>({
    clock: world.clock,
    // The data at one revision never change: one answer is enough.
    everyMs: ({ failures }) => (failures > 0 ? PROOF_RETRY_MS : undefined),
    timeoutMs: PROOF_TIMEOUT_MS,
    concurrency: 8,
    wake: (key) => world.manager.enqueue(RESTORE_CONTROLLER, key),
  });

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const restore = views.restores.get(key);
    if (!restore || restore.status?.completionTime !== undefined || restore.metadata.deletionTimestamp !== undefined) {
      progress.ask(key, []);
      proofs.ask(key, []);
      refusals.forget(key);
      if (!restore) return {};
    }
    const now = new Date(context.now);
    const observed = await observe(key, restore, context, now);
    const plan = planRestore(observed, now);
    try {
      await act(key, observed, plan.actions, context);
    } catch (error) {
      return refusals.note(key, error);
    }
    if (plan.actions.some(({ kind }) => kind === 'createJob')) refusals.forget(key);
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
  }

  async function observe(
    key: Key,
    restore: Live<RaftRestore>,
    { signal }: ReconcileContext,
    now: Date,
  ): Promise<RestoreObserved> {
    const namespace = refOf(key).namespace ?? '';
    const near = (name: string) => keyOf({ namespace, name });
    const { source, target } = restore.spec;
    const snapshot = source.snapshotName === undefined ? undefined : views.snapshots.get(near(source.snapshotName));
    const storeName = restore.status?.archive?.storeName ?? source.archive?.storeName ?? snapshot?.spec.storeName;
    const store = storeName === undefined ? undefined : views.stores.get(near(storeName));
    const targetKey = near(target.newCluster.name);
    const found = await targetOf(restore, targetKey, signal);
    const known = {
      restore,
      jobs: jobsOf(views, 'restore', key, Object.values(jobNames)),
      pods: views.pods.byIndex('restore', key),
    };
    const mine = found && isOfRestore(restore, found) ? found : undefined;
    const told = restore.status?.completionTime === undefined ? followed(key, known, mine, targetKey, now) : undefined;
    return {
      ...known,
      settings: world.settings,
      disks: views.disks.byIndex('cluster', targetKey),
      proofs: restore.status?.completionTime === undefined ? prove(key, restore, mine, targetKey) : new Map(),
      ...(snapshot ? { snapshot } : {}),
      ...(store ? { store } : {}),
      ...(found ? { target: found } : {}),
      ...(told ? { progress: told } : {}),
      ...refusals.of(key),
    };
  }

  /** That a cluster is in the way is final: the server is asked whether it really still is. */
  async function targetOf(
    restore: Live<RaftRestore>,
    key: Key,
    signal: AbortSignal,
  ): Promise<Live<RaftCluster> | undefined> {
    const cached = views.clusters.get(key);
    if (!cached || isOfRestore(restore, cached) || restore.status?.completionTime !== undefined) return cached;
    return client.find<RaftCluster>(clusters, refOf(key), { signal });
  }

  /** How far the verification is or, after it, the members that fetch the archive. */
  function followed(
    key: Key,
    known: Pick<RestoreObserved, 'restore' | 'jobs' | 'pods'>,
    target: Live<RaftCluster> | undefined,
    targetKey: Key,
    now: Date,
  ) {
    if (!target) return followJobs(world, progress, key, ownJobs(known.restore, known.jobs), known.pods, now);
    const fetching = members(targetKey).filter((pod) =>
      pod.status?.initContainerStatuses?.some(({ state }) => state?.running !== undefined),
    );
    progress.ask(
      key,
      fetching.flatMap((pod) =>
        pod.status?.podIP ? [progressOf(world, { name: pod.metadata.name, ip: pod.status.podIP })] : [],
      ),
    );
    const answers = [...progress.answers(key).values()].flatMap(({ value }) => value ?? []);
    return answers.sort((a, b) => (a.percent ?? 0) - (b.percent ?? 0))[0];
  }

  function members(targetKey: Key) {
    return views.pods.byIndex('cluster', targetKey).filter(isMember);
  }

  function prove(
    key: Key,
    restore: Live<RaftRestore>,
    target: Live<RaftCluster> | undefined,
    targetKey: Key,
  ): ReadonlyMap<string, Proof> {
    const archived = restore.status?.archive?.revision;
    const serves = target?.status?.formed && isTrue(target.status.conditions, 'Ready');
    const questions: Question<Fingerprint>[] = [];
    if (target && serves && archived !== undefined) {
      const engine = world.engine(target.spec.engine.type);
      const revision = engine.profile.restoredRevision(archived);
      for (const pod of members(targetKey)) {
        const endpoint = world.certificates.endpoint(target, pod);
        if (!endpoint || !podReady(pod)) continue;
        questions.push({
          id: pod.metadata.name,
          of: `${pod.metadata.uid} ${endpoint.url} ${revision}`,
          ask: (signal) => engine.fingerprint(endpoint, revision, { signal, timeoutMs: PROOF_TIMEOUT_MS }),
        });
      }
    }
    proofs.ask(key, questions);
    return new Map(
      [...proofs.answers(key)].map(([name, { value, error }]): [string, Proof] => {
        if (value) return [name, { fingerprint: value }];
        const code = (error as { code?: unknown } | undefined)?.code;
        return [
          name,
          {
            ...(typeof code === 'string' ? { code } : {}),
            ...(error === undefined ? {} : { error: messageOf(error) }),
          },
        ];
      }),
    );
  }

  async function act(
    key: Key,
    observed: RestoreObserved,
    actions: readonly RestoreAction[],
    { now, log }: ReconcileContext,
  ): Promise<void> {
    const namespace = refOf(key).namespace ?? '';
    let current = observed.restore;
    for (const action of actions) {
      switch (action.kind) {
        case 'status':
          current = await writeStatus(client, type, views.restores, current, action.status);
          break;
        case 'createJob':
          await createOnce<Job>(client, jobs, views.jobs, current, action.job);
          break;
        case 'expireJob':
          await expireJob(client, views.jobs, { namespace, name: action.name }, action.seconds);
          break;
        case 'createCluster': {
          const refused = await createCluster(action.cluster);
          if (refused === undefined) {
            log.info('restored cluster created', { restore: key, cluster: action.cluster.metadata.name });
            break;
          }
          const plan = ends(observed, 'Rejected', refused, new Date(now));
          await act(key, observed, plan.actions, { now, log } as ReconcileContext);
          break;
        }
        case 'event':
          world.events.record(current, action.event);
      }
    }
  }

  /** What the API server has against it, if that will not change. A name taken meanwhile is seen at the next look. */
  async function createCluster(cluster: Manifest): Promise<string | undefined> {
    try {
      views.clusters.wrote(await client.create<RaftCluster>(clusters, cluster as unknown as RaftCluster));
    } catch (error) {
      if (isInvalid(error)) return `spec.target.newCluster is refused: ${messageOf(error)}`;
      if (!isAlreadyExists(error)) throw error;
      // By another operator, or by somebody else: the watch is about to show it, and the plan tells which.
      const there = await client.find<RaftCluster>(clusters, refOf(keyOf(cluster)));
      if (there) views.clusters.wrote(there);
    }
    return undefined;
  }

  const where = (index: string) => (object: Live<KubeObject>) =>
    views.restores.cache.byIndex(index, keyOf(object)).map(keyOf);
  const ofTarget = (object: Live<KubeObject>) =>
    byLabel(CLUSTER)(object).flatMap((target) => views.restores.cache.byIndex('target', target).map(keyOf));
  const watches: Watch[] = [
    { kind: jobs, selector: managed, keys: byLabel(RESTORE) },
    { kind: pods, selector: managed, keys: (pod) => [...byLabel(RESTORE)(pod), ...ofTarget(pod)] },
    { kind: persistentVolumeClaims, selector: managed, keys: ofTarget },
    { kind: raftCluster, selector: own, keys: where('target') } as Watch,
    {
      kind: raftSnapshot,
      selector: own,
      keys: where('snapshot'),
      changed: (before: Live<RaftSnapshot>, after: Live<RaftSnapshot>) =>
        before.status?.completionTime !== after.status?.completionTime ||
        before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp,
    } as Watch,
    {
      kind: raftSnapshotStore,
      selector: own,
      // A restore that waits for its snapshot's store has not written down which that is: it looks at every change.
      keys: (store: Live<RaftSnapshotStore>) =>
        views.restores.cache
          .list()
          .filter(({ metadata, status }) => metadata.namespace === store.metadata.namespace && !status?.completionTime)
          .map(keyOf),
      changed: (before: Live<RaftSnapshotStore>, after: Live<RaftSnapshotStore>) =>
        findCondition(before.status?.conditions, 'Ready')?.message !==
        findCondition(after.status?.conditions, 'Ready')?.message,
    } as Watch,
  ];
  return {
    definition: { name: RESTORE_CONTROLLER, kind: type, selector: own, watches, workers: world.workers, reconcile },
    close: () => {
      progress.close();
      proofs.close();
    },
  };
}
