import { describe, expect, test } from '@jest/globals';
import type { RaftClusterStatus } from '../../../src/api/cluster.ts';
import { findCondition } from '../../../src/api/conditions.ts';
import { type ClusterObserved, PARTS, planCluster } from '../../../src/controllers/cluster/plan.ts';
import { clusterObjects, memberTemplate } from '../../../src/controllers/cluster/resources.ts';
import { RESTORE_TEMPLATE, TEMPLATE } from '../../../src/controllers/labels.ts';
import { etcdProfile } from '../../../src/engines/etcd/profile.ts';
import type { ConfigMap, Pod, StatefulSet } from '../../../src/kube/kinds.ts';
import { type KubeObject, type Live, type Manifest, ownedBy } from '../../../src/kube/objects.ts';
import {
  clusterOf,
  condition,
  diskOf,
  formedStatus,
  listOf,
  memberPod,
  meta,
  now,
  ownerOf,
  policyOf,
  profile,
  settings,
  snapshotOf,
  storeOf,
  viewsOf,
} from '../objects.ts';

const token = 'default-c-uid-of-c';

/** An object as it is after our apply of `manifest`: with the record of which fields are ours. */
function applied<T extends KubeObject>(manifest: Manifest, status?: object): Live<T> {
  const fields = (value: unknown): unknown =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [`f:${key}`, fields(inner)]))
      : {};
  const { apiVersion: _, kind: __, metadata, ...rest } = manifest;
  const { name: ___, namespace: ____, ...others } = metadata;
  const { ownerReferences, ...owned } = fields(others) as Record<string, unknown>;
  const owners = { 'f:ownerReferences': { [`k:{"uid":"${metadata.ownerReferences?.[0]?.uid}"}`]: {} } };
  const fieldsV1 = { ...(fields(rest) as object), 'f:metadata': { ...owned, ...owners } };
  return {
    ...manifest,
    ...(status === undefined ? {} : { status }),
    metadata: {
      ...meta(metadata.name),
      ...metadata,
      managedFields: [{ manager: 'raftsman', operation: 'Apply', fieldsV1 }],
    },
  } as unknown as Live<T>;
}

interface Look extends Partial<Omit<ClusterObserved, 'cluster' | 'settings'>> {
  readonly status?: RaftClusterStatus;
  readonly spec?: object;
  readonly more?: object;
  readonly formed?: boolean;
}

function look({ status, spec = {}, more = {}, formed, ...rest }: Look = {}): ClusterObserved {
  const cluster = clusterOf('c', spec, status, more);
  return {
    cluster,
    children: {},
    pods: [],
    disks: [],
    views: new Map(),
    snapshots: [],
    policies: [],
    settings,
    profile,
    ...rest,
  };
}

/** A cluster with all its objects, as they are once applied. */
function running({ formed = true, spec = {}, status = formedStatus, ...rest }: Look = {}): ClusterObserved {
  const cluster = clusterOf('c', spec, formed ? status : undefined);
  const input = { cluster, owner: ownedBy(cluster), settings, token, formed, size: cluster.spec.replicas };
  const objects = clusterObjects(input);
  const template = memberTemplate(input).metadata.annotations[TEMPLATE]!;
  const children = {
    config: applied<ConfigMap>(objects.config),
    peers: applied(objects.peers),
    client: applied(objects.client),
    disruptionBudget: applied(objects.disruptionBudget),
    ...(objects.networkPolicy ? { networkPolicy: applied(objects.networkPolicy) } : {}),
    statefulSet: applied<StatefulSet>(objects.statefulSet, { observedGeneration: 1 }),
  };
  return {
    ...look({ spec, ...(formed ? { status } : {}) }),
    children,
    pods: [0, 1, 2].map((ordinal) => memberPod('c', ordinal, { template })),
    disks: [0, 1, 2].map((ordinal) => diskOf('c', ordinal, token, formed)),
    views: viewsOf('c'),
    ...rest,
  };
}

const kinds = (observed: ClusterObserved) => planCluster(observed, now).actions.map(({ kind }) => kind);
const statusOf = (observed: ClusterObserved) =>
  planCluster(observed, now).actions.find((action) => action.kind === 'status')?.status;
