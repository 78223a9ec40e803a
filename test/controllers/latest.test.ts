import { expect, test } from '@jest/globals';
import { Latest } from '../../src/controllers/latest.ts';
import { type Pod, pods } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import { createCache } from '../../src/runtime/cache.ts';
import { manualClock } from '../kube/manual-clock.ts';
import { meta } from './objects.ts';

const at = (resourceVersion: string, uid = 'u') =>
  ({ apiVersion: 'v1', kind: 'Pod', metadata: meta('a', { resourceVersion, uid }), spec: {} }) as Live<Pod>;

function setup() {
  const clock = manualClock();
  const cache = createCache(pods);
  const latest = new Latest(cache, clock);
  const version = () => latest.get('default/a')?.metadata.resourceVersion;
  return { clock, cache, latest, version };
}

test('our own write is seen before the watch shows it, and gives way to what the watch shows later', () => {
  const { cache, latest, version } = setup();
  cache.replace([at('9')], false);
  latest.wrote(at('10'));
  expect(version()).toBe('10');
  cache.upsert(at('12'));
  expect(version()).toBe('12');
});

test('what is deleted does not live on in our memory', () => {
  const { cache, latest, version } = setup();
  cache.replace([at('9')], false);
  latest.wrote(at('10'));
  cache.remove(at('11'));
  expect(version()).toBeUndefined();
});

test('a namesake that we made meanwhile survives the deletion of the one before it', () => {
  const { cache, latest, version } = setup();
  cache.replace([at('9', 'old')], false);
  latest.wrote(at('12', 'new'));
  cache.remove(at('11', 'old'));
  expect(version()).toBe('12');
});

test('a write that the watch never shows is forgotten', async () => {
  const { clock, latest, version } = setup();
  latest.wrote(at('10'));
  expect(version()).toBe('10');
  await clock.advance(31_000);
  expect(version()).toBeUndefined();
});
