import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { MemberState } from '../../../src/api/cluster.ts';
import type { MemberViews } from '../../../src/controllers/cluster/members.ts';
import {
  type MembershipInput,
  memberList,
  newcomersOf,
  planMembership,
  sizeOf,
} from '../../../src/controllers/cluster/membership.ts';
import { MEMBER } from '../../../src/controllers/labels.ts';
import { clusterOf, diskOf, listOf, memberPod, viewsOf } from '../objects.ts';
import { type Killed, MemberModel } from './member-model.ts';

interface Look extends Partial<Omit<MembershipInput, 'cluster'>> {
  readonly wanted?: number;
  /** By ordinal; Serving unless told. */
  readonly states?: readonly MemberState[];
  readonly leader?: number;
  readonly status?: object;
}

/** A cluster of three that serves, c-0 leads. */
function look({ wanted = 3, states = [], leader = 0, status = {}, ...rest }: Look = {}): MembershipInput {
  const size = rest.size ?? 3;
  const list = 'list' in rest ? rest.list : listOf('c', size);
  const views = viewsOf('c', leader, size);
  const members = Array.from({ length: size }, (_, ordinal) => {
    const name = `c-${ordinal}`;
    const state = states[ordinal] ?? 'Serving';
    const answers = ['Serving', 'Slow', 'Learning'].includes(state);
    const pod = memberPod('c', ordinal);
    return { name, ordinal, pod, ready: answers, state, ...(answers ? { status: views.get(name)!.status! } : {}) };
  });
  return {
    cluster: clusterOf('c', { replicas: wanted }, { size, ...status }),
    members,
    clusterId: 'cafe',
    disks: members.map(({ ordinal }) => diskOf('c', ordinal, 't', true)),
    formed: true,
    maxLearners: () => 2,
    size,
    ...rest,
    ...(list === undefined ? {} : { list }),
  } as MembershipInput;
}

const plan = (given: Look) => planMembership(look(given));
const learner = (ordinal: number, more = {}) => listOf('c', [ordinal], { isLearner: true, ...more });
const learns = (given: Look, ordinal: number) => {
  const input = look(given);
  const members = input.members.map((one) =>
    one.ordinal === ordinal ? { ...one, state: 'Learning' as const, status: { ...one.status!, isLearner: true } } : one,
  );
  return { ...input, members };
};

describe('the member list that counts', () => {
  const answer = (members: number, more: object) => ({ ...viewsOf('c', 0, 1, more).get('c-0')!, failures: 0, members });
  const views = (given: Record<string, { members: number; [field: string]: unknown }>): MemberViews =>
    new Map(
      Object.entries(given).map(([name, { members, failures = 0, ...more }]) => {
        const view = answer(members, more);
        return [name, { failures: failures as number, status: { ...view.status!, members: listOf('c', members) } }];
      }),
    );
  test.each<[string, Record<string, { members: number; [field: string]: unknown }>, number | undefined]>([
    ['nobody answers', {}, undefined],
    ['nobody knows a leader', { 'c-0': { members: 3, leaderId: undefined } }, undefined],
    [
      'a leader of an older term is not believed',
      { 'c-0': { members: 3, term: 2 }, 'c-1': { members: 4, term: 3, memberId: '1a' } },
      4,
    ],
    [
      "the leader's own is newer than a follower's",
      { 'c-1': { members: 3, memberId: '1a', appliedIndex: 99 }, 'c-0': { members: 4 } },
      4,
    ],
    [
      'among followers the one that has applied most',
      { 'c-1': { members: 3, memberId: '1a' }, 'c-2': { members: 4, memberId: '2a', appliedIndex: 11 } },
      4,
    ],
    [
      'one that has fallen silent is of the past',
      { 'c-0': { members: 4, failures: 2 }, 'c-1': { members: 3, memberId: '1a' } },
      3,
    ],
    ['of another cluster', { 'c-0': { members: 4, clusterId: 'beef' } }, undefined],
    [
      'a learner that tells none',
      { 'c-0': { members: 0, isLearner: true, term: 9 }, 'c-1': { members: 3, memberId: '1a' } },
      3,
    ],
  ])('%s', (_, given, expected) => {
    expect(memberList(views(given), 'cafe')?.length).toBe(expected);
  });
});

