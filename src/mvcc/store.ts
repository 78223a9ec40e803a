/**
 * The store: point lookups through a Map, ranges through a sorted tree, and the history in the order of revisions.
 * Semantics are etcd 3.6's (server/storage/mvcc and server/etcdserver/txn), down to which revision a response names.
 */
import sortedBtree from 'sorted-btree';
import { encodedSize } from './encoding.ts';
import { type HashSteps, hashSteps } from './hash.ts';
import { Change, History, type KeyEntry, stateAt, ValueSlabs } from './history.ts';
import { KeyIndex } from './key-index.ts';
import { filterAndSort, holds, readsWholeRange, withoutValue } from './operations.ts';
import { type SnapshotOptions, takeSnapshot } from './snapshot.ts';
import {
  type DeleteOperation,
  type DeleteResult,
  type Key,
  type KeyRange,
  type KeyRecord,
  type LeaseId,
  MvccError,
  noLease,
  type Operation,
  type PutOperation,
  type PutResult,
  type RangeOperation,
  type RangeResult,
  type Result,
  type Snapshot,
  type TxnOperation,
  type TxnResult,
} from './types.ts';

const BTree = sortedBtree.default;
const nothing = new Uint8Array(0);

/** A transaction whose conditions have been decided, all the way down. */
interface Decided {
  readonly succeeded: boolean;
  readonly operations: readonly Operation[];
  /** One for each nested transaction among `operations`, in order. */
  readonly nested: readonly Decided[];
}

function compacted(revision: number, compactRevision: number): MvccError {
  return new MvccError(
    'MVCC_COMPACTED',
    `revision ${revision} is compacted: the history begins at revision ${compactRevision}`,
  );
}

function future(revision: number, current: number): MvccError {
  return new MvccError('MVCC_FUTURE_REVISION', `revision ${revision} is yet to come: the store is at ${current}`);
}

export class MvccStore {
  readonly #entries = new KeyIndex<KeyEntry>();
  readonly #sorted = new BTree<Key, KeyEntry>(undefined, (a, b) => (a < b ? -1 : a > b ? 1 : 0));
  readonly #slabs = new ValueSlabs();
  readonly #history = new History(encodedSize, (entry) => this.#forget(entry), this.#slabs);
  #revision = 1;
  #compactRevision = -1;
  #keys = 0;
  /** Changes made by the operation under way; they belong to revision `#revision + 1`. */
  #changes = 0;

  /** The newest revision. An empty store is at 1, the first change makes 2. */
  get revision(): number {
    return this.#revision;
  }

  /** -1: never compacted. */
  get compactRevision(): number {
    return this.#compactRevision;
  }

  /** Keys that exist now. */
  get keys(): number {
    return this.#keys;
  }

  /** Bytes of all records kept, in the snapshot's form. */
  get sizeBytes(): number {
    return this.#history.bytes;
  }

  /** What is held for them: the same, and what lies unused between values since others were swept. */
  get heldBytes(): number {
    return this.#history.bytes + this.#slabs.unusedBytes;
  }

