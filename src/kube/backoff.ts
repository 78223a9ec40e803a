/** Exponential delays with jitter, so that many clients of one recovering server do not come back in step. */
export interface Backoff {
  /** Milliseconds to wait before the next try: doubles from `first` to `most`, each between half and the whole of it. */
  next(): number;
  reset(): void;
  /** Failures since the last reset. */
  readonly failures: number;
}

export function backoff(firstMs: number, mostMs: number, random: () => number): Backoff {
  let failures = 0;
  return {
    next() {
      const whole = Math.min(mostMs, firstMs * 2 ** Math.min(failures, 30));
      failures++;
      return whole * (0.5 + random() / 2);
    },
    reset() {
      failures = 0;
    },
    get failures() {
      return failures;
    },
  };
}
