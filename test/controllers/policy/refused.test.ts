/** What a policy does when Kubernetes will not have its run: for want of quota, or because the namespace goes. */
import { beforeEach, expect, test } from '@jest/globals';
import { findCondition } from '../../../src/api/conditions.ts';
import { raftSnapshot, raftSnapshotPolicy } from '../../../src/api/kinds.ts';
import type { RaftSnapshotPolicy } from '../../../src/api/policy.ts';
import type { RaftSnapshot } from '../../../src/api/snapshot.ts';
import { policyController } from '../../../src/controllers/policy/controller.ts';
import { snapshotRuns } from '../../../src/controllers/policy/snapshots.ts';
import type { World } from '../../../src/controllers/world.ts';
import { REFUSED_RETRY_MS } from '../../../src/controllers/writes.ts';
import { ApiError } from '../../../src/kube/errors.ts';
import { keyOf, type Live, type ResourceType } from '../../../src/kube/objects.ts';
import type { ReconcileContext } from '../../../src/runtime/contract.ts';
import { policyOf, snapshotOf } from '../objects.ts';

const terminating = new ApiError('POST raftsnapshots', 403, {
  reason: 'Forbidden',
  message: 'unable to create new content in namespace default because it is being terminated',
  details: { causes: [{ reason: 'NamespaceTerminating' }] },
});

let policy: Live<RaftSnapshotPolicy>;
let made: Live<RaftSnapshot>[];
let refusal: Error | undefined;
/** What was asked of Kubernetes. */
let done: string[];

beforeEach(() => {
  policy = policyOf({ schedule: '*/10 * * * *' }, { lastScheduleTime: '2026-11-22T02:00:00Z' });
  made = [];
  refusal = terminating;
  done = [];
});

/** Looks once, at that time of the day. */
async function look(time: string) {
  done = [];
  const world = {
    client: {
      create: async (_: unknown, object: RaftSnapshot) => {
        done.push('create');
        if (refusal) throw refusal;
        return object;
      },
      replace: async (_: unknown, object: Live<RaftSnapshotPolicy>) => {
        done.push('status');
        policy = object;
        return object;
      },
      delete: async (_: unknown, { name }: { name: string }) => done.push(`delete ${name}`),
    },
    events: { record: (_: unknown, { reason }: { reason: string }) => done.push(`event ${reason}`) },
  } as unknown as World;
  const { reconcile } = policyController<RaftSnapshotPolicy, RaftSnapshot>(world, {
    name: 'policy',
    runs: snapshotRuns,
    policyType: raftSnapshotPolicy as ResourceType<RaftSnapshotPolicy>,
    policies: { get: () => policy, wrote: () => {} } as never,
    runType: raftSnapshot as ResourceType<RaftSnapshot>,
    made: { cache: { byIndex: () => made }, get: () => undefined, wrote: () => {} } as never,
    look: () => ({}),
    watches: [],
  });
  const context = { now: Date.parse(`2026-11-22T${time}Z`), log: { info: () => {} } };
  return reconcile(keyOf(policy), context as unknown as ReconcileContext);
}

const ready = () => findCondition(policy.status?.conditions, 'Ready');

test('a run that is refused is said once, and tried again from time to time', async () => {
  expect(await look('02:10:00')).toEqual({ requeueAfterMs: REFUSED_RETRY_MS });
  expect(done).toEqual(['create', 'status', 'event Refused']);
  expect(ready()).toMatchObject({ status: 'False', reason: 'Refused' });
  expect(ready()?.message).toContain('is being terminated');
  expect(policy.status).toMatchObject({ lastScheduleTime: '2026-11-22T02:00:00Z' });
  expect(policy.status).not.toHaveProperty('lastSnapshotName');

  expect(await look('02:10:15')).toEqual({ requeueAfterMs: REFUSED_RETRY_MS });
  expect(done).toEqual(['create']);
});

test('once it is taken the policy is in force again', async () => {
  await look('02:10:00');
  refusal = undefined;
  await look('02:10:15');
  expect(done).toEqual(['create', 'event SnapshotScheduled', 'status']);
  expect(ready()).toMatchObject({ status: 'True', reason: 'Scheduled' });
  expect(policy.status).toMatchObject({ lastScheduleTime: '2026-11-22T02:10:00Z' });
});

test('the next time that is due is not slept through', async () => {
  expect(await look('02:19:55')).toEqual({ requeueAfterMs: 5_000 });
});

test('runs that have had their time go all the same', async () => {
  policy = policyOf({ failedHistoryLimit: 0 }, policy.status);
  made = [snapshotOf('old', {}, { completionTime: '2026-11-22T01:00:00Z' })];
  await look('02:10:00');
  expect(done).toEqual(['create', 'delete old', 'status', 'event Refused']);
});

test('other failures are the runtime’s to try again', async () => {
  refusal = new ApiError('POST raftsnapshots', 500);
  await expect(look('02:10:00')).rejects.toBe(refusal);
  expect(done).toEqual(['create']);
});
