import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createClient } from '../../src/kube/client.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { type ConfigMap, configMaps } from '../../src/kube/kinds.ts';
import { compareVersions, keyOf, type Live } from '../../src/kube/objects.ts';
import { createReflector, type ReflectorEvent } from '../../src/kube/reflector.ts';
import { createLog } from '../../src/log.ts';
import { createCache, type FilledCache } from '../../src/runtime/cache.ts';
import { type ApiServer, apiServer } from './api-server.ts';
import { type Asked, type Fault, type FaultProxy, faultProxy } from './fault-proxy.ts';
import { until } from './until.ts';

let server: ApiServer;
let direct: KubeClient;

beforeAll(async () => {
  server = await apiServer('kube-reflector');
  direct = server.client;
}, 600_000);

afterAll(async () => {
  await server?.stop();
});

/** A linear congruential generator: faults differ from run to run of the loop, not from run to run of the test. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const configMap = (namespace: string, name: string, value: string): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace, name, labels: { test: 'yes' } },
  data: { value },
});

interface Following {
  readonly cache: FilledCache<ConfigMap>;
  readonly notes: ReflectorEvent[];
  readonly client: KubeClient;
  readonly proxy: FaultProxy;
  end(): Promise<void>;
}

/** A reflector of one namespace's marked config maps through a proxy, which also checks that no object goes back. */
async function follow(
  namespace: string,
  options: { stallMs?: number; watchSeconds?: number } = {},
): Promise<Following> {
  const proxy = await faultProxy(server.connection);
  const client = createClient(proxy.connection);
  const cache = createCache(configMaps);
  const newest = new Map<string, string>();
  cache.subscribe((_, after) => {
    if (after === undefined) return;
    const { uid, resourceVersion } = after.metadata;
    const before = newest.get(uid);
    if (before !== undefined) expect(compareVersions(resourceVersion, before)).toBe(1);
    newest.set(uid, resourceVersion);
  });
  const notes: ReflectorEvent[] = [];
  const reflector = createReflector({
    client,
    type: configMaps,
    sink: cache,
    selection: { namespace, labelSelector: 'test=yes' },
    log: createLog({ write: () => {} }),
    notify: (event) => notes.push(event),
    retryMs: [20, 200],
    ...options,
  });
  const stop = new AbortController();
  const ended = reflector.run(stop.signal);
  return {
    cache,
    notes,
    client,
    proxy,
    async end() {
      stop.abort();
      await ended;
      client.close();
      await proxy.close();
    },
  };
}

const shape = (objects: readonly Live<ConfigMap>[]) =>
  objects.map((object) => `${keyOf(object)} ${object.metadata.uid} ${object.metadata.resourceVersion}`).sort();

async function endsEqual({ cache }: Following, namespace: string): Promise<void> {
  const fresh = await direct.listAll(configMaps, { namespace, labelSelector: 'test=yes' });
  await until(() => JSON.stringify(shape(cache.list())) === JSON.stringify(shape(fresh.items)), 20_000).catch(() =>
    // Says what differs.
    expect(shape(cache.list())).toEqual(shape(fresh.items)),
  );
}

/** Creates, changes, deletes and recreates config maps, in a seeded order. */
async function churn(namespace: string, random: () => number, steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    const name = `c-${Math.floor(random() * 12)}`;
    const ref = { namespace, name };
    if (random() < 0.3) await direct.delete(configMaps, ref);
    else await direct.apply(configMaps, configMap(namespace, name, `${random()}`));
  }
}

/** Changes under faults, round by round; every connection is cut after each, so that there is always a next request. */
async function churnUnderFaults(t: Following, namespace: string, random: () => number): Promise<void> {
  for (let round = 0; round < 8 || t.proxy.faults < 4; round++) {
    expect(round).toBeLessThan(30);
    const before = t.proxy.asked.length;
    await churn(namespace, random, 8);
    t.proxy.cutAll();
    await until(() => t.proxy.asked.length > before, 5_000);
  }
}