const conditionOf = (observed: ClusterObserved, type: string) => findCondition(statusOf(observed)?.conditions, type);
const events = (observed: ClusterObserved) =>
  planCluster(observed, now).actions.flatMap((action) => (action.kind === 'event' ? [action.event.reason] : []));
const applies = (observed: ClusterObserved) =>
  planCluster(observed, now).actions.flatMap((action) => (action.kind === 'apply' ? [action.part] : []));
/** The same cluster with the status that its own plan writes. */
const settledStatus = (observed: ClusterObserved): ClusterObserved => ({
  ...observed,
  cluster: { ...observed.cluster, status: statusOf(observed) ?? observed.cluster.status! },
});

describe('a new cluster', () => {
  test('all objects go out in one go', () => {
    expect(applies(look())).toEqual([...PARTS]);
    expect(events(look())).toContain('Created');
  });

  test('is not ready, and says what its members wait for', () => {
    const pods = [memberPod('c', 0, { ready: false, waiting: { reason: 'ErrImagePull', message: 'no such image' } })];
    const ready = conditionOf({ ...running({ formed: false }), pods, views: new Map() }, 'Ready');
    expect(ready).toMatchObject({ status: 'False', reason: 'MembersStarting' });
    expect(ready?.message).toContain('pod c-0 cannot start: ErrImagePull: no such image');
  });

  test('forms when all members are ready: disks are marked and the status says so before the configuration flips', () => {
    const observed = running({ formed: false });
    expect(kinds(observed).slice(0, 5)).toEqual(['markDisk', 'markDisk', 'markDisk', 'status', 'apply']);
    expect(applies(observed)).toEqual(['config']);
    expect(statusOf(observed)).toMatchObject({ formed: true, leader: 'c-0', membersReady: '3/3', clusterId: 'cafe' });
    expect(events(observed)).toEqual(expect.arrayContaining(['Formed', 'MembersReady']));
  });

  test('a claim that has no volume yet is not written to: Kubernetes is about to', () => {
    const { disks, ...observed } = running({ formed: false });
    const [first, ...others] = disks;
    const pending = { ...first!, status: { phase: 'Pending' as const } };
    expect(kinds({ ...observed, disks: [pending, ...others] }).filter((kind) => kind === 'markDisk')).toHaveLength(2);
    const bound = { ...first!, status: { phase: 'Bound' as const } };
    expect(kinds({ ...observed, disks: [bound, ...others] }).filter((kind) => kind === 'markDisk')).toHaveLength(3);
  });

  test('two of three ready do not form it', () => {
    const observed = running({ formed: false });
    const pods = observed.pods.with(1, memberPod('c', 1, { ready: false }));
    expect(statusOf({ ...observed, pods })?.formed).toBeUndefined();
  });

  test('one of which fewer are asked for by now forms of those, where they are a quorum: the others leave it', () => {
    const list = listOf('c', 5).map((member, ordinal) => (ordinal < 3 ? member : { ...member, name: '' }));
    const three = (ready: number) => ({
      ...running({ formed: false, spec: { replicas: 5 } }),
      cluster: clusterOf('c', { replicas: 3 }),
      pods: [0, 1, 2, 3, 4].map((ordinal) => memberPod('c', ordinal, { ready: ordinal < ready })),
      views: viewsOf('c', 0, ready, { members: list }),
    });
    expect(statusOf(three(2))?.formed).toBeUndefined();
    expect(statusOf(three(3))).toMatchObject({ formed: true, size: 5 });
    const { actions } = planCluster(three(3), now);
    expect(actions.find(({ kind }) => kind === 'step')).toMatchObject({
      step: { kind: 'removeMember', member: 'c-4' },
    });
    const one = { ...three(1), cluster: clusterOf('c', { replicas: 1 }) };
    expect(statusOf(one)?.formed).toBeUndefined();
  });

  test('a deleted one is left to its owner references', () => {
    expect(planCluster(look({ more: { deletionTimestamp: 'x' } }), now).actions).toEqual([]);
  });
});

