/**
 * Linearizable reads without the log (thesis §6.4, D11): a leader that committed in its own term confirms by a round of
 * heartbeats that it still led after the reads came in. All reads that arrive while a round is under way share the next one;
 * a lost round is repeated by the regular heartbeats, which carry its number. With leases (§6.4.1, off unless asked for) a round
 * also vouches for the reads of the next few ticks.
 */
import type { Index, MemberId } from './types.ts';

/** `from` null: this member's own. */
export interface ReadRequest {
  readonly from: MemberId | null;
  readonly ids: number[];
}

export interface ReadRound {
  readonly round: number;
  /** In ticks of the leadership; -Infinity when time was lost since. */
  startedAt: number;
  readonly index: Index;
  readonly requests: readonly ReadRequest[];
  readonly answered: Set<MemberId>;
}

export class Reads {
  #waiting: ReadRequest[] = [];
  #rounds = 0;
  active: ReadRound | null = null;
  /** The last tick of this leadership in which no other leader can have been elected. */
  #leaseEnd = Number.NEGATIVE_INFINITY;
  /** Somebody may stand at this leader's own word, whatever was heard of it: no lease holds in this term any more. */
  #forsworn = false;

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
  start(index: Index, self: MemberId, startedAt: number): ReadRound | null {
    if (this.active !== null || this.#waiting.length === 0) return null;
    this.#rounds++;
    this.active = { round: this.#rounds, startedAt, index, requests: this.#waiting, answered: new Set([self]) };
    this.#waiting = [];
    return this.active;
  }

  finish(electionTicks: number): readonly ReadRequest[] {
    const { requests, startedAt } = this.active!;
    this.active = null;
    // Whoever answered refuses votes for T ticks. Its ticks and ours may be one apart at each end, and one is for drift.
    this.#leaseEnd = startedAt + electionTicks - 3;
    return requests;
  }

  /** What waits, if the lease holds at this tick; it needs no round then. */
  takeLeased(tick: number): readonly ReadRequest[] {
    if (this.#forsworn || tick > this.#leaseEnd) return [];
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  /** Time, members or the role are not what they were when a quorum last answered. */
  voidLease(): void {
    this.#leaseEnd = Number.NEGATIVE_INFINITY;
    if (this.active !== null) this.active.startedAt = Number.NEGATIVE_INFINITY;
  }

  forswearLease(): void {
    this.#forsworn = true;
  }

  newTerm(): void {
    this.#forsworn = false;
    this.voidLease();
  }

  /** Everything unanswered, for a member that no longer leads. */
  drain(): ReadRequest[] {
    const all = [...(this.active?.requests ?? []), ...this.#waiting];
    this.active = null;
    this.#waiting = [];
    return all;
  }
}
