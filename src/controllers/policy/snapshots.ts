/** What a RaftSnapshotPolicy adds to a policy: snapshots are made, and none while cluster or store is missing. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition, timestamp } from '../../api/conditions.ts';
import { raftCluster, raftRestore, raftSnapshot, raftSnapshotPolicy, raftSnapshotStore } from '../../api/kinds.ts';
import { apiVersion } from '../../api/meta.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftRestore } from '../../api/restore.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import { keyOf, type Live, type ResourceType } from '../../kube/objects.ts';
import type { ControllerDefinition, Watch } from '../../runtime/contract.ts';
import { CLUSTER, MANAGED_BY, POLICY, SCHEDULED_AT } from '../labels.ts';
import { byLabel, selections, type World } from '../world.ts';
import { clusterObstacle, clusterWatch, policyController } from './controller.ts';
import { no, type RunKind } from './plan.ts';
import type { Verdict } from './status.ts';

export const snapshotRuns: RunKind<RaftSnapshotPolicy, RaftSnapshot> = {
  run: 'snapshot',
  scheduledReason: 'SnapshotScheduled',
  lastName: 'lastSnapshotName',
  retention: ({ spec }) => ({ last: spec.retention.last, failed: spec.failedHistoryLimit }),
  /** Without an owner: whoever deletes a policy does not mean to delete the backups. */
  make: ({ metadata, spec }, name, scheduled) => ({
    apiVersion,
    kind: 'RaftSnapshot',
    metadata: {
      name,
      namespace: metadata.namespace ?? 'default',
      labels: { [MANAGED_BY]: 'raftsman', [POLICY]: metadata.name, [CLUSTER]: spec.clusterName },
      annotations: { [SCHEDULED_AT]: timestamp(scheduled) },
    },
    spec: { clusterName: spec.clusterName, storeName: spec.storeName, deletionPolicy: spec.deletionPolicy },
  }),
};

export function snapshotObstacle(
  { spec }: RaftSnapshotPolicy,
  cluster: Live<RaftCluster> | undefined,
  store: Live<RaftSnapshotStore> | undefined,
): Verdict | undefined {
  const missing = clusterObstacle(spec.clusterName, cluster, 'snapshots');
  if (missing) return missing;
  const { storeName } = spec;
  if (!store || store.metadata.deletionTimestamp !== undefined)
    return no(
      'StoreNotFound',
      `spec.storeName: RaftSnapshotStore ${storeName} does not exist: snapshots go on once it does`,
    );
  const ready = findCondition(store.status?.conditions, 'Ready');
  if (ready?.status !== 'True')
    return no(
      'StoreNotReady',
      `RaftSnapshotStore ${storeName} is not ready: ${ready?.message ?? 'it has not been checked yet'}`,
    );
  return undefined;
}

export function snapshotPolicyController(world: World): ControllerDefinition<RaftSnapshotPolicy> {
  const { views } = world;
  const { own } = selections(world.namespace);

  /** A snapshot that a restore still reads is not deleted under it. */
  function neededOf(made: readonly Live<RaftSnapshot>[]): ReadonlySet<string> {
    const reads = ({ status, metadata }: Live<RaftRestore>) =>
      status?.completionTime === undefined && metadata.deletionTimestamp === undefined;
    return new Set(
      made
        .filter((snapshot) => views.restores.cache.byIndex('snapshot', keyOf(snapshot)).some(reads))
        .map(({ metadata }) => metadata.name),
    );
  }

  const watches: Watch[] = [
    clusterWatch(raftCluster as ResourceType<RaftCluster>, own, views.policies),
    {
      kind: raftSnapshotStore,
      selector: own,
      keys: (store: Live<RaftSnapshotStore>) => views.policies.cache.byIndex('store', keyOf(store)).map(keyOf),
      changed: (before: Live<RaftSnapshotStore>, after: Live<RaftSnapshotStore>) =>
        findCondition(before.status?.conditions, 'Ready')?.status !==
        findCondition(after.status?.conditions, 'Ready')?.status,
    } as Watch,
    {
      // What a restore held back may go once it has ended.
      kind: raftRestore,
      selector: own,
      keys: (restore: Live<RaftRestore>) => {
        const name = restore.spec.source.snapshotName;
        if (name === undefined) return [];
        const snapshot = views.snapshots.get(keyOf({ namespace: restore.metadata.namespace ?? '', name }));
        return snapshot ? byLabel(POLICY)(snapshot) : [];
      },
      changed: (before: Live<RaftRestore>, after: Live<RaftRestore>) =>
        before.status?.completionTime !== after.status?.completionTime,
    } as Watch,
  ];
  return policyController(world, {
    name: 'policy',
    runs: snapshotRuns,
    policyType: raftSnapshotPolicy as ResourceType<RaftSnapshotPolicy>,
    policies: views.policies,
    runType: raftSnapshot as ResourceType<RaftSnapshot>,
    made: views.snapshots,
    look: (policy, made, near) => ({
      obstacle: snapshotObstacle(
        policy,
        views.clusters.get(near(policy.spec.clusterName)),
        views.stores.get(near(policy.spec.storeName)),
      ),
      needed: neededOf(made),
    }),
    watches,
  });
}
