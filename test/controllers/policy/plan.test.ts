import { describe, expect, test } from '@jest/globals';
import type { RaftCluster } from '../../../src/api/cluster.ts';
import { findCondition } from '../../../src/api/conditions.ts';
import type { RaftSnapshotPolicy } from '../../../src/api/policy.ts';
import type { RaftSnapshot } from '../../../src/api/snapshot.ts';
import type { RaftSnapshotStore } from '../../../src/api/store.ts';
import { type PolicyObserved, planPolicy } from '../../../src/controllers/policy/plan.ts';
import { snapshotObstacle, snapshotRuns } from '../../../src/controllers/policy/snapshots.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { clusterOf, condition, formedStatus, policyOf, snapshotOf, storeOf } from '../objects.ts';

/** The policy of these tables was created at 00:00 and is due every ten minutes. */
const at = (time: string) => new Date(`2026-11-22T${time}Z`);
const ran = (time: string) => ({ lastScheduleTime: `2026-11-22T${time}Z` });

type Observed = PolicyObserved<RaftSnapshotPolicy, RaftSnapshot> & {
  readonly cluster?: Live<RaftCluster> | undefined;
  readonly store?: Live<RaftSnapshotStore> | undefined;
};

function look(spec: object = {}, status: object = ran('02:00:00'), more: Partial<Observed> = {}): Observed {
  const cluster = clusterOf('c', {}, formedStatus);
  return { policy: policyOf(spec, status), cluster, store: storeOf(), runs: [], ...more };
}

const plan = (observed: Observed, now: Date) => {
  const obstacle = snapshotObstacle(observed.policy, observed.cluster, observed.store);
  return planPolicy(snapshotRuns, { ...observed, obstacle }, now);
};
const created = (observed: Observed, now: Date) =>
  plan(observed, now).actions.flatMap((action) => (action.kind === 'create' ? [action.run.metadata.name] : []));
const deleted = (observed: Observed, now: Date) =>
  plan(observed, now).actions.flatMap((action) => (action.kind === 'delete' ? [action.name] : []));
const statusOf = (observed: Observed, now: Date) =>
  plan(observed, now).actions.find((action) => action.kind === 'status')?.status;
const ready = (observed: Observed, now: Date) => findCondition(statusOf(observed, now)?.conditions, 'Ready');
const events = (observed: Observed, now: Date) =>
  plan(observed, now).actions.flatMap((action) => (action.kind === 'event' ? [action.event.reason] : []));
const nameOf = (time: string) => `p-${at(time).getTime() / 60_000}`;
const good = (name: string, completionTime: string) =>
  snapshotOf(name, {}, { completionTime, conditions: [condition('Complete', 'True', 'Succeeded')] });
const bad = (name: string, completionTime: string) =>
  snapshotOf(name, {}, { completionTime, conditions: [condition('Complete', 'False', 'Failed')] });
const running = (name: string) => snapshotOf(name, {}, { startTime: 'x' });

