/**
 * What we wrote ourselves, until the watch shows it. A cache lags behind our own writes by a moment; a reconcile in that
 * moment would decide by the past: write the same status again, tell the same event twice.
 */
import { compareVersions, type Key, type KubeObject, keyOf, type Live } from '../kube/objects.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Cache } from '../runtime/contract.ts';

/** A watch that has not shown a write after this long never will: the object is gone again. */
const FORGET_MS = 30_000;

export class Latest<T extends KubeObject> {
  readonly cache: Cache<T>;
  readonly #clock: Clock;
  readonly #written = new Map<Key, { readonly object: Live<T>; readonly at: number }>();

  constructor(cache: Cache<T>, clock: Clock) {
    this.cache = cache;
    this.#clock = clock;
    cache.subscribe((before, after) => {
      if (before && !after && this.#written.get(keyOf(before))?.object.metadata.uid === before.metadata.uid)
        this.#written.delete(keyOf(before));
    });
  }

  get(key: Key): Live<T> | undefined {
    const cached = this.cache.get(key);
    const written = this.#written.get(key);
    if (!written) return cached;
    const shown =
      cached !== undefined &&
      (compareVersions(cached.metadata.resourceVersion, written.object.metadata.resourceVersion) ?? 0) >= 0;
    if (shown || this.#clock.monotonic() - written.at > FORGET_MS) {
      this.#written.delete(key);
      return cached;
    }
    return written.object;
  }

  /** Remembers what the server answered to a write. */
  wrote(object: Live<T>): void {
    this.#written.set(keyOf(object), { object, at: this.#clock.monotonic() });
  }

  gone(key: Key): void {
    this.#written.delete(key);
  }
}