describe('a formed cluster', () => {
  test('with nothing to do makes no request', () => {
    expect(planCluster(settledStatus(running()), now)).toEqual({ actions: [] });
  });

  test('a revision that moved is written once a minute, a leader that moved at once', () => {
    const calm = settledStatus(running());
    const moved = { ...calm, views: viewsOf('c', 0, 3, { revision: 8 }), revisionWrittenAt: now.getTime() - 1_000 };
    expect(planCluster(moved, now)).toEqual({ actions: [], requeueAfterMs: 59_000 });
    expect(statusOf({ ...moved, revisionWrittenAt: now.getTime() - 60_000 })?.revision).toBe(8);
    const other = { ...calm, views: viewsOf('c', 1, 3, { term: 3 }), revisionWrittenAt: now.getTime() };
    expect(statusOf(other)).toMatchObject({ leader: 'c-1', term: 3 });
    expect(events(other)).toEqual(['LeaderChanged']);
  });

  test('stays formed when its status is lost: the configuration and the disks remember', () => {
    const observed = running();
    const { status: _, ...bare } = observed.cluster;
    const forgotten = { ...observed, cluster: bare as ClusterObserved['cluster'], pods: [], views: new Map() };
    expect(statusOf(forgotten)?.formed).toBe(true);
    const { config: ___, ...children } = observed.children;
    expect(statusOf({ ...forgotten, children })?.formed).toBe(true);
  });

  test('made again over its disks, or awake again, it warns of no quorum before its members had a chance', () => {
    const disks = [0, 1, 2].map((ordinal) => diskOf('c', ordinal, token, true));
    const again = look({ disks });
    expect(conditionOf(again, 'Degraded')).toMatchObject({ status: 'True', reason: 'QuorumLost' });
    expect(events(again)).toEqual(['Created', 'Formed']);
    const asleep = [condition('Degraded', 'False', 'Hibernated')];
    const wakes = { ...running({ status: { ...formedStatus, conditions: asleep } }), pods: [], views: new Map() };
    expect(events(wakes)).not.toContain('QuorumLost');
  });

  test('is degraded while a member is away and says whether the rest is a quorum', () => {
    const observed = settledStatus(running());
    const one = { ...observed, pods: observed.pods.slice(1), views: viewsOf('c', 1) };
    expect(conditionOf(one, 'Degraded')).toMatchObject({ status: 'True', reason: 'MembersNotReady' });
    expect(events(one)).toContain('MembersNotReady');
    const two = { ...observed, pods: observed.pods.slice(2), views: viewsOf('c', 1) };
    expect(conditionOf(two, 'Degraded')).toMatchObject({ status: 'True', reason: 'QuorumLost' });
    expect(conditionOf(two, 'Ready')?.message).toContain('c-0: its pod is not there');
  });

  test.each([
    [
      'NoSpace',
      '1a',
      'c-1',
      true,
      /^NoSpace: c-1: writes are refused until there is space: .* \(3 of 3 members serve\)$/,
    ],
    // etcd's members that know of it are not ready, and seem to leave no quorum.
    ['Corrupt', '1a', 'c-1', false, /^Corrupt: c-1: its data differ from .* delete its disk and its pod, .* \(0 of 3/],
    ['Corrupt', '0', 'unknown', false, /^Corrupt: members hold different data, .* hashkv .* \(0 of 3 members serve/],
  ] as const)('an alarm (%s of %s) is in the status, in Degraded and in one event, with what to do', (...args) => {
    const [type, memberId, member, ready, message] = args;
    const members = listOf('c');
    const observed = {
      ...settledStatus(running()),
      views: viewsOf('c', 0, 3, { members, alarms: [{ type, memberId }] }),
      pods: running().pods.map((pod, ordinal) =>
        ready ? pod : memberPod('c', ordinal, { ready, template: pod.metadata.annotations![TEMPLATE]! }),
      ),
    };
    expect(statusOf(observed)?.alarms).toMatchObject([{ type, member }]);
    expect(conditionOf(observed, 'Degraded')).toMatchObject({
      status: 'True',
      reason: type,
      message: expect.stringMatching(message),
    });
    expect(events(observed).filter((reason) => reason === type)).toHaveLength(1);
    expect(events(settledStatus(observed))).not.toContain(type);
    const over = { ...settledStatus(observed), views: viewsOf('c'), pods: running().pods };
    expect(statusOf(over)?.alarms).toBeUndefined();
    expect(conditionOf(over, 'Degraded')).toMatchObject({ status: 'False' });
  });

  test('an even number of members is taken, with a warning that it survives no more than one member less', () => {
    const odd = settledStatus(running());
    const four = { ...odd, cluster: { ...odd.cluster, spec: { ...odd.cluster.spec, replicas: 4 } } };
    expect(events(odd)).not.toContain('EvenReplicas');
    expect(events(four)).toContain('EvenReplicas');
    expect(events(settledStatus(four))).not.toContain('EvenReplicas');
    const two = running({ spec: { replicas: 2 } });
    const serving = { ...two, pods: two.pods.slice(0, 2), disks: two.disks.slice(0, 2), views: viewsOf('c', 0, 2) };
    const size = { ...formedStatus, size: 2 };
    const ready = conditionOf({ ...serving, cluster: { ...serving.cluster, status: size } }, 'Ready');
    expect(ready).toMatchObject({
      status: 'True',
      message: expect.stringContaining('2 members survive no more failures than 1'),
    });
  });

  test('a member that its update has taken down is no damage, one that cannot come back is', () => {
    const status: RaftClusterStatus = {
      ...formedStatus,
      operation: { type: 'Update', member: 'c-0', since: '2026-11-22T00:00:00Z' },
    };
    const observed = running({ status, spec: { engine: { image: 'new' } } });
    const pods = observed.pods.slice(1);
    const views = new Map([...viewsOf('c', 1)].filter(([name]) => name !== 'c-0'));
    const away = { ...observed, pods, views };
    expect(conditionOf(away, 'Degraded')).toMatchObject({ status: 'False', reason: 'ReplacingMembers' });
    expect(conditionOf(away, 'Ready')).toMatchObject({ status: 'False', reason: 'MembersNotReady' });
    expect(events(away)).not.toContain('MembersNotReady');
    const waiting = { reason: 'ErrImagePull', message: 'no such image' };
    const stuck = { ...away, pods: [memberPod('c', 0, { ready: false, waiting }), ...pods] };
    expect(conditionOf(stuck, 'Degraded')).toMatchObject({ status: 'True', reason: 'MembersNotReady' });
    const going = (deletionTimestamp: string) => {
      const pod = observed.pods[0]!;
      return { ...away, pods: [{ ...pod, metadata: { ...pod.metadata, deletionTimestamp } }, ...pods] };
    };
    const at = (seconds: number) => new Date(now.getTime() + seconds * 1_000).toISOString();
    expect(conditionOf(going(at(20)), 'Degraded')).toMatchObject({ status: 'False', reason: 'ReplacingMembers' });
    expect(conditionOf(going(at(-1)), 'Degraded')).toMatchObject({ status: 'True', reason: 'MembersNotReady' });
  });

  test('where all that there are serve, Ready says what keeps those that are to come', () => {
    const observed = running({ spec: { paused: true } });
    const more = { ...observed, cluster: { ...observed.cluster, spec: { ...observed.cluster.spec, replicas: 5 } } };
    expect(conditionOf(more, 'Ready')?.message).toBe(
      '3 of 5 members serve; spec.paused is true: nothing is changed until it is false',
    );
  });

  test('a member that is ready by its pod but answers nobody does not serve', () => {
    const observed = running();
    const views = new Map([...observed.views, ['c-2', { failures: 2, error: 'no answer within 2000 ms' }]]);
    expect(statusOf({ ...observed, views })).toMatchObject({ membersReady: '2/3' });
    expect(conditionOf({ ...observed, views }, 'Ready')?.message).toContain(
      'c-2: it holds its port and does not answer: no answer within',
    );
    const once = new Map([...observed.views, ['c-2', { ...observed.views.get('c-2')!, failures: 1 }]]);
    expect(statusOf({ ...observed, views: once })).toMatchObject({ membersReady: '3/3' });
  });

  test('paused, nothing is applied or replaced, and the status goes on', () => {
    const observed = running({ spec: { paused: true, engine: { image: 'new' } } });
    const { statefulSet: _, ...children } = observed.children;
    expect(applies({ ...observed, children })).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ status: 'False', reason: 'Paused' });
  });

  test('what Kubernetes refuses is said, and tried again', () => {
    const observed = { ...running(), children: {}, refused: 'spec.x: Invalid' };
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ status: 'False', reason: 'Refused' });
    expect(applies(observed)).toEqual(PARTS);
  });

  test('a NetworkPolicy of ours that spec no longer wants is withdrawn, and nothing when there is none', () => {
    const observed = running({ spec: { networkPolicy: { enabled: false } } });
    const ours = running().children.networkPolicy!;
    const withdrawn = (children: ClusterObserved['children']) =>
      planCluster({ ...observed, children }, now).actions.filter(({ kind }) => kind === 'withdraw');
    expect(withdrawn({ ...observed.children, networkPolicy: ours })).toEqual([
      { kind: 'withdraw', part: 'networkPolicy', name: 'c', uid: ours.metadata.uid },
    ]);
    expect(withdrawn(observed.children)).toEqual([]);
  });

  test('the last good snapshot is one of this very cluster', () => {
    const done = (name: string, clusterId: string, completionTime: string) =>
      snapshotOf(
        name,
        {},
        {
          conditions: [
            { type: 'Complete', status: 'True', reason: 'Succeeded', message: '', lastTransitionTime: completionTime },
          ],
          completionTime,
          clusterId,
          revision: 3,
        },
      );
    const snapshots = [
      done('old', 'cafe', '2026-11-20T00:00:00Z'),
      done('new', 'cafe', '2026-11-21T00:00:00Z'),
      done('foreign', 'beef', '2026-11-22T00:00:00Z'),
    ];
    expect(statusOf(running({ snapshots }))?.lastSnapshot).toEqual({
      name: 'new',
      time: '2026-11-21T00:00:00Z',
      revision: 3,
    });
  });
});

