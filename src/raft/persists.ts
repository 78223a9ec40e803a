/**
 * What is on its way to the disk. A completion speaks for the log as it was when the write was issued, so that later
 * truncations are remembered here: bytes that were replaced meanwhile are never taken for the ones that replaced them, not
 * even when an entry of the same term and index comes back (the A-B-A race of asynchronous appends).
 */
import { asIndex, type Index, RaftError, type Term } from './types.ts';

interface Persist {
  readonly id: number;
  readonly term: Term;
  /** The log is durable through here when this completes. */
  through: Index;
}

export class Persists {
  #next = 1;
  #inFlight: Persist[] = [];

  get idle(): boolean {
    return this.#inFlight.length === 0;
  }

  issue(term: Term, through: Index): number {
    const id = this.#next++;
    this.#inFlight.push({ id, term, through });
    return id;
  }

  /** The log lost everything at and after `index`. */
  truncated(index: Index): void {
    for (const persist of this.#inFlight) {
      if (persist.through >= index) persist.through = asIndex(index - 1);
    }
  }

  /**
   * How far the log is durable by this completion and those before it, or null when it was issued in an older term: then it
   * stabilises nothing, since the newer term's own write is under way and will speak for what is still there.
   */
  complete(id: number, term: Term): Index | null {
    const oldest = this.#inFlight[0];
    if (oldest === undefined || id < oldest.id || id >= this.#next) {
      throw new RaftError('RAFT_DRIVER_ORDER', `persisted{id: ${id}} was not issued or was completed before`);
    }
    let done = oldest;
    while (this.#inFlight.length > 0 && this.#inFlight[0]!.id <= id) done = this.#inFlight.shift()!;
    return done.term === term ? done.through : null;
  }
}
