/**
 * Linearizable reads (D11): a read waits until the leader confirmed its leadership after the read came in, and until
 * this member has applied what was committed then. Reads of one turn share one confirmation.
 */
import { type EtcdError, etcdError } from '../etcd/errors.ts';
import type { Index } from '../raft/types.ts';

interface Round {
  readonly waiting: { readonly resolve: () => void; readonly reject: (error: EtcdError) => void }[];
  readonly deadline: number;
  /** Ask again from here on: an answer may have been lost. */
  askedAt: number;
}

export interface ReadsOptions {
  readonly step: (id: number) => void;
  readonly hasLeader: () => boolean;
  readonly now: () => number;
  readonly timeoutMs: number;
  /** Half an election timeout. */
  readonly retryMs: number;
  /** Ids are counted from here on. 0 unless told. */
  readonly firstId?: number;
}

export class Reads {
  readonly #options: ReadsOptions;
  /** Rounds without an answer, by every id they were asked under. */
  readonly #asked = new Map<number, Round>();
  /** Confirmed, and waiting for this index to be applied. */
  #confirmed: { readonly index: Index; readonly round: Round }[] = [];
  /** The round that reads of this turn still join. */
  #open: Round | undefined;
  #applied = 0;
  #lastId: number;

  constructor(options: ReadsOptions) {
    this.#options = options;
    this.#lastId = options.firstId ?? 0;
  }

  linearize(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.#open) {
        const now = this.#options.now();
        this.#open = { waiting: [], deadline: now + this.#options.timeoutMs, askedAt: now };
        this.#ask(this.#open);
      }
      this.#open.waiting.push({ resolve, reject });
    });
  }

  /** Raft is about to act on what it was told: reads from here on need a new round. */
  closeRound(): void {
    this.#open = undefined;
  }

  onReady(ids: readonly number[], index: Index): void {
    for (const id of ids) {
      const round = this.#asked.get(id);
      if (!round) continue;
      this.#forget(round);
      if (index <= this.#applied) release(round);
      else this.#confirmed.push({ index, round });
    }
  }

  onApplied(index: Index): void {
    this.#applied = index;
    if (this.#confirmed.length === 0) return;
    const ready = this.#confirmed.filter((read) => read.index <= index);
    if (ready.length === 0) return;
    this.#confirmed = this.#confirmed.filter((read) => read.index > index);
    for (const { round } of ready) release(round);
  }

  /** Asks again what got no answer, gives up what waited too long. */
  tick(): void {
    const now = this.#options.now();
    for (const round of new Set(this.#asked.values())) {
      if (round.deadline <= now) this.#fail(round);
      else if (now - round.askedAt >= this.#options.retryMs) this.#ask(round);
    }
    for (const { round } of this.#confirmed.filter((read) => read.round.deadline <= now)) this.#fail(round);
    this.#confirmed = this.#confirmed.filter((read) => read.round.deadline > now);
  }

  /** There is a new leader: the old one's answers will not come. */
  askAgain(): void {
    for (const round of new Set(this.#asked.values())) this.#ask(round);
  }

  failAll(error: EtcdError): void {
    const rounds = new Set([...this.#asked.values(), ...this.#confirmed.map(({ round }) => round)]);
    this.#asked.clear();
    this.#confirmed = [];
    for (const round of rounds) for (const { reject } of round.waiting) reject(error);
  }

  #ask(round: Round): void {
    const id = ++this.#lastId;
    round.askedAt = this.#options.now();
    this.#asked.set(id, round);
    this.#options.step(id);
  }

  #forget(round: Round): void {
    if (this.#open === round) this.#open = undefined;
    for (const [id, other] of this.#asked) if (other === round) this.#asked.delete(id);
  }

  #fail(round: Round): void {
    this.#forget(round);
    const code = this.#options.hasLeader() ? 'ETCD_TIMEOUT' : 'ETCD_NO_LEADER';
    for (const { reject } of round.waiting) reject(etcdError(code));
  }
}

function release(round: Round): void {
  for (const { resolve } of round.waiting) resolve();
}
