import { beforeEach, describe, expect, test } from '@jest/globals';
import type { ClusterStep } from '../../../src/controllers/cluster/step.ts';
import { performStep, proveSize } from '../../../src/controllers/cluster/steps.ts';
import type { World } from '../../../src/controllers/world.ts';
import { type Engine, EngineError, type Member, type MemberStatus } from '../../../src/engines/engine.ts';
import { keyOf } from '../../../src/kube/objects.ts';
import { clusterOf, diskOf, formedStatus, listOf, memberPod, viewsOf } from '../objects.ts';

/** What members answer right now, whatever the plan knew, and what was done to them and to the cluster's objects. */
let answers: Map<string, MemberStatus>;
let list: Member[];
let disks: ReturnType<typeof diskOf>[];
let done: string[];
let refusal: EngineError | undefined;
/** What is refused; everything unless told. */
let refused: string;

const cluster = clusterOf('c', {}, formedStatus);
const signal = new AbortController().signal;

beforeEach(() => {
  answers = new Map([...viewsOf('c')].map(([name, { status }]) => [name, status!]));
  list = listOf('c');
  disks = [0, 1, 2].map((ordinal) => diskOf('c', ordinal, 't', true));
  done = [];
  refusal = undefined;
  refused = '';
});

function world(): World {
  const act = async (what: string) => {
    if (refusal && what.includes(refused)) throw refusal;
    done.push(what);
  };
  const engine: Partial<Engine> = {
    status: async ({ url }) => {
      const status = answers.get(url);
      if (!status) throw new EngineError('ENGINE_UNAVAILABLE', 'nobody', { reason: 'refused' });
      return status;
    },
    members: async () => list,
    addMember: async (_, { peerUrls, learner }) => {
      await act(`add ${peerUrls} ${learner}`);
      return list[0]!;
    },
    removeMember: (_, id) => act(`remove ${id}`),
    promoteMember: (_, id) => act(`promote ${id}`),
    moveLeader: ({ url }, id) => act(`move ${url} to ${id}`),
  };
  const pods = [0, 1, 2, 3].map((ordinal) => memberPod('c', ordinal));
  const change = async (verb: string, name: string) => void done.push(`${verb} ${name}`);
  return {
    engine: () => engine,
    certificates: { endpoint: (_: unknown, pod: { metadata: { name: string } }) => ({ url: pod.metadata.name }) },
    views: {
      pods: { byIndex: () => pods, get: (key: string) => pods.find((pod) => keyOf(pod) === key) },
      disks: { get: (key: string) => disks.find((disk) => keyOf(disk) === key) },
    },
    client: {
      delete: (_: unknown, { name }: { name: string }) => change('delete', name),
      patch: (_: unknown, { name }: { name: string }) => change('mark', name),
    },
    events: { record: () => {} },
  } as unknown as World;
}

const perform = (step: ClusterStep) => performStep(world(), cluster, step, signal);
const learner = (ordinal: number, id = `${ordinal}a`) => listOf('c', [ordinal], { isLearner: true, id })[0]!;
const answer = (name: string, more: Partial<MemberStatus>) =>
  answers.set(name, { ...viewsOf('c').get('c-0')!.status!, ...more });

