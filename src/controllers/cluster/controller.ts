/** Reconciles RaftClusters: observes, asks the plan, does what it says. */
import type { RaftCluster } from '../../api/cluster.ts';
import { raftCluster, raftSnapshot, raftSnapshotPolicy, raftSnapshotStore } from '../../api/kinds.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import { EngineError, type MemberStatus } from '../../engines/engine.ts';
import { isConflict, isNotFound } from '../../kube/errors.ts';
import {
  configMaps,
  networkPolicies,
  type PersistentVolumeClaim,
  type Pod,
  persistentVolumeClaims,
  podDisruptionBudgets,
  pods,
  type StatefulSet,
  services,
  statefulSets,
  storageClasses,
} from '../../kube/kinds.ts';
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
import { CLUSTER, isMember } from '../labels.ts';
import type { Latest } from '../latest.ts';
import { holderEnded } from '../lock.ts';
import { same } from '../manifests.ts';
import { clusterNames, diskNames } from '../names.ts';
import { type Answer, Polls } from '../polls.ts';
import { byLabel, selections, type World } from '../world.ts';
import { isRefusal, messageOf, REFUSED_RETRY_MS, writeStatus } from '../writes.ts';
import { classesToGrow } from './disks.ts';
import { type MemberView, type MemberViews, podReady } from './members.ts';
import { STEP_RETRY_MS } from './membership.ts';
import { type ClusterAction, type ClusterObserved, PARTS, type Part, planCluster } from './plan.ts';
import { performStep, proveSize, type StepOutcome } from './steps.ts';

export const CLUSTER_CONTROLLER = 'cluster';

/**
 * How often a member that leads or follows is asked, and one that is silent, learns or knows no leader. A member that
 * hangs misses two answers, and shows as hung, within 3 + 2.3 + 0.2 + 2.3 seconds.
 */
const CALM_MS = 3_000;
const ANXIOUS_MS = 200;
const STATUS_TIMEOUT_MS = 1_800;
/** With what it takes to find out how a member is silent. */
const POLL_TIMEOUT_MS = 2_300;
/** Who has not answered so many times is not about to: its pod tells when it starts again. */
const LONG_SILENCE = 100;
/** An answer that takes longer than this says that the member is slow. */
const LATE_MS = 1_000;
/** A step that the members refuse is said to be once it has been for so many tries: most wait for a moment only. */
const TRIES_UNTIL_SAID = 10;
const SLOW_RETRY_MS = 1_000;

/** What a member said, and whether it took its time over it. */
interface Said {
  readonly status: MemberStatus;
  readonly tookLong: boolean;
  /** So did the answer before: once may be chance. */
  readonly late: boolean;
}

export interface ClusterController {
  readonly definition: ControllerDefinition<RaftCluster>;
  close(): void;
}

