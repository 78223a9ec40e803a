import { describe, expect, test } from '@jest/globals';
import type { RaftCluster, RaftClusterStatus } from '../../../src/api/cluster.ts';
import type { RaftCompaction, RaftCompactionStatus } from '../../../src/api/compaction.ts';
import { findCondition, timestamp } from '../../../src/api/conditions.ts';
import { raftCompaction, withDefaults } from '../../../src/api/kinds.ts';
import { apiVersion } from '../../../src/api/meta.ts';
import { sampleOf } from '../../../src/controllers/compaction/history.ts';
import {
  type CompactionObserved,
  type CompactionStep,
  planCompaction,
} from '../../../src/controllers/compaction/plan.ts';
import type { CrewView } from '../../../src/controllers/compaction/work.ts';
import type { MemberStatus } from '../../../src/engines/engine.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { clusterOf, condition, formedStatus, meta, now as start } from '../objects.ts';

const MiB = 1024 * 1024;
const mine = 'RaftCompaction/x';

function compactionOf(spec: object, status?: RaftCompactionStatus, more: object = {}): Live<RaftCompaction> {
  return withDefaults(raftCompaction, {
    apiVersion,
    kind: 'RaftCompaction',
    metadata: meta('x', more),
    spec: { clusterName: 'c', ...spec },
    ...(status === undefined ? {} : { status }),
  }) as Live<RaftCompaction>;
}

interface Size {
  readonly size: number;
  readonly inUse: number;
}

/** Three members of which the one named leads. */
function crewOf(leader = 'c-0', sizes: Partial<Record<string, Size>> = {}, more: Partial<MemberStatus> = {}): CrewView {
  const id = (name: string) => `a${name.slice(-1)}`;
  const names = ['c-0', 'c-1', 'c-2'];
  const list = names.map((name) => ({ id: id(name), name, peerUrls: [], clientUrls: [], isLearner: false }));
  const present = names.map((name) => {
    const { size, inUse } = sizes[name] ?? { size: 100 * MiB, inUse: 100 * MiB };
    const status: MemberStatus = {
      memberId: id(name),
      clusterId: 'cafe',
      name,
      leaderId: id(leader),
      isLearner: false,
      term: 2,
      index: 5000,
      appliedIndex: 5000,
      revision: 900,
      sizeBytes: size,
      sizeInUseBytes: inUse,
      version: '3.6.8',
      members: list,
      alarms: [],
      errors: [],
      ...more,
    };
    return { name, status };
  });
  return { present, leader: present.find(({ name }) => name === leader)!, list };
}

interface Look extends Omit<Partial<CompactionObserved>, 'compaction' | 'cluster'> {
  readonly spec?: object;
  readonly status?: RaftCompactionStatus;
  readonly cluster?: Live<RaftCluster> | undefined;
  readonly clusterStatus?: Partial<RaftClusterStatus>;
}

function look({ spec = { keepRevisions: 100 }, status, clusterStatus, ...more }: Look = {}): CompactionObserved {
  return {
    compaction: compactionOf(spec, status),
    cluster: clusterOf('c', {}, { ...formedStatus, ...clusterStatus }),
    readers: [],
    quotaBounds: 'sizeBytes',
    samples: [],
    crew: crewOf(),
    ...more,
  } as CompactionObserved;
}

const says = (observed: CompactionObserved, now = start) => {
  const { actions, requeueAfterMs } = planCompaction(observed, now);
  const status = actions.find((action) => action.kind === 'status')?.status;
  return {
    kinds: actions.map(({ kind }) => kind),
    condition: findCondition(status?.conditions, 'Complete'),
    status,
    step: actions.find((action) => action.kind === 'step')?.step,
    operation: actions.find((action) => action.kind === 'lock')?.operation,
    requeueAfterMs,
  };
};

