import { describe, expect, test } from '@jest/globals';
import { ApiError } from '../../src/kube/errors.ts';
import { type ConfigMap, configMaps, type Secret, secrets } from '../../src/kube/kinds.ts';
import type { KubeObject, Live } from '../../src/kube/objects.ts';
import { createLog } from '../../src/log.ts';
import { createCache } from '../../src/runtime/cache.ts';
import type { Cache, ControllerDefinition, Watch } from '../../src/runtime/contract.ts';
import { createController } from '../../src/runtime/controller.ts';
import { createMetrics } from '../../src/runtime/metrics.ts';
import { manualClock } from '../kube/manual-clock.ts';

/** How long a key rests between two reconciles that changes ask for. */
const restMs = 100;

const meta = (name: string, version: number) => ({
  name,
  namespace: 'ns',
  uid: name,
  resourceVersion: `${version}`,
  creationTimestamp: '2030-01-01T00:00:00Z',
});
const configMap = (name: string, version = 1): Live<ConfigMap> => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: meta(name, version),
});
const secret = (name: string, owner: string, version = 1): Live<Secret> => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { ...meta(name, version), labels: { owner } },
});

function setUp(definition: Partial<ControllerDefinition<ConfigMap>>, watch?: Partial<Watch<Secret>>) {
  const clock = manualClock();
  const own = createCache(configMaps);
  const others = createCache(secrets);
  const lines: string[] = [];
  const metrics = createMetrics({ queues: () => [], caches: () => [], requests: () => 0 });
  const calls: string[] = [];
  const full: ControllerDefinition<ConfigMap> = {
    name: 'test',
    kind: configMaps,
    async reconcile(key) {
      calls.push(key);
      return {};
    },
    ...definition,
  };
  const watched: Watch<Secret> = {
    kind: secrets,
    keys: (object) => [`ns/${object.metadata.labels?.['owner']}`],
    ...watch,
  };
  const controller = createController({
    definition: full as unknown as ControllerDefinition,
    own: own as unknown as Cache<KubeObject>,
    watched: [{ watch: watched as unknown as Watch, cache: others as unknown as Cache<KubeObject> }],
    clock,
    log: createLog({ write: (line) => lines.push(line) }),
    metrics,
  });
  const stop = new AbortController();
  const cancel = new AbortController();
  let ended = false;
  return {
    clock,
    own,
    others,
    lines,
    calls,
    metrics,
    stop,
    cancel,
    run() {
      void controller.run(stop.signal, cancel.signal).then(() => {
        ended = true;
      });
    },
    ended: () => ended,
  };
}

