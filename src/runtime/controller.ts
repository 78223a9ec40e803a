import { ApiError, isConflict } from '../kube/errors.ts';
import type { Key, KubeObject, Live } from '../kube/objects.ts';
import { keyOf } from '../kube/objects.ts';
import type { Log } from '../log.ts';
import type { Clock } from './clock.ts';
import type { Cache, ControllerDefinition, Watch } from './contract.ts';
import type { RuntimeMetrics } from './metrics.ts';
import { createQueue, type WorkQueue } from './queue.ts';
import { exponential } from './rate-limiter.ts';

export interface ControllerOptions {
  readonly definition: ControllerDefinition;
  readonly own: Cache<KubeObject>;
  readonly watched: readonly { readonly watch: Watch; readonly cache: Cache<KubeObject> }[];
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RuntimeMetrics;
}

export interface Controller {
  readonly name: string;
  readonly queue: WorkQueue;
  /**
   * Works until `stop` aborts, then resolves when every reconcile under way has ended. `cancel` is the signal that
   * reconciles see. The caches must be synced.
   */
  run(stop: AbortSignal, cancel: AbortSignal): Promise<void>;
}

const WORKERS = 4;
/** A pod that starts or ends tells so in some ten changes, most of them within a few hundred milliseconds (docs/performance.md). */
const REST_MS = 100;

export function createController(options: ControllerOptions): Controller {
  const { definition, own, watched, clock, metrics } = options;
  const { name, workers = WORKERS } = definition;
  const log = options.log.with({ controller: name });
  const labels = { controller: name };
  const queue = createQueue({
    clock,
    limiter: exponential(),
    restMs: REST_MS,
    waited: (milliseconds) => metrics.queueSeconds.observe(labels, milliseconds / 1000),
  });

  const reconcile = async (key: Key, cancel: AbortSignal): Promise<void> => {
    const began = clock.monotonic();
    metrics.reconcilesActive.inc(labels);
    try {
      const now = clock.now();
      const result = await definition.reconcile(key, { log: log.with({ key }), clock, now, signal: cancel });
      queue.forget(key);
      const again = result?.requeueAfterMs;
      if (again !== undefined) queue.addAfter(key, again);
      metrics.reconciles.inc({ controller: name, result: again === undefined ? 'success' : 'requeue' });
    } catch (error) {
      metrics.reconciles.inc({ controller: name, result: 'error' });
      if (cancel.aborted) return;
      const asked = error instanceof ApiError ? error.retryAfterMs : undefined;
      const failures = queue.failures(key) + 1;
      // A conflict is how optimistic writes meet: no news. Anything else somebody may want to look into.
      if (isConflict(error)) log.info('reconcile met a conflict; trying again', { key, failures });
      else log.error('reconcile failed; trying again', { key, failures, error, stack: stackOf(error) });
      queue.addRateLimited(key, asked);
    } finally {
      metrics.reconcilesActive.dec(labels);
      metrics.reconcileSeconds.observe(labels, (clock.monotonic() - began) / 1000);
    }
  };

  const work = async (stop: AbortSignal, cancel: AbortSignal): Promise<void> => {
    for (;;) {
      const key = await queue.take();
      if (key === undefined) return;
      try {
        // A key still queued at the end is for the next leader: it begins by looking at every object.
        if (!stop.aborted) await reconcile(key, cancel);
      } finally {
        queue.done(key);
      }
    }
  };

  /** A mapping that throws must not stop the cache that calls it. */
  const keysOf = (watch: Watch, object: Live | undefined): readonly Key[] => {
    if (object === undefined) return [];
    try {
      return watch.keys(object);
    } catch (error) {
      log.error('a watch could not name its keys', { resource: watch.kind.plural, object: keyOf(object), error });
      return [];
    }
  };

  const changed = (
    watch: Pick<Watch, 'kind' | 'changed'>,
    before: Live | undefined,
    after: Live | undefined,
  ): boolean => {
    if (before === undefined || after === undefined || watch.changed === undefined) return true;
    try {
      return watch.changed(before, after);
    } catch (error) {
      log.error('a watch could not compare', { resource: watch.kind.plural, object: keyOf(after), error });
      return true;
    }
  };

  const follow = (): (() => void)[] => {
    const ends = [
      own.subscribe((before, after) => {
        const object = after ?? before;
        if (object !== undefined && changed(definition, before, after)) queue.add(keyOf(object));
      }),
    ];
    for (const { watch, cache } of watched) {
      ends.push(
        cache.subscribe((before, after) => {
          if (!changed(watch, before, after)) return;
          for (const key of keysOf(watch, before)) queue.add(key);
          for (const key of keysOf(watch, after)) queue.add(key);
        }),
      );
    }
    // What is there already counts as new: level-based, so that a new leader misses nothing.
    for (const key of own.keys()) queue.add(key);
    for (const { watch, cache } of watched) {
      for (const object of cache.list()) for (const key of keysOf(watch, object)) queue.add(key);
    }
    return ends;
  };

  return {
    name,
    queue,
    async run(stop, cancel) {
      const ends = follow();
      const end = (): void => queue.shutDown();
      stop.addEventListener('abort', end, { once: true });
      if (stop.aborted) end();
      log.info('controller started', { workers, objects: own.size });
      try {
        await Promise.all(Array.from({ length: workers }, () => work(stop, cancel)));
      } finally {
        for (const leave of ends) leave();
        stop.removeEventListener('abort', end);
      }
    },
  };
}

function stackOf(error: unknown): string | undefined {
  // An answer of the server is explained by its message; only a fault of ours needs the place.
  return error instanceof Error && !('code' in error) ? error.stack : undefined;
}