  /** Fails with `MVCC_FUTURE_REVISION` or `MVCC_COMPACTED`. */
  range(operation: RangeOperation): RangeResult {
    const current = this.#changes > 0 ? this.#revision + 1 : this.#revision;
    if (operation.revision > current) throw future(operation.revision, current);
    const at = operation.revision <= 0 ? current : operation.revision;
    if (at < this.#compactRevision) throw compacted(at, this.#compactRevision);

    if (operation.countOnly) {
      return { kind: 'range', revision: current, records: [], count: this.#count(operation.range, at), more: false };
    }
    const { limit } = operation;
    const whole = limit <= 0 || readsWholeRange(operation);
    let { records, count } = this.#read(operation.range, at, whole ? Number.POSITIVE_INFINITY : limit + 1);
    records = filterAndSort(records, operation);
    const more = limit > 0 && records.length > limit;
    if (more) records.length = limit;
    if (operation.keysOnly) records = records.map(withoutValue);
    return { kind: 'range', revision: current, records, count, more };
  }

  /** Fails with `MVCC_LEASE_NOT_FOUND` or `MVCC_KEY_NOT_FOUND`. */
  put(operation: PutOperation): PutResult {
    this.#checkPut(operation, ['lease', 'key']);
    const result = this.#put(operation);
    this.#commit();
    return result;
  }

  deleteRange(operation: DeleteOperation): DeleteResult {
    const result = this.#delete(operation);
    this.#commit();
    return result;
  }

  /**
   * All conditions, nested ones too, are decided on the state before the transaction. Fails, before anything is
   * changed, with what `range` and `put` fail with.
   */
  txn(operation: TxnOperation): TxnResult {
    const decided = this.#decide(operation);
    this.#check(decided);
    const result = this.#perform(decided);
    const revision = this.#changes > 0 ? this.#revision + 1 : this.#revision;
    this.#commit();
    return { ...result, revision };
  }

  /**
   * Forgets the history before `revision`: from now on nothing older can be read. Memory is given back by `sweep`.
   * Fails with `MVCC_COMPACTED` or `MVCC_FUTURE_REVISION`.
   */
  compact(revision: number): void {
    if (revision <= this.#compactRevision) throw compacted(revision, this.#compactRevision);
    if (revision > this.#revision) throw future(revision, this.#revision);
    this.#compactRevision = revision;
    this.#history.compact(revision);
  }

  /** Gives back a bounded part of what compaction freed (well under a millisecond); true while there is more. */
  sweep(): boolean {
    return this.#history.sweep();
  }

  /** Gives back what lies unused between values, in steps short enough for an event loop: run it to its end. */
  repack(): Generator<undefined, void> {
    return this.#history.repack();
  }

  /**
   * The hash of the state at `revision` (0: the newest), in steps short enough for an event loop: run the generator to
   * its end. Fails at once with `MVCC_FUTURE_REVISION` or `MVCC_COMPACTED`.
   */
  hash(revision = 0): HashSteps {
    if (revision > 0 && revision < this.#compactRevision) throw compacted(revision, this.#compactRevision);
    if (revision > 0 && revision > this.#revision) throw future(revision, this.#revision);
    return hashSteps(this.#history.view(), revision > 0 ? revision : this.#revision, this.#compactRevision);
  }

  /** The state as it is now, to be read while the store goes on. Takes time in proportion to its size / 4096. */
  snapshot(options: SnapshotOptions): Snapshot {
    return takeSnapshot(
      { revision: this.#revision, compactRevision: this.#compactRevision, keys: this.#keys },
      this.#history.view(),
      options,
    );
  }

  /** Used by a restore only: the record as it was, in the order of revisions. */
  restoreChange(
    key: Key,
    modRevision: number,
    sub: number,
    createRevision: number,
    version: number,
    lease: LeaseId,
    value: Uint8Array,
  ): void {
    const existing = this.#entries.get(key);
    const lived = existing !== undefined && existing.latest.version !== 0;
    if (lived !== (version !== 0)) this.#keys += lived ? -1 : version !== 0 ? 1 : 0;
    this.#append(existing ?? key, modRevision, sub, createRevision, version, lease, value);
  }

  /** Used by a restore only: where the store stands after its records. */
  restoreRevisions(revision: number, compactRevision: number): void {
    this.#revision = revision;
    this.#compactRevision = compactRevision;
    // The snapshot may have been taken with a sweep still to be done.
    if (compactRevision > 0) this.#history.compact(compactRevision);
  }

  #commit(): void {
    if (this.#changes > 0) this.#revision++;
    this.#changes = 0;
  }

  #append(
    entry: KeyEntry | Key,
    modRevision: number,
    sub: number,
    createRevision: number,
    version: number,
    lease: LeaseId,
    value: Uint8Array | Change,
  ): void {
    let change: Change;
    if (value instanceof Change) {
      value.slab.live += value.size;
      change = new Change(entry, modRevision, sub, createRevision, version, lease, value.slab, value.at, value.size);
    } else {
      this.#slabs.put(value);
      const { slab, at } = this.#slabs;
      change = new Change(entry, modRevision, sub, createRevision, version, lease, slab, at, value.length);
    }
    if (typeof entry === 'string') {
      this.#entries.set(entry, change.entry);
      this.#sorted.set(entry, change.entry);
    }
    this.#history.append(change);
  }

  #forget(entry: KeyEntry): void {
    // A key that came back after its deletion was swept has a new entry: that one stays.
    if (this.#entries.get(entry.key) !== entry) return;
    this.#entries.delete(entry.key);
    this.#sorted.delete(entry.key);
  }

  #visit(range: KeyRange, at: number, visit: (record: Change) => void): void {
    if (range.kind === 'one') {
      const entry = this.#entries.get(range.key);
      const record = entry === undefined ? undefined : stateAt(entry, at);
      if (record !== undefined) visit(record);
      return;
    }
    const to = range.kind === 'span' ? range.to : this.#sorted.maxKey();
    if (to === undefined) return;
    this.#sorted.forRange(range.from, to, range.kind === 'from', (_, entry) => {
      const record = stateAt(entry, at);
      if (record !== undefined) visit(record);
    });
  }

  #read(range: KeyRange, at: number, most: number): { records: KeyRecord[]; count: number } {
    const records: KeyRecord[] = [];
    let count = 0;
    this.#visit(range, at, (record) => {
      count++;
      if (records.length < most) records.push(record);
    });
    return { records, count };
  }

  #count(range: KeyRange, at: number): number {
    // The common question "how many keys are there" needs no walk.
    if (range.kind === 'from' && range.from <= '\0' && at >= this.#revision && this.#changes === 0) return this.#keys;
    let count = 0;
    this.#visit(range, at, () => count++);
    return count;
  }

  #live(key: Key): Change | undefined {
    const latest = this.#entries.get(key)?.latest;
    return latest === undefined || latest.version === 0 ? undefined : latest;
  }