/** A cluster that does what it is told, and an operator that carries plans out. */
class Run {
  readonly steps: CompactionStep[] = [];
  readonly trail: string[] = [];
  cluster = clusterOf('c', {}, formedStatus);
  compaction: Live<RaftCompaction>;
  leader = 'c-0';
  now = start;
  readonly sizes: Record<string, Size>;
  readonly alarms: MemberStatus['alarms'] = [];
  more: Partial<CompactionObserved> = {};

  constructor(spec: object, sizes: Record<string, Size> = {}, alarms: MemberStatus['alarms'] = []) {
    this.compaction = compactionOf(spec);
    const full = { size: 100 * MiB, inUse: 100 * MiB };
    this.sizes = { 'c-0': full, 'c-1': full, 'c-2': full, ...sizes };
    this.alarms = alarms;
  }

  look(): CompactionObserved {
    const bytes = new Map(Object.entries(this.sizes).map(([name, { inUse }]) => [name, inUse]));
    return {
      compaction: this.compaction,
      cluster: this.cluster,
      readers: [],
      quotaBounds: 'sizeBytes',
      samples: [],
      crew: crewOf(this.leader, this.sizes, { alarms: this.alarms, quotaBytes: 128 * MiB }),
      inUseBefore: bytes,
      ...this.more,
    };
  }

  once(): boolean {
    const { actions } = planCompaction(this.look(), this.now);
    for (const action of actions) {
      switch (action.kind) {
        case 'lock':
        case 'unlock': {
          const { operation: _, ...status } = this.cluster.status ?? {};
          const operation = action.kind === 'lock' ? { operation: action.operation } : {};
          this.cluster = { ...this.cluster, status: { ...status, ...operation } };
          this.trail.push(action.kind === 'lock' ? `lock ${action.operation.message}` : 'unlock');
          break;
        }
        case 'status':
          this.compaction = { ...this.compaction, status: action.status };
          break;
        case 'step':
          this.steps.push(action.step);
          this.trail.push(action.step.kind);
          this.perform(action.step);
      }
    }
    this.now = new Date(this.now.getTime() + 1000);
    return actions.length > 0;
  }

  perform(step: CompactionStep): void {
    const { status } = this.compaction;
    const facts: Partial<RaftCompactionStatus> = {};
    if (step.kind === 'compact')
      Object.assign(facts, { compactedRevision: step.revision, compactedAt: timestamp(this.now), history: step.said });
    if (step.kind === 'moveLeader') this.leader = step.to;
    if (step.kind === 'defragment') {
      const { inUse } = this.sizes[step.member]!;
      this.sizes[step.member] = { size: inUse, inUse };
      const done = (member: { name: string }) => (member.name === step.member ? { result: 'Defragmented' } : {});
      Object.assign(facts, { members: status!.members!.map((member) => ({ ...member, ...done(member) })) });
    }
    if (step.kind === 'disarm') Object.assign(facts, { disarmed: true });
    this.compaction = { ...this.compaction, status: { ...status, ...facts } };
  }

  toEnd(): this {
    for (let turn = 0; this.once(); turn++) if (turn > 60) throw new Error(`goes on and on: ${this.trail.join(', ')}`);
    return this;
  }

  get complete() {
    return findCondition(this.compaction.status?.conditions, 'Complete');
  }
}

const holey = { size: 100 * MiB, inUse: 20 * MiB };
const defragment = { freeRatioPercent: 30, minReclaimBytes: 10 * MiB };

