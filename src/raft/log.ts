/**
 * The log as the core sees it: every entry after `base`, in memory, with marks that only move within
 * `base <= applied <= applying <= commit`, `stable <= handed <= last` and `applying <= stable`.
 *
 * An entry is handed to the disk once, is stable when its completion arrives, and is applied only when it is both committed
 * and stable here: so a snapshot of the applied state never runs ahead of the own durable log.
 */
import { asIndex, asTerm, type Entry, type Index, type SnapshotMeta, type Term } from './types.ts';

/** What an entry costs in a message and in memory; the constant keeps empty entries from being free. */
export const entrySize = (entry: Entry): number => entry.data.length + 32;

export class Log {
  #entries: Entry[];
  #base: Index;
  #baseTerm: Term;
  #bytes = 0;
  stable: Index;
  handed: Index;
  commit: Index;
  applying: Index;
  applied: Index;

  /** `entries` are on disk and follow `base` without a gap; `start` is what the state machine holds already. */
  constructor(base: Index, baseTerm: Term, entries: readonly Entry[], commit: Index, start: Index) {
    this.#base = base;
    this.#baseTerm = baseTerm;
    this.#entries = entries.slice();
    for (const entry of entries) this.#bytes += entrySize(entry);
    this.stable = this.last;
    this.handed = this.last;
    this.commit = commit;
    this.applying = start;
    this.applied = start;
  }

  get first(): Index {
    return asIndex(this.#base + 1);
  }

  get last(): Index {
    return asIndex(this.#base + this.#entries.length);
  }

  get lastTerm(): Term {
    return this.#entries.length === 0 ? this.#baseTerm : this.#entries[this.#entries.length - 1]!.term;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Undefined when the position was compacted or is not there yet. */
  term(index: Index): Term | undefined {
    if (index === this.#base) return this.#baseTerm;
    return this.#entries[index - this.#base - 1]?.term;
  }

  matches(index: Index, term: Term): boolean {
    return this.term(index) === term;
  }

  /** Thesis §3.6.1, D2: the last term decides, then the length. */
  isUpToDate(lastIndex: Index, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.last);
  }

  push(entry: Entry): void {
    this.#entries.push(entry);
    this.#bytes += entrySize(entry);
  }

  /** The first of `entries` that is not here with the same term, or undefined when all of them are. */
  firstMissing(entries: readonly Entry[]): Entry | undefined {
    const head = entries[0];
    if (head === undefined || head.index > this.last) return head;
    return entries.find((entry) => this.term(entry.index) !== entry.term);
  }

  /** Removes everything at and after `index`, which must be after the commit index. */
  truncate(index: Index): void {
    if (index > this.last) return;
    const removed = this.#entries.splice(index - this.#base - 1);
    for (const entry of removed) this.#bytes -= entrySize(entry);
    const kept = asIndex(index - 1);
    if (this.handed > kept) this.handed = kept;
    if (this.stable > kept) this.stable = kept;
  }

  /** Entries from `from` through `through` until `maxBytes` are exceeded; at least one when there is one. */
  slice(from: Index, through: Index, maxBytes: number): Entry[] {
    const start = from - this.#base - 1;
    const limit = Math.min(through - this.#base, this.#entries.length);
    let end = start;
    let bytes = 0;
    while (end < limit) {
      bytes += entrySize(this.#entries[end]!);
      if (bytes > maxBytes && end > start) break;
      end++;
    }
    return this.#entries.slice(start, end);
  }

  /** All entries not handed to the disk yet. */
  takeUnhanded(): Entry[] {
    if (this.handed === this.last) return [];
    const entries = this.#entries.slice(this.handed - this.#base);
    this.handed = this.last;
    return entries;
  }

  sizeBetween(after: Index, through: Index): number {
    let bytes = 0;
    for (let at = after - this.#base; at < through - this.#base; at++) bytes += entrySize(this.#entries[at]!);
    return bytes;
  }

  /**
   * The highest position at or before `index` whose term here is at most `term`: where two logs may meet at best, so that
   * a whole foreign term is skipped in one message. The base when nothing after it qualifies.
   */
  meetingPoint(index: Index, term: Term): { index: Index; term: Term } {
    let at = Math.min(index, this.last);
    while (at > this.#base && this.#entries[at - this.#base - 1]!.term > term) at--;
    if (at < this.#base) return { index: asIndex(at), term: asTerm(0) };
    return { index: asIndex(at), term: this.term(asIndex(at))! };
  }

  /** Forgets everything up to and including `through`. */
  compact(through: Index): void {
    if (through <= this.#base) return;
    const term = this.term(through)!;
    const removed = this.#entries.splice(0, through - this.#base);
    for (const entry of removed) this.#bytes -= entrySize(entry);
    this.#base = through;
    this.#baseTerm = term;
  }

  /** Starts anew after a snapshot that the log does not contain. `applied` follows when the state machine holds it. */
  reset(meta: SnapshotMeta): void {
    this.#entries = [];
    this.#bytes = 0;
    this.#base = meta.index;
    this.#baseTerm = meta.term;
    this.stable = meta.index;
    this.handed = meta.index;
    this.commit = meta.index;
    this.applying = meta.index;
  }
}
