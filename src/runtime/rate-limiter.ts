import type { Key } from '../kube/objects.ts';

/** How long a failing key waits before it is tried again. */
export interface RateLimiter {
  /** Milliseconds for this failure; each call counts as one more. */
  next(key: Key): number;
  forget(key: Key): void;
  /** Failures since `forget`. */
  failures(key: Key): number;
}

/** Doubles per key from 5 ms to 1000 s, as client-go's per-item exponential limiter. */
export function exponential(firstMs = 5, mostMs = 1_000_000): RateLimiter {
  const failed = new Map<Key, number>();
  return {
    next(key) {
      const times = failed.get(key) ?? 0;
      failed.set(key, times + 1);
      return Math.min(mostMs, firstMs * 2 ** Math.min(times, 1000));
    },
    forget: (key) => void failed.delete(key),
    failures: (key) => failed.get(key) ?? 0,
  };
}
