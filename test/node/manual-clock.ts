/** A clock that stands until it is told to go on. */
import type { Clock } from '../../src/node/snapshot-outbox.ts';

export class ManualClock implements Clock {
  #now = 0;
  readonly #due = new Map<() => void, number>();

  after(ms: number, action: () => void): () => void {
    this.#due.set(action, this.#now + ms);
    return () => this.#due.delete(action);
  }

  /** Whether something is still to happen. */
  get pending(): number {
    return this.#due.size;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const [action, at] of [...this.#due]) {
      if (at > this.#now) continue;
      this.#due.delete(action);
      action();
    }
  }
}