export function clusterController(world: World): ClusterController {
  const { client, views, manager, clock } = world;
  const { own, managed } = selections(world.namespace);
  const revisionWrittenAt = new Map<Key, number>();
  const refused = new Map<Key, string>();
  const notNow = new Map<Key, { readonly message: string; readonly tries: number }>();
  const polls = new Polls<Said>({
    clock,
    timeoutMs: POLL_TIMEOUT_MS,
    concurrency: 64,
    everyMs: ({ value, failures }) => {
      if (failures > LONG_SILENCE) return CALM_MS;
      return failures > 0 || value?.status.leaderId === undefined || value.status.isLearner ? ANXIOUS_MS : CALM_MS;
    },
    wake: (key) => manager.enqueue(CLUSTER_CONTROLLER, key),
  });

  const parts: { readonly [P in Part]: { type: ResourceType; latest: Latest<KubeObject>; name(c: string): string } } = {
    config: part(configMaps, views.configMaps, (c) => clusterNames(c).config),
    peers: part(services, views.services, (c) => clusterNames(c).peers),
    client: part(services, views.services, (c) => clusterNames(c).client),
    disruptionBudget: part(podDisruptionBudgets, views.disruptionBudgets, (c) => clusterNames(c).disruptionBudget),
    networkPolicy: part(networkPolicies, views.networkPolicies, (c) => clusterNames(c).networkPolicy),
    statefulSet: part(statefulSets, views.statefulSets, (c) => clusterNames(c).statefulSet),
  };

  /** What is not in the caches may still be there without our labels: somebody else's, which we must not touch. */
  async function childrenOf(cluster: Live<RaftCluster>, signal: AbortSignal): Promise<ClusterObserved['children']> {
    const { namespace, name } = cluster.metadata;
    const found = await Promise.all(
      PARTS.map(async (each) => {
        const { type, latest, name: nameOf } = parts[each];
        const ref = { namespace: namespace ?? '', name: nameOf(name) };
        // What the spec does not want is looked for among ours alone.
        const wanted = each !== 'networkPolicy' || cluster.spec.networkPolicy.enabled;
        return [
          each,
          latest.get(keyOf(ref)) ?? (wanted ? await client.find(type, ref, { signal }) : undefined),
        ] as const;
      }),
    );
    return Object.fromEntries(found.filter(([, object]) => object !== undefined)) as ClusterObserved['children'];
  }

  /** Disks that lie under the names of those that new members would get. The caches show our own only. */
  async function foreignDisks(cluster: Live<RaftCluster>, present: number, signal: AbortSignal): Promise<string[]> {
    const { namespace = '', name } = cluster.metadata;
    const missing = diskNames(name, cluster.spec.replicas)
      .slice(present)
      .map((disk) => ({ namespace, name: disk }))
      .filter((ref) => views.disks.get(keyOf(ref)) === undefined);
    const found = await Promise.all(missing.map((ref) => client.find(persistentVolumeClaims, ref, { signal })));
    return found.flatMap((disk) => (disk && disk.metadata.labels?.[CLUSTER] !== name ? [disk.metadata.name] : []));
  }

  function askMembers(key: Key, cluster: Live<RaftCluster>, members: readonly Live<Pod>[]): MemberViews {
    const engine = world.engine(cluster.spec.engine.type);
    polls.ask(
      key,
      members.flatMap((pod) => {
        const endpoint = world.certificates.endpoint(cluster, pod);
        if (!endpoint) return [];
        // A container that was started again is another process: what the one before said does not count.
        const restarts = pod.status?.containerStatuses?.[0]?.restartCount ?? 0;
        return {
          id: pod.metadata.name,
          of: `${pod.metadata.uid} ${pod.status?.podIP} ${restarts}`,
          again: `${pod.status?.phase} ${podReady(pod)} ${members.length}`,
          ask: async (signal: AbortSignal) => {
            const began = clock.monotonic();
            const status = await engine.status(endpoint, { signal, timeoutMs: STATUS_TIMEOUT_MS });
            const tookLong = clock.monotonic() - began > LATE_MS;
            const before = polls.answers(key).get(pod.metadata.name)?.value;
            return { status, tookLong, late: tookLong && before?.tookLong === true };
          },
        };
      }),
    );
    return new Map([...polls.answers(key)].map(([name, answer]) => [name, viewOf(answer)]));
  }

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const cluster = views.clusters.get(key);
    if (!cluster || cluster.metadata.deletionTimestamp !== undefined) {
      polls.ask(key, []);
      revisionWrittenAt.delete(key);
      refused.delete(key);
      notNow.delete(key);
      return {};
    }
    // The controller of certificates wakes this one once it knows.
    const tls = world.certificates.of(cluster);
    if (tls === undefined) return {};
    const members = views.pods.byIndex('cluster', key).filter(isMember);
    const storeName = cluster.spec.bootstrap?.restore.storeName;
    const store = storeName && views.stores.get(keyOf({ ...refOf(key), name: storeName }));
    const writtenAt = revisionWrittenAt.get(key);
    const children = await childrenOf(cluster, context.signal);
    const observed: ClusterObserved = {
      cluster,
      children,
      pods: members,
      disks: views.disks.byIndex('cluster', key),
      foreignDisks: await foreignDisks(cluster, children.statefulSet?.spec.replicas ?? 0, context.signal),
      mayGrow: await mayGrow(cluster, views.disks.byIndex('cluster', key), context.signal),
      ...(store ? { store } : {}),
      ...(tls.kind === 'on' ? { tls } : {}),
      views: askMembers(key, cluster, members),
      snapshots: views.snapshots.cache.byIndex('cluster', key),
      policies: views.policies.cache.byIndex('cluster', key),
      settings: world.settings,
      profile: world.engine(cluster.spec.engine.type).profile,
      ...(writtenAt === undefined ? {} : { revisionWrittenAt: writtenAt }),
      ...(refused.has(key) ? { refused: refused.get(key)! } : {}),
      ...notNowOf(key),
      holderEnded: holderEnded(cluster, views),
    };
    const now = new Date(context.now);
    const plan = planCluster(observed, now);
    let wait = plan.requeueAfterMs;
    try {
      const outcome = await act(key, observed, plan.actions, context);
      wait = retryOf(key, outcome, wait);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const message = messageOf(error);
      refused.set(key, message);
      const { actions } = planCluster({ ...observed, refused: message }, now);
      const saying = actions.filter(({ kind }) => kind === 'status' || kind === 'event');
      await act(key, observed, saying, context);
      return { requeueAfterMs: REFUSED_RETRY_MS };
    }
    // What was refused has been taken: the status can say so at the next look.
    if (refused.delete(key)) return { requeueAfterMs: 1 };
    return wait === undefined ? {} : { requeueAfterMs: wait };
  }

  function notNowOf(key: Key): Pick<ClusterObserved, 'notNow'> {
    const { message, tries } = notNow.get(key) ?? { tries: 0 };
    return message === undefined || tries < TRIES_UNTIL_SAID ? {} : { notNow: message };
  }

  /** A step that is refused again and again is tried less often, and the reason said. */
  function retryOf(key: Key, outcome: StepOutcome | undefined, wait: number | undefined): number | undefined {
    if (typeof outcome !== 'object') {
      notNow.delete(key);
      return wait;
    }
    const tries = (notNow.get(key)?.tries ?? 0) + 1;
    notNow.set(key, { message: outcome.notNow, tries });
    const retry = tries < TRIES_UNTIL_SAID ? STEP_RETRY_MS : SLOW_RETRY_MS;
    return wait === undefined || wait <= STEP_RETRY_MS ? retry : Math.min(wait, retry);
  }

  async function act(
    key: Key,
    { cluster, children }: ClusterObserved,
    actions: readonly ClusterAction[],
    { log, now, signal }: ReconcileContext,
  ): Promise<StepOutcome | undefined> {
    const { namespace } = refOf(key);
    // In the plan's order: what is recorded comes before what depends on it. Objects, though, go out all at once.
    await Promise.all(actions.flatMap((action) => (action.kind === 'ownDisk' ? ownDisk(key, action, signal) : [])));
    await Promise.all(
      actions.flatMap((action) =>
        action.kind === 'markDisk'
          ? client.patch(
              persistentVolumeClaims,
              { namespace: namespace ?? '', name: action.name },
              { metadata: { annotations: action.annotations } },
              { signal },
            )
          : [],
      ),
    );
    const status = actions.find((action) => action.kind === 'status')?.status;
    const recorded = async () => {
      if (status === undefined) return;
      await writeStatus(client, raftCluster as ResourceType<RaftCluster>, views.clusters, cluster, status);
      revisionWrittenAt.set(key, now);
    };
    const shrinks = actions.find((action) => action.kind === 'apply' && lessPods(action, children.statefulSet));
    let outcome: StepOutcome | undefined;
    const applied = async () => {
      await Promise.all(
        actions.flatMap((action) => {
          if (action.kind === 'apply' && action !== shrinks) return apply(action.part, action.object, children);
          return action.kind === 'withdraw' ? withdraw(key, action) : [];
        }),
      );
      if (shrinks?.kind !== 'apply') return;
      const { replicas } = shrinks.object['spec'] as { replicas: number };
      outcome = await proveSize(world, cluster, replicas, signal);
      if (outcome === 'done') await apply(shrinks.part, shrinks.object, children);
    };
    const { step, events = [] } = actions.find((action) => action.kind === 'step') ?? {};
    // A cluster that is being made has nothing to lose yet: its members must not wait for its status. What is begun is
    // recorded first.
    if ((status?.formed && !cluster.status?.formed) || step) {
      await recorded();
      await applied();
    } else {
      await applied();
      await recorded();
    }
    for (const action of actions) if (action.kind === 'event') world.events.record(cluster, action.event);
    if (!step) return outcome;
    const done = await performStep(world, cluster, step, signal);
    if (done === 'done') {
      log.info('step', { cluster: key, ...step });
      for (const event of events) world.events.record(cluster, event);
    } else if (done !== 'already') log.debug('step must wait', { cluster: key, ...step, ...done });
    polls.refresh(key);
    return typeof done === 'object' ? done : outcome;
  }

  /** A StorageClass that cannot be read, as where the operator may see one namespace only, is left to the API server. */
  async function mayGrow(
    cluster: Live<RaftCluster>,
    disks: readonly Live<PersistentVolumeClaim>[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, boolean>> {
    const names = classesToGrow({ cluster, disks, size: cluster.status?.size ?? cluster.spec.replicas });
    const found = names.map(async (name): Promise<[string, boolean][]> => {
      try {
        const type = await client.find(storageClasses, { name }, { signal });
        return type === undefined ? [] : [[name, type.allowVolumeExpansion === true]];
      } catch (error) {
        if (isRefusal(error)) return [];
        throw error;
      }
    });
    return new Map((await Promise.all(found)).flat());
  }

  async function ownDisk(key: Key, action: ClusterAction & { kind: 'ownDisk' }, signal: AbortSignal): Promise<void> {
    const { kind: _, name, ...metadata } = action;
    try {
      await client.patch(persistentVolumeClaims, { ...refOf(key), name }, { metadata }, { signal });
    } catch (error) {
      // Somebody else wrote to it: the watch tells, and it is looked at again.
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }

  async function withdraw(key: Key, { part, name, uid }: ClusterAction & { kind: 'withdraw' }): Promise<void> {
    const { type, latest } = parts[part];
    const ref = { ...refOf(key), name };
    await client.delete(type, ref, { preconditions: { uid } });
    latest.gone(keyOf(ref));
  }

  async function apply(each: Part, object: Manifest, children: ClusterObserved['children']): Promise<void> {
    const { type, latest } = parts[each];
    const live = children[each];
    if (live) await world.applier.apply<KubeObject>(type, object, live);
    else latest.wrote(await client.apply<KubeObject>(type, object));
  }

  const ofCluster = <T extends KubeObject>(kind: ResourceType<T>): Watch<T> => ({
    kind,
    selector: managed,
    keys: byLabel(CLUSTER),
  });
  const watches: Watch[] = [
    ofCluster(statefulSets),
    ofCluster(services),
    ofCluster(configMaps),
    ofCluster(podDisruptionBudgets),
    ofCluster(networkPolicies),
    { ...ofCluster(pods), keys: (pod) => (isMember(pod) ? byLabel(CLUSTER)(pod) : []) },
    ofCluster(persistentVolumeClaims),
    {
      kind: raftSnapshotStore,
      selector: own,
      keys: (store: Live<RaftSnapshotStore>) =>
        views.clusters.cache.byIndex('store', keyOf(store)).map((cluster) => keyOf(cluster)),
    } as Watch,
    {
      kind: raftSnapshot,
      selector: own,
      keys: (snapshot: Live<RaftSnapshot>) => [keyOf({ ...refOf(keyOf(snapshot)), name: snapshot.spec.clusterName })],
      changed: (before: Live<RaftSnapshot>, after: Live<RaftSnapshot>) =>
        before.status?.completionTime !== after.status?.completionTime,
    } as Watch,
    {
      kind: raftSnapshotPolicy,
      selector: own,
      keys: (policy: Live<RaftSnapshotPolicy>) => [keyOf({ ...refOf(keyOf(policy)), name: policy.spec.clusterName })],
      changed: (before: Live<RaftSnapshotPolicy>, after: Live<RaftSnapshotPolicy>) =>
        !same(before.status?.nextScheduleTime, after.status?.nextScheduleTime),
    } as Watch,
  ];

  return {
    definition: {
      name: CLUSTER_CONTROLLER,
      kind: raftCluster as ResourceType<RaftCluster>,
      selector: own,
      watches,
      workers: world.workers,
      reconcile,
    },
    close: () => polls.close(),
  };
}

function part<T extends KubeObject>(type: ResourceType<T>, latest: Latest<T>, name: (cluster: string) => string) {
  return { type: type as ResourceType, latest: latest as unknown as Latest<KubeObject>, name };
}

function viewOf({ value, at, failures, error }: Answer<Said>): MemberView {
  return {
    ...(value === undefined ? {} : { status: value.status, late: value.late }),
    ...(at === undefined ? {} : { at }),
    failures,
    ...(error === undefined ? {} : { error: messageOf(error) }),
    ...(error instanceof EngineError && error.reason !== undefined ? { reason: error.reason } : {}),
  };
}

/** Pods above the new size would go: not on the word of a view. Hibernation keeps every member and every disk. */
function lessPods({ part, object }: { part: Part; object: Manifest }, live: Live<StatefulSet> | undefined): boolean {
  const { replicas } = (object['spec'] ?? {}) as { replicas?: number };
  return part === 'statefulSet' && !!replicas && (live?.spec.replicas ?? 0) > replicas;
}
