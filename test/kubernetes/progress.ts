/** One line per step with the time since the start and the time the step took: people watch this for minutes. */
export interface Progress {
  /** Runs `work`, then prints one line; `begin` also prints one before it, for steps that take longer than a moment. */
  step<T>(title: string, work: () => Promise<T>, options?: { begin?: boolean }): Promise<T>;
  note(text: string): void;
  /** Seconds since this progress began. */
  elapsed(): number;
}

export function progressTo(write: (line: string) => void, now: () => number = () => performance.now()): Progress {
  const start = now();
  const elapsed = () => (now() - start) / 1000;
  const stamp = () => `[${elapsed().toFixed(1).padStart(6)} s]`;
  const note = (text: string) => write(`${stamp()} ${text}\n`);
  return {
    elapsed,
    note,
    async step(title, work, options) {
      const began = now();
      if (options?.begin) note(`${title} …`);
      try {
        const result = await work();
        note(`${title}: done in ${((now() - began) / 1000).toFixed(1)} s`);
        return result;
      } catch (error) {
        note(`${title}: FAILED after ${((now() - began) / 1000).toFixed(1)} s`);
        throw error;
      }
    },
  };
}

export const toStderr = (): Progress => progressTo((line) => process.stderr.write(line));

/** For tests, whose output belongs to the test runner. */
export const silent: Progress = progressTo(() => {});