describe('when snapshots are due', () => {
  test('before its time nothing happens, and the next look is exactly then', () => {
    const result = plan(look(), at('02:03:00'));
    expect(result.requeueAfterMs).toBe(7 * 60_000);
    expect(created(look(), at('02:03:00'))).toEqual([]);
    expect(statusOf(look(), at('02:03:00'))).toMatchObject({ nextScheduleTime: '2026-11-22T02:10:00Z' });
  });

  test('in its time one is made, whose name and annotation come from that time', () => {
    const { actions } = plan(look(), at('02:10:04'));
    expect(actions.find((action) => action.kind === 'create')).toMatchObject({
      run: {
        metadata: {
          name: nameOf('02:10:00'),
          labels: { 'raftsman.dev/policy': 'p' },
          annotations: { 'raftsman.dev/scheduled-at': '2026-11-22T02:10:00Z' },
        },
        spec: { clusterName: 'c', storeName: 's', deletionPolicy: 'Delete' },
      },
    });
    expect(statusOf(look(), at('02:10:04'))).toMatchObject({
      lastScheduleTime: '2026-11-22T02:10:00Z',
      lastSnapshotName: nameOf('02:10:00'),
      active: [nameOf('02:10:00')],
      nextScheduleTime: '2026-11-22T02:20:00Z',
    });
  });

  test('a snapshot has no owner: deleting the policy deletes no backup', () => {
    const { actions } = plan(look(), at('02:10:04'));
    expect(JSON.stringify(actions)).not.toContain('ownerReferences');
  });

  test('two weeks away cost one snapshot, not two thousand', () => {
    const observed = look({}, { lastScheduleTime: '2026-11-08T00:00:00Z' });
    expect(created(observed, at('02:15:00'))).toEqual([nameOf('02:10:00')]);
    expect(events(observed, at('02:15:00'))).toContain('MissedSchedule');
  });

  test('what is later than startingDeadlineSeconds is left out, and told once', () => {
    const observed = look({ startingDeadlineSeconds: 60 });
    expect(created(observed, at('02:15:00'))).toEqual([]);
    expect(events(observed, at('02:15:00'))).toContain('MissedSchedule');
    expect(events({ ...observed, toldLate: at('02:10:00').getTime() }, at('02:15:00'))).toEqual([]);
  });

  test('a clock that was ahead when one was made, and was set back since, keeps none from being made', () => {
    const observed = look({}, { lastScheduleTime: '2031-01-01T00:00:00Z' });
    expect(created(observed, at('02:03:00'))).toEqual([]);
    expect(statusOf(observed, at('02:03:00'))).toMatchObject({
      lastScheduleTime: '2026-11-22T02:03:00Z',
      nextScheduleTime: '2026-11-22T02:10:00Z',
    });
    expect(created(look({}, ran('02:03:00')), at('02:10:04'))).toEqual([nameOf('02:10:00')]);
  });

  test('a clock that was set back by a little makes no second one of a time', () => {
    const observed = look({}, ran('02:10:00'));
    expect(created(observed, at('02:09:58'))).toEqual([]);
    expect(statusOf(observed, at('02:09:58'))).toMatchObject({
      lastScheduleTime: '2026-11-22T02:10:00Z',
      nextScheduleTime: '2026-11-22T02:20:00Z',
    });
  });

  test('however far away the next is, the clock is looked at now and then: it may be put forward', () => {
    expect(plan(look({ schedule: '0 0 1 1 *' }), at('02:03:00')).requeueAfterMs).toBeLessThanOrEqual(600_000);
  });

  test('the time zone decides', () => {
    const observed = look({ schedule: '0 3 * * *', timeZone: 'Europe/Berlin' }, ran('00:00:00'));
    expect(statusOf(observed, at('01:00:00'))?.nextScheduleTime).toBe('2026-11-22T02:00:00Z');
  });

  test('suspended, nothing is made and no next time is named', () => {
    const observed = look({ suspend: true }, { ...ran('01:00:00'), nextScheduleTime: 'x' });
    expect(created(observed, at('02:15:00'))).toEqual([]);
    expect(ready(observed, at('02:15:00'))).toMatchObject({ status: 'False', reason: 'Suspended' });
    expect(statusOf(observed, at('02:15:00'))?.nextScheduleTime).toBeUndefined();
  });
});

describe('a policy that cannot be right says which field', () => {
  test.each([
    ['spec.schedule', { schedule: '61 * * * *' }],
    ['spec.timeZone', { timeZone: 'Europe/Atlantis' }],
    ['spec.schedule', { schedule: '0 0 30 2 *' }],
  ])('%s', (field, spec) => {
    const condition = ready(look(spec), at('02:15:00'));
    expect(condition).toMatchObject({ status: 'False', reason: 'InvalidSchedule' });
    expect(condition?.message).toContain(field);
  });
});

describe('while one runs', () => {
  const active = { runs: [running('p-1')] };

  test('Forbid waits for it, and goes on when it has ended', () => {
    expect(created(look({}, ran('02:00:00'), active), at('02:10:04'))).toEqual([]);
    const after = look({}, ran('02:00:00'), { runs: [good('p-1', '2026-11-22T02:12:00Z')] });
    expect(created(after, at('02:12:01'))).toEqual([nameOf('02:10:00')]);
  });

  test('Allow makes another', () => {
    expect(created(look({ concurrencyPolicy: 'Allow' }, ran('02:00:00'), active), at('02:10:04'))).toHaveLength(1);
  });

  test('Replace deletes it', () => {
    const observed = look({ concurrencyPolicy: 'Replace' }, ran('02:00:00'), active);
    expect(deleted(observed, at('02:10:04'))).toEqual(['p-1']);
    expect(created(observed, at('02:10:04'))).toHaveLength(1);
  });

  test('even Allow does not pile up snapshots that cannot start', () => {
    const pending = { runs: [snapshotOf('p-1')] };
    expect(created(look({ concurrencyPolicy: 'Allow' }, ran('02:00:00'), pending), at('02:10:04'))).toEqual([]);
  });
});