describe('a whole run', () => {
  test('locks, compacts, defragments followers, moves the leader, defragments it last, and lets go of the lock', () => {
    const run = new Run({ keepRevisions: 100, defragment }, { 'c-0': holey, 'c-1': holey, 'c-2': holey }).toEnd();
    expect(run.trail).toEqual([
      'lock compacts the history',
      'compact',
      'lock defragments c-1',
      'defragment',
      'lock defragments c-2',
      'defragment',
      'lock moves the leader to c-1',
      'moveLeader',
      'lock defragments c-0',
      'defragment',
      'unlock',
    ]);
    expect(run.steps[0]).toMatchObject({ revision: 800 });
    expect(run.complete).toMatchObject({ status: 'True', reason: 'Succeeded' });
    expect(run.compaction.status).toMatchObject({
      revision: 900,
      compactedRevision: 800,
      reclaimedBytes: 240 * MiB,
      members: [
        { name: 'c-0', sizeBytesBefore: 100 * MiB, inUseBytesBefore: 20 * MiB, sizeBytesAfter: 20 * MiB },
        { name: 'c-1', result: 'Defragmented' },
        { name: 'c-2', result: 'Defragmented' },
      ],
    });
    expect(run.cluster.status?.operation).toBeUndefined();
  });

  test('members that are not worth it are left alone, and it is told why', () => {
    const sizes = { 'c-1': { size: 100 * MiB, inUse: 75 * MiB }, 'c-2': { size: 15 * MiB, inUse: 6 * MiB } };
    const run = new Run({ defragment }, { 'c-0': holey, ...sizes }).toEnd();
    expect(run.trail).toEqual([
      'lock moves the leader to c-1',
      'moveLeader',
      'lock defragments c-0',
      'defragment',
      'unlock',
    ]);
    const of = (name: string) => run.compaction.status?.members?.find((member) => member.name === name);
    expect(of('c-1')).toMatchObject({
      result: 'Skipped',
      message: '25.0 % are free, less than the 30 % that make it worth it',
    });
    expect(of('c-2')?.message).toContain('9.0 MiB are free, less than the 10.0 MiB');
  });

  test('without defragment nothing but the history is touched, and without anything to win nothing at all', () => {
    expect(new Run({ keepRevisions: 100 }, { 'c-1': holey }).toEnd().trail).toEqual([
      'lock compacts the history',
      'compact',
      'unlock',
    ]);
    const idle = new Run({ defragment }).toEnd();
    expect(idle.trail).toEqual([]);
    expect(idle.complete).toMatchObject({
      reason: 'Succeeded',
      message: expect.stringContaining('no member was worth'),
    });
  });

  test('one with fewer revisions than are kept compacts nothing and says so', () => {
    const run = new Run({ keepRevisions: 900 }).toEnd();
    expect(run.trail).toEqual([]);
    expect(run.complete?.message).toContain('there are only 900 revisions');
  });

  test('an operator that starts anew midway goes on where the other was, and does nothing twice', () => {
    const sizes = { 'c-0': holey, 'c-1': holey, 'c-2': holey };
    const whole = new Run({ keepRevisions: 100, defragment }, sizes).toEnd().steps;
    for (let turns = 1; turns < 14; turns++) {
      const run = new Run({ keepRevisions: 100, defragment }, sizes);
      for (let turn = 0; turn < turns; turn++) run.once();
      // All that it has forgotten.
      run.more = {};
      expect(run.toEnd().steps).toEqual(whole);
    }
  });
});

describe('the alarm NoSpace', () => {
  const alarms = [{ type: 'NoSpace', memberId: 'a1' }] as const;

  test('is ended once every member is clearly below its quota', () => {
    const run = new Run({ keepRevisions: 0, defragment }, { 'c-0': holey, 'c-1': holey, 'c-2': holey }, alarms).toEnd();
    expect(run.trail.slice(-3)).toEqual(['lock ends the alarm NoSpace', 'disarm', 'unlock']);
    expect(run.complete?.message).toContain('the alarm NoSpace was ended');
  });

  test('stands while a member is near its quota, and it is told what to do', () => {
    const full = { size: 127 * MiB, inUse: 127 * MiB };
    const run = new Run({ keepRevisions: 0 }, { 'c-1': full }, alarms).toEnd();
    expect(run.trail).not.toContain('disarm');
    expect(run.complete?.message).toContain('c-1 takes 127.0 MiB, more than 90 % of its quota: delete keys');
  });

  test('what counts is what the engine’s quota bounds', () => {
    const gaps = { size: 127 * MiB, inUse: 20 * MiB };
    const run = new Run({ keepRevisions: 0 }, { 'c-1': gaps }, alarms);
    expect(run.toEnd().trail).not.toContain('disarm');
    const other = new Run({ keepRevisions: 0 }, { 'c-1': gaps }, alarms);
    other.more = { quotaBounds: 'sizeInUseBytes' };
    expect(other.toEnd().trail).toContain('disarm');
  });

  test('stands when the spec says so', () => {
    expect(new Run({ keepRevisions: 0, disarm: false }, {}, alarms).toEnd().trail).not.toContain('disarm');
  });

  test('the quota of members that do not tell it is the one of the spec', () => {
    const run = new Run({ keepRevisions: 0 }, {}, alarms);
    run.cluster = clusterOf('c', { engine: { type: 'Etcd', quotaBytes: 16 * MiB } }, formedStatus);
    run.more = { crew: crewOf('c-0', run.sizes, { alarms }) };
    expect(run.toEnd().trail).not.toContain('disarm');
  });
});

