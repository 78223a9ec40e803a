/** Reconciles policies: makes a run when one is due, deletes those that have had their time. One for each kind of policy. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { ScheduledPolicy, ScheduledRun } from '../../api/scheduled.ts';
import { isAlreadyExists, isConflict } from '../../kube/errors.ts';
import { type Key, type KubeObject, keyOf, type Live, type ResourceType, refOf } from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { POLICY } from '../labels.ts';
import type { Latest } from '../latest.ts';
import { byLabel, type Selections, selections, type World } from '../world.ts';
import { isRefusal, messageOf, REFUSED_RETRY_MS, writeStatus } from '../writes.ts';
import { no, type PolicyAction, type PolicyObserved, planPolicy, type RunKind } from './plan.ts';
import type { Verdict } from './status.ts';

export interface PolicyControllerOptions<P extends ScheduledPolicy, R extends ScheduledRun> {
  /** Of the controller, for logs and metrics. */
  readonly name: string;
  readonly runs: RunKind<P, R>;
  readonly policyType: ResourceType<P>;
  readonly policies: Latest<P>;
  readonly runType: ResourceType<R>;
  /** With an index `policy`. */
  readonly made: Latest<R>;
  look(
    policy: Live<P>,
    made: readonly Live<R>[],
    near: (name: string) => Key,
  ): Pick<PolicyObserved<P, R>, 'obstacle' | 'needed'>;
  /** Beside the policies and their runs. */
  readonly watches: readonly Watch[];
}

/** What keeps any run of a policy from being made. `runs`: what they are called. */
export function clusterObstacle(
  name: string,
  cluster: Live<RaftCluster> | undefined,
  runs: string,
): Verdict | undefined {
  if (!cluster || cluster.metadata.deletionTimestamp !== undefined)
    return no('ClusterNotFound', `spec.clusterName: RaftCluster ${name} does not exist: ${runs} go on once it does`);
  if (cluster.spec.replicas === 0)
    return no('ClusterHibernated', `RaftCluster ${name} hibernates (spec.replicas is 0): ${runs} go on once it wakes`);
  if (!cluster.status?.formed)
    return no('ClusterNotReady', `RaftCluster ${name} is still being started or restored: ${runs} go on after that`);
  return undefined;
}

/** Wakes the policies of a cluster when it comes, goes, has formed, falls asleep or wakes. */
export function clusterWatch<P extends ScheduledPolicy>(
  kind: ResourceType<RaftCluster>,
  selector: Selections['own'],
  policies: Latest<P>,
): Watch {
  return {
    kind,
    selector,
    keys: (cluster: Live) => policies.cache.byIndex('cluster', keyOf(cluster)).map((policy) => keyOf(policy)),
    changed: (before: Live<RaftCluster>, after: Live<RaftCluster>) =>
      before.status?.formed !== after.status?.formed ||
      (before.spec.replicas === 0) !== (after.spec.replicas === 0) ||
      before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp,
  } as Watch<KubeObject>;
}

export function policyController<P extends ScheduledPolicy, R extends ScheduledRun>(
  world: World,
  options: PolicyControllerOptions<P, R>,
): ControllerDefinition<P> {
  const { client } = world;
  const { own } = selections(world.namespace);
  const { name, runs, policyType, policies, runType, made } = options;
  const toldLate = new Map<Key, number>();

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const policy = policies.get(key);
    if (!policy) {
      toldLate.delete(key);
      return {};
    }
    const namespace = refOf(key).namespace ?? '';
    const theirs = made.cache.byIndex('policy', key).map((one) => made.get(keyOf(one)) ?? one);
    const told = toldLate.get(key);
    const observed: PolicyObserved<P, R> = {
      policy,
      runs: theirs,
      ...options.look(policy, theirs, (near) => keyOf({ namespace, name: near })),
      ...(told === undefined ? {} : { toldLate: told }),
    };
    const now = new Date(context.now);
    const { actions, requeueAfterMs } = planPolicy(runs, observed, now);
    for (const action of actions) {
      try {
        await act(key, namespace, policy, action, context);
      } catch (error) {
        if (action.kind !== 'create' || !isRefusal(error)) throw error;
        const instead = planPolicy(runs, { ...observed, refused: messageOf(error) }, now);
        for (const other of instead.actions) await act(key, namespace, policy, other, context);
        return { requeueAfterMs: Math.min(REFUSED_RETRY_MS, instead.requeueAfterMs ?? REFUSED_RETRY_MS) };
      }
    }
    return requeueAfterMs === undefined ? {} : { requeueAfterMs };
  }

  async function act(
    key: Key,
    namespace: string,
    policy: Live<P>,
    action: PolicyAction,
    { log, signal }: ReconcileContext,
  ): Promise<void> {
    switch (action.kind) {
      case 'create':
        try {
          made.wrote(await client.create<R>(runType, action.run as unknown as R));
          log.info('run scheduled', { policy: key, run: action.run.metadata.name });
        } catch (error) {
          // Its name is made of the scheduled time: somebody has created it already, and it is the same run.
          if (!isAlreadyExists(error)) throw error;
        }
        return;
      case 'delete':
        try {
          await client.delete(
            runType,
            { namespace, name: action.name },
            { preconditions: { uid: action.uid }, signal },
          );
          log.info('run deleted', { policy: key, run: action.name, why: action.why });
        } catch (error) {
          if (!isConflict(error)) throw error;
        }
        return;
      case 'toldLate':
        toldLate.set(key, action.scheduled.getTime());
        return;
      case 'status':
        await writeStatus(client, policyType, policies, policy, action.status);
        return;
      case 'event':
        world.events.record(policy, action.event);
    }
  }

  const ofPolicy: Watch = {
    kind: runType,
    selector: own,
    keys: byLabel(POLICY),
    changed: (before: Live<ScheduledRun>, after: Live<ScheduledRun>) => stage(before) !== stage(after),
  } as Watch<KubeObject>;
  return {
    name,
    kind: policyType,
    selector: own,
    watches: [ofPolicy, ...options.watches],
    workers: world.workers,
    reconcile,
  };
}

function stage({ metadata, status }: Live<ScheduledRun>): string {
  return [metadata.deletionTimestamp, status?.startTime, status?.completionTime].join(' ');
}
