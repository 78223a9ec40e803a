/**
 * Every change that is kept, in the order of revisions. Append-only, in segments: a view of the history at one moment is
 * a list of segments and a length, and stays what it is while changes are appended, because a sweep replaces segments
 * rather than emptying them.
 */
import type { Key, KeyRecord, LeaseId } from './types.ts';

const empty = new Uint8Array(0);
const slabBytes = 65_536;
const ownBufferFrom = 4_096;

/** A key and its newest change. Older ones hang on `previous`. */
export interface KeyEntry {
  readonly key: Key;
  latest: Change;
}

/**
 * One change of one key: a put, or a deletion (`version` 0). Its value is a place in a slab rather than an array of its
 * own, because a million small typed arrays weigh more than what they hold.
 */
export class Change implements KeyRecord {
  readonly entry: KeyEntry;
  readonly modRevision: number;
  /** Position among the changes of one revision. */
  readonly sub: number;
  readonly createRevision: number;
  readonly version: number;
  readonly lease: LeaseId;
  /** `slab` and `at` change together when `History.repack` moves the value. */
  slab: Slab;
  at: number;
  readonly size: number;
  previous: Change | undefined;
  /** A change that is superseded at revision R is the key's state at every revision from its own up to R - 1. */
  next: Change | undefined;

  constructor(
    entry: KeyEntry | Key,
    modRevision: number,
    sub: number,
    createRevision: number,
    version: number,
    lease: LeaseId,
    slab: Slab,
    at: number,
    size: number,
  ) {
    this.modRevision = modRevision;
    this.sub = sub;
    this.createRevision = createRevision;
    this.version = version;
    this.lease = lease;
    this.slab = slab;
    this.at = at;
    this.size = size;
    this.next = undefined;
    if (typeof entry === 'string') {
      this.previous = undefined;
      this.entry = { key: entry, latest: this };
    } else {
      this.previous = entry.latest;
      this.entry = entry;
      entry.latest.next = this;
      entry.latest = this;
    }
  }

  get key(): Key {
    return this.entry.key;
  }

  get value(): Uint8Array {
    return this.size === 0 ? empty : this.slab.bytes.subarray(this.at, this.at + this.size);
  }
}

/** The key's state at a revision; undefined when it did not exist. */
export function stateAt(entry: KeyEntry, revision: number): Change | undefined {
  let change: Change | undefined = entry.latest;
  while (change !== undefined && change.modRevision > revision) change = change.previous;
  return change === undefined || change.version === 0 ? undefined : change;
}

/**
 * Whether a change outlives a compaction at `revision`: it is newer, or it is a key's state at that revision. A deletion
 * at that very revision is kept, so that who watches from there still sees it.
 */
export function survives(change: Change, revision: number): boolean {
  if (change.modRevision > revision) return true;
  if (change.next !== undefined && change.next.modRevision <= revision) return false;
  return change.version !== 0 || change.modRevision === revision;
}

/** Bytes in which values lie. They are held for as long as one of the values is. */
export class Slab {
  readonly bytes: Uint8Array;
  /** Bytes of values that are kept. */
  live = 0;
  /** Bytes of values that are gone. */
  dead = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

const none = new Slab(empty);

/** Holds values: small ones side by side in shared slabs. */
export class ValueSlabs {
  #filling = none;
  #used = 0;
  #unusedBytes = 0;
  /** Where the value put last begins in `slab`. */
  at = 0;
  slab = none;

  /** Bytes that are held for nothing, because something else in their slab is kept. */
  get unusedBytes(): number {
    return this.#unusedBytes;
  }

  put(value: Uint8Array): void {
    const { length } = value;
    this.at = 0;
    if (length === 0) {
      this.slab = none;
      return;
    }
    if (length >= ownBufferFrom) {
      this.slab = new Slab(new Uint8Array(length));
      this.slab.bytes.set(value);
    } else {
      if (this.#used + length > this.#filling.bytes.length) {
        this.#filling = new Slab(new Uint8Array(slabBytes));
        this.#used = 0;
      }
      this.slab = this.#filling;
      this.at = this.#used;
      this.slab.bytes.set(value, this.at);
      this.#used += length;
    }
    this.slab.live += length;
  }

  /** What comes next shares no slab with what was put before. */
  beginAnew(): void {
    this.#filling = none;
    this.#used = 0;
  }

