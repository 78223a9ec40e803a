/**
 * Linearizable reads without the log (thesis §6.4, D11): a leader that committed in its own term confirms by a round of
 * heartbeats that it still led after the reads came in. All reads that arrive while a round is under way share the next one;
 * a lost round is repeated by the regular heartbeats, which carry its number.
 */
import type { Index, MemberId } from './types.ts';

/** `from` null: this member's own. */
export interface ReadRequest {
  readonly from: MemberId | null;
  readonly ids: number[];
}

export interface ReadRound {
  readonly round: number;
  readonly index: Index;
  readonly requests: readonly ReadRequest[];
  readonly answered: Set<MemberId>;
}

export class Reads {
  #waiting: ReadRequest[] = [];
  #rounds = 0;
  active: ReadRound | null = null;

  add(from: MemberId | null, ids: readonly number[]): void {
    const newest = this.#waiting[this.#waiting.length - 1];
    if (newest !== undefined && newest.from === from) newest.ids.push(...ids);
    else this.#waiting.push({ from, ids: [...ids] });
  }

  /** The number that heartbeats carry: 0 when nothing is being confirmed. */
  get round(): number {
    return this.active?.round ?? 0;
  }

  /** Null when a round is under way already or nobody asks. */
  start(index: Index, self: MemberId): ReadRound | null {
    if (this.active !== null || this.#waiting.length === 0) return null;
    this.#rounds++;
    this.active = { round: this.#rounds, index, requests: this.#waiting, answered: new Set([self]) };
    this.#waiting = [];
    return this.active;
  }

  /** Everything unanswered, for a member that no longer leads. */
  drain(): ReadRequest[] {
    const all = [...(this.active?.requests ?? []), ...this.#waiting];
    this.active = null;
    this.#waiting = [];
    return all;
  }
}
