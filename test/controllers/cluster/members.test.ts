import { describe, expect, test } from '@jest/globals';
import type { MemberState } from '../../../src/api/cluster.ts';
import { type MembersInput, type MemberView, observeMembers } from '../../../src/controllers/cluster/members.ts';
import type { Pod } from '../../../src/kube/kinds.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { clusterOf, formedStatus, listOf, memberPod, profile, viewsOf } from '../objects.ts';

interface Look extends Partial<Omit<MembersInput, 'views' | 'pods'>> {
  readonly pod?: Live<Pod> | null;
  readonly view?: Partial<MemberView> | null;
  /** Fields of the member's own answer. */
  readonly says?: object;
}

/** c-2 of three, of which c-0 leads. */
function look({ pod = memberPod('c', 2), view = {}, says = {}, ...rest }: Look = {}) {
  const others = viewsOf('c', 0, 2);
  const said = { failures: 0, status: { ...viewsOf('c', 0, 3).get('c-2')!.status!, ...says }, ...view };
  const views = new Map<string, MemberView>([...others, ...(view === null ? [] : ([['c-2', said]] as const))]);
  const pods = [memberPod('c', 0), memberPod('c', 1), ...(pod ? [pod] : [])];
  const cluster = clusterOf('c', {}, formedStatus);
  const members = observeMembers({ cluster, size: 3, pods, views, formed: true, crash: profile.crash, ...rest });
  return members[2]!;
}

/** A pod whose container ended, and either waits to be started again or runs again. */
function ended(message: string, { restarts = 1, runs = false, init = false, ran = 1 } = {}): Live<Pod> {
  const pod = memberPod('c', 2, { ready: false });
  const now = runs ? { running: {} } : { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } };
  const [startedAt, finishedAt] = [0, ran].map((second) => new Date(second * 1000).toISOString());
  const terminated = { exitCode: 1, message, startedAt, finishedAt };
  const one = { name: 'x', restartCount: restarts, state: now, lastState: { terminated } };
  const statuses = init ? { initContainerStatuses: [one] } : { containerStatuses: [one] };
  return { ...pod, status: { ...pod.status, phase: init ? 'Pending' : 'Running', ...statuses } };
}

const silent = (reason: MemberView['reason'], failures = 2): Partial<MemberView> => ({
  failures,
  error: 'words',
  ...(reason === undefined ? {} : { reason }),
});
const unready = memberPod('c', 2, { ready: false });
/** The pod as it is once its container's startup probe has passed. */
const began = (pod: Live<Pod>): Live<Pod> => {
  const [{ restartCount = 0, lastState = {} } = {}] = pod.status?.containerStatuses ?? [];
  const container = { name: 'member', restartCount, lastState, state: { running: {} }, started: true };
  return { ...pod, status: { ...pod.status, containerStatuses: [container] } };
};
const never = { failures: 9, status: undefined as never, reason: 'refused' } as const;
const learner = listOf('c', [2], { isLearner: true, name: '' });

