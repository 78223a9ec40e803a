/**
 * Proposals under way on this member: from the moment they are handed to Raft until their entry is applied here, is
 * certain to be lost, or nobody waits any more. What is certain not to be in the log is proposed again, unseen by the
 * client; what may be in it never is.
 *
 * A leader takes a forwarded proposal only in the term in which it was sent (see Driver.receive). So once an entry of a
 * later term is applied here, a proposal that was sent in an earlier term and has not been applied can no more be: all
 * that was committed of the earlier term lies before that entry. Whether it was applied, who waits for it knows.
 */
import { type EtcdError, etcdError } from '../etcd/errors.ts';
import type { ConfigurationChange, DropReason, Index, Term } from '../raft/types.ts';

/** Proposals and bytes that may be under way before new ones are turned away. */
const maxProposals = 50_000;
const maxBytes = 128 << 20;

/** An entry's data, or a change of the configuration. */
export type Payload = Uint8Array | Change;

export interface Change {
  readonly change: ConfigurationChange;
  readonly context: string;
  readonly basedOn: Index;
}

interface Waiting {
  readonly payload: Payload;
  readonly lost: (error: EtcdError) => void;
  readonly awaited: () => boolean;
  readonly deadline: number;
  id: number;
  /** The term in which it was appended, or sent to the leader; undefined until then. */
  term: Term | undefined;
  /** A snapshot may contain it: only the deadline ends this. */
  unknown: boolean;
  /** The leader's bound of uncommitted bytes kept it out of the log the last time. */
  crowdedOut: boolean;
  /** Where the entry is, once that is known. */
  index: Index | undefined;
}

export interface ProposalsOptions {
  readonly step: (id: number, payload: Payload) => void;
  readonly hasLeader: () => boolean;
  readonly now: () => number;
  /** How long a proposal may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Ids are counted from here on. 0 unless told. */
  readonly firstId?: number;
}

export class Proposals {
  readonly #options: ProposalsOptions;
  readonly #byId = new Map<number, Waiting>();
  readonly #byIndex = new Map<Index, Waiting>();
  /** In no log: to be proposed again when there is somebody to propose to. */
  #again: Waiting[] = [];
  #bytes = 0;
  #appliedTerm: Term | undefined;
  #lastId: number;
  #failed = 0;

  constructor(options: ProposalsOptions) {
    this.#options = options;
    this.#lastId = options.firstId ?? 0;
  }

  get count(): number {
    return this.#byId.size + this.#again.length;
  }

  /** Given up since the member started. */
  get failed(): number {
    return this.#failed;
  }

