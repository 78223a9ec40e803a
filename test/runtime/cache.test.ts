import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type ConfigMap, configMaps } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import { createCache } from '../../src/runtime/cache.ts';

const configMap = (
  name: string,
  version: number,
  data: Record<string, string> = {},
  uid = `uid-${name}`,
): Live<ConfigMap> => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'ns', uid, resourceVersion: `${version}`, creationTimestamp: '2030-01-01T00:00:00Z' },
  data,
});

const byColour = { colour: (object: Live<ConfigMap>) => (object.data?.['colour'] ? [object.data['colour']] : []) };

describe('cache', () => {
  test('an older version never replaces a newer one, also where the digits grow longer', () => {
    const cache = createCache(configMaps);
    cache.upsert(configMap('a', 10, { v: 'new' }));
    cache.upsert(configMap('a', 9, { v: 'old' }));
    expect(cache.get('ns/a')?.data).toEqual({ v: 'new' });
    cache.replace([configMap('a', 8, { v: 'older' })], false);
    expect(cache.get('ns/a')?.data).toEqual({ v: 'new' });
  });

  test('after a restored backup the older version is the truth', () => {
    const cache = createCache(configMaps);
    cache.replace([configMap('a', 10, { v: 'new' })], false);
    cache.replace([configMap('a', 8, { v: 'restored' })], true);
    expect(cache.get('ns/a')?.data).toEqual({ v: 'restored' });
  });

  test('a relist tells of what was deleted while nobody watched', () => {
    const cache = createCache(configMaps);
    const told: [string | undefined, string | undefined][] = [];
    cache.replace([configMap('a', 1), configMap('b', 2)], false);
    cache.subscribe((before, after) => told.push([before?.metadata.name, after?.metadata.name]));
    cache.replace([configMap('b', 2), configMap('c', 5)], false);
    expect(told).toEqual([
      ['a', undefined],
      [undefined, 'c'],
    ]);
    expect(cache.keys()).toEqual(['ns/b', 'ns/c']);
  });

  test('a namesake with another uid is told as one deletion and one addition', () => {
    const cache = createCache(configMaps);
    cache.upsert(configMap('a', 1, {}, 'first'));
    const told: [string | undefined, string | undefined][] = [];
    cache.subscribe((before, after) => told.push([before?.metadata.uid, after?.metadata.uid]));
    cache.upsert(configMap('a', 7, {}, 'second'));
    expect(told).toEqual([
      ['first', undefined],
      [undefined, 'second'],
    ]);
  });

  test('the deletion of an earlier namesake does not remove the one that is there now', () => {
    const cache = createCache(configMaps);
    cache.upsert(configMap('a', 7, {}, 'second'));
    cache.remove(configMap('a', 5, {}, 'first'));
    expect(cache.size).toBe(1);
    cache.remove(configMap('a', 8, {}, 'second'));
    expect(cache.size).toBe(0);
  });

  test('the same version told again wakes nobody', () => {
    const cache = createCache(configMaps);
    cache.upsert(configMap('a', 3));
    let told = 0;
    cache.subscribe(() => told++);
    cache.upsert(configMap('a', 3));
    cache.replace([configMap('a', 3)], false);
    expect(told).toBe(0);
  });

  test('an index follows changes and deletions, and one added later covers what is there', () => {
    const cache = createCache(configMaps, { indexes: byColour });
    cache.replace(
      [configMap('a', 1, { colour: 'red' }), configMap('b', 2, { colour: 'red' }), configMap('c', 3)],
      false,
    );
    const names = (value: string) => cache.byIndex('colour', value).map((object) => object.metadata.name);
    expect(names('red')).toEqual(['a', 'b']);
    cache.upsert(configMap('a', 4, { colour: 'blue' }));
    expect([names('red'), names('blue')]).toEqual([['b'], ['a']]);
    cache.remove(configMap('b', 5));
    expect(names('red')).toEqual([]);
    cache.addIndexes({ initial: (object) => [object.metadata.name.slice(0, 1)] });
    expect(cache.byIndex('initial', 'c')).toHaveLength(1);
    expect(() => cache.byIndex('shape', 'x')).toThrow('no index shape');
  });

  test('is synced from the first complete list on', () => {
    const cache = createCache(configMaps);
    cache.upsert(configMap('a', 1));
    expect(cache.synced).toBe(false);
    cache.replace([], false);
    expect(cache.synced).toBe(true);
    expect(cache.size).toBe(0);
  });

  test('a transform drops what nobody reads before an object is kept', () => {
    const cache = createCache(configMaps, { transform: ({ data: _, ...rest }) => rest });
    cache.upsert(configMap('a', 1, { big: 'x' }));
    expect(cache.get('ns/a')?.data).toBeUndefined();
  });

  test('in whatever order versions arrive, the newest of each object stays and every index agrees with a scan', () => {
    const step = fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      version: fc.integer({ min: 1, max: 120 }),
      colour: fc.constantFrom('red', 'blue', ''),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const cache = createCache(configMaps, { indexes: byColour });
        const newest = new Map<string, number>();
        for (const { name, version, colour } of steps) {
          cache.upsert(configMap(name, version, { colour }));
          newest.set(name, Math.max(version, newest.get(name) ?? 0));
        }
        for (const [name, version] of newest) {
          expect(cache.get(`ns/${name}`)?.metadata.resourceVersion).toBe(`${version}`);
        }
        for (const colour of ['red', 'blue']) {
          const scanned = cache.list().filter((object) => object.data?.['colour'] === colour);
          expect(new Set(cache.byIndex('colour', colour))).toEqual(new Set(scanned));
        }
      }),
      { seed: 4 },
    );
  });
});