describe('controller', () => {
  test('begins with every object that is there, and each change wakes it under its own key', async () => {
    const t = setUp({});
    t.own.replace([configMap('a'), configMap('b')], false);
    t.run();
    await t.clock.advance(0);
    expect(t.calls).toEqual(['ns/a', 'ns/b']);
    await t.clock.advance(restMs);
    t.own.upsert(configMap('b', 2));
    t.own.remove(configMap('a', 3));
    await t.clock.advance(0);
    expect(t.calls.slice(2)).toEqual(['ns/b', 'ns/a']);
  });

  test('a watched object wakes its owner; one that changes hands wakes both the old and the new one', async () => {
    const t = setUp({});
    t.run();
    t.others.upsert(secret('s', 'first'));
    await t.clock.advance(restMs);
    t.others.upsert(secret('s', 'second', 2));
    await t.clock.advance(0);
    expect(t.calls).toEqual(['ns/first', 'ns/first', 'ns/second']);
  });

  test('a burst of changes wakes it at once, and once more when the key has rested', async () => {
    const t = setUp({});
    t.run();
    for (let version = 1; version <= 10; version++) {
      t.own.upsert(configMap('a', version));
      await t.clock.advance(5);
    }
    expect(t.calls).toEqual(['ns/a']);
    await t.clock.advance(restMs);
    expect(t.calls).toEqual(['ns/a', 'ns/a']);
  });

  test('a change that the watch calls none wakes nobody', async () => {
    const t = setUp({}, { changed: () => false });
    t.others.upsert(secret('s', 'a'));
    t.run();
    await t.clock.advance(restMs);
    t.others.upsert(secret('s', 'a', 2));
    await t.clock.advance(0);
    expect(t.calls).toEqual(['ns/a']);
  });

  test('nor does one of its own kind that the controller calls none; a new object and a deleted one always do', async () => {
    const t = setUp({ changed: () => false });
    t.run();
    t.own.upsert(configMap('a'));
    await t.clock.advance(restMs);
    t.own.upsert(configMap('a', 2));
    await t.clock.advance(restMs);
    expect(t.calls).toEqual(['ns/a']);
    t.own.remove(configMap('a', 3));
    await t.clock.advance(0);
    expect(t.calls).toEqual(['ns/a', 'ns/a']);
  });

  test('a throw is logged, counted and tried again with growing waits; other keys go on meanwhile', async () => {
    const at: number[] = [];
    const done: string[] = [];
    const t = setUp({
      async reconcile(key, { clock }) {
        if (key === 'ns/good') {
          done.push(key);
          return {};
        }
        at.push(clock.monotonic());
        if (at.length < 5) throw new TypeError('broken');
        return {};
      },
    });
    t.own.replace([configMap('bad'), configMap('good')], false);
    t.run();
    await t.clock.advance(1_000);
    expect(at).toEqual([0, 5, 15, 35, 75]);
    expect(done).toEqual(['ns/good']);
    expect(t.lines.filter((line) => line.includes('reconcile failed'))).toHaveLength(4);
    const metric = await t.metrics.registry.getSingleMetricAsString('raftsman_reconciles_total');
    expect(metric).toContain('result="error"} 4');
    expect(metric).toContain('result="success"} 2');
  });

  test('a reconcile that throws before its first await is no different', async () => {
    let tries = 0;
    const t = setUp({
      reconcile() {
        tries++;
        if (tries === 1) throw new Error('at once');
        return Promise.resolve({});
      },
    });
    t.own.replace([configMap('a')], false);
    t.run();
    await t.clock.advance(100);
    expect(tries).toBe(2);
  });

  test('the server’s Retry-After is waited for', async () => {
    const at: number[] = [];
    const t = setUp({
      async reconcile(_, { clock }) {
        at.push(clock.monotonic());
        if (at.length === 1) throw new ApiError('apply', 429, undefined, 4_000);
        return {};
      },
    });
    t.own.replace([configMap('a')], false);
    t.run();
    await t.clock.advance(10_000);
    expect(at).toEqual([0, 4_000]);
  });

  test('requeueAfterMs looks again later, and success begins the waits anew', async () => {
    const at: number[] = [];
    const t = setUp({
      async reconcile(_, { clock }) {
        at.push(clock.monotonic());
        if (at.length === 2) throw new Error('once');
        return at.length === 1 ? { requeueAfterMs: 1_000 } : {};
      },
    });
    t.own.replace([configMap('a')], false);
    t.run();
    await t.clock.advance(5_000);
    expect(at).toEqual([0, 1_000, 1_005]);
  });

  test('one key is never reconciled twice at a time, different keys are, up to the number of workers', async () => {
    const active = new Set<string>();
    let most = 0;
    const t = setUp({
      workers: 3,
      async reconcile(key, { clock }) {
        expect(active.has(key)).toBe(false);
        active.add(key);
        most = Math.max(most, active.size);
        await new Promise<void>((resolve) => clock.after(100, resolve));
        active.delete(key);
        return {};
      },
    });
    t.own.replace(
      ['a', 'b', 'c', 'd', 'e'].map((name) => configMap(name)),
      false,
    );
    t.run();
    for (let version = 2; version < 20; version++) {
      for (const name of ['a', 'b', 'c', 'd', 'e']) t.own.upsert(configMap(name, version));
      await t.clock.advance(30);
    }
    await t.clock.advance(1_000);
    expect(most).toBe(3);
  });

  test('a mapping that throws is logged and stops neither the cache nor the controller', async () => {
    const t = setUp(
      {},
      {
        keys() {
          throw new Error('no keys');
        },
      },
    );
    t.run();
    t.others.upsert(secret('s', 'a'));
    t.own.upsert(configMap('b'));
    await t.clock.advance(0);
    expect(t.calls).toEqual(['ns/b']);
    expect(t.lines.join()).toContain('could not name its keys');
  });

  test('a stop lets what is under way end, and begins nothing that is still queued', async () => {
    const begun: string[] = [];
    let finish = (): void => {};
    const t = setUp({
      workers: 1,
      reconcile: (key) => {
        begun.push(key);
        return new Promise((resolve) => {
          finish = () => resolve({});
        });
      },
    });
    t.own.replace([configMap('a'), configMap('b')], false);
    t.run();
    await t.clock.advance(0);
    t.stop.abort();
    await t.clock.advance(1_000);
    expect(t.ended()).toBe(false);
    finish();
    await t.clock.advance(0);
    expect(t.ended()).toBe(true);
    expect(begun).toEqual(['ns/a']);
  });
});
