import type { KubeClient, Selection } from '../kube/contract.ts';
import { createElection, type Election } from '../kube/lease.ts';
import type { KubeObject, ResourceType } from '../kube/objects.ts';
import { createReflector, type Reflector } from '../kube/reflector.ts';
import type { Log } from '../log.ts';
import { createCache, type FilledCache } from './cache.ts';
import { type Clock, pause, systemClock } from './clock.ts';
import type { CacheOptions, ControllerDefinition, LeaderOptions, Manager, Runnable } from './contract.ts';
import { type Controller, createController } from './controller.ts';
import { createMetrics } from './metrics.ts';

export interface ManagerOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Without it this process leads from the start and always. */
  readonly leader?: LeaderOptions;
  /** Health and metrics listen here, `host:port`; not at all when absent. */
  readonly httpAddress?: string;
  /** Told where health and metrics listen. */
  readonly listening?: (url: string) => void;
  /** How long reconciles under way may take to end after a stop, before their signal aborts. 5 000 ms unless told. */
  readonly graceMs?: number;
}

/** A manager, and the client by which controllers write: every write is refused once this process may not lead. */
export interface StartedManager extends Manager {
  readonly client: KubeClient;
}

interface Reflected {
  readonly cache: FilledCache<KubeObject>;
  readonly reflector: Reflector;
  readonly transform: unknown;
  running: boolean;
}

export function createManager(options: ManagerOptions): StartedManager {
  const { client, log, clock = systemClock, random = Math.random, graceMs = 5_000 } = options;
  const caches = new Map<string, Reflected>();
  const controllers = new Map<string, Controller>();
  const metrics = createMetrics({
    queues: () => [...controllers.values()].map(({ name, queue }) => [name, queue.length] as const),
    caches: () => [...caches.values()].map(({ cache }) => [resourceOf(cache.type), cache.size] as const),
    requests: () => client.requests,
  });
  const runnables: { readonly name: string; readonly runnable: Runnable }[] = [];
  const election: Election | undefined =
    options.leader === undefined ? undefined : createElection({ ...options.leader, client, log, clock, random });
  let life: AbortSignal | undefined;
  const running: Promise<void>[] = [];
  const begin = (entry: Reflected): void => {
    if (life === undefined || entry.running) return;
    entry.running = true;
    running.push(entry.reflector.run(life));
  };

  const cache = <T extends KubeObject>(type: ResourceType<T>, wanted: CacheOptions<T> = {}): FilledCache<T> => {
    const selection: Selection = {
      ...(wanted.namespace === undefined ? {} : { namespace: wanted.namespace }),
      ...(wanted.labelSelector === undefined ? {} : { labelSelector: wanted.labelSelector }),
      ...(wanted.fieldSelector === undefined ? {} : { fieldSelector: wanted.fieldSelector }),
    };
    const id = JSON.stringify([type.group, type.version, type.plural, selection]);
    let entry = caches.get(id);
    if (entry === undefined) {
      const made = createCache(type, wanted);
      const resource = resourceOf(type);
      const notify = (event: string): void => metrics.reflector.inc({ resource, event });
      const reflector = createReflector({ client, type, sink: made, selection, log, clock, random, notify });
      entry = {
        cache: made as unknown as FilledCache<KubeObject>,
        reflector,
        transform: wanted.transform,
        running: false,
      };
      caches.set(id, entry);
      begin(entry);
    } else if (wanted.transform !== undefined && wanted.transform !== entry.transform) {
      throw new TypeError(`the cache of ${type.plural} is shared and already has another transform`);
    }
    const found = entry.cache as unknown as FilledCache<T>;
    found.addIndexes(wanted.indexes ?? {});
    return found;
  };

  const add = <T extends KubeObject>(definition: ControllerDefinition<T>): void => {
    if (controllers.has(definition.name)) throw new TypeError(`there is already a controller ${definition.name}`);
    const watched = (definition.watches ?? []).map((watch) => ({ watch, cache: cache(watch.kind, watch.selector) }));
    const own = cache(definition.kind, definition.selector) as unknown as FilledCache<KubeObject>;
    const general = definition as unknown as ControllerDefinition;
    controllers.set(definition.name, createController({ definition: general, own, watched, clock, log, metrics }));
  };

  const waitingFor = (): string[] =>
    [...caches.values()]
      .filter((entry) => !entry.cache.synced)
      .map((entry) => `the cache of ${entry.cache.type.plural}`);

  /** Until every cache is filled, those that were asked for meanwhile included. */
  const synced = async (signal: AbortSignal): Promise<void> => {
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    while (!signal.aborted && waitingFor().length > 0) {
      await Promise.race([Promise.all([...caches.values()].map((entry) => entry.reflector.synced)), aborted]);
    }
  };

  const lead = async (signal: AbortSignal): Promise<void> => {
    await synced(signal);
    if (signal.aborted) return;
    metrics.leader.set(1);
    const stop = new AbortController();
    const cancel = new AbortController();
    const ending = (): void => {
      stop.abort();
      // Lost: nothing more may be done. Stopped: what is under way may end well.
      if (election !== undefined && !election.leading) cancel.abort();
      else void pause(clock, graceMs).then(() => cancel.abort());
    };
    signal.addEventListener('abort', ending, { once: true });
    // A part that throws ends the whole: half an operator helps nobody.
    const guarded = async (name: string, work: Promise<void>): Promise<void> => {
      try {
        await work;
      } catch (error) {
        log.error('a part of the operator failed', { part: name, error });
        ending();
        throw error;
      }
    };
    const parts = [...controllers.values()].map((one) => guarded(one.name, one.run(stop.signal, cancel.signal)));
    for (const { name, runnable } of runnables) parts.push(guarded(name, runnable(stop.signal)));
    try {
      const ended = await Promise.allSettled(parts);
      const error = ended.find((one) => one.status === 'rejected');
      if (error !== undefined) throw error.reason;
      if (parts.length === 0) await new Promise<void>((resolve) => once(signal, resolve));
    } finally {
      signal.removeEventListener('abort', ending);
      metrics.leader.set(0);
    }
  };

  return {
    metrics: metrics.registry,
    client: election === undefined ? client : client.fenced(() => election.assertLeading()),
    cache,
    add,
    run: (name, runnable) => void runnables.push({ name, runnable }),
    enqueue(controller, key, afterMs = 0) {
      const found = controllers.get(controller);
      if (found === undefined) throw new TypeError(`there is no controller ${controller}`);
      found.queue.addAfter(key, afterMs);
    },
    async start(signal) {
      if (life !== undefined) throw new TypeError('the manager was started already');
      const own = new AbortController();
      life = own.signal;
      const { httpAddress } = options;
      const http =
        httpAddress === undefined
          ? undefined
          : await (await import('./http.ts')).serveHttp({
              address: httpAddress,
              metrics: metrics.registry,
              waitingFor,
            });
      if (http !== undefined) options.listening?.(http.url);
      for (const entry of caches.values()) begin(entry);
      try {
        if (election === undefined) await lead(signal);
        else await election.run(signal, lead);
      } finally {
        own.abort();
        await Promise.all(running);
        await http?.close();
      }
    },
  };
}

function once(signal: AbortSignal, then: () => void): void {
  if (signal.aborted) then();
  else signal.addEventListener('abort', then, { once: true });
}

function resourceOf(type: ResourceType): string {
  return type.group === '' ? type.plural : `${type.plural}.${type.group}`;
}