describe('how many ordinals have pods', () => {
  const size = (
    more: Partial<Parameters<typeof sizeOf>[0]> & { wanted?: number; size?: number; recorded?: number },
  ) => {
    const { wanted = 3, size: known = 3, recorded = known, ...rest } = more;
    const cluster = clusterOf('c', { replicas: wanted }, { size: recorded });
    return sizeOf({ cluster, formed: true, list: listOf('c'), views: new Map(), running: known, disks: [], ...rest });
  };
  const removed = diskOf('c', 3, 't', true, { annotations: { [MEMBER]: 'cafe/gone' } });
  test.each<[string, Parameters<typeof size>[0], number]>([
    ['as many as are members', {}, 3],
    ['not more because more are wanted', { wanted: 5 }, 3],
    ['one more once it is a member', { wanted: 5, list: [...listOf('c'), ...learner(3)] }, 4],
    [
      'not before the disk of a removed member is gone',
      { wanted: 5, list: [...listOf('c'), ...learner(3)], disks: [removed] },
      3,
    ],
    [
      'a disk that is being deleted is still there',
      {
        wanted: 5,
        list: [...listOf('c'), ...learner(3)],
        disks: [diskOf('c', 3, 't', false, { annotations: {}, deletionTimestamp: 'x' })],
      },
      3,
    ],
    [
      'not for a disk of a removed member whose place is free: a member above it needs its pod',
      { size: 3, wanted: 5, list: listOf('c', [0, 1, 2, 4]), disks: [removed] },
      5,
    ],
    [
      'a pod that runs is not taken away for its disk',
      { size: 4, wanted: 5, list: [...listOf('c'), ...learner(3)], disks: [removed] },
      4,
    ],
    ['one less once it has left', { size: 3, wanted: 2, list: listOf('c', 2) }, 2],
    ['not less while one is to join again', { size: 3, wanted: 3, list: listOf('c', 2) }, 3],
    ['not less than the highest member', { size: 3, wanted: 1, list: listOf('c', [0, 2]) }, 3],
    ['as it was while nobody answers', { size: 4, wanted: 1, list: undefined as never }, 4],
    [
      'as many as there were, when somebody has taken pods away and nobody leads without them',
      { size: 1, recorded: 5, wanted: 5, list: undefined as never },
      5,
    ],
    [
      'those that members know, while nobody leads',
      { size: 1, wanted: 5, list: undefined as never, views: viewsOf('c', 0, 1, { members: listOf('c', 5) }) },
      5,
    ],
    [
      'those that members know and the spec wants no more, while nobody leads: without them nobody can leave',
      { size: 1, wanted: 1, list: undefined as never, views: viewsOf('c', 0, 1, { members: listOf('c', 5) }) },
      5,
    ],
    [
      'what a cluster began with until it has formed',
      { size: 3, wanted: 5, formed: false, list: undefined as never },
      3,
    ],
    ['hibernated, what it had', { size: 3, wanted: 0, running: 0, list: undefined as never }, 3],
  ])('%s', (_, given, expected) => {
    const { list, ...rest } = given;
    expect(size('list' in given && list === undefined ? ({ ...rest, list: undefined } as never) : given)).toBe(
      expected,
    );
  });
});

