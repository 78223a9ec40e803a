/** What one fault does to a member while it lasts, another must not undo: each kind of thing is held by one at a time. */
export class Lock {
  #held = false;
  readonly #waiting: (() => void)[] = [];

  /** Undefined when somebody has it. */
  tryTake(): (() => void) | undefined {
    if (this.#held) return undefined;
    this.#held = true;
    return this.#releaser();
  }

  async take(): Promise<() => void> {
    if (this.#held) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#held = true;
    return this.#releaser();
  }

  /** Whoever waits gets it at once, so that nobody comes between. */
  #releaser(): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#held = false;
    };
  }
}
