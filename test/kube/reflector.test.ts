import { describe, expect, test } from '@jest/globals';
import type { KubeClient, Page, WatchEvent, WatchOptions } from '../../src/kube/contract.ts';
import { ApiError, TransportError } from '../../src/kube/errors.ts';
import { type ConfigMap, configMaps } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import { createReflector, type ReflectorEvent } from '../../src/kube/reflector.ts';
import { createLog } from '../../src/log.ts';
import { createCache } from '../../src/runtime/cache.ts';
import { manualClock, settle } from './manual-clock.ts';

const item = (name: string, version: number, uid = name): Live<ConfigMap> => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'ns', uid, resourceVersion: `${version}`, creationTimestamp: '2030-01-01T00:00:00Z' },
});

type Listed = Page<ConfigMap> | Error;
type Watched = readonly (WatchEvent<ConfigMap> | Error | 'hang')[];

/** What the server says to each list and each watch, in turn. The last watch hangs until it is aborted. */
function scripted(lists: Listed[], watches: Watched[]) {
  const clock = manualClock();
  const notes: ReflectorEvent[] = [];
  const asked: { list: number[]; watch: { at: number; from: string }[] } = { list: [], watch: [] };
  const hang = (signal: AbortSignal | undefined) =>
    new Promise<never>((_, reject) =>
      signal?.addEventListener('abort', () => reject(new TransportError('aborted')), { once: true }),
    );
  const client = {
    async listAll() {
      asked.list.push(clock.monotonic());
      const answer = lists.shift();
      if (answer === undefined) throw new Error('one list more than was expected');
      if (answer instanceof Error) throw answer;
      return answer;
    },
    async *watch(_: unknown, options: WatchOptions) {
      asked.watch.push({ at: clock.monotonic(), from: options.resourceVersion });
      for (const step of watches.shift() ?? ['hang' as const]) {
        if (step === 'hang') await hang(options.signal);
        else if (step instanceof Error) throw step;
        else yield step;
      }
    },
  } as unknown as KubeClient;
  const cache = createCache(configMaps);
  const lines: string[] = [];
  const reflector = createReflector({
    client,
    type: configMaps,
    sink: cache,
    log: createLog({ write: (line) => lines.push(line) }),
    clock,
    random: () => 0,
    notify: (event) => notes.push(event),
  });
  const stop = new AbortController();
  const ended = reflector.run(stop.signal);
  return {
    clock,
    cache,
    notes,
    asked,
    lines,
    reflector,
    async end() {
      stop.abort();
      await ended;
    },
  };
}

