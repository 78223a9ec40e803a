/**
 * What a member keeps on disk, as its neighbours see it. Storage knows no Raft: terms and indexes are plain numbers
 * here, and a configuration is JSON that somebody else understands.
 */

export type EntryKind = 'normal' | 'noop' | 'configuration';

export interface LogEntry {
  readonly term: number;
  readonly index: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

export interface StoredHardState {
  readonly term: number;
  /** The member voted for in `term`, as lowercase hex; null when no vote was given. */
  readonly vote: string | null;
  readonly commit: number;
}

/** Says in the log that a snapshot is complete in the snapshot directory (RA-07); only such a snapshot is loaded (RA-19). */
export interface SnapshotMark {
  readonly index: number;
  readonly term: number;
  /** JSON. */
  readonly configuration: unknown;
  readonly configurationIndex: number;
  /**
   * True when the snapshot came from the leader and replaced the log: entries recorded before the mark are void,
   * and the log goes on at `index + 1`.
   */
  readonly replacesLog: boolean;
}

/** Who the data belongs to; written once, into the head of every segment. Both are lowercase hex. */
export interface Identity {
  readonly clusterId: string;
  readonly memberId: string;
}

/** What becomes durable together: all of it or none of it survives a crash. */
export interface WalBatch {
  readonly hardState?: StoredHardState | undefined;
  /** Contiguous. The first entry's index supersedes every entry recorded with that index or a higher one. */
  readonly entries?: readonly LogEntry[] | undefined;
  readonly snapshot?: SnapshotMark | undefined;
}

/** What a log held when it was opened. */
export interface WalContents {
  readonly identity: Identity;
  readonly hardState: StoredHardState | undefined;
  /** Contiguous, oldest first: all that was not superseded, replaced or released. May begin before the newest mark. */
  readonly entries: readonly LogEntry[];
  /** Oldest first. A mark beyond the commit index is left out: nothing was built on it. */
  readonly snapshots: readonly SnapshotMark[];
  /** Bytes of an unfinished last batch that were cut, 0 in the normal case. */
  readonly tornBytes: number;
}

export interface WalOptions {
  /** A new segment is begun when the current one has grown past this many bytes. Default 16 MiB. */
  readonly segmentBytes?: number;
  /** The file is extended with zeros by this many bytes at a time, ahead of writing. Default 1 MiB. */
  readonly allocationBytes?: number;
  /** Called after each durable write with its duration. */
  readonly onWritten?: (seconds: number, bytes: number) => void;
  /** Called once, with the reason, when a write or sync failed: the member must stop, nothing is retried. */
  readonly onFailure?: (error: Error) => void;
  /** Called whenever the disk had no room, for a write that waits now or for the zeros ahead of the next ones. */
  readonly onFull?: (error: Error) => void;
}

/** A stored snapshot's description (HR-01), the content of its `meta.json`. */
export interface StoredSnapshotMeta {
  /** Of this description only, never of the state. */
  readonly version: 1;
  /** `<term>-<index>-<unix milliseconds>`; opaque to callers (HR-02). */
  readonly id: string;
  readonly index: number;
  readonly term: number;
  /** JSON. */
  readonly configuration: unknown;
  readonly configurationIndex: number;
  /** Bytes of state.bin. */
  readonly size: number;
  /** CRC-64/ECMA (as in XZ) of state.bin, 16 lowercase hex digits. */
  readonly crc: string;
}

export interface NewSnapshot {
  readonly version: number;
  readonly index: number;
  readonly term: number;
  readonly configuration: unknown;
  readonly configurationIndex: number;
}

/** A snapshot being written: invisible until `close` has made it durable (HR-08). */
export interface SnapshotSink {
  readonly id: string;
  /** Bytes written so far. */
  readonly size: number;
  /** `chunk` may be used again when it has resolved. */
  write(chunk: Uint8Array): Promise<void>;
  /** Of what was written so far; see `StoredSnapshotMeta.crc`. */
  checksum(): string;
  /** Makes it durable and visible, then removes what is beyond the retained number. Idempotent. */
  close(): Promise<StoredSnapshotMeta>;
  /** Leaves nothing behind. Idempotent; does nothing after `close`. */
  cancel(): Promise<void>;
}

export interface OpenSnapshot {
  readonly meta: StoredSnapshotMeta;
  /**
   * The bytes of state.bin from `offset` on, as often as wanted until `close`. A chunk's memory is used again for the next
   * one: whoever keeps bytes copies them.
   */
  read(offset?: number): AsyncIterable<Uint8Array>;
  /** From here on it goes when it is beyond the retained number (HR-07). Idempotent. */
  close(): Promise<void>;
}

export interface SnapshotStore {
  /** HR-05. Fails with `unsupported snapshot version N`. */
  create(snapshot: NewSnapshot): Promise<SnapshotSink>;
  /** Newest first by (term, index, id), at most the retained number (HR-06). */
  list(): Promise<StoredSnapshotMeta[]>;
  /** Reads the whole state once to check it before a byte is handed out; fails with code SNAPSHOT_CORRUPT (HR-34). Close it. */
  open(id: string): Promise<OpenSnapshot>;
}