describe('a cluster with all its members', () => {
  test('has nothing to do', () =>
    expect(plan({})).toEqual({ marks: [], joining: [], names: ['c-0', 'c-1', 'c-2'], voters: ['c-0', 'c-1', 'c-2'] }));
  test('does nothing while one is dead: it is waited for', () =>
    expect(plan({ states: ['Serving', 'Dead'] }).step).toBeUndefined());
  test('hibernated or not formed, does nothing', () => {
    expect(plan({ wanted: 0 })).toEqual({ marks: [], joining: [] });
    expect(plan({ formed: false, wanted: 5 })).toEqual({ marks: [], joining: [] });
  });
  test('records whose data a disk holds once its member says so, and not for a disk younger than the pod', () => {
    const bare = (more: object = {}) => [0, 1, 2].map((o) => diskOf('c', o, 't', false, { annotations: {}, ...more }));
    expect(plan({ disks: bare() }).marks).toEqual(
      [0, 1, 2].map((o) => ({ disk: `data-c-${o}`, member: `cafe/${o}a` })),
    );
    expect(plan({ disks: bare({ creationTimestamp: '2026-11-22T01:00:00Z' }) }).marks).toEqual([]);
    expect(plan({ disks: bare({ deletionTimestamp: 'x' }) }).marks).toEqual([]);
  });
  test('a disk that was made anew while its pod had no machine yet is the one that the pod has', () => {
    const disks = [0, 1, 2].map((o) =>
      diskOf('c', o, 't', false, { annotations: {}, creationTimestamp: '2026-11-22T01:00:00Z' }),
    );
    const given = look({ disks });
    const members = given.members.map((one) => {
      const pod = memberPod('c', one.ordinal);
      return { ...one, pod: { ...pod, status: { ...pod.status, startTime: '2026-11-22T01:00:05Z' } } };
    });
    expect(planMembership({ ...given, members }).marks).toHaveLength(3);
  });
});

