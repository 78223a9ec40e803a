/**
 * The replicated key-value state as etcd v3 defines it: every change has a revision, history is kept until compacted,
 * and any revision that is not yet compacted can be read. Pure: no I/O, no clock, no randomness.
 */

/**
 * A key as a binary string: one char (0..255) per byte, so that `<` on strings is the order of the bytes and a key can
 * be the key of a Map. `Buffer.latin1Slice()` makes it.
 */
export type Key = string;

/** Which keys: one; `from <= key < to`; or every key from `from` on. */
export type KeyRange =
  | { readonly kind: 'one'; readonly key: Key }
  | { readonly kind: 'span'; readonly from: Key; readonly to: Key }
  | { readonly kind: 'from'; readonly from: Key };

/** A lease's id, in decimal: ids use 63 bits, more than a number holds. `'0'` is no lease. */
export type LeaseId = string;
export const noLease: LeaseId = '0';

/** A key's state at one revision. */
export interface KeyRecord {
  readonly key: Key;
  /** Revision at which the key last came into being. */
  readonly createRevision: number;
  /** Revision of its last change. */
  readonly modRevision: number;
  /** Changes since it came into being, from 1. */
  readonly version: number;
  readonly lease: LeaseId;
  /** The bytes held by the store: not to be changed. */
  readonly value: Uint8Array;
}

export type SortTarget = 'key' | 'version' | 'create' | 'mod' | 'value';

export interface RangeOperation {
  readonly kind: 'range';
  readonly range: KeyRange;
  /** 0 or less: no limit. */
  readonly limit: number;
  /** Read as of this revision; 0 or less: the newest. */
  readonly revision: number;
  readonly sortOrder: 'none' | 'ascend' | 'descend';
  readonly sortTarget: SortTarget;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  /** Inclusive bounds on the records returned (never on `count`); 0: none. */
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}

export interface PutOperation {
  readonly kind: 'put';
  readonly key: Key;
  /** Copied by the store. */
  readonly value: Uint8Array;
  readonly lease: LeaseId;
  readonly previous: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}

export interface DeleteOperation {
  readonly kind: 'delete';
  readonly range: KeyRange;
  readonly previous: boolean;
}

export type Comparison = 'equal' | 'greater' | 'less' | 'notEqual';

/** A condition on every key of a range; a range without keys compares as version, revisions and lease 0. */
export interface Compare {
  readonly range: KeyRange;
  readonly result: Comparison;
  readonly target:
    | { readonly kind: 'version' | 'create' | 'mod'; readonly than: number }
    | { readonly kind: 'lease'; readonly than: LeaseId }
    | { readonly kind: 'value'; readonly than: Uint8Array };
}

export interface TxnOperation {
  readonly kind: 'txn';
  readonly compare: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
}

export type Operation = RangeOperation | PutOperation | DeleteOperation | TxnOperation;

export interface RangeResult {
  readonly kind: 'range';
  /** The store's revision seen by the operation, not the one read at. */
  readonly revision: number;
  readonly records: readonly KeyRecord[];
  /** Keys in the range, whatever the limit and the bounds. */
  readonly count: number;
  /** There were more than `limit`. */
  readonly more: boolean;
}

export interface PutResult {
  readonly kind: 'put';
  readonly revision: number;
  readonly previous?: KeyRecord;
}

export interface DeleteResult {
  readonly kind: 'delete';
  readonly revision: number;
  readonly deleted: number;
  readonly previous: readonly KeyRecord[];
}

export interface TxnResult {
  readonly kind: 'txn';
  /** Of the outermost transaction; 0 in nested ones, as etcd answers. */
  readonly revision: number;
  readonly succeeded: boolean;
  readonly results: readonly Result[];
}

export type Result = RangeResult | PutResult | DeleteResult | TxnResult;

/**
 * Why the state refuses an operation, in a stable code:
 * `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION`, `MVCC_KEY_NOT_FOUND` (ignoreValue or ignoreLease without the key),
 * `MVCC_LEASE_NOT_FOUND`, and for a snapshot that cannot be restored `MVCC_SNAPSHOT_CORRUPT`, `MVCC_SNAPSHOT_TRUNCATED`,
 * `MVCC_SNAPSHOT_VERSION`; `MVCC_SNAPSHOT_RELEASED` is a mistake of the caller.
 */
export type MvccErrorCode =
  | 'MVCC_COMPACTED'
  | 'MVCC_FUTURE_REVISION'
  | 'MVCC_KEY_NOT_FOUND'
  | 'MVCC_LEASE_NOT_FOUND'
  | 'MVCC_SNAPSHOT_CORRUPT'
  | 'MVCC_SNAPSHOT_TRUNCATED'
  | 'MVCC_SNAPSHOT_VERSION'
  | 'MVCC_SNAPSHOT_RELEASED';

export class MvccError extends Error {
  override readonly name = 'MvccError';
  readonly code: MvccErrorCode;
  constructor(code: MvccErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** What a snapshot says of itself, in its header. */
export interface SnapshotHeader {
  /** Log index and term of the last entry that the state contains. */
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  /** -1: never compacted. */
  readonly compactRevision: number;
  /** Records (changes kept, deletions included) and live keys. */
  readonly records: number;
  readonly keys: number;
  /** Length of the whole snapshot in bytes, from the first of the magic to the last of the trailer. */
  readonly sizeBytes: number;
  /** What the caller keeps beside the keys: JSON, replicated and restored as it is. */
  readonly attachment: unknown;
}

/** The state at one moment, read at leisure while the store goes on changing. */
export interface Snapshot {
  readonly header: SnapshotHeader;
  /** Slices of at most 64 KiB, `header.sizeBytes` together. Every call starts anew. */
  slices(): IterableIterator<Uint8Array>;
  /**
   * Gives back what the store has let go of since (HR-24): until then a snapshot keeps every change that it shows. Once;
   * `slices` fails afterwards.
   */
  release(): void;
}

export interface StateHash {
  /** CRC-32C as etcd's HashKV takes it: equal on every member, and equal to etcd's for the same history. */
  readonly hash: number;
  readonly hashRevision: number;
  /** -1: never compacted. */
  readonly compactRevision: number;
}