describe('a step is taken on what members say right then', () => {
  test('without a leader there is none', async () => {
    for (const [name, status] of answers) answers.set(name, { ...status, memberId: `${status.memberId}x` });
    expect(await perform({ kind: 'removeMember', member: 'c-2', id: '2a' })).toEqual({
      notNow: 'no member that answers leads',
    });
    expect(done).toEqual([]);
  });

  test('a member of another cluster has no word in it', async () => {
    for (const [name, status] of answers) answers.set(name, { ...status, clusterId: 'beef' });
    expect(await perform({ kind: 'removeMember', member: 'c-2', id: '2a' })).toHaveProperty('notNow');
  });

  const add = { kind: 'addMember', member: 'c-3', peerUrl: 'http://c-3:2380' } as const;
  test('a member is added as a learner, once; a pod that waits under its name is started anew', async () => {
    expect(await perform(add)).toBe('done');
    expect(done).toEqual(['add http://c-3:2380 true', 'delete c-3']);
    list.push(learner(3));
    expect(await perform(add)).toBe('already');
    expect(done).toHaveLength(2);
  });

  test('the pod of a disk that has to go waits for that', async () => {
    disks.push(diskOf('c', 3, 't', true));
    await perform(add);
    expect(done).toEqual(['add http://c-3:2380 true']);
  });

  test('two are added one after the other, and the first although the second is refused', async () => {
    const next = { member: 'c-4', peerUrl: 'http://c-4:2380' };
    expect(await perform({ ...add, next })).toBe('done');
    expect(done.filter((each) => each.startsWith('add'))).toEqual([
      'add http://c-3:2380 true',
      'add http://c-4:2380 true',
    ]);
    done = [];
    refusal = new EngineError('ENGINE_UNSAFE', 'etcdserver: too many learner members in cluster');
    refused = 'http://c-4:2380';
    expect(await perform({ ...add, next })).toBe('done');
    expect(done.filter((each) => each.startsWith('add'))).toEqual(['add http://c-3:2380 true']);
  });

  const promote = { kind: 'promoteMember', member: 'c-3', id: '3a' } as const;
  const next = { member: 'c-4', peerUrl: 'http://c-4:2380' };
  test('a learner votes once it answers and has caught up, and the next one is added right before', async () => {
    list.push(learner(3));
    expect(await perform(promote)).toEqual({ notNow: 'c-3 does not answer' });
    answer('c-3', { memberId: '3a', isLearner: true, index: 8 });
    expect(await perform({ ...promote, next })).toEqual({ notNow: 'c-3 has not caught up yet' });
    expect(done).toEqual([]);
    answer('c-3', { memberId: '3a', isLearner: true, index: 9 });
    expect(await perform({ ...promote, next })).toBe('done');
    expect(done).toEqual(['add http://c-4:2380 true', 'promote 3a']);
    list = listOf('c', 4);
    expect(await perform(promote)).toBe('already');
  });

  test('what the members refuse is said and no failure', async () => {
    refusal = new EngineError('ENGINE_UNSAFE', 'etcdserver: unhealthy cluster');
    expect(await perform(add)).toEqual({ notNow: 'etcdserver: unhealthy cluster' });
  });

  const remove = { kind: 'removeMember', member: 'c-2', id: '2a' } as const;
  test('nobody is removed who leads by now, bears another name, or is needed for the quorum', async () => {
    for (const [name, status] of answers) answers.set(name, { ...status, leaderId: '2a', term: 3 });
    expect(await perform(remove)).toEqual({ notNow: 'c-2 leads by now' });
    answers = new Map([...viewsOf('c')].map(([name, { status }]) => [name, status!]));
    expect(await perform({ ...remove, member: 'c-1' })).toEqual({ notNow: 'member 2a is not c-1' });
    answers.delete('c-1');
    expect(await perform(remove)).toEqual({ notNow: 'of the 2 that stay only 1 answer' });
    expect(done).toEqual([]);
    answers.delete('c-2');
    answer('c-1', { memberId: '1a' });
    expect(await perform(remove)).toBe('done');
    list = listOf('c', 2);
    expect(await perform(remove)).toBe('already');
    expect(done).toEqual(['remove 2a']);
  });

  test('the disk of a learner that leaves is marked as its own, so that the next of its name does not get it', async () => {
    list.push(learner(3));
    disks.push(diskOf('c', 3, 't', false, { annotations: {} }));
    await perform({ kind: 'removeMember', member: 'c-3', id: '3a' });
    expect(done).toEqual(['mark data-c-3', 'remove 3a']);
  });

  test('leadership is moved by whom leads, to one that answers', async () => {
    const move = { kind: 'moveLeader', from: 'c-0', to: 'c-1', toId: '1a' } as const;
    expect(await perform({ ...move, from: 'c-2' })).toBe('already');
    expect(await perform(move)).toBe('done');
    answers.delete('c-1');
    expect(await perform(move)).toEqual({ notNow: 'c-1 does not answer' });
    expect(done).toEqual(['move c-0 to 1a']);
  });
});

describe('a disk is deleted only', () => {
  const renew = {
    kind: 'renewDisk',
    member: 'c-1',
    disk: 'data-c-1',
    uid: 'u',
    resourceVersion: '1',
    clusterId: 'cafe',
    memberId: '1a',
    pod: { name: 'c-1', uid: 'p' },
  } as const;
  beforeEach(() => {
    list = [...listOf('c', [0, 2]), learner(1, 'new')];
    answers.delete('c-1');
  });
  test('when its member is gone and a learner has its place: first the disk, then the pod that holds it', async () => {
    expect(await perform(renew)).toBe('done');
    expect(done).toEqual(['delete data-c-1', 'delete c-1']);
  });
  test.each<[string, () => unknown, string]>([
    ['not while its member is one', () => list.push(...listOf('c', [3], { id: '1a' })), '1a is still a member'],
    ['not of a voter', () => list.splice(0, 9, ...listOf('c', 3, { id: 'x' })), 'c-1 has no new member that learns'],
    [
      'not when its place is empty',
      () => list.splice(0, 9, ...listOf('c', [0, 2])),
      'c-1 has no new member that learns',
    ],
    [
      'not when the new one has started',
      () => answer('c-1', { memberId: 'new', isLearner: true }),
      'c-1 has started already',
    ],
  ])('%s', async (_, change, why) => {
    change();
    expect(await perform(renew)).toEqual({ notNow: why });
    expect(done).toEqual([]);
  });
  test('not on the word of another cluster', async () => {
    expect(await perform({ ...renew, clusterId: 'beef' })).toEqual({ notNow: 'this is cluster cafe' });
    expect(done).toEqual([]);
  });
});

test('pods go only where the list has no member', async () => {
  expect(await proveSize(world(), cluster, 3, signal)).toBe('done');
  expect(await proveSize(world(), cluster, 2, signal)).toEqual({ notNow: 'c-2 is still a member' });
  answers.clear();
  expect(await proveSize(world(), cluster, 3, signal)).toHaveProperty('notNow');
});