describe('scaling up', () => {
  const urlOf = (member: string) => `http://${member}.c-peers.default.svc:2380`;
  test('the lowest free ordinals come as learners, beside the others: two at once, or one where members take one', () => {
    const given = look({ wanted: 7 });
    const { step, operation, joining } = planMembership(given);
    const first = { kind: 'addMember', member: 'c-3', peerUrl: urlOf('c-3') };
    expect(step).toEqual({ ...first, next: { member: 'c-4', peerUrl: urlOf('c-4') } });
    expect(newcomersOf(step)).toEqual(['c-3', 'c-4']);
    expect(operation).toMatchObject({ type: 'ScaleUp', member: 'c-3' });
    expect(joining).toEqual([]);
    expect(planMembership({ ...given, maxLearners: () => 1 }).step).toEqual(first);
    expect(plan({ wanted: 4 }).step).toEqual(first);
  });
  test('a member that only takes its time to answer holds nobody up', () => {
    const given = look({ wanted: 5, states: ['Serving', 'Slow'] });
    expect(planMembership(given).held?.message).toContain('c-1 is slow');
    const members = given.members.map((one) => (one.state === 'Slow' ? { ...one, late: true } : one));
    expect(planMembership({ ...given, members }).step).toMatchObject({ kind: 'addMember' });
  });
  test('none comes while a member is down, and it says which', () => {
    const { step, held } = plan({ wanted: 5, states: ['Serving', 'Hung'] });
    expect(step).toBeUndefined();
    expect(held).toEqual({ reason: 'MemberDown', message: 'c-3 is not added while a member is down: c-1 is hung' });
  });
  test('the learner may start on an empty disk until its disk is known to be its own', () => {
    const list = [...listOf('c'), ...learner(3, { name: '' })];
    const starting = { wanted: 5, size: 4, list, states: ['Serving', 'Serving', 'Serving', 'Starting'] as const };
    const fresh = diskOf('c', 3, 't', false, { annotations: {} });
    expect(plan({ ...starting, disks: [fresh] })).toMatchObject({
      joining: ['c-3'],
      operation: { type: 'ScaleUp', member: 'c-3' },
    });
    expect(plan({ ...starting, disks: [fresh] }).step).toBeUndefined();
  });
  const list = [...listOf('c'), ...learner(3)];
  test('it is promoted when it answers, its disk recorded first, and the next one comes with that', () => {
    const fresh = [0, 1, 2]
      .map((o) => diskOf('c', o, 't', true))
      .concat(diskOf('c', 3, 't', false, { annotations: {} }));
    const given = learns({ wanted: 5, size: 4, list, disks: fresh }, 3);
    const { step, marks, joining } = planMembership(given);
    const next = { member: 'c-4', peerUrl: 'http://c-4.c-peers.default.svc:2380' };
    expect(step).toEqual({ kind: 'promoteMember', member: 'c-3', id: '3a', next });
    expect(marks).toEqual([{ disk: 'data-c-3', member: 'cafe/3a' }]);
    expect(joining).toEqual([]);
    expect(planMembership({ ...given, maxLearners: () => 1 }).step).not.toHaveProperty('next');
  });
  test('it is not promoted before its disk is known to hold its data', () => {
    const young = diskOf('c', 3, 't', false, { annotations: {}, creationTimestamp: '2026-11-22T01:00:00Z' });
    const given = learns({ wanted: 5, size: 4, list, disks: [young] }, 3);
    expect(planMembership(given)).toMatchObject({ marks: [], operation: { type: 'ScaleUp' } });
    expect(planMembership(given).step).toBeUndefined();
  });
  test('a learner that has started must not start again on an empty disk: the leader takes it to have what it had', () => {
    const empty = diskOf('c', 3, 't', false, { annotations: {}, creationTimestamp: '2026-11-22T01:00:00Z' });
    const disks = [0, 1, 2].map((o) => diskOf('c', o, 't', true)).concat(empty);
    const states = ['Serving', 'Serving', 'Serving', 'Starting'] as const;
    expect(plan({ wanted: 5, size: 4, list, disks, states }).joining).toEqual([]);
  });
  test('nor does another one come before the first has', () => {
    const states = ['Serving', 'Serving', 'Serving', 'Dead'] as const;
    expect(plan({ wanted: 5, size: 4, list, states }).step).toBeUndefined();
  });
  test('not the next one while versions differ: members of another version may count learners otherwise', () => {
    const given = learns({ wanted: 5, size: 4, list }, 3);
    const [first, ...others] = given.members;
    const mixed = [{ ...first!, status: { ...first!.status!, version: '3.5.35' } }, ...others];
    expect(planMembership({ ...given, members: mixed }).step).not.toHaveProperty('next');
  });
  test('nor while templates do: a member that was told of one learner only leaves the second out of its list', () => {
    const given = look({ wanted: 5 });
    const members = given.members.with(0, { ...given.members[0]!, pod: memberPod('c', 0, { template: 'old' }) });
    expect(planMembership({ ...given, members }).step).toMatchObject({ kind: 'addMember' });
    expect(planMembership({ ...given, members }).step).not.toHaveProperty('next');
  });
  test('who has been given a vote and has not heard of it is waited for, not complained of', () => {
    const { step, held, operation } = planMembership(learns({ wanted: 3, size: 2, list: listOf('c', 2) }, 1));
    expect([step, held]).toEqual([undefined, undefined]);
    expect(operation).toMatchObject({ type: 'ScaleUp', member: 'c-1' });
  });
  test('wanted no more, it is not waited for: it may never hear of its vote', () => {
    const { step } = planMembership(learns({ wanted: 3, size: 4, list: listOf('c', 4) }, 3));
    expect(step).toMatchObject({ kind: 'removeMember', member: 'c-3' });
  });
  test('what was begun goes on when a member leads again', () => {
    const status = { operation: { type: 'ScaleUp', member: 'c-3', since: 'x' } };
    const { held, operation } = plan({ wanted: 5, list: undefined as never, states: ['Slow', 'Slow', 'Slow'], status });
    expect(held).toBeUndefined();
    expect(operation).toEqual({ type: 'ScaleUp', member: 'c-3', message: 'waits until a member leads' });
  });
  test('wanted no more, the learner leaves again', () => {
    const { step, operation } = planMembership(learns({ wanted: 3, size: 4, list }, 3));
    expect(step).toEqual({ kind: 'removeMember', member: 'c-3', id: '3a' });
    expect(operation?.type).toBe('ScaleDown');
  });
  test('even while it cannot start', () => {
    const states = ['Serving', 'Serving', 'Serving', 'Dead'] as const;
    expect(plan({ wanted: 3, size: 4, list, states }).step).toMatchObject({ kind: 'removeMember', member: 'c-3' });
  });
});

