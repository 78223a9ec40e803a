/** Leadership that is being handed over at somebody's wish, and who waits for the outcome. */
import type { MemberId, TransferFailure } from '../raft/types.ts';

type Settle = (failure: TransferFailure | null) => void;

export class Transfers {
  readonly counters = { done: 0, failed: 0 };
  readonly #step: (to: MemberId) => void;
  readonly #waiting = new Map<MemberId, Settle[]>();

  constructor(step: (to: MemberId) => void) {
    this.#step = step;
  }

  /** Resolves with why not, or null; within an election timeout. */
  handOver(to: MemberId): Promise<TransferFailure | null> {
    return new Promise((resolve) => {
      this.#waiting.set(to, [...(this.#waiting.get(to) ?? []), resolve]);
      this.#step(to);
    });
  }

  onEnded(to: MemberId, failure: TransferFailure | null): void {
    this.counters[failure === null ? 'done' : 'failed']++;
    const waiting = this.#waiting.get(to) ?? [];
    this.#waiting.delete(to);
    for (const settle of waiting) settle(failure);
  }

  /** The member stops: nobody will tell. */
  abandon(): void {
    for (const to of [...this.#waiting.keys()]) this.onEnded(to, 'deposed');
  }
}