  /** A value of `size` bytes in `slab` is kept no longer. */
  release(slab: Slab, size: number): void {
    slab.live -= size;
    slab.dead += size;
    this.#unusedBytes += size;
    // Nobody holds it any more.
    if (slab.live > 0) return;
    this.#unusedBytes -= slab.dead;
    slab.dead = 0;
  }
}

interface Segment {
  readonly changes: Change[];
  /** Sum of `weigh` over `changes`. */
  bytes: number;
}

const segmentLength = 4_096;
const repackBytesPerStep = 262_144;

/** The history at one moment. */
export interface HistoryView {
  readonly segments: readonly (readonly Change[])[];
  /** How many changes of the last segment belong to the view. */
  readonly lastLength: number;
  readonly count: number;
  readonly bytes: number;
}

export class History {
  readonly #weigh: (change: Change) => number;
  readonly #forget: (entry: KeyEntry) => void;
  readonly #slabs: ValueSlabs;
  readonly #segments: Segment[] = [{ changes: [], bytes: 0 }];
  #count = 0;
  #bytes = 0;
  #sweepAt = 0;
  #sweepRevision = -1;
  #sweeping = false;

  /** `weigh` gives a change's size in bytes; `forget` is called for a key of which a sweep leaves nothing. */
  constructor(weigh: (change: Change) => number, forget: (entry: KeyEntry) => void, slabs: ValueSlabs) {
    this.#weigh = weigh;
    this.#forget = forget;
    this.#slabs = slabs;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  append(change: Change): void {
    let segment = this.#segments[this.#segments.length - 1]!;
    if (segment.changes.length >= segmentLength) {
      segment = { changes: [], bytes: 0 };
      this.#segments.push(segment);
    }
    const bytes = this.#weigh(change);
    segment.changes.push(change);
    segment.bytes += bytes;
    this.#bytes += bytes;
    this.#count++;
  }

  view(): HistoryView {
    return {
      segments: this.#segments.map((segment) => segment.changes),
      lastLength: this.#segments[this.#segments.length - 1]!.changes.length,
      count: this.#count,
      bytes: this.#bytes,
    };
  }

  /** From now on sweeps remove what does not survive a compaction at `revision`. */
  compact(revision: number): void {
    this.#sweepRevision = revision;
    this.#sweepAt = 0;
    this.#sweeping = true;
  }

  /** Removes a bounded number of changes; true while there is more to do. */
  sweep(): boolean {
    if (!this.#sweeping) return false;
    const segment = this.#segments[this.#sweepAt];
    const first = segment?.changes[0];
    if (segment === undefined || first === undefined || first.modRevision > this.#sweepRevision) {
      this.#sweeping = false;
      return false;
    }
    const kept: Change[] = [];
    let bytes = 0;
    for (const change of segment.changes) {
      if (survives(change, this.#sweepRevision)) {
        kept.push(change);
        bytes += this.#weigh(change);
      } else {
        this.#slabs.release(change.slab, change.size);
        if (change.next !== undefined) change.next.previous = undefined;
        else this.#forget(change.entry);
      }
    }
    this.#count -= segment.changes.length - kept.length;
    this.#bytes -= segment.bytes - bytes;
    // What is left is joined to the segment before when both fit into one, else takes this segment's place. The last
    // segment is never joined away: changes are appended to it.
    const before = this.#segments[this.#sweepAt - 1];
    const last = this.#sweepAt === this.#segments.length - 1;
    if (before !== undefined && !last && before.changes.length + kept.length <= segmentLength) {
      const joined = { changes: before.changes.concat(kept), bytes: before.bytes + bytes };
      this.#segments.splice(this.#sweepAt - 1, 2, joined);
    } else if (kept.length === 0 && !last) {
      this.#segments.splice(this.#sweepAt, 1);
    } else {
      this.#segments[this.#sweepAt] = { changes: kept, bytes };
      this.#sweepAt++;
    }
    return true;
  }

  /**
   * Moves what is left in slabs with gaps closer together, so that those can be let go. Yields between steps of some
   * hundred kilobytes; what is appended or swept meanwhile may be left as it is.
   */
  *repack(): Generator<undefined, void> {
    this.#slabs.beginAnew();
    let work = 0;
    for (let s = 0; s < this.#segments.length; s++) {
      for (let i = 0; i < (this.#segments[s]?.changes.length ?? 0); i++) {
        const change = this.#segments[s]!.changes[i]!;
        work += 16;
        if (change.slab.dead > 0) {
          const { slab, size } = change;
          this.#slabs.put(change.value);
          change.slab = this.#slabs.slab;
          change.at = this.#slabs.at;
          this.#slabs.release(slab, size);
          work += size;
        }
        if (work > repackBytesPerStep) {
          yield undefined;
          work = 0;
        }
      }
    }
  }
}

/** Every change of a view, oldest first. */
export function* changesOf(view: HistoryView): Generator<Change> {
  const last = view.segments.length - 1;
  for (let s = 0; s <= last; s++) {
    const segment = view.segments[s]!;
    const length = s === last ? view.lastLength : segment.length;
    for (let i = 0; i < length; i++) yield segment[i]!;
  }
}
