import type { Key } from '../kube/objects.ts';
import { type Clock, systemClock } from './clock.ts';
import { exponential, type RateLimiter } from './rate-limiter.ts';

/**
 * client-go's work queue: a key is queued once however often it is added; it is never with two workers at once; added
 * while it is being worked on, it is queued again when that work is done.
 */
export interface WorkQueue {
  add(key: Key): void;
  /** Adds after a delay. Of several delays of one key the earliest counts; zero or less adds at once. */
  addAfter(key: Key, milliseconds: number): void;
  /** Adds after the key's exponential delay, and not before `atLeastMs` milliseconds. */
  addRateLimited(key: Key, atLeastMs?: number): void;
  /** The key did well: its next failure begins with the shortest delay again. */
  forget(key: Key): void;
  failures(key: Key): number;
  /** The next key, once there is one; `undefined` once the queue is shut down and empty. Every key must be `done`. */
  take(): Promise<Key | undefined>;
  done(key: Key): void;
  /** Takes no more keys and forgets delayed ones; queued keys are still handed out. */
  shutDown(): void;
  /** Shuts down, and resolves once every queued key was handed out and is done. */
  drain(): Promise<void>;
  /** Keys that wait for a worker. */
  readonly length: number;
  readonly shuttingDown: boolean;
}

export interface QueueOptions {
  readonly clock?: Clock;
  readonly limiter?: RateLimiter;
  /**
   * How long a key that was just worked on rests before what is added meanwhile is worked on, in milliseconds: changes come
   * in bursts, and one look serves them all. The first of a burst does not wait, nor what was added for a moment of its own.
   */
  readonly restMs?: number;
  /** Told how long a key waited for a worker, in milliseconds. */
  readonly waited?: (milliseconds: number) => void;
}

export function createQueue(options: QueueOptions = {}): WorkQueue {
  const { clock = systemClock, limiter = exponential(), restMs = 0, waited = () => {} } = options;
  /** In order of arrival, with the moment of it. A key is here only if it is dirty and nobody works on it. */
  const queue = new Map<Key, number>();
  const dirty = new Set<Key>();
  const processing = new Set<Key>();
  /** Until when each key rests, the earliest first. */
  const resting = new Map<Key, number>();
  const delayed = new Map<Key, { readonly at: number; readonly cancel: () => void }>();
  const takers: ((key: Key | undefined) => void)[] = [];
  const drainers: (() => void)[] = [];
  let shuttingDown = false;

  const hand = (key: Key, since: number, taker: (key: Key) => void): void => {
    processing.add(key);
    dirty.delete(key);
    waited(clock.monotonic() - since);
    taker(key);
  };

  const enqueue = (key: Key): void => {
    const taker = takers.shift();
    if (taker === undefined) queue.set(key, clock.monotonic());
    else hand(key, clock.monotonic(), taker);
  };

  const settle = (): void => {
    if (!shuttingDown || queue.size > 0) return;
    for (const taker of takers.splice(0)) taker(undefined);
    if (processing.size === 0) for (const drained of drainers.splice(0)) drained();
  };

  const addNow = (key: Key): void => {
    if (shuttingDown || dirty.has(key)) return;
    dirty.add(key);
    if (!processing.has(key)) enqueue(key);
  };

  const add = (key: Key): void => {
    if (processing.has(key) || dirty.has(key)) addNow(key);
    else addAfter(key, (resting.get(key) ?? 0) - clock.monotonic());
  };

  const rest = (key: Key): void => {
    const now = clock.monotonic();
    for (const [rested, until] of resting) {
      if (until > now) break;
      resting.delete(rested);
    }
    resting.delete(key);
    resting.set(key, now + restMs);
  };

  const addAfter = (key: Key, milliseconds: number): void => {
    if (shuttingDown) return;
    if (milliseconds <= 0) {
      addNow(key);
      return;
    }
    const at = clock.monotonic() + milliseconds;
    const before = delayed.get(key);
    if (before !== undefined) {
      if (before.at <= at) return;
      before.cancel();
    }
    const cancel = clock.after(milliseconds, () => {
      delayed.delete(key);
      addNow(key);
    });
    delayed.set(key, { at, cancel });
  };

  const shutDown = (): void => {
    shuttingDown = true;
    for (const { cancel } of delayed.values()) cancel();
    delayed.clear();
    settle();
  };

  return {
    add,
    addAfter,
    addRateLimited: (key, atLeastMs = 0) => addAfter(key, Math.max(atLeastMs, limiter.next(key))),
    forget: (key) => limiter.forget(key),
    failures: (key) => limiter.failures(key),
    take() {
      const first = queue.entries().next();
      if (!first.done) {
        const [key, since] = first.value;
        queue.delete(key);
        return new Promise((resolve) => hand(key, since, resolve));
      }
      if (shuttingDown) return Promise.resolve(undefined);
      return new Promise((resolve) => takers.push(resolve));
    },
    done(key) {
      processing.delete(key);
      if (restMs > 0) rest(key);
      if (dirty.has(key)) {
        // Also while shutting down, as client-go does: a change that came in during the work is still worked on.
        if (shuttingDown || restMs === 0) enqueue(key);
        else {
          dirty.delete(key);
          addAfter(key, restMs);
        }
      }
      settle();
    },
    shutDown,
    drain() {
      return new Promise((resolve) => {
        drainers.push(resolve);
        shutDown();
      });
    },
    get length() {
      return queue.size;
    },
    get shuttingDown() {
      return shuttingDown;
    },
  };
}
