/**
 * Proposals under way on this member: from the moment they are handed to Raft until their entry is applied here, is
 * certain to be lost, or nobody waits any more. What is certain not to be in the log is proposed again, unseen by the
 * client; what may be in it never is.
 */
import { type EtcdError, etcdError } from '../etcd/errors.ts';
import type { DropReason, Index, Term } from '../raft/types.ts';

/** Proposals and bytes that may be under way before new ones are turned away. */
const maxProposals = 50_000;
const maxBytes = 128 << 20;

interface Waiting {
  readonly data: Uint8Array;
  readonly lost: (error: EtcdError) => void;
  readonly deadline: number;
  id: number;
  /** Where the entry is, once that is known. */
  position: { readonly index: Index; readonly term: Term } | undefined;
}

export interface ProposalsOptions {
  readonly step: (id: number, data: Uint8Array) => void;
  readonly hasLeader: () => boolean;
  readonly now: () => number;
  /** How long a proposal may take, in milliseconds. */
  readonly timeoutMs: number;
}

export class Proposals {
  readonly #options: ProposalsOptions;
  readonly #byId = new Map<number, Waiting>();
  readonly #byIndex = new Map<Index, Waiting>();
  /** In no log: to be proposed again when there is somebody to propose to. */
  #again: Waiting[] = [];
  #bytes = 0;
  #lastId = 0;
  #failed = 0;

  constructor(options: ProposalsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#byId.size + this.#again.length;
  }

  /** Given up since the member started. */
  get failed(): number {
    return this.#failed;
  }

  propose(data: Uint8Array, lost: (error: EtcdError) => void): void {
    if (this.count >= maxProposals || this.#bytes + data.length > maxBytes) throw etcdError('ETCD_TOO_MANY_REQUESTS');
    this.#bytes += data.length;
    this.#hand({ data, lost, deadline: this.#options.now() + this.#options.timeoutMs, id: 0, position: undefined });
  }

  onAccepted(ids: readonly number[], term: Term, firstIndex: Index, applied: Index): void {
    ids.forEach((id, i) => {
      const waiting = this.#byId.get(id);
      const index = (firstIndex + i) as Index;
      // Applied already: it was either answered or lost, and only the deadline can tell which.
      if (!waiting || index <= applied) return;
      waiting.position = { index, term };
      this.#byIndex.set(index, waiting);
    });
  }

  onDropped(ids: readonly number[], reason: DropReason): void {
    for (const id of ids) {
      const waiting = this.#byId.get(id);
      if (!waiting) continue;
      this.#byId.delete(id);
      this.#again.push(waiting);
    }
    if (reason === 'notLeader') this.retry();
  }

  /** Call when a leader is known and from time to time. */
  retry(): void {
    if (this.#again.length === 0 || !this.#options.hasLeader()) return;
    const again = this.#again;
    this.#again = [];
    for (const waiting of again) this.#hand(waiting);
  }

  /** The entry at this position was applied. */
  onApplied(index: Index, term: Term): void {
    if (this.#byIndex.size === 0) return;
    const waiting = this.#byIndex.get(index);
    if (!waiting) return;
    this.#byIndex.delete(index);
    this.#byId.delete(waiting.id);
    if (waiting.position!.term === term) {
      this.#bytes -= waiting.data.length;
      return;
    }
    // Another leader's entry took the place: this one is in no log that counts.
    waiting.position = undefined;
    this.#again.push(waiting);
    this.retry();
  }

  /** A snapshot went over these positions: what was there is not known. */
  onInstalled(through: Index): void {
    for (const index of this.#byIndex.keys()) if (index <= through) this.#byIndex.delete(index);
  }

  /** Gives up what has waited too long. */
  expire(): void {
    const now = this.#options.now();
    const error = (): EtcdError => etcdError(this.#options.hasLeader() ? 'ETCD_TIMEOUT' : 'ETCD_NO_LEADER');
    for (const waiting of this.#byId.values()) {
      if (waiting.deadline > now) continue;
      this.#byId.delete(waiting.id);
      if (waiting.position) this.#byIndex.delete(waiting.position.index);
      this.#giveUp(waiting, error());
    }
    const late = this.#again.filter(({ deadline }) => deadline <= now);
    if (late.length === 0) return;
    this.#again = this.#again.filter(({ deadline }) => deadline > now);
    for (const waiting of late) this.#giveUp(waiting, error());
  }

  /** The member stops. */
  failAll(error: EtcdError): void {
    const all = [...this.#byId.values(), ...this.#again];
    this.#byId.clear();
    this.#byIndex.clear();
    this.#again = [];
    for (const waiting of all) this.#giveUp(waiting, error);
  }

  #hand(waiting: Waiting): void {
    waiting.id = ++this.#lastId;
    this.#byId.set(waiting.id, waiting);
    this.#options.step(waiting.id, waiting.data);
  }

  #giveUp(waiting: Waiting, error: EtcdError): void {
    this.#bytes -= waiting.data.length;
    this.#failed++;
    waiting.lost(error);
  }
}
