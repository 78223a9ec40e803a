/** A member that answers late is shown as slow, by the controller itself: from the answers' times to the status. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import type { MemberState, RaftCluster } from '../../../src/api/cluster.ts';
import { clusterController } from '../../../src/controllers/cluster/controller.ts';
import { TEMPLATE } from '../../../src/controllers/labels.ts';
import { Certificates } from '../../../src/controllers/tls/state.ts';
import type { World } from '../../../src/controllers/world.ts';
import { type Engine, EngineError, type MemberStatus } from '../../../src/engines/engine.ts';
import { type KubeObject, keyOf, type Live, type Manifest } from '../../../src/kube/objects.ts';
import { createLog } from '../../../src/log.ts';
import { type ManualClock, manualClock } from '../../kube/manual-clock.ts';
import {
  clusterOf,
  diskOf,
  formedStatus,
  listOf,
  memberPod,
  namespace,
  profile,
  settings,
  viewsOf,
} from '../objects.ts';

const key = keyOf({ namespace, name: 'c' });
const ordinals = [0, 1, 2];
/** As finely the controller's time goes on here. */
const STEP_MS = 100;

let clock: ManualClock;
/** How long each member takes to answer, and how often it was asked, by the address of its pod. */
let takes: Map<string, number>;
let asked: Map<string, number>;
let cluster: Live<RaftCluster>;
let woken: boolean;
let reconcile: () => Promise<void>;

/** What the API server would have: what was applied, with the cluster's own status. */
function world(): World {
  const applied = new Map<string, Live<KubeObject>>();
  const keep = async (_: unknown, object: Manifest) => {
    const { kind, metadata } = object;
    const live = { ...object, metadata: { ...metadata, uid: `uid-of-${kind}`, resourceVersion: '1' } };
    applied.set(metadata.name, live as Live<KubeObject>);
    return live;
  };
  const none = { get: () => undefined, cache: { byIndex: () => [] } };
  const kept = { get: (of: string) => applied.get(of.split('/')[1]!), wrote: () => {} };
  const template = () => {
    const { spec } = applied.get('c') as unknown as { spec: { template: { metadata: { annotations: object } } } };
    return (spec.template.metadata.annotations as Record<string, string>)[TEMPLATE]!;
  };
  const pods = () => (applied.has('c') ? ordinals.map((at) => memberPod('c', at, { template: template() })) : []);
  const said = new Map(
    [...viewsOf('c', 0, 3, { members: listOf('c') }).values()].map(({ status }, at) => [at, status]),
  );
  const engine: Partial<Engine> = {
    profile,
    status: ({ url }, { timeoutMs = 0 } = {}) =>
      new Promise<MemberStatus>((done, fail) => {
        asked.set(url, (asked.get(url) ?? 0) + 1);
        const after = takes.get(url) ?? 5;
        const late = () => fail(new EngineError('ENGINE_UNAVAILABLE', 'no answer', { reason: 'timeout' }));
        if (after > timeoutMs) clock.after(timeoutMs, late);
        else clock.after(after, () => done(said.get(Number(/\.(\d):/.exec(url)![1]) - 1)!));
      }),
    members: async () => listOf('c'),
  };
  return {
    client: {
      find: async () => undefined,
      apply: keep,
      patch: async () => ({}),
      replace: async (_: unknown, object: Live<RaftCluster>) => {
        cluster = object;
        return object;
      },
    },
    applier: { apply: async () => ({}) },
    events: { record: () => {} },
    manager: {
      enqueue: () => {
        woken = true;
      },
    },
    clock,
    settings,
    certificates: new Certificates(),
    engine: () => engine,
    views: {
      clusters: { get: () => cluster, wrote: () => {}, cache: { byIndex: () => [] } },
      stores: none,
      snapshots: none,
      policies: none,
      restores: none,
      compactions: none,
      configMaps: kept,
      services: kept,
      disruptionBudgets: kept,
      networkPolicies: kept,
      statefulSets: kept,
      pods: { byIndex: pods, get: (of: string) => pods().find((pod) => keyOf(pod) === of) },
      disks: { byIndex: () => ordinals.map((at) => diskOf('c', at, 'default-c-uid-of-c', true)), get: () => undefined },
    },
    workers: 1,
  } as unknown as World;
}

const stateOf = (member: string): MemberState | undefined =>
  cluster.status?.members?.find(({ name }) => name === member)?.state;

/** Time passes, and the controller looks whenever the polls have news for it: milliseconds until `holds`, or `atMostMs`. */
async function until(holds: () => boolean, atMostMs: number): Promise<number> {
  let passed = 0;
  while (!holds() && passed < atMostMs) {
    await clock.advance(STEP_MS);
    passed += STEP_MS;
    if (woken) await reconcile();
  }
  return passed;
}

const urlOf = (ordinal: number) => `http://10.0.0.${ordinal + 1}:2379`;

beforeEach(async () => {
  clock = manualClock();
  takes = new Map();
  asked = new Map();
  cluster = clusterOf('c', {}, formedStatus);
  const { definition } = clusterController(world());
  const log = createLog({ level: 'error' });
  reconcile = async () => {
    woken = false;
    await definition.reconcile(key, { log, clock, now: clock.now(), signal: new AbortController().signal });
  };
  await reconcile();
  await reconcile();
  await until(() => ordinals.every((at) => stateOf(`c-${at}`) === 'Serving'), 5_000);
  expect(cluster.status?.members?.map(({ state }) => state)).toEqual(Array(3).fill('Serving'));
});

describe('a member that takes its time to answer', () => {
  test.each([
    [1_100, 0],
    [1_100, 2_900],
    [1_700, 700],
    [1_700, 1_400],
    [1_700, 2_900],
  ])(
    'by %d ms, %d ms later, is shown as slow within ten seconds, and as serving once it answers soon',
    async (late, after) => {
      await until(() => false, after);
      takes.set(urlOf(1), late);
      expect(await until(() => stateOf('c-1') === 'Slow', 20_000)).toBeLessThanOrEqual(10_000);
      expect(cluster.status?.members?.find(({ name }) => name === 'c-1')?.message).toMatch(/more than a second/);
      expect([stateOf('c-0'), stateOf('c-2')]).toEqual(['Serving', 'Serving']);
      takes.delete(urlOf(1));
      expect(await until(() => stateOf('c-1') === 'Serving', 20_000)).toBeLessThanOrEqual(10_000);
    },
  );

  test('once, by chance, is not slow', async () => {
    const times = () => asked.get(urlOf(1)) ?? 0;
    const before = times();
    takes.set(urlOf(1), 1_700);
    await until(() => times() > before, 5_000);
    takes.delete(urlOf(1));
    await until(() => stateOf('c-1') !== 'Serving', 12_000);
    expect(stateOf('c-1')).toBe('Serving');
    expect(times()).toBeGreaterThan(before + 2);
  });

  test('of a second or less is not slow', async () => {
    takes.set(urlOf(1), 1_000);
    await until(() => stateOf('c-1') !== 'Serving', 30_000);
    expect(stateOf('c-1')).toBe('Serving');
  });

  test('and does not come to an end of it hangs, and is shown within ten seconds', async () => {
    takes.set(urlOf(1), 60_000);
    expect(await until(() => stateOf('c-1') === 'Hung', 20_000)).toBeLessThanOrEqual(10_000);
  });
});