describe('kept time', () => {
  const hourAgo = new Date(start.getTime() - 3_600_000);
  const spec = { keepSeconds: 3600 };

  test('compacts to what was current then, and never to more than is known', () => {
    const samples = [
      sampleOf(400, new Date(hourAgo.getTime() - 60_000)),
      sampleOf(500, new Date(start.getTime() - 60_000)),
    ];
    const held = {
      operation: { type: 'Compaction', holder: mine, since: timestamp(start), message: 'compacts the history' },
    } as const;
    expect(says(look({ spec, samples, clusterStatus: held })).step).toMatchObject({ kind: 'compact', revision: 400 });
  });

  test('a time that is known soon is waited for, without the lock', () => {
    const soon = says(look({ spec, samples: [sampleOf(400, new Date(hourAgo.getTime() + 20_000))] }));
    expect(soon.condition).toMatchObject({ reason: 'WaitingForHistory' });
    expect(soon.requeueAfterMs).toBe(20_000);
    expect(soon.operation).toBeUndefined();
  });

  test('a time that will not be known soon is not: nothing is compacted, the rest is done', () => {
    const run = new Run({ keepSeconds: 3600, defragment }, { 'c-1': holey });
    run.more = { samples: [sampleOf(400, start)] };
    expect(run.toEnd().steps.map(({ kind }) => kind)).toEqual(['defragment']);
    expect(run.complete?.message).toContain(
      'nothing was compacted: what was current 3600 s ago is known from 2026-11-22T03:14:00Z on',
    );
  });

  test('an older cluster’s higher revisions compact no further than to the newest of this one', () => {
    const samples = [sampleOf(5000, new Date(hourAgo.getTime() - 1000))];
    const run = new Run(spec);
    run.more = { samples };
    expect(run.toEnd().steps).toMatchObject([{ revision: 900 }]);
  });
});

