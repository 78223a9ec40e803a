import type { Clock } from '../../src/kube/clock.ts';

/** A clock that moves only when a test moves it, and whose wall time may be set apart from its forward-only time. */
export interface ManualClock extends Clock {
  /** Moves on, waking every timer on the way in order, and lets what they started settle. */
  advance(milliseconds: number): Promise<void>;
  /** Like a stopped process: time passes, but no timer wakes until the next `advance`. */
  freeze(milliseconds: number): void;
  /** Sets the wall clock, as NTP or an administrator would. */
  setWall(unixMs: number): void;
  readonly pending: number;
}

/** Lets promises and immediates run until nothing new is likely to come from them. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

export function manualClock(wall = Date.UTC(2030, 0, 1)): ManualClock {
  let now = 0;
  let offset = wall;
  let order = 0;
  const timers = new Set<{ readonly at: number; readonly order: number; readonly wake: () => void }>();
  const next = (until: number) =>
    [...timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at || a.order - b.order)[0];
  return {
    now: () => now + offset,
    monotonic: () => now,
    after(milliseconds, wake) {
      const timer = { at: now + Math.max(0, milliseconds), order: order++, wake };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    async advance(milliseconds) {
      const until = now + milliseconds;
      await settle();
      for (let timer = next(until); timer !== undefined; timer = next(until)) {
        timers.delete(timer);
        now = Math.max(now, timer.at);
        timer.wake();
        await settle();
      }
      now = until;
    },
    freeze(milliseconds) {
      now += milliseconds;
    },
    setWall(unixMs) {
      offset = unixMs - now;
    },
    get pending() {
      return timers.size;
    },
  };
}
