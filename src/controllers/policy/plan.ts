/** From a RaftSnapshotPolicy and its snapshots to what is to be done now, and when to look again. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition, isTrue, timestamp } from '../../api/conditions.ts';
import type { RaftSnapshotPolicy, RaftSnapshotPolicyStatus } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Live, Manifest } from '../../kube/objects.ts';
import { type Decision, decide, expired, parseSchedule, type Schedule, ScheduleError } from '../../schedule/index.ts';
import { note, warning } from '../events.ts';
import { same } from '../manifests.ts';
import { scheduledSnapshot } from './resources.ts';
import { policyStatus, type Verdict } from './status.ts';

export interface PolicyObserved {
  readonly policy: Live<RaftSnapshotPolicy>;
  readonly cluster?: Live<RaftCluster>;
  readonly store?: Live<RaftSnapshotStore>;
  /** The snapshots that this policy made. */
  readonly snapshots: readonly Live<RaftSnapshot>[];
  /** Names of snapshots that a restore still reads. */
  readonly needed: ReadonlySet<string>;
  /** The scheduled time, in milliseconds since 1970, whose lateness was told already. */
  readonly toldLate?: number;
}

export type PolicyAction =
  | { readonly kind: 'create'; readonly snapshot: Manifest; readonly scheduled: Date }
  | { readonly kind: 'delete'; readonly name: string; readonly uid: string; readonly why: 'expired' | 'replaced' }
  | { readonly kind: 'toldLate'; readonly scheduled: Date }
  | { readonly kind: 'status'; readonly status: RaftSnapshotPolicyStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface PolicyPlan {
  readonly actions: readonly PolicyAction[];
  readonly requeueAfterMs?: number;
}

export function ended({ status }: RaftSnapshot): boolean {
  return status?.completionTime !== undefined;
}

function good({ status }: RaftSnapshot): boolean {
  return isTrue(status?.conditions, 'Complete');
}

export function planPolicy(observed: PolicyObserved, now: Date): PolicyPlan {
  const { policy, snapshots } = observed;
  if (policy.metadata.deletionTimestamp !== undefined) return { actions: [] };
  const retention = expiredOf(observed);
  const schedule = readSchedule(policy);
  if (schedule instanceof ScheduleError)
    return settle(
      observed,
      { status: 'False', reason: 'InvalidSchedule', message: schedule.message },
      now,
      retention,
      {},
    );

  const running = snapshots.filter((snapshot) => !ended(snapshot));
  const { spec, metadata, status } = policy;
  const last = status?.lastScheduleTime;
  const decision = decide({
    policyName: metadata.name,
    schedule,
    now,
    createdAt: new Date(metadata.creationTimestamp),
    lastScheduleTime: last === undefined ? undefined : new Date(last),
    suspend: spec.suspend,
    startingDeadlineSeconds: spec.startingDeadlineSeconds,
    concurrencyPolicy: spec.concurrencyPolicy,
    active: running.map(({ metadata: { name } }) => name),
  });
  return carryOut(observed, decision, running, retention, now);
}

function readSchedule({ spec }: RaftSnapshotPolicy): Schedule | ScheduleError {
  try {
    return parseSchedule(spec.schedule, spec.timeZone);
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    const field = error.code === 'SCHEDULE_TIME_ZONE' ? 'spec.timeZone' : 'spec.schedule';
    return error.message.includes(field) ? error : new ScheduleError(error.code, `${field}: ${error.message}`);
  }
}

function carryOut(
  observed: PolicyObserved,
  decision: Decision,
  running: readonly Live<RaftSnapshot>[],
  retention: readonly PolicyAction[],
  now: Date,
): PolicyPlan {
  const { policy, toldLate } = observed;
  const zone = policy.spec.timeZone;
  const nextOf = (next: Date | undefined) => (next ? { next } : {});
  const inForce = (next: Date | undefined): Verdict => ({
    status: 'True',
    reason: 'Scheduled',
    message: next ? `the next snapshot is due at ${timestamp(next)}, by ${zone}` : 'nothing is due any more',
  });
  switch (decision.kind) {
    case 'suspended':
      return settle(
        observed,
        { status: 'False', reason: 'Suspended', message: 'spec.suspend is true: no new snapshots start' },
        now,
        retention,
        {},
      );
    case 'never': {
      const message = `spec.schedule: ${policy.spec.schedule} names no time within the next five years: write one that comes`;
      return settle(observed, { status: 'False', reason: 'InvalidSchedule', message }, now, retention, {});
    }
    case 'wait':
      return settle(observed, obstacle(observed) ?? inForce(decision.next), now, retention, { next: decision.next });
    case 'blocked': {
      const verdict = obstacle(observed) ?? {
        status: 'True' as const,
        reason: 'WaitingForRunning',
        message: `the snapshot of ${timestamp(decision.scheduled)} waits for ${decision.by.join(', ')}`,
      };
      return settle(observed, verdict, now, retention, nextOf(decision.next));
    }
    case 'late': {
      const { scheduled, next } = decision;
      const told = toldLate === scheduled.getTime();
      const text = `the snapshot of ${timestamp(scheduled)} was not started within spec.startingDeadlineSeconds and is left out`;
      const actions: PolicyAction[] = told
        ? []
        : [
            { kind: 'toldLate', scheduled },
            { kind: 'event', event: warning('MissedSchedule', 'Schedule', text) },
          ];
      return settle(observed, obstacle(observed) ?? inForce(next), now, [...actions, ...retention], nextOf(next));
    }
    case 'run': {
      const { scheduled, next, name } = decision;
      const missing = obstacle(observed);
      // Whatever is missing comes back, and then the latest of the missed times is caught up with: once.
      if (missing) return settle(observed, missing, now, retention, nextOf(next));
      const pending = running.filter(
        ({ status, metadata }) => status?.startTime === undefined && metadata.name !== name,
      );
      if (pending.length > 0 && policy.spec.concurrencyPolicy === 'Allow') {
        const message = `${pending.map(({ metadata }) => metadata.name).join(', ')} cannot start yet: no further ones are added`;
        return settle(observed, { status: 'True', reason: 'WaitingForRunning', message }, now, retention, nextOf(next));
      }
      const actions: PolicyAction[] = running
        .filter(({ metadata }) => decision.replaces.includes(metadata.name) && !metadata.deletionTimestamp)
        .map(({ metadata: { name: old, uid } }) => ({ kind: 'delete', name: old, uid, why: 'replaced' }));
      actions.push({ kind: 'create', snapshot: scheduledSnapshot(policy, name, scheduled), scheduled });
      if (decision.missed > 0) {
        const text = `${decision.missed} earlier snapshots were due while none could be started: only the latest is taken`;
        actions.push({ kind: 'event', event: warning('MissedSchedule', 'Schedule', text) });
      }
      actions.push({
        kind: 'event',
        event: note('SnapshotScheduled', 'Schedule', `${name} of ${timestamp(scheduled)}`),
      });
      return settle(observed, inForce(next), now, [...actions, ...retention], {
        ...nextOf(next),
        ran: { name, scheduled, replaces: decision.replaces },
      });
    }
  }
}

/** What keeps snapshots from being taken at all. None is made then: they would only wait, one more with every run. */
function obstacle({ policy, cluster, store }: PolicyObserved): Verdict | undefined {
  const { clusterName, storeName } = policy.spec;
  if (!cluster || cluster.metadata.deletionTimestamp !== undefined)
    return no(
      'ClusterNotFound',
      `spec.clusterName: RaftCluster ${clusterName} does not exist: snapshots go on once it does`,
    );
  if (!cluster.status?.formed)
    return no(
      'ClusterNotReady',
      `RaftCluster ${clusterName} is still being started or restored: snapshots go on after that`,
    );
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

function no(reason: string, message: string): Verdict {
  return { status: 'False', reason, message };
}

function expiredOf({ policy, snapshots, needed }: PolicyObserved): PolicyAction[] {
  const kept = snapshots.map((snapshot) => ({
    snapshot,
    name: snapshot.metadata.name,
    outcome: good(snapshot) ? ('succeeded' as const) : ended(snapshot) ? ('ended' as const) : ('active' as const),
    at: new Date(snapshot.status?.completionTime ?? snapshot.metadata.creationTimestamp),
    deleting: snapshot.metadata.deletionTimestamp !== undefined,
  }));
  const { retention, failedHistoryLimit } = policy.spec;
  return expired(kept, { last: retention.last, failed: failedHistoryLimit })
    .filter(({ name }) => !needed.has(name))
    .map(({ name, snapshot }) => ({ kind: 'delete', name, uid: snapshot.metadata.uid, why: 'expired' }));
}

interface Outlook {
  readonly next?: Date;
  readonly ran?: { readonly name: string; readonly scheduled: Date; readonly replaces: readonly string[] };
}

function settle(
  observed: PolicyObserved,
  verdict: Verdict,
  now: Date,
  actions: readonly PolicyAction[],
  { next, ran }: Outlook,
): PolicyPlan {
  const { policy, snapshots } = observed;
  const running = snapshots.filter((one) => !ended(one)).map(({ metadata }) => metadata.name);
  const active = ran ? [...new Set([...running.filter((name) => !ran.replaces.includes(name)), ran.name])] : running;
  const status = policyStatus({
    policy,
    verdict,
    active,
    good: snapshots.filter(good),
    now,
    ...(next ? { next } : {}),
    ...(ran ? { ran } : {}),
  });
  const all = [...actions];
  if (!same(status, policy.status)) all.push({ kind: 'status', status });
  const before = findCondition(policy.status?.conditions, 'Ready');
  const news = verdict.status === 'False' && verdict.reason !== 'Suspended' && before?.reason !== verdict.reason;
  if (news) all.push({ kind: 'event', event: warning(verdict.reason, 'Schedule', verdict.message) });
  return { actions: all, ...(next ? { requeueAfterMs: Math.max(1, next.getTime() - now.getTime()) } : {}) };
}