describe('nothing is begun', () => {
  const growing = { operation: { type: 'ScaleUp', since: timestamp(start), message: 'x' } } as const;
  const other = { operation: { type: 'Compaction', holder: 'RaftCompaction/y', since: timestamp(start) } } as const;
  test.each<[string, Look]>([
    ['ClusterNotFound', { cluster: undefined }],
    ['ClusterNotReady', { clusterStatus: { formed: false } }],
    ['ClusterHibernated', { cluster: clusterOf('c', { replicas: 0 }, formedStatus) }],
    ['ClusterPaused', { cluster: clusterOf('c', { paused: true }, formedStatus) }],
    ['WaitingForOperation', { clusterStatus: growing }],
    ['WaitingForOperation', { clusterStatus: other }],
    ['WaitingForSnapshot', { readers: ['RaftSnapshot nightly-1'] }],
    ['MembersNotReady', { crew: { notNow: 'no member that answers leads' } }],
  ])('%s: it is said, no lock is taken and no member touched', (reason, more) => {
    const { condition: said, kinds } = says({
      ...look(more),
      ...(more.cluster === undefined && 'cluster' in more ? { cluster: undefined } : {}),
    } as CompactionObserved);
    expect(said).toMatchObject({ status: 'False', reason });
    expect(kinds).toEqual(['status', 'event']);
  });

  test.each<[string, CrewView]>([
    ['is away', { ...crewOf(), present: crewOf().present.slice(0, 2) }],
    [
      'learns',
      {
        ...crewOf(),
        present: crewOf().present.map((one, at) =>
          at === 2 ? { ...one, status: { ...one.status, isLearner: true } } : one,
        ),
      },
    ],
    [
      'lags',
      {
        ...crewOf(),
        present: crewOf().present.map((one, at) =>
          at === 2 ? { ...one, status: { ...one.status, appliedIndex: 1 } } : one,
        ),
      },
    ],
    [
      'follows another',
      {
        ...crewOf(),
        present: crewOf().present.map((one, at) =>
          at === 2 ? { ...one, status: { ...one.status, leaderId: 'ff' } } : one,
        ),
      },
    ],
  ])('no member is defragmented while one %s; the history is compacted all the same', (_, crew) => {
    const present = crew.present.map((one) => ({ ...one, status: { ...one.status, sizeInUseBytes: 1 * MiB } }));
    const uneasy = { ...crew, present };
    expect(says(look({ spec: { defragment }, crew: uneasy })).condition).toMatchObject({ reason: 'MembersNotReady' });
    expect(says(look({ spec: { keepRevisions: 5, defragment }, crew: uneasy })).operation).toMatchObject({
      holder: mine,
    });
  });
});