describe('a reflector of a real API server', () => {
  let pages: string;

  test('3,000 objects come in pages of 500, and then nothing is asked while nothing happens', async () => {
    const namespace = await server.namespace('pages');
    pages = namespace;
    const names = Array.from({ length: 3_000 }, (_, i) => `c-${i}`);
    while (names.length > 0) {
      await Promise.all(names.splice(0, 30).map((name) => direct.create(configMaps, configMap(namespace, name, 'x'))));
    }
    const t = await follow(namespace);
    await until(() => t.cache.synced);
    expect(t.cache.size).toBe(3_000);
    const lists = t.proxy.asked.filter((asked) => asked.kind === 'list');
    expect(new Set(lists.map((asked) => asked.query.get('limit')))).toEqual(new Set(['500']));
    // One more when the server cannot tell that what it left out by the selector was the last.
    expect([6, 7]).toContain(lists.length);
    await until(() => t.proxy.asked.some((asked) => asked.kind === 'watch'));
    t.proxy.forget();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(t.proxy.asked).toEqual([]);
    await endsEqual(t, namespace);
    await t.end();
  }, 120_000);

  test('creations, changes and deletions arrive, and an object that leaves the selection leaves the cache', async () => {
    const namespace = await server.namespace('follows');
    const t = await follow(namespace);
    await until(() => t.cache.synced);
    await churn(namespace, seeded(1), 40);
    await endsEqual(t, namespace);
    await direct.apply(configMaps, configMap(namespace, 'leaves', 'x'));
    await until(() => t.cache.get(`${namespace}/leaves`) !== undefined);
    await direct.patch(configMaps, { namespace, name: 'leaves' }, { metadata: { labels: { test: 'no' } } });
    await until(() => t.cache.get(`${namespace}/leaves`) === undefined);
    await t.end();
  });

  const broken: readonly [string, (asked: Asked, random: () => number) => Fault | undefined][] = [
    ['dropped connections', (_, random) => (random() < 0.5 ? { kind: 'drop' } : undefined)],
    ['answers that come late', (_, random) => ({ kind: 'delay', milliseconds: Math.floor(random() * 150) })],
    [
      '500 Internal Server Error',
      (_, random) => (random() < 0.5 ? { kind: 'status', code: 500, reason: 'InternalError' } : undefined),
    ],
    [
      '429 Too Many Requests with Retry-After',
      (_, random) =>
        random() < 0.4 ? { kind: 'status', code: 429, reason: 'TooManyRequests', retryAfterSeconds: 1 } : undefined,
    ],
    [
      '410 Gone as the status of a watch',
      (asked, random) =>
        asked.kind === 'watch' && random() < 0.6 ? { kind: 'status', code: 410, reason: 'Expired' } : undefined,
    ],
    [
      '410 Gone as an event in a watch',
      (asked, random) =>
        asked.kind === 'watch' ? { kind: 'gone-event', afterEvents: Math.floor(random() * 4) } : undefined,
    ],
    [
      'watches cut in the middle of an event',
      (asked, random) => (asked.kind === 'watch' ? { kind: 'cut', afterEvents: Math.floor(random() * 4) } : undefined),
    ],
    [
      'watches that fall silent',
      (asked, random) =>
        asked.kind === 'watch' ? { kind: 'stall', afterEvents: Math.floor(random() * 4) } : undefined,
    ],
    [
      'watches that repeat old events',
      (asked, random) =>
        asked.kind === 'watch' ? { kind: 'replay', afterEvents: Math.floor(random() * 3) } : undefined,
    ],
  ];

  for (const [index, [name, fault]] of broken.entries()) {
    test(`${name}: the cache never goes back in time and ends equal to a fresh list`, async () => {
      const namespace = await server.namespace(`faults-${index}`);
      const random = seeded(100 + index);
      const t = await follow(namespace, { stallMs: 400 });
      t.proxy.inject((asked) => fault(asked, random));
      await churnUnderFaults(t, namespace, random);
      t.proxy.inject(() => undefined);
      await endsEqual(t, namespace);
      await t.end();
    });
  }

  test('all of it at once, in three seeded mixtures, with every connection cut now and then: the same', async () => {
    for (const seed of [7, 8, 9]) {
      const namespace = await server.namespace(`mixture-${seed}`);
      const random = seeded(seed);
      const t = await follow(namespace, { stallMs: 400, watchSeconds: 1 });
      t.proxy.inject((asked) => broken[Math.floor(random() * broken.length * 1.5)]?.[1](asked, random));
      await churnUnderFaults(t, namespace, random);
      t.proxy.inject(() => undefined);
      await endsEqual(t, namespace);
      await t.end();
    }
  });

  test('a continue token that expires midway begins the list again', async () => {
    const proxy = await faultProxy(server.connection);
    const client = createClient(proxy.connection);
    let refused = 0;
    proxy.inject((asked) => {
      if (!asked.query.has('continue') || refused === 2) return undefined;
      refused++;
      return { kind: 'status', code: 410, reason: 'Expired' };
    });
    const { items } = await client.listAll(configMaps, { namespace: pages, labelSelector: 'test=yes' });
    expect(new Set(items.map(keyOf)).size).toBe(3_000);
    expect(proxy.asked.map((asked) => asked.query.get('limit')).at(-1)).toBeNull();
    client.close();
    await proxy.close();
  });

  test('quiet watches carry bookmarks and are renewed by version, without any new list', async () => {
    const namespace = await server.namespace('quiet');
    const t = await follow(namespace, { watchSeconds: 2 });
    const watches = () => t.proxy.asked.filter((asked) => asked.kind === 'watch');
    // A watch is noted as it begins, and gets to the proxy after that.
    await until(() => watches().length >= 3, 30_000);
    expect(t.notes.filter((note) => note === 'list')).toHaveLength(1);
    expect(t.proxy.asked.filter((asked) => asked.kind === 'list')).toHaveLength(1);
    for (const { query } of watches()) expect(Number(query.get('resourceVersion'))).toBeGreaterThan(0);
    await t.end();
  }, 60_000);
});