describe('members that do not run what the spec says', () => {
  const outdatedPods = [0, 1, 2].map((ordinal) => memberPod('c', ordinal, { template: 'old' }));
  const statusSaid = (observed: ClusterObserved) => statusOf(observed) ?? observed.cluster.status;
  const stepOf = (observed: ClusterObserved) =>
    planCluster(observed, now).actions.find((action) => action.kind === 'step')?.step;
  const templateOf = (observed: ClusterObserved) =>
    planCluster(observed, now).actions.flatMap((action) =>
      action.kind === 'apply' && action.part === 'statefulSet' ? [JSON.stringify(action.object)] : [],
    );
  const etcd = (version: string, more: object = {}) => {
    const spec = { engine: { type: 'Etcd', version } };
    const was = running({ spec: { engine: { type: 'Etcd', version: '3.6.5' } }, profile: etcdProfile });
    const cluster = clusterOf('c', spec, formedStatus);
    return { ...was, cluster, views: viewsOf('c', 0, 3, { version: '3.6.5' }), ...more };
  };

  test('one goes at a time, and the operation is in the status before it does', () => {
    const observed = { ...running(), pods: outdatedPods };
    expect(stepOf(observed)).toEqual({ kind: 'replaceMember', pod: 'c-2', uid: 'uid-of-c-2', mayLead: false });
    expect(statusSaid(observed)?.operation).toMatchObject({ type: 'Update', member: 'c-2' });
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ status: 'True', reason: 'ReplacingMembers' });
  });

  test('what the status says of it is never longer than the API takes', () => {
    const waiting = { reason: 'ErrImagePull', message: 'x'.repeat(2_000) };
    const [{ metadata }] = running().pods as [Live<Pod>];
    const template = metadata.annotations![TEMPLATE]!;
    const pods = outdatedPods.with(2, memberPod('c', 2, { template, ready: false, waiting }));
    const views = new Map([...viewsOf('c')].slice(0, 2));
    const status = statusSaid({ ...running(), pods, views });
    expect(status?.operation?.message).toHaveLength(1_024);
    expect(findCondition(status?.conditions, 'Progressing')).toMatchObject({ reason: 'MemberNotReady' });
  });

  test('none goes while it is paused, or while another object holds the cluster', () => {
    const paused = { ...running({ spec: { paused: true } }), pods: outdatedPods };
    expect(stepOf(paused)).toBeUndefined();
    expect(statusSaid(paused)?.membersReady).toBe('3/3');
    const operation = { type: 'Compaction' as const, holder: 'RaftCompaction/x', since: '2026-11-22T02:00:00Z' };
    const locked = { ...running({ status: { ...formedStatus, operation } }), pods: outdatedPods };
    expect(stepOf(locked)).toBeUndefined();
    expect(conditionOf(locked, 'Progressing')).toMatchObject({ status: 'False', reason: 'Locked' });
    expect(statusSaid(locked)?.operation).toEqual(operation);
  });

  /** Five are asked for; c-0 to `serving` serve, the others have pods that cannot start, of a template of the past. */
  const broken = (serving: number, more: { operation?: RaftClusterStatus['operation']; leads?: boolean } = {}) => {
    const { operation, leads = true } = more;
    const away = condition('Available', 'False', 'QuorumLost');
    const status = { ...formedStatus, ...(leads ? {} : { conditions: [away] }), ...(operation ? { operation } : {}) };
    const observed = running({ spec: { replicas: 5 }, status });
    const { template } = { template: observed.pods[0]!.metadata.annotations![TEMPLATE]! };
    const waiting = { reason: 'ErrImagePull' };
    const pods = [0, 1, 2, 3, 4].map((ordinal) =>
      ordinal < serving
        ? memberPod('c', ordinal, { template })
        : memberPod('c', ordinal, { template: 'bad', ready: false, waiting }),
    );
    const list = [...listOf('c', serving), ...listOf('c', 5, { isLearner: true, name: '' }).slice(serving)];
    const views = viewsOf('c', 0, serving, { members: list, ...(leads ? {} : { leaderId: undefined }) });
    return { ...observed, pods, views, disks: pods.map((_, ordinal) => diskOf('c', ordinal, token, true)) };
  };

  test('learners that cannot start get the mended template, whichever of them is waited for', () => {
    const disks = broken(3).disks.slice(0, 3);
    expect(stepOf({ ...broken(3), disks })).toMatchObject({ kind: 'replaceMember', pod: 'c-4' });
  });

  test('who cannot start gets the mended template while what was begun waits for a leader', () => {
    const operation = { type: 'ReplaceMember' as const, member: 'c-1', since: '2026-11-22T02:00:00Z' };
    expect(stepOf(broken(2, { operation, leads: false }))).toMatchObject({ kind: 'replaceMember', pod: 'c-4' });
  });

  test('an archive that has left the template is no reason to restart anybody', () => {
    const pods = running().pods.map((pod) => ({
      ...pod,
      metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, [RESTORE_TEMPLATE]: 'was' } },
    }));
    expect(stepOf({ ...running(), pods })).toBeUndefined();
  });

  test('a version that they must not get changes nothing: the StatefulSet keeps its template', () => {
    const refused = etcd('3.5.35');
    expect(stepOf(refused)).toBeUndefined();
    expect(templateOf(refused).filter((text) => text.includes('v3.5.35'))).toEqual([]);
    expect(conditionOf(refused, 'Progressing')).toMatchObject({ status: 'False', reason: 'VersionRefused' });
    expect(conditionOf(refused, 'Ready')).toMatchObject({ status: 'True' });
    expect(events(refused)).toContain('VersionRefused');
  });

  test('a version that is none makes nothing of a new cluster', () => {
    const observed = look({ spec: { engine: { type: 'Etcd', version: 'newest' } }, profile: etcdProfile });
    expect(applies(observed)).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ status: 'False', reason: 'EngineInvalid' });
  });

  test('before another version there is a snapshot, and until then the StatefulSet keeps its template', () => {
    const waits = etcd('3.6.8', { policies: [policyOf()] });
    expect(stepOf(waits)).toMatchObject({ kind: 'createSnapshot' });
    expect(templateOf(waits).filter((text) => text.includes('v3.6.8'))).toEqual([]);
    expect(statusSaid(waits)?.operation).toMatchObject({ type: 'Update' });
    expect(conditionOf(waits, 'Progressing')?.message).toMatch(/^RaftSnapshot c-before-[0-9a-f]+ comes before 3.6.8/);
    expect(templateOf(etcd('3.6.8'))[0]).toContain('v3.6.8');
  });

  test('a cluster that hibernates wakes as the version that it was, and with whatever else has changed', () => {
    const asleep = (version: string, more: object = {}) => {
      const spec = { replicas: 0, engine: { type: 'Etcd', version }, ...more };
      const cluster = clusterOf('c', spec, { ...formedStatus, version: '3.6.5', size: 3 });
      return etcd(version, { cluster, pods: [], views: new Map() });
    };
    expect(templateOf(asleep('3.6.8')).filter((text) => text.includes('v3.6.8'))).toEqual([]);
    expect(conditionOf(asleep('3.5.35'), 'Progressing')).toMatchObject({ reason: 'VersionRefused' });
    const annotated = asleep('3.6.5', { podTemplate: { metadata: { annotations: { note: 'changed' } } } });
    expect(templateOf(annotated)[0]).toContain('changed');
  });
});