const page = (version: number, ...items: Live<ConfigMap>[]): Page<ConfigMap> => ({
  items,
  resourceVersion: `${version}`,
});
const added = (object: Live<ConfigMap>) => ({ type: 'ADDED' as const, object });
const modified = (object: Live<ConfigMap>) => ({ type: 'MODIFIED' as const, object });
const deleted = (object: Live<ConfigMap>) => ({ type: 'DELETED' as const, object });
const bookmark = (version: number) => ({ type: 'BOOKMARK' as const, resourceVersion: `${version}` });
const gone = () => new ApiError('watch', 410, { reason: 'Expired', message: 'too old resource version' });
const versions = (cache: { list(): readonly Live<ConfigMap>[] }) =>
  cache.list().map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`);

describe('reflector', () => {
  test('lists once, says so, and watches from the version of the list', async () => {
    const t = scripted([page(10, item('a', 3))], []);
    await t.reflector.synced;
    await settle();
    expect(versions(t.cache)).toEqual(['a@3']);
    expect(t.asked.watch).toEqual([{ at: 0, from: '10' }]);
    await t.end();
  });

  test('adds, changes and deletions reach the cache', async () => {
    const events = [added(item('b', 11)), modified(item('a', 12)), deleted(item('b', 13)), 'hang' as const];
    const t = scripted([page(10, item('a', 3))], [events]);
    await t.clock.advance(0);
    expect(versions(t.cache)).toEqual(['a@12']);
    await t.end();
  });

  test('a watch that ended its time goes on where it was, and bookmarks move that place without any event', async () => {
    const t = scripted([page(10)], [[added(item('a', 11)), bookmark(40)], [bookmark(55)], ['hang']]);
    await t.clock.advance(0);
    expect(t.asked.watch.map(({ from }) => from)).toEqual(['10', '40', '55']);
    expect(t.asked.list).toHaveLength(1);
    await t.end();
  });

  test('410 Gone brings a new list, by which deletions that nobody saw are found', async () => {
    const t = scripted([page(10, item('a', 3), item('b', 4)), page(90, item('b', 4), item('c', 80))], [[gone()]]);
    await t.clock.advance(0);
    expect(versions(t.cache)).toEqual(['b@4', 'c@80']);
    expect(t.asked.watch.map(({ from }) => from)).toEqual(['10', '90']);
    await t.end();
  });

  test('a server that keeps saying 410 is asked less and less often', async () => {
    const lists = Array.from({ length: 50 }, (_, i) => page(10 + i));
    const t = scripted(
      lists,
      Array.from({ length: 50 }, () => [gone()]),
    );
    await t.clock.advance(10_000);
    const count = t.asked.list.length;
    expect(count).toBeGreaterThan(3);
    expect(count).toBeLessThan(9);
    await t.end();
  });

  test('an event from before what was seen is left out, so that the cache never goes back in time', async () => {
    const events = [
      modified(item('a', 20)),
      modified(item('a', 15)),
      deleted(item('a', 18)),
      modified(item('a', 20)),
      'hang',
    ] as const;
    const t = scripted([page(10, item('a', 3))], [events]);
    await t.clock.advance(0);
    expect(versions(t.cache)).toEqual(['a@20']);
    expect(t.notes.filter((note) => note === 'stale')).toHaveLength(3);
    await t.end();
  });

  test('a late event does not bring a deleted object back', async () => {
    const events = [deleted(item('a', 20)), modified(item('a', 19)), 'hang'] as const;
    const t = scripted([page(10, item('a', 3))], [events]);
    await t.clock.advance(0);
    expect(versions(t.cache)).toEqual([]);
    await t.end();
  });

  test('a list older than what was seen is not taken; the next one that is newer is', async () => {
    const t = scripted([page(50, item('a', 49)), page(30, item('a', 20)), page(60, item('a', 55))], [[gone()]]);
    await t.clock.advance(0);
    expect(versions(t.cache)).toEqual(['a@49']);
    await t.clock.advance(5_000);
    expect(versions(t.cache)).toEqual(['a@55']);
    await t.end();
  });

  test('three older lists in a row mean a restored backup: then the past is the truth, and is followed', async () => {
    const old = () => page(30, item('a', 20));
    const t = scripted(
      [page(50, item('a', 49), item('b', 48)), old(), old(), old()],
      [[gone()], [modified(item('a', 31)), 'hang']],
    );
    await t.clock.advance(30_000);
    expect(versions(t.cache)).toEqual(['a@31']);
    expect(t.notes).toContain('rewind');
    expect(t.lines.join()).toContain('went back in time');
    await t.end();
  });

  test('429 with Retry-After is waited for, and no sooner asked again', async () => {
    const throttled = new ApiError('list', 429, { reason: 'TooManyRequests' }, 7_000);
    const t = scripted([throttled, page(10)], []);
    await t.clock.advance(6_999);
    expect(t.asked.list).toEqual([0]);
    await t.clock.advance(2_000);
    expect(t.asked.list).toHaveLength(2);
    await t.end();
  });

  test('failures are retried with growing waits, first list included, and the log tells', async () => {
    const failures = Array.from({ length: 7 }, () => new ApiError('list', 500));
    const t = scripted([...failures, page(10, item('a', 1))], []);
    await t.clock.advance(120_000);
    const waits = t.asked.list.slice(1).map((at, i) => at - t.asked.list[i]!);
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000]);
    expect(versions(t.cache)).toEqual(['a@1']);
    await t.end();
  });

  test('a connection that breaks is watched again from the last event, without a new list', async () => {
    const cut = () => new TransportError('cut in the middle of an event');
    const t = scripted([page(10)], [[added(item('a', 11)), cut()], [added(item('b', 12)), cut()], ['hang']]);
    await t.clock.advance(60_000);
    expect(t.asked.list).toHaveLength(1);
    expect(t.asked.watch.map(({ from }) => from)).toEqual(['10', '11', '12']);
    await t.end();
  });

  test('a watch that never works is given up for a new list', async () => {
    const cut = () => new TransportError('refused');
    const t = scripted([page(10), page(11)], [[cut()], [cut()], [cut()], [cut()], [cut()], [cut()], ['hang']]);
    await t.clock.advance(60_000);
    expect(t.asked.list).toHaveLength(2);
    await t.end();
  });

  test('a watch that falls silent for longer than bookmarks take is broken, and is begun again', async () => {
    const t = scripted([page(10)], [[bookmark(12), 'hang'], ['hang']]);
    await t.clock.advance(149_999);
    expect(t.asked.watch).toHaveLength(1);
    await t.clock.advance(1);
    expect(t.asked.watch).toEqual([
      { at: 0, from: '10' },
      { at: 150_000, from: '12' },
    ]);
    expect(t.notes).toContain('stall');
    await t.end();
  });

  test('a server that closes every watch at once is not asked in a tight loop', async () => {
    const t = scripted(
      [page(10), page(10), page(10)],
      Array.from({ length: 1000 }, () => []),
    );
    await t.clock.advance(10_000);
    expect(t.asked.watch.length).toBeLessThan(10);
    await t.end();
  });

  test('ends when told to, whatever it waits for', async () => {
    const waiting = scripted([new ApiError('list', 500)], []);
    await settle();
    await waiting.end();
    const watching = scripted([page(1)], [['hang']]);
    await settle();
    await watching.end();
    expect(watching.clock.pending).toBe(0);
  });
});
