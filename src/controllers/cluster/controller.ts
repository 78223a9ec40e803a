/** Reconciles RaftClusters: observes, asks the plan, does what it says. */
import type { RaftCluster } from '../../api/cluster.ts';
import { raftCluster, raftSnapshot, raftSnapshotPolicy, raftSnapshotStore } from '../../api/kinds.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import type { MemberStatus } from '../../engines/engine.ts';
import {
  configMaps,
  networkPolicies,
  type Pod,
  persistentVolumeClaims,
  podDisruptionBudgets,
  pods,
  services,
  statefulSets,
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
import { CLUSTER, COMPONENT } from '../labels.ts';
import type { Latest } from '../latest.ts';
import { same } from '../manifests.ts';
import { clusterNames, memberUrl } from '../names.ts';
import { Polls } from '../polls.ts';
import { byLabel, selections, type World } from '../world.ts';
import { isRefusal, messageOf, REFUSED_RETRY_MS, writeStatus } from '../writes.ts';
import { type MemberViews, podReady } from './members.ts';
import { type ClusterAction, type ClusterObserved, PARTS, type Part, planCluster } from './plan.ts';
import { performStep } from './steps.ts';

export const CLUSTER_CONTROLLER = 'cluster';

/**
 * How often a member that leads or follows is asked, and one that is silent or knows no leader. A member that hangs
 * misses two answers, and shows as not ready, within 4 + 2.5 + 0.5 + 2.5 seconds.
 */
const CALM_MS = 4_000;
const ANXIOUS_MS = 500;
const STATUS_TIMEOUT_MS = 2_500;

export interface ClusterController {
  readonly definition: ControllerDefinition<RaftCluster>;
  close(): void;
}

export function clusterController(world: World): ClusterController {
  const { client, views, manager, clock } = world;
  const { own, managed } = selections(world.namespace);
  const revisionWrittenAt = new Map<Key, number>();
  const refused = new Map<Key, string>();
  const polls = new Polls<MemberStatus>({
    clock,
    timeoutMs: STATUS_TIMEOUT_MS,
    concurrency: 64,
    everyMs: ({ value, failures }) => (failures > 0 || value?.leaderId === undefined ? ANXIOUS_MS : CALM_MS),
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

  function askMembers(key: Key, cluster: Live<RaftCluster>, members: readonly Live<Pod>[]): MemberViews {
    const engine = world.engine(cluster.spec.engine.type);
    polls.ask(
      key,
      members
        .filter(({ status, metadata }) => status?.podIP && status.phase === 'Running' && !metadata.deletionTimestamp)
        .map((pod) => {
          const url = memberUrl(pod.status!.podIP!);
          return {
            id: pod.metadata.name,
            of: `${pod.metadata.uid} ${pod.status!.podIP}`,
            again: `${podReady(pod)} ${members.length}`,
            ask: (signal: AbortSignal) => engine.status({ url }, { signal, timeoutMs: STATUS_TIMEOUT_MS }),
          };
        }),
    );
    return new Map(
      [...polls.answers(key)].map(([name, { value, failures, error }]) => [
        name,
        {
          ...(value === undefined ? {} : { status: value }),
          failures,
          ...(error === undefined ? {} : { error: messageOf(error) }),
        },
      ]),
    );
  }

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const cluster = views.clusters.get(key);
    if (!cluster || cluster.metadata.deletionTimestamp !== undefined) {
      polls.ask(key, []);
      revisionWrittenAt.delete(key);
      refused.delete(key);
      return {};
    }
    const members = views.pods.byIndex('cluster', key).filter(isMember);
    const storeName = cluster.spec.bootstrap?.restore.storeName;
    const store = storeName && views.stores.get(keyOf({ ...refOf(key), name: storeName }));
    const writtenAt = revisionWrittenAt.get(key);
    const observed: ClusterObserved = {
      cluster,
      children: await childrenOf(cluster, context.signal),
      pods: members,
      disks: views.disks.byIndex('cluster', key),
      ...(store ? { store } : {}),
      views: askMembers(key, cluster, members),
      snapshots: views.snapshots.cache.byIndex('cluster', key),
      policies: views.policies.cache.byIndex('cluster', key),
      settings: world.settings,
      ...(writtenAt === undefined ? {} : { revisionWrittenAt: writtenAt }),
      ...(refused.has(key) ? { refused: refused.get(key)! } : {}),
    };
    const now = new Date(context.now);
    const plan = planCluster(observed, now);
    try {
      await act(key, observed, plan.actions, context);
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
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
  }

  async function act(
    key: Key,
    { cluster, children }: ClusterObserved,
    actions: readonly ClusterAction[],
    { log, now, signal }: ReconcileContext,
  ): Promise<void> {
    const { namespace } = refOf(key);
    // In the plan's order: what is recorded comes before what depends on it. Objects, though, go out all at once.
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
    const applied = () =>
      Promise.all(
        actions.flatMap((action) => {
          if (action.kind === 'apply') return apply(action.part, action.object, children);
          return action.kind === 'withdraw' ? withdraw(key, action) : [];
        }),
      );
    const step = actions.find((action) => action.kind === 'step')?.step;
    // A cluster that is being made has nothing to lose yet: its members must not wait for its status. What is begun is
    // recorded first.
    if ((status?.formed && !cluster.status?.formed) || step) {
      await recorded();
      await applied();
    } else {
      await applied();
      await recorded();
    }
    if (step) {
      log.info('step', { cluster: key, ...step });
      await performStep(world, cluster, step, signal);
    }
    for (const action of actions) if (action.kind === 'event') world.events.record(cluster, action.event);
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

function isMember(pod: Live<KubeObject>): boolean {
  return pod.metadata.labels?.[COMPONENT] === 'member';
}
