import type { Log } from '../log.ts';
import { type Backoff, backoff } from './backoff.ts';
import { type Clock, pause, systemClock } from './clock.ts';
import type { KubeClient, Selection, WatchEvent } from './contract.ts';
import { ApiError, isGone } from './errors.ts';
import { compareVersions, type KubeObject, type Live, type ResourceType } from './objects.ts';

/** What a reflector keeps equal to the server. */
export interface Sink<T extends KubeObject> {
  /** These and no others exist. `rewound`: the server's history went back, so that older versions are the truth. */
  replace(objects: readonly Live<T>[], rewound: boolean): void;
  upsert(object: Live<T>): void;
  remove(object: Live<T>): void;
}

/** What happened, for metrics. `stale`: an event from the past was left out. */
export type ReflectorEvent = 'list' | 'watch' | 'event' | 'stale' | 'gone' | 'stall' | 'error' | 'rewind';

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly type: ResourceType<T>;
  readonly sink: Sink<T>;
  readonly log: Log;
  readonly selection?: Selection;
  readonly clock?: Clock;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly notify?: (event: ReflectorEvent) => void;
  /** A watch that says nothing for so long is broken: the server sends a bookmark about once a minute. Milliseconds. */
  readonly stallMs?: number;
  /** The server ends each watch after this to twice this many seconds. */
  readonly watchSeconds?: number;
  /** First and longest wait after a failure, in milliseconds. */
  readonly retryMs?: readonly [first: number, most: number];
}

export interface Reflector {
  /** Resolves after the first complete list reached the sink. Never rejects. */
  readonly synced: Promise<void>;
  /** Lists and watches until `signal` aborts. Never rejects: every failure is retried. */
  run(signal: AbortSignal): Promise<void>;
}

/** Why a watch ended. */
type Ended =
  | { readonly why: 'over'; readonly events: number }
  | { readonly why: 'stall' }
  | { readonly why: 'failed'; readonly error: unknown };

/** So many lists in a row that are older than what was seen mean: the server's data was restored from a backup. */
const REWIND_LISTS = 3;
/** So many failed watches in a row mean: do not trust the version we watch from. */
const RELIST_AFTER = 5;

/**
 * Keeps a sink equal to the server: one consistent list in pages, then a watch from its version on; again from the list
 * when the server has forgotten that version (410 as a status or as an event). It never goes back in time: versions are
 * ordered (1.35 and later), so an event or a whole list from before what was already seen is left out.
 */
export function createReflector<T extends KubeObject>(options: ReflectorOptions<T>): Reflector {
  const { client, type, sink, selection = {}, clock = systemClock, random = Math.random } = options;
  const { stallMs = 150_000, watchSeconds = 300, retryMs = [500, 30_000], notify = () => {} } = options;
  const log = options.log.with({ resource: type.plural, ...selection });
  const retry: Backoff = backoff(retryMs[0], retryMs[1], random);
  /** The newest version seen: every change up to it has reached the sink. */
  let seen: string | undefined;
  let oldLists = 0;
  let arrived: () => void;
  const synced = new Promise<void>((resolve) => {
    arrived = resolve;
  });

  const rest = async (error: unknown, signal: AbortSignal): Promise<void> => {
    const asked = error instanceof ApiError ? error.retryAfterMs : undefined;
    const own = retry.next();
    // Never sooner than the server asks, and not all at the very moment it named.
    await pause(clock, asked === undefined ? own : asked + random() * Math.min(own, 1000), signal);
  };

  /** True when the sink now equals the server as of `seen`. */
  const list = async (signal: AbortSignal): Promise<boolean> => {
    notify('list');
    const { items, resourceVersion } = await client.listAll(type, { ...selection, signal });
    const older = seen !== undefined && compareVersions(resourceVersion, seen) === -1;
    oldLists = older ? oldLists + 1 : 0;
    if (older && oldLists < REWIND_LISTS) {
      notify('stale');
      log.warn('list is older than what was already seen; listing again', { list: resourceVersion, seen });
      return false;
    }
    if (older) {
      notify('rewind');
      log.warn('the server went back in time, as after a restored backup; following it', {
        list: resourceVersion,
        seen,
      });
    }
    sink.replace(items, older);
    oldLists = 0;
    seen = resourceVersion;
    arrived();
    return true;
  };

  const take = (event: WatchEvent<T>): void => {
    const version = event.type === 'BOOKMARK' ? event.resourceVersion : event.object.metadata.resourceVersion;
    const order = seen === undefined ? undefined : compareVersions(version, seen);
    if (order === -1 || (order === 0 && event.type !== 'BOOKMARK')) {
      notify('stale');
      return;
    }
    switch (event.type) {
      case 'BOOKMARK':
        break;
      case 'ADDED':
      case 'MODIFIED':
        notify('event');
        sink.upsert(event.object);
        break;
      case 'DELETED':
        notify('event');
        sink.remove(event.object);
        break;
    }
    // Only now: if the sink throws, this event is watched again rather than lost.
    seen = version;
  };

  const watch = async (from: string, signal: AbortSignal): Promise<Ended> => {
    notify('watch');
    const stop = new AbortController();
    const end = (): void => stop.abort();
    signal.addEventListener('abort', end, { once: true });
    let stalled = false;
    const arm = (): (() => void) =>
      clock.after(stallMs, () => {
        stalled = true;
        stop.abort();
      });
    let disarm = arm();
    let events = 0;
    try {
      const timeoutSeconds = Math.round(watchSeconds * (1 + random()));
      const stream = client.watch(type, { ...selection, resourceVersion: from, timeoutSeconds, signal: stop.signal });
      for await (const event of stream) {
        disarm();
        disarm = arm();
        take(event);
        events++;
        retry.reset();
      }
      return { why: 'over', events };
    } catch (error) {
      return stalled ? { why: 'stall' } : { why: 'failed', error };
    } finally {
      disarm();
      signal.removeEventListener('abort', end);
    }
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    let listed = false;
    while (!signal.aborted) {
      if (!listed || seen === undefined) {
        try {
          listed = await list(signal);
          if (listed) continue;
          await rest(undefined, signal);
        } catch (error) {
          if (signal.aborted) return;
          notify('error');
          log.warn('list failed; trying again', { error });
          await rest(error, signal);
        }
        continue;
      }
      const started = clock.monotonic();
      const ended = await watch(seen, signal);
      if (signal.aborted) return;
      switch (ended.why) {
        case 'over':
          // A server that closes at once without a word is not well; one that served its time is.
          if (ended.events === 0 && clock.monotonic() - started < 1000) await rest(undefined, signal);
          else retry.reset();
          break;
        case 'stall':
          notify('stall');
          log.warn('watch stalled; watching again', { silentMs: stallMs, version: seen });
          break;
        case 'failed':
          if (isGone(ended.error)) {
            notify('gone');
            log.info('watch expired; listing again', { version: seen });
            listed = false;
            // The first time at once: it is normal after a pause. A server that keeps saying so is given time.
            if (retry.failures > 0) await rest(ended.error, signal);
            else retry.next();
          } else {
            notify('error');
            log.info('watch failed; trying again', { error: ended.error, version: seen });
            // Any other refusal than "later" is about the watch itself, so the version is not to be trusted.
            const refused = ended.error instanceof ApiError && ended.error.status < 500 && ended.error.status !== 429;
            listed = !refused && retry.failures < RELIST_AFTER;
            await rest(ended.error, signal);
          }
          break;
      }
    }
  };

  return { synced, run };
}