  /**
   * `awaited` says whether anybody still waits: no more once the entry was applied here, which shows there and not always
   * here. A leader that ends may have passed the entry on and not said where it is.
   */
  propose(payload: Payload, lost: (error: EtcdError) => void, awaited: () => boolean): void {
    const bytes = sizeOf(payload);
    if (this.count >= maxProposals || this.#bytes + bytes > maxBytes) throw etcdError('ETCD_TOO_MANY_REQUESTS');
    this.#bytes += bytes;
    const deadline = this.#options.now() + this.#options.timeoutMs;
    this.#hand({
      payload,
      lost,
      awaited,
      deadline,
      id: 0,
      term: undefined,
      unknown: false,
      crowdedOut: false,
      index: undefined,
    });
  }

  /** They went out to the leader of this term. */
  onForwarded(ids: readonly number[], term: Term): void {
    for (const id of ids) {
      const waiting = this.#byId.get(id);
      if (waiting) waiting.term = term;
    }
  }

  onAccepted(ids: readonly number[], term: Term, firstIndex: Index, applied: Index): void {
    ids.forEach((id, i) => {
      const waiting = this.#byId.get(id);
      const index = (firstIndex + i) as Index;
      // Applied already: it was either answered or lost, and only the deadline can tell which.
      if (!waiting || index <= applied) return;
      waiting.index = index;
      waiting.term = term;
      this.#byIndex.set(index, waiting);
    });
  }

  onDropped(ids: readonly number[], reason: DropReason): void {
    for (const id of ids) {
      const waiting = this.#byId.get(id);
      if (!waiting) continue;
      const final = finalError(reason);
      if (final === undefined) {
        waiting.crowdedOut = reason === 'tooManyUncommitted';
        this.#lost(waiting);
      } else {
        this.#byId.delete(id);
        this.#giveUp(waiting, final);
      }
    }
    if (reason === 'notLeader') this.retry();
  }

  /** Call when a leader is known and from time to time. */
  retry(): void {
    if (this.#again.length === 0 || !this.#options.hasLeader()) return;
    const again = this.#again;
    this.#again = [];
    for (const waiting of again) {
      if (waiting.awaited()) this.#hand(waiting);
      else this.#bytes -= sizeOf(waiting.payload);
    }
  }

  /** The entry at this position was applied. */
  onApplied(index: Index, term: Term): void {
    const waiting = this.#byIndex.size > 0 ? this.#byIndex.get(index) : undefined;
    if (waiting?.term === term) {
      this.#byIndex.delete(index);
      this.#byId.delete(waiting.id);
      this.#bytes -= sizeOf(waiting.payload);
    } else if (waiting) {
      this.#lost(waiting);
    }
    if (term === this.#appliedTerm) return;
    this.#appliedTerm = term;
    for (const one of this.#byId.values()) {
      if (one.term !== undefined && one.term < term && !one.unknown) this.#lost(one);
    }
    this.retry();
  }

  /** A snapshot went over the log: what was appended meanwhile may be in it. */
  onInstalled(): void {
    this.#byIndex.clear();
    for (const waiting of this.#byId.values()) waiting.unknown = waiting.term !== undefined;
  }

  /**
   * GR-20: gives up what has waited too long. Only `ETCD_NO_LEADER` and `ETCD_TOO_MANY_REQUESTS` say that it was not done; a
   * timeout leaves it open.
   */
  expire(): void {
    const now = this.#options.now();
    const error = ({ term, crowdedOut }: Waiting): EtcdError => {
      if (term === undefined && crowdedOut) return etcdError('ETCD_TOO_MANY_REQUESTS');
      if (this.#options.hasLeader()) return etcdError('ETCD_TIMEOUT');
      return etcdError(term === undefined ? 'ETCD_NO_LEADER' : 'ETCD_TIMEOUT_LEADER_LOST');
    };
    for (const waiting of this.#byId.values()) {
      if (waiting.deadline > now) continue;
      this.#byId.delete(waiting.id);
      if (waiting.index !== undefined) this.#byIndex.delete(waiting.index);
      this.#giveUp(waiting, error(waiting));
    }
    const late = this.#again.filter(({ deadline }) => deadline <= now);
    if (late.length === 0) return;
    this.#again = this.#again.filter(({ deadline }) => deadline > now);
    for (const waiting of late) this.#giveUp(waiting, error(waiting));
  }

  /** The member stops. */
  failAll(error: EtcdError): void {
    const all = [...this.#byId.values(), ...this.#again];
    this.#byId.clear();
    this.#byIndex.clear();
    this.#again = [];
    for (const waiting of all) this.#giveUp(waiting, error);
  }

  #lost(waiting: Waiting): void {
    this.#byId.delete(waiting.id);
    if (waiting.index !== undefined) this.#byIndex.delete(waiting.index);
    waiting.term = undefined;
    this.#again.push(waiting);
  }

  #hand(waiting: Waiting): void {
    waiting.index = undefined;
    waiting.term = undefined;
    waiting.crowdedOut = false;
    waiting.id = ++this.#lastId;
    this.#byId.set(waiting.id, waiting);
    this.#options.step(waiting.id, waiting.payload);
  }

  #giveUp(waiting: Waiting, error: EtcdError): void {
    this.#bytes -= sizeOf(waiting.payload);
    this.#failed++;
    waiting.lost(error);
  }
}

const sizeOf = (payload: Payload): number => ('change' in payload ? payload.context.length : payload.length);

/** What ends a proposal although its time is not up; all else is proposed again when that may help. */
function finalError(reason: DropReason): EtcdError | undefined {
  switch (reason) {
    case 'learnerBehind':
      return etcdError('ETCD_LEARNER_NOT_READY');
    case 'changePending':
      return etcdError('ETCD_CHANGE_PENDING');
    case 'changeInvalid':
      return etcdError('ETCD_CHANGE_OVERTAKEN');
    case 'noLeader':
    case 'notLeader':
    case 'tooManyUncommitted':
    case 'transferring':
    case 'termNotCommitted':
      return undefined;
  }
}
