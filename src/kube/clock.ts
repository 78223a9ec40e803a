/**
 * Time as everything here sees it. It lives at the bottom of the two rooms that wait (kube, runtime) so that a test can
 * put one hand-moved clock under queue, reflector, lease and events at once.
 */
export interface Clock {
  /** Wall time in milliseconds since 1970: for what is written down and shown. It may jump either way. */
  now(): number;
  /** Milliseconds on a clock that only goes forward: for every measurement and every wait. */
  monotonic(): number;
  /** Calls `wake` once after `milliseconds`; the returned function cancels it. A pending timer keeps no process alive. */
  after(milliseconds: number, wake: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(milliseconds, wake) {
    // setTimeout turns anything above 2^31-1 ms into 1 ms: a wait that long is taken in legs.
    const longest = 2 ** 31 - 1;
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      timer = setTimeout(() => (left > longest ? arm(left - longest) : wake()), Math.min(left, longest));
      timer.unref();
    };
    arm(Math.max(0, milliseconds));
    return () => clearTimeout(timer);
  },
};

/** Resolves after `milliseconds`, or as soon as `signal` aborts (it never rejects: the caller looks at the signal). */
export function pause(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(milliseconds, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}