describe('scaling down', () => {
  test('the highest ordinal leaves first', () => {
    expect(plan({ wanted: 3, size: 5 }).step).toEqual({ kind: 'removeMember', member: 'c-4', id: '4a' });
  });
  test('one that is dead leaves before one that serves', () => {
    const states = ['Serving', 'Serving', 'Serving', 'Dead', 'Serving'] as const;
    expect(plan({ wanted: 3, size: 5, states }).step).toMatchObject({ member: 'c-3' });
  });
  test('a leader hands over to one that stays, before it leaves', () => {
    const { step } = plan({ wanted: 3, size: 5, leader: 4 });
    expect(step).toEqual({ kind: 'moveLeader', from: 'c-4', to: 'c-0', toId: '0a' });
  });
  test('so does one that leads and is slow: who leads cannot be removed', () => {
    const states = ['Serving', 'Serving', 'Serving', 'Serving', 'Slow'] as const;
    expect(plan({ wanted: 3, size: 5, leader: 4, states }).step).toMatchObject({ kind: 'moveLeader', from: 'c-4' });
  });
  test('nobody who serves leaves while one that stays is down', () => {
    const { step, held } = plan({ wanted: 3, size: 5, states: ['Serving', 'Dead'] });
    expect(step).toBeUndefined();
    expect(held).toMatchObject({ reason: 'MemberDown' });
    expect(held?.message).toContain('c-4 is not removed while a member that stays is down: c-1 is dead');
  });
  test('a place that is wanted is taken before the one that is not is left', () => {
    const list = listOf('c', [1, 2, 3]);
    const given = { wanted: 3, size: 4, list, states: ['Dead'] as const };
    expect(plan(given).step).toMatchObject({ kind: 'addMember', member: 'c-0' });
  });
});

describe('a lost member', () => {
  const states = ['Serving', 'Lost', 'Serving'] as const;
  test('is removed when all others serve', () => {
    const { step, operation } = plan({ states });
    expect(step).toEqual({ kind: 'removeMember', member: 'c-1', id: '1a' });
    expect(operation).toMatchObject({ type: 'ReplaceMember', member: 'c-1' });
  });
  test('is not while another one is down', () => {
    const five = plan({ wanted: 5, size: 5, states: ['Serving', 'Lost', 'Dead'] });
    expect(five.step).toBeUndefined();
    expect(five.held).toMatchObject({ reason: 'MemberLost' });
  });
  test('its place is taken again under its name, as a replacement', () => {
    const { step, operation } = plan({ list: listOf('c', [0, 2]), states: ['Serving', 'Dead', 'Serving'] });
    expect(step).toMatchObject({ kind: 'addMember', member: 'c-1' });
    expect(operation).toMatchObject({ type: 'ReplaceMember' });
  });
  test('the disk of the old one is made anew for the new one', () => {
    const list = [...listOf('c', [0, 2]), ...learner(1, { id: 'new', name: '' })];
    const { step, joining } = plan({ list, states: ['Serving', 'Dead', 'Serving'] });
    expect(step).toMatchObject({
      kind: 'renewDisk',
      disk: 'data-c-1',
      uid: 'uid-of-data-c-1',
      memberId: '1a',
      pod: { name: 'c-1' },
    });
    expect(joining).toEqual(['c-1']);
  });
  test('a learner that has lost its data leaves and comes again', () => {
    const list = [...listOf('c'), ...learner(3)];
    const { step } = plan({ wanted: 5, size: 4, list, states: ['Serving', 'Serving', 'Serving', 'Lost'] });
    expect(step).toMatchObject({ kind: 'removeMember', member: 'c-3' });
  });
  test('nobody is replaced where no quorum is left, and what to do is said', () => {
    for (const given of [
      { size: 1, wanted: 1, list: undefined, states: ['Lost'] },
      { list: undefined, states: ['Slow', 'Lost', 'Lost'] },
    ] as const) {
      const { step, held } = plan(given as Look);
      expect(step).toBeUndefined();
      expect(held).toMatchObject({ reason: 'DataLost' });
      expect(held?.message).toContain('restore a snapshot into a new cluster');
    }
  });
});