describe('how a member is', () => {
  const states: readonly [string, Look, MemberState, RegExp?][] = [
    ['it answers, and follows a leader', {}, 'Serving'],
    ['its pod is not ready yet, and it answers', { pod: unready }, 'Serving', /pod is not ready yet/],
    ['one silence may be chance', { view: silent('timeout', 1) }, 'Serving'],
    [
      'stopped, its process holds the port and says nothing',
      { view: silent('timeout') },
      'Hung',
      /holds its port.*words/,
    ],
    ['so it is when its pod has become unready by it', { pod: unready, view: silent('timeout') }, 'Hung'],
    [
      'so it is when it was started again long ago, and has answered since',
      { pod: ended('out of memory', { runs: true }), view: silent('timeout') },
      'Hung',
    ],
    ['nobody listens any more', { view: silent('refused') }, 'Dead', /cannot be reached/],
    [
      'before the cluster has formed nobody listens yet',
      { view: silent('refused'), formed: false },
      'Starting',
      /cannot be reached/,
    ],
    ['its machine is gone', { view: silent('unreachable') }, 'Dead'],
    ['its certificates do not fit', { view: silent('tls') }, 'Dead', /certificates/],
    ['it has no pod', { pod: null, view: null }, 'Dead', /pod is not there/],
    ['before the cluster has formed it is only to come', { pod: null, view: null, formed: false }, 'Starting'],
    ['its pod is being deleted', { pod: memberPod('c', 2, { deleting: true }) }, 'Dead', /being deleted/],
    [
      'its image cannot be pulled',
      {
        pod: memberPod('c', 2, { ready: false, waiting: { reason: 'ErrImagePull', message: 'no such image' } }),
        view: null,
      },
      'Dead',
      /ErrImagePull: no such image/,
    ],
    ['it reads its log and does not listen yet', { pod: unready, view: never }, 'Starting'],
    ['not even when it takes connections already', { pod: unready, view: { ...never, reason: 'timeout' } }, 'Starting'],
    ['hung before we ever heard of it, it is ready by its pod', { view: { ...never, reason: 'timeout' } }, 'Hung'],
    [
      'hung since before the operator was there, it has started once',
      { pod: began(unready), view: { ...never, reason: 'timeout' }, list: listOf('c') },
      'Hung',
    ],
    [
      'that says nothing while nobody leads: etcd waits for a leader before it answers clients',
      { pod: began(unready), view: { ...never, reason: 'timeout' } },
      'Starting',
    ],
    [
      'and however often it had to be before that',
      {
        pod: began(ended('WAL_CORRUPT: bad', { restarts: 4, runs: true })),
        view: { ...never, reason: 'timeout' },
        list: listOf('c'),
      },
      'Hung',
    ],
    ['it learns', { says: { isLearner: true } }, 'Learning', /once it has caught up/],
    ['it knows no leader', { says: { leaderId: undefined } }, 'Slow', /no leader/],
    ['it takes its time to answer', { view: { late: true } }, 'Slow', /more than a second/],
    ['it does not apply what it has', { says: { index: 9_000, appliedIndex: 10 } }, 'Slow', /not applied/],
    ['it is a member of another cluster', { says: { clusterId: 'beef' } }, 'Dead', /another cluster, beef/],
    ['it crashes', { pod: ended('out of memory'), view: null }, 'Dead', /status 1: out of memory/],
    ['it was started again', { pod: ended('out of memory', { runs: true }), view: null }, 'Starting', /started again/],
    ['its data are gone', { pod: ended('raftsman node: NODE_DATA_LOST: gone'), view: null }, 'Lost', /NODE_DATA_LOST/],
    [
      'as what prepares its disk says',
      { pod: ended('raftsman: NODE_DATA_LOST: gone', { init: true }), view: null },
      'Lost',
    ],
    [
      'while it is tried again they are no less gone',
      { pod: ended('NODE_DATA_LOST: gone', { runs: true }), view: null },
      'Lost',
    ],
    ['a disk that cannot be read may be so for a moment', { pod: ended('WAL_CORRUPT: bad'), view: null }, 'Dead'],
    [
      'and is lost when it was tried twice more',
      { pod: ended('WAL_CORRUPT: bad', { restarts: 2 }), view: null },
      'Lost',
    ],
    [
      'years ago it may have been tried for another reason',
      { pod: ended('WAL_CORRUPT: bad', { restarts: 3, ran: 60 }), view: null },
      'Dead',
    ],
    [
      'a large log that is read for long is tried more often',
      { pod: ended('WAL_CORRUPT: bad', { restarts: 4, ran: 60 }), view: null },
      'Lost',
    ],
    [
      'an empty disk of which nobody can tell whose it was may be so for a moment',
      { pod: ended('NODE_NO_ANSWER: none could tell'), view: null },
      'Dead',
    ],
    [
      'and holds nothing when that stays so',
      { pod: ended('NODE_NO_ANSWER: none could tell', { restarts: 2 }), view: null },
      'Lost',
    ],
    ['what else ends it often is no loss', { pod: ended('bad flag', { restarts: 40 }), view: null }, 'Dead'],
    [
      'a learner that started before its time has lost nothing',
      { pod: ended('NODE_DATA_LOST: gone'), view: null, list: learner },
      'Dead',
    ],
    [
      'one that never comes further has',
      { pod: ended('NODE_REMOVED: was', { restarts: 2 }), view: null, list: learner },
      'Lost',
    ],
  ];
  test.each(states.map(([title, given, state, words = /^/]) => ({ title, given, state, words })))(
    '$title',
    ({ given, state, words }) => {
      const member = look(given);
      expect(member.state).toBe(state);
      expect(member.message ?? '').toMatch(words);
    },
  );

  test('it is ready when its pod is and it answers as a voter, however slowly', () => {
    const ready = [
      {},
      { view: { late: true } },
      { says: { isLearner: true } },
      { pod: unready },
      { view: silent('timeout') },
    ];
    expect(ready.map((given) => look(given).ready)).toEqual([true, true, false, false, false]);
  });

  test('of two answers under load the later one is ahead: only who is later and behind has fallen behind', () => {
    const cluster = (state: MemberState) => {
      const members = [{ name: 'c-2', ready: true, state }];
      return clusterOf('c', {}, { ...formedStatus, members });
    };
    const views = (at: number) => {
      const [leader, ...others] = [...viewsOf('c', 0, 3, { index: 20_000, appliedIndex: 20_000 })];
      const behind = { ...viewsOf('c', 0, 3).get('c-2')!, at };
      return new Map<string, MemberView>([[leader![0], { ...leader![1], at: 100 }], ...others, ['c-2', behind]]);
    };
    const pods = [0, 1, 2].map((ordinal) => memberPod('c', ordinal));
    const at = (when: number, was: MemberState) =>
      observeMembers({
        cluster: cluster(was),
        size: 3,
        pods,
        views: views(when),
        formed: true,
        crash: profile.crash,
      })[2]!.state;
    expect([at(99, 'Serving'), at(101, 'Serving'), at(99, 'Slow')]).toEqual(['Serving', 'Slow', 'Slow']);
  });
});
