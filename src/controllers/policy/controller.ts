/** Reconciles RaftSnapshotPolicies: makes a RaftSnapshot when one is due, deletes those that have had their time. */

import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition } from '../../api/conditions.ts';
import { raftCluster, raftRestore, raftSnapshot, raftSnapshotPolicy, raftSnapshotStore } from '../../api/kinds.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftRestore } from '../../api/restore.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import { isAlreadyExists, isConflict } from '../../kube/errors.ts';
import { type Key, keyOf, type Live, type ResourceType, refOf } from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { POLICY } from '../labels.ts';
import { byLabel, selections, type World } from '../world.ts';
import { writeStatus } from '../writes.ts';
import { type PolicyAction, type PolicyObserved, planPolicy } from './plan.ts';

export const POLICY_CONTROLLER = 'policy';

export function policyController(world: World): ControllerDefinition<RaftSnapshotPolicy> {
  const { client, views } = world;
  const { own } = selections(world.namespace);
  const type = raftSnapshotPolicy as ResourceType<RaftSnapshotPolicy>;
  const snapshots = raftSnapshot as ResourceType<RaftSnapshot>;
  const toldLate = new Map<Key, number>();

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const policy = views.policies.get(key);
    if (!policy) {
      toldLate.delete(key);
      return {};
    }
    const namespace = refOf(key).namespace ?? '';
    const near = (name: string) => keyOf({ namespace, name });
    const cluster = views.clusters.get(near(policy.spec.clusterName));
    const store = views.stores.get(near(policy.spec.storeName));
    const told = toldLate.get(key);
    const made = views.snapshots.cache.byIndex('policy', key).map((one) => views.snapshots.get(keyOf(one)) ?? one);
    const observed: PolicyObserved = {
      policy,
      snapshots: made,
      needed: neededOf(made),
      ...(cluster ? { cluster } : {}),
      ...(store ? { store } : {}),
      ...(told === undefined ? {} : { toldLate: told }),
    };
    const plan = planPolicy(observed, new Date(context.now));
    for (const action of plan.actions) await act(key, namespace, policy, action, context);
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
  }

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

  async function act(
    key: Key,
    namespace: string,
    policy: Live<RaftSnapshotPolicy>,
    action: PolicyAction,
    { log, signal }: ReconcileContext,
  ): Promise<void> {
    switch (action.kind) {
      case 'create':
        try {
          views.snapshots.wrote(
            await client.create<RaftSnapshot>(snapshots, action.snapshot as unknown as RaftSnapshot),
          );
          log.info('snapshot scheduled', { policy: key, snapshot: action.snapshot.metadata.name });
        } catch (error) {
          // Its name is made of the scheduled time: somebody has created it already, and it is the same snapshot.
          if (!isAlreadyExists(error)) throw error;
        }
        return;
      case 'delete':
        try {
          await client.delete(
            snapshots,
            { namespace, name: action.name },
            { preconditions: { uid: action.uid }, signal },
          );
          log.info('snapshot deleted', { policy: key, snapshot: action.name, why: action.why });
        } catch (error) {
          if (!isConflict(error)) throw error;
        }
        return;
      case 'toldLate':
        toldLate.set(key, action.scheduled.getTime());
        return;
      case 'status':
        await writeStatus(client, type, views.policies, policy, action.status);
        return;
      case 'event':
        world.events.record(policy, action.event);
    }
  }

  const where = (index: string) => (object: Live) => views.policies.cache.byIndex(index, keyOf(object)).map(keyOf);
  const watches: Watch[] = [
    {
      kind: raftSnapshot,
      selector: own,
      keys: byLabel(POLICY),
      changed: (before: Live<RaftSnapshot>, after: Live<RaftSnapshot>) => stage(before) !== stage(after),
    } as Watch,
    {
      kind: raftCluster,
      selector: own,
      keys: where('cluster'),
      changed: (before: Live<RaftCluster>, after: Live<RaftCluster>) =>
        before.status?.formed !== after.status?.formed ||
        before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp,
    } as Watch,
    {
      kind: raftSnapshotStore,
      selector: own,
      keys: where('store'),
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
  return { name: POLICY_CONTROLLER, kind: type, selector: own, watches, workers: world.workers, reconcile };
}

function stage({ metadata, status }: Live<RaftSnapshot>): string {
  return [metadata.deletionTimestamp, status?.startTime, status?.completionTime].join(' ');
}