describe('what is in the way', () => {
  test('an object of somebody else is never touched', () => {
    const foreign = { apiVersion: 'v1', kind: 'Service', metadata: meta('c-peers') } as Live<KubeObject>;
    const observed = look({ children: { peers: foreign } });
    expect(applies(observed)).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ reason: 'NameTaken', status: 'False' });
    expect(conditionOf(observed, 'Ready')?.message).toContain('Service c-peers is in the way');
    expect(planCluster(observed, now).requeueAfterMs).toBe(10_000);
  });

  test('a disk of somebody else is nothing to start members on', () => {
    const observed = look({ foreignDisks: ['data-c-1'] });
    expect(applies(observed)).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ reason: 'NameTaken', status: 'False' });
    expect(conditionOf(observed, 'Ready')?.message).toContain('PersistentVolumeClaim data-c-1 is in the way');
    expect(planCluster(observed, now).requeueAfterMs).toBe(10_000);
  });

  test('a disk of somebody else keeps a further member from coming, and the others serve', () => {
    const list = [0, 1, 2].map((ordinal) => ({
      id: `${ordinal}a`,
      name: `c-${ordinal}`,
      peerUrls: [`http://c-${ordinal}.c-peers.default.svc:2380`],
      clientUrls: [],
      isLearner: false,
    }));
    const views = viewsOf('c', 0, 3, { members: list });
    const grown = { ...running({ views }), cluster: clusterOf('c', { replicas: 5 }, formedStatus) };
    const stepOf = (observed: ClusterObserved) =>
      planCluster(observed, now).actions.find((action) => action.kind === 'step')?.step;
    expect(stepOf(grown)).toMatchObject({ kind: 'addMember', member: 'c-3' });
    const barred = { ...grown, foreignDisks: ['data-c-3'] };
    expect(stepOf(barred)).toBeUndefined();
    expect(conditionOf(barred, 'Progressing')).toMatchObject({ reason: 'NameTaken', status: 'False' });
    expect(conditionOf(barred, 'Available')).toMatchObject({ status: 'True' });
  });

  test('objects of an earlier cluster of the same name are waited for', () => {
    const metadata = meta('c', { ownerReferences: [ownerOf('RaftCluster', 'c', 'old-uid')] });
    const old = { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata, spec: {} } as Live<StatefulSet>;
    const observed = look({ children: { statefulSet: old } });
    expect(applies(observed)).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ reason: 'WaitingForRemoval' });
  });

  test('disks that a deleted cluster left are taken over under their own token; one that is missing is lost, not new', () => {
    const disks = [diskOf('c', 0, 'old-token', true), diskOf('c', 1, 'old-token', true)];
    const actions = planCluster(look({ disks }), now).actions;
    const config = actions.find((action) => action.kind === 'apply' && action.part === 'config');
    const statefulSet = actions.find((action) => action.kind === 'apply' && action.part === 'statefulSet');
    expect(config).toMatchObject({ object: { data: { 'initial-cluster-state': 'existing' } } });
    expect(JSON.stringify(statefulSet)).toContain('--initial-cluster-token=old-token');
  });

  test('disks that go with an earlier cluster of the same name are waited for: nothing starts on them or takes after them', () => {
    const earlier = { apiVersion: 'raftsman.dev/v1alpha1', kind: 'RaftCluster', name: 'c', uid: 'earlier' };
    for (const going of [{ deletionTimestamp: '2026-11-22T00:00:00Z' }, { ownerReferences: [earlier] }]) {
      const kept = diskOf('c', 0, 'default-c-earlier', true);
      const observed = look({ disks: [{ ...kept, metadata: { ...kept.metadata, ...going } }] });
      expect(conditionOf(observed, 'Ready')).toMatchObject({ status: 'False', reason: 'WaitingForRemoval' });
      expect(statusOf(observed)?.formed).toBeUndefined();
      expect(applies(observed)).toEqual([]);
    }
  });

  test('disks of a cluster that never formed start it anew', () => {
    const actions = planCluster(look({ disks: [diskOf('c', 0, 'old-token')] }), now).actions;
    expect(actions.find((action) => action.kind === 'apply' && action.part === 'config')).toMatchObject({
      object: { data: { 'initial-cluster-state': 'new' } },
    });
  });

  test('disks of different clusters start nothing', () => {
    const observed = look({ disks: [diskOf('c', 0, 'a'), diskOf('c', 1, 'b')] });
    expect(applies(observed)).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ reason: 'DisksDiffer' });
  });

  const restore = { bootstrap: { restore: { storeName: 's', key: 'k' } } };

  test('a restore never starts from disks that hold data', () => {
    const observed = look({ spec: restore, store: storeOf(), disks: [diskOf('c', 0, 'old-token', true)] });
    expect(applies(observed)).toEqual([]);
    expect(conditionOf(observed, 'Progressing')).toMatchObject({ reason: 'DisksInUse' });
    expect(conditionOf(observed, 'Progressing')?.message).toContain('data-c-0');
  });

  test('nor does it take the disks of another for its own: once they are deleted, it starts as a new cluster does', () => {
    const observed = look({ spec: restore, store: storeOf(), disks: [diskOf('c', 0, 'old-token', true)] });
    expect(statusOf(observed)?.formed).toBeUndefined();
    const cleared = settledStatus(observed);
    expect(applies({ ...cleared, disks: [] })).toEqual(PARTS);
  });

  test('disks of members that were removed long ago, and none that could serve, start nothing', () => {
    const observed = look({ disks: [diskOf('c', 3, 'old-token', true), diskOf('c', 4, 'old-token', true)] });
    expect(applies(observed)).toEqual([]);
    const said = conditionOf(observed, 'Progressing');
    expect(said).toMatchObject({ status: 'False', reason: 'DisksInUse' });
    expect(said?.message).toContain('data-c-3, data-c-4');
    expect(statusOf(observed)?.formed).toBeUndefined();
    const { actions } = planCluster({ ...settledStatus(observed), disks: [] }, now);
    expect(actions.find((action) => action.kind === 'apply' && action.part === 'config')).toMatchObject({
      object: { data: { 'initial-cluster-state': 'new' } },
    });
  });

  test('a store that is missing or not ready is waited for, before anything is created', () => {
    expect(conditionOf(look({ spec: restore }), 'Progressing')).toMatchObject({ reason: 'StoreNotFound' });
    const unready = look({ spec: restore, store: storeOf('s', false) });
    expect(conditionOf(unready, 'Progressing')).toMatchObject({ reason: 'StoreNotReady' });
    expect(applies(unready)).toEqual([]);
    expect(applies(look({ spec: restore, store: storeOf() }))).toEqual(PARTS);
  });

  test('once formed, a restored cluster needs its store no more', () => {
    const observed = running({ spec: restore });
    expect(conditionOf({ ...observed, views: new Map() }, 'Progressing')?.reason).not.toBe('StoreNotFound');
    expect(statusOf(observed)?.restoredFrom).toEqual({ storeName: 's', key: 'k' });
  });
});