  #checkPut(operation: PutOperation, order: readonly ('lease' | 'key')[]): void {
    for (const what of order) {
      if (what === 'lease' && operation.lease !== noLease) {
        throw new MvccError('MVCC_LEASE_NOT_FOUND', `lease ${operation.lease} does not exist: there are no leases yet`);
      }
      if (what === 'key' && (operation.ignoreValue || operation.ignoreLease) && !this.#live(operation.key)) {
        throw new MvccError('MVCC_KEY_NOT_FOUND', 'ignoreValue and ignoreLease need a key that exists');
      }
    }
  }

  #put(operation: PutOperation): PutResult {
    const { key } = operation;
    const entry = this.#entries.get(key);
    const latest = entry?.latest;
    const before = latest === undefined || latest.version === 0 ? undefined : latest;
    const revision = this.#revision + 1;
    // `#checkPut` has seen the key. A transaction that deletes it first through a range that etcd's overlap check does
    // not see (range_end "\0") brings etcd down here; for us the value is then empty.
    const value = operation.ignoreValue ? (before ?? nothing) : operation.value;
    const lease = operation.ignoreLease ? (before?.lease ?? noLease) : operation.lease;
    if (before === undefined) this.#keys++;
    this.#append(
      entry ?? key,
      revision,
      this.#changes,
      before === undefined ? revision : before.createRevision,
      before === undefined ? 1 : before.version + 1,
      lease,
      value,
    );
    this.#changes++;
    return operation.previous && before !== undefined
      ? { kind: 'put', revision, previous: before }
      : { kind: 'put', revision };
  }

  #delete(operation: DeleteOperation): DeleteResult {
    const revision = this.#revision + 1;
    const doomed: Change[] = [];
    this.#visit(operation.range, revision, (record) => doomed.push(record));
    for (const record of doomed) {
      this.#append(record.entry, revision, this.#changes, 0, 0, noLease, nothing);
      this.#changes++;
    }
    this.#keys -= doomed.length;
    return {
      kind: 'delete',
      revision: this.#changes > 0 ? revision : this.#revision,
      deleted: doomed.length,
      previous: operation.previous ? doomed : [],
    };
  }

  #decide(operation: TxnOperation): Decided {
    const succeeded = operation.compare.every((compare) =>
      holds(compare, (range) => this.#read(range, this.#revision, Number.POSITIVE_INFINITY).records),
    );
    const operations = succeeded ? operation.success : operation.failure;
    return {
      succeeded,
      operations,
      nested: operations.flatMap((inner) => (inner.kind === 'txn' ? [this.#decide(inner)] : [])),
    };
  }

  #check({ operations, nested }: Decided): void {
    let next = 0;
    for (const operation of operations) {
      switch (operation.kind) {
        case 'range':
          if (operation.revision === 0) break;
          if (operation.revision > this.#revision) throw future(operation.revision, this.#revision);
          if (operation.revision < this.#compactRevision) throw compacted(operation.revision, this.#compactRevision);
          break;
        case 'put':
          this.#checkPut(operation, ['key', 'lease']);
          break;
        case 'txn':
          this.#check(nested[next++]!);
          break;
        case 'delete':
          break;
      }
    }
  }

  #perform({ succeeded, operations, nested }: Decided): TxnResult {
    let next = 0;
    const results: Result[] = [];
    for (const operation of operations) {
      switch (operation.kind) {
        case 'range':
          results.push(this.range(operation));
          break;
        case 'put':
          results.push(this.#put(operation));
          break;
        case 'delete':
          results.push(this.#delete(operation));
          break;
        case 'txn':
          results.push(this.#perform(nested[next++]!));
          break;
      }
    }
    return { kind: 'txn', revision: 0, succeeded, results };
  }
}