describe('while nobody leads', () => {
  const learners = [...listOf('c', 1), ...learner(1, { name: '' }), ...learner(2, { name: '' })];
  const leaderless = (states: readonly MemberState[], members: MembershipInput['list'] = []) => {
    const input = look({ states, list: undefined as never });
    const { leaderId: _, ...status } = viewsOf('c', 0, 1, { members }).get('c-0')!.status!;
    const said = input.members.map((one) => (one.state === 'Slow' ? { ...one, status } : one));
    return planMembership({ ...input, members: said }).held?.reason;
  };
  test('learners that hold nothing have lost nothing, and the others may have it all', () => {
    expect(leaderless(['Slow', 'Lost', 'Lost'], learners)).not.toBe('DataLost');
    expect(leaderless(['Slow', 'Lost', 'Lost'], listOf('c'))).toBe('DataLost');
  });
  test('nothing is known of a loss before who is left has started', () => {
    expect(leaderless(['Starting', 'Lost', 'Lost'])).toBeUndefined();
    expect(leaderless(['Dead', 'Lost', 'Lost'])).toBe('DataLost');
  });
});

describe('what is not understood', () => {
  test('a member that is none of ours stops everything', () => {
    const foreign = { ...listOf('c', [3])[0]!, peerUrls: ['http://10.1.2.3:2380'] };
    expect(plan({ wanted: 5, list: [...listOf('c'), foreign] }).held).toMatchObject({ reason: 'ForeignMember' });
  });
  test('a disk of another cluster is never made anew', () => {
    const list = [...listOf('c'), ...learner(3, { name: '' })];
    const disks = [diskOf('c', 3, 't', true, { annotations: { [MEMBER]: 'beef/3a' } })];
    const { step, held } = plan({ wanted: 5, size: 3, list, disks });
    expect(step).toBeUndefined();
    expect(held).toMatchObject({ reason: 'DisksDiffer' });
  });
  test('nor does it keep the disk of another learner from being made anew', () => {
    const list = [...listOf('c'), ...learner(3, { name: '' }), ...learner(4, { name: '' })];
    const disks = [3, 4].map((o) => {
      const annotations = { [MEMBER]: o === 3 ? 'beef/3a' : 'cafe/gone' };
      return diskOf('c', o, 't', true, { annotations });
    });
    expect(plan({ wanted: 5, size: 3, list, disks }).step).toMatchObject({ kind: 'renewDisk', disk: 'data-c-4' });
  });
  test('the disk of a voter is never made anew', () => {
    const list = [...listOf('c', [0, 2]), ...listOf('c', [1], { id: 'new' })];
    expect(plan({ list, states: ['Serving', 'Dead', 'Serving'] }).step).toBeUndefined();
  });
  test('without a leader nothing is changed, and it is said when something should be', () => {
    const states = ['Slow', 'Dead', 'Dead'] as const;
    const input = look({ wanted: 5, states, list: undefined as never });
    const { leaderId: _, ...status } = input.members[0]!.status!;
    const members = [{ ...input.members[0]!, status }, ...input.members.slice(1)];
    expect(planMembership({ ...input, members })).toMatchObject({ held: { reason: 'QuorumLost' } });
  });
});