describe('nothing piles up while something is missing', () => {
  const restoring = clusterOf('c', {}, { ...formedStatus, formed: false });
  test.each([
    ['ClusterNotFound', { cluster: undefined }],
    ['ClusterNotReady', { cluster: restoring }],
    ['ClusterHibernated', { cluster: clusterOf('c', { replicas: 0 }, formedStatus) }],
    ['StoreNotFound', { store: undefined }],
    ['StoreNotReady', { store: storeOf('s', false) }],
  ])('%s: none is made, it is said, and the run is caught up with after', (reason, more) => {
    const observed = { ...look(), ...more } as Observed;
    expect(created(observed, at('02:10:04'))).toEqual([]);
    expect(ready(observed, at('02:10:04'))).toMatchObject({ status: 'False', reason });
    expect(statusOf(observed, at('02:10:04'))).toMatchObject({ lastScheduleTime: '2026-11-22T02:00:00Z' });
    expect(created(look(), at('05:55:00'))).toEqual([nameOf('05:50:00')]);
  });
});

describe('retention', () => {
  const snapshots = ['01', '02', '03', '04'].map((hour) => good(`p-${hour}`, `2026-11-21T${hour}:00:00Z`));

  test('keeps the newest good ones and deletes the oldest first', () => {
    expect(deleted(look({ retention: { last: 2 } }, ran('02:00:00'), { runs: snapshots }), at('02:03:00'))).toEqual([
      'p-01',
      'p-02',
    ]);
  });

  test('failures take no good one’s place, and have a limit of their own', () => {
    const failures = ['05', '06', '07'].map((hour) => bad(`f-${hour}`, `2026-11-21T${hour}:00:00Z`));
    const observed = look({ retention: { last: 4 }, failedHistoryLimit: 1 }, ran('02:00:00'), {
      runs: [...snapshots, ...failures],
    });
    expect(deleted(observed, at('02:03:00'))).toEqual(['f-05', 'f-06']);
  });

  test('the last good one stays, however many failures follow', () => {
    const observed = look({ retention: { last: 1 }, failedHistoryLimit: 0 }, ran('02:00:00'), {
      runs: [good('p-1', '2026-11-01T00:00:00Z'), bad('f-1', '2026-11-21T00:00:00Z')],
    });
    expect(deleted(observed, at('02:03:00'))).toEqual(['f-1']);
  });

  test('one that a restore still reads is spared', () => {
    const observed = look({ retention: { last: 1 } }, ran('02:00:00'), { runs: snapshots, needed: new Set(['p-02']) });
    expect(deleted(observed, at('02:03:00'))).toEqual(['p-01', 'p-03']);
  });

  test('goes on while suspended, or with a schedule that is wrong', () => {
    for (const spec of [{ suspend: true }, { schedule: '61 * * * *' }])
      expect(
        deleted(look({ ...spec, retention: { last: 3 } }, ran('02:00:00'), { runs: snapshots }), at('02:03:00')),
      ).toEqual(['p-01']);
  });

  test('the time of the last success outlives the snapshot', () => {
    const observed = look({}, { ...ran('02:00:00'), lastSuccessfulTime: '2026-11-21T09:00:00Z' }, { runs: snapshots });
    expect(statusOf(observed, at('02:03:00'))?.lastSuccessfulTime).toBe('2026-11-21T09:00:00Z');
  });
});

test('with nothing to do there is no request', () => {
  const observed = look();
  const policy = { ...observed.policy, status: statusOf(observed, at('02:03:00'))! };
  expect(plan({ ...observed, policy }, at('02:04:00'))).toEqual({ actions: [], requeueAfterMs: 6 * 60_000 });
});