describe('under way', () => {
  const begun: RaftCompactionStatus = {
    startTime: timestamp(start),
    clusterId: 'cafe',
    revision: 900,
    compactedRevision: 800,
    compactedAt: timestamp(start),
    members: ['c-0', 'c-1', 'c-2'].map((name) => ({ name, sizeBytesBefore: 100 * MiB, inUseBytesBefore: 90 * MiB })),
    conditions: [condition('Complete', 'False', 'Running')],
  };
  const lockedAt = (since: Date, member?: string) =>
    ({
      operation: {
        type: 'Compaction',
        holder: mine,
        since: timestamp(since),
        message: 'm',
        ...(member ? { member } : {}),
      },
    }) as const;
  const later = (seconds: number) => new Date(start.getTime() + seconds * 1000);
  const away = { notNow: 'no member that answers leads' };

  test('a member that is away for long gets the lock let go, so that whoever mends it can', () => {
    const observed = look({ spec: { defragment }, status: begun, clusterStatus: lockedAt(start), crew: away });
    expect(says(observed, later(30)).kinds).not.toContain('unlock');
    expect(says(observed, later(61)).kinds).toContain('unlock');
  });

  test('one that is being defragmented is given the time that takes', () => {
    const observed = look({ spec: { defragment }, status: begun, clusterStatus: lockedAt(start, 'c-1'), crew: away });
    expect(says(observed, later(300)).kinds).not.toContain('unlock');
    expect(says(observed, later(700)).kinds).toContain('unlock');
  });

  test('a lock from the future, of a clock that was set back since, is no reason to keep a member from being mended', () => {
    const clusterStatus = lockedAt(later(86_400));
    const observed = look({ spec: { defragment }, status: begun, clusterStatus, crew: away });
    expect(says(observed).kinds).toContain('unlock');
    const skewed = look({ spec: { defragment }, status: begun, clusterStatus: lockedAt(later(5)), crew: away });
    expect(says(skewed).kinds).not.toContain('unlock');
  });

  test('a member that was defragmented while its operator ended counts as such', () => {
    const done = { size: 20 * MiB, inUse: 20 * MiB };
    const observed = look({
      spec: { defragment },
      status: begun,
      inUseBefore: new Map(['c-0', 'c-1', 'c-2'].map((name) => [name, 20 * MiB])),
      clusterStatus: lockedAt(start, 'c-1'),
      crew: crewOf('c-0', { 'c-0': done, 'c-1': done, 'c-2': { size: 100 * MiB, inUse: 99 * MiB } }),
    });
    expect(says(observed).status?.members).toMatchObject([
      { name: 'c-0', result: 'Skipped' },
      { name: 'c-1', result: 'Defragmented', sizeBytesBefore: 100 * MiB, sizeBytesAfter: 20 * MiB },
      { name: 'c-2', result: 'Skipped' },
    ]);
  });

  test('members are not judged before the space that compaction frees has been freed', () => {
    const sizes = { 'c-0': holey, 'c-1': holey, 'c-2': holey };
    const inUseBefore = new Map([
      ['c-0', 20 * MiB],
      ['c-1', 60 * MiB],
      ['c-2', 20 * MiB],
    ]);
    const observed = look({
      spec: { keepRevisions: 100, defragment },
      status: begun,
      clusterStatus: lockedAt(start),
      crew: crewOf('c-0', sizes),
    });
    expect(says({ ...observed, inUseBefore }).condition?.reason).toBe('Settling');
    expect(says(observed).condition?.reason).toBe('Settling');
    inUseBefore.set('c-1', 20 * MiB);
    expect(says({ ...observed, inUseBefore }).operation).toMatchObject({ member: 'c-1' });
  });

  test('a snapshot that began all the same is let finish', () => {
    const observed = look({ status: begun, clusterStatus: lockedAt(start), readers: ['RaftSnapshot s'] });
    expect(says(observed)).toMatchObject({
      kinds: ['status', 'event', 'unlock'],
      condition: { reason: 'WaitingForSnapshot' },
    });
  });

  test('what fails is tried again, and in the end the run fails and lets go', () => {
    const failure = { of: 'defragment', message: 'c-1: no answer within the deadline', isFinal: false } as const;
    const observed = look({ status: begun, clusterStatus: lockedAt(start) });
    expect(says({ ...observed, failure: { ...failure, count: 1 } })).toMatchObject({
      condition: { reason: 'Retrying' },
      requeueAfterMs: 10_000,
    });
    const last = says({ ...observed, failure: { ...failure, count: 3 } });
    expect(last).toMatchObject({
      condition: { status: 'False', reason: 'Failed' },
      kinds: ['status', 'event', 'unlock'],
    });
    expect(last.status?.completionTime).toBe(timestamp(start));
  });

  test('what the members will never do is rejected before anything was done, and a failure after', () => {
    const failure = { of: 'compact', message: 'unknown service', isFinal: true, count: 1 } as const;
    const { compactedRevision: _, ...untouched } = begun;
    expect(says(look({ status: untouched, failure })).condition?.reason).toBe('Rejected');
    expect(says(look({ status: begun, failure })).condition?.reason).toBe('Failed');
  });

  test('another cluster under the same name is not touched', () => {
    const observed = look({ status: begun, clusterStatus: { clusterId: 'beef' } });
    expect(says(observed)).toMatchObject({ condition: { reason: 'Failed', message: expect.stringContaining('beef') } });
  });

  test('an end is final: a run that has ended, or is being deleted, does no more than let go of the lock', () => {
    const status = { ...begun, completionTime: timestamp(start) };
    expect(says(look({ status, clusterStatus: lockedAt(start) })).kinds).toEqual(['unlock']);
    expect(says(look({ status })).kinds).toEqual([]);
    const observed = look({ clusterStatus: lockedAt(start) });
    const leaving = compactionOf({ keepRevisions: 1 }, begun, { deletionTimestamp: timestamp(start) });
    expect(says({ ...observed, compaction: leaving }).kinds).toEqual(['unlock']);
  });

  test('with nothing new there is no request', () => {
    const waits = look({ clusterStatus: { formed: false } });
    const { status } = says(waits);
    expect(planCompaction({ ...waits, compaction: { ...waits.compaction, status: status! } }, later(9))).toEqual({
      actions: [],
    });
  });
});