describe('followed step by step', () => {
  const settle = (model: MemberModel, most = 150) => {
    for (let ticks = 0; ticks < most; ticks++) {
      const { step, operation } = model.tick();
      if (!step && !operation && model.seats.length === model.wanted && model.size === model.wanted) return ticks;
    }
    throw new Error(
      `it does not settle: ${JSON.stringify({ ...model, disks: [...model.disks] })} ${JSON.stringify(model.tick())}`,
    );
  };

  test.each([false, true])('1, 3, 5, 3, 5, 2, 1; disks deleted: %s', (deletes) => {
    const model = new MemberModel(1, deletes);
    for (const wanted of [1, 3, 5, 3, 5, 2, 1]) {
      model.wanted = wanted;
      settle(model);
      expect(model.voters.map(({ ordinal }) => ordinal).sort()).toEqual(Array.from({ length: wanted }, (_, o) => o));
    }
  });

  const event = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('tick' as const), count: fc.integer({ min: 1, max: 6 }) }) },
    fc.record({ kind: fc.constant('wanted' as const), count: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ kind: fc.constantFrom('lose' as const, 'loseDisk' as const), ordinal: fc.integer({ min: 0, max: 6 }) }),
    fc.record({ kind: fc.constantFrom('down' as const, 'up' as const), ordinal: fc.integer({ min: 0, max: 6 }) }),
    fc.record({ kind: fc.constant('lead' as const), ordinal: fc.integer({ min: 0, max: 6 }) }),
    fc.record({ kind: fc.constant('strike' as const) }),
    fc.record({ kind: fc.constant('room' as const), isThere: fc.boolean() }),
    fc.record({ kind: fc.constant('killed' as const), after: fc.constantFrom('marks', 'config', 'half') }),
    fc.record({ kind: fc.constant('pods' as const), count: fc.integer({ min: 1, max: 6 }) }),
  );

  test('a learner that is no longer wanted makes room for a member that is missing', () => {
    const model = new MemberModel(4, false);
    model.lose(3);
    model.tick();
    model.tick();
    model.lose(0);
    model.wanted = 3;
    settle(model);
    expect(model.voters.map(({ ordinal }) => ordinal).sort()).toEqual([0, 1, 2]);
  });

  test('from wherever it is, a cluster whose pods come back settles at what is wanted, and nothing on the way costs data or a quorum', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.boolean(),
        fc.array(event, { maxLength: 40 }),
        fc.integer({ min: 1, max: 7 }),
        (voters, deletes, events, wanted) => {
          const model = new MemberModel(voters, deletes);
          for (const each of events) {
            switch (each.kind) {
              case 'tick':
                for (let count = 0; count < each.count; count++) model.tick();
                break;
              case 'wanted':
                model.wanted = each.count;
                break;
              case 'lose':
              case 'loseDisk':
                if (model.canLose(each.ordinal)) model[each.kind](each.ordinal);
                break;
              case 'down':
                model.down.add(each.ordinal);
                break;
              case 'strike':
                for (const { ordinal } of model.seats.filter(({ isLearner }) => isLearner)) model.down.add(ordinal);
                break;
              case 'room':
                model.takesTwo = each.isThere;
                break;
              case 'killed':
                model.tick(each.after as Killed);
                break;
              case 'pods':
                model.takePods(each.count);
                break;
              case 'up':
                model.down.delete(each.ordinal);
                break;
              case 'lead': {
                const seat = model.voters.find(({ ordinal }) => ordinal === each.ordinal);
                if (seat && model.serves(seat)) model.leader = seat.id;
                break;
              }
            }
          }
          model.down.clear();
          model.wanted = wanted;
          settle(model);
          expect(model.voters.map(({ ordinal }) => ordinal).sort()).toEqual(
            Array.from({ length: wanted }, (_, o) => o),
          );
          expect(model.hasQuorum).toBe(true);
        },
      ),
      { seed: 20261122, numRuns: 300 },
    );
  });
});
