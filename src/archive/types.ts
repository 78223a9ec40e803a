/** The nouns of the portable archive: `tar.gz` of `meta.json`, `state.bin` and `SHA256SUMS` (NS-01). */

export type Suffrage = 'voter' | 'nonvoter' | 'staging';

export interface ArchiveServer {
  readonly suffrage: Suffrage;
  readonly id: string;
  readonly address: string;
}

/** What only Raftsman writes. Archives of other make have none of it. */
export type ArchiveFacts = TakenFacts | ConvertedFacts;

/** Of a snapshot that was taken from a member. */
export interface TakenFacts {
  /** `Embedded`: the engine whose form `state.bin` has. */
  readonly engine: string;
  readonly engineVersion: string;
  readonly clusterId: string;
  /** Name of the cluster, as far as the writer knew one. */
  readonly cluster: string;
  readonly revision: number;
  readonly keys: number;
  /** Opaque, compared for equality only. */
  readonly hash: string;
  /** RFC 3339, UTC. */
  readonly createdAt: string;
}

/** Of one that another program took, and of which no more is known than this. */
export interface ConvertedFacts {
  /** `Goraft`, `Consul`, `Nomad`, or `HashicorpRaft` where the application cannot be told. */
  readonly engine: string;
  /** The form it was found in, such as `goraft snapshot file`. */
  readonly convertedFrom: string;
  /** RFC 3339, UTC. */
  readonly convertedAt: string;
}

/**
 * `meta.json`: HashiCorp's snapshot metadata (HR-01, HR-04). Index, term and configuration index are uint64 in the
 * file, hence bigint: a double would change them without a word above 2^53.
 */
export interface ArchiveMeta {
  /** Of the metadata only (HR-01). 1 is written, 0 and 1 are read. */
  readonly version: number;
  /** Opaque (HR-02). */
  readonly id: string;
  readonly index: bigint;
  readonly term: bigint;
  /** Deprecated in the format and still filled in (HR-04). Derived from the configuration when left out. */
  readonly peers?: Uint8Array;
  readonly configuration: { readonly servers: readonly ArchiveServer[] };
  readonly configurationIndex: bigint;
  /** Bytes of `state.bin`. */
  readonly size: number;
  readonly raftsman?: ArchiveFacts;
}

/** Of one archive as written or as verified. */
export interface ArchiveSummary {
  readonly meta: ArchiveMeta;
  /** Compressed bytes. */
  readonly sizeBytes: number;
  /** `sha-256=` and the base64 of SHA-256 over the compressed bytes (NS-05). */
  readonly checksum: string;
}

/** Progress of reading or writing. `stateBytes` of `stateTotal` is absent until `meta.json` has been seen. */
export interface ArchiveProgress {
  /** Compressed bytes read or written so far. */
  readonly bytes: number;
  /** Bytes of `state.bin` read or written so far. */
  readonly stateBytes: number;
  readonly stateTotal?: number;
}

export type ArchiveErrorCode =
  /** Reading the source failed; the cause is the source's error (NS-13). Not the archive's fault. */
  | 'ARCHIVE_READ_FAILED'
  /** Not gzip at all. */
  | 'ARCHIVE_NOT_GZIP'
  /** gzip, and not a tar inside. */
  | 'ARCHIVE_NOT_TAR'
  /** Ends before its end (NS-10). */
  | 'ARCHIVE_TRUNCATED'
  /** Damaged gzip data, header or checksum. */
  | 'ARCHIVE_GZIP_CORRUPT'
  /** Damaged tar header. */
  | 'ARCHIVE_TAR_CORRUPT'
  /** Bytes after the end of the tar or of the gzip stream (NS-09). */
  | 'ARCHIVE_TRAILING_BYTES'
  /** A file that does not belong in an archive (NS-17). */
  | 'ARCHIVE_UNEXPECTED_FILE'
  | 'ARCHIVE_DUPLICATE_FILE'
  | 'ARCHIVE_FILE_MISSING'
  /** `meta.json` or `SHA256SUMS` is at or above its cap (NS-22, D19). */
  | 'ARCHIVE_FILE_TOO_LARGE'
  | 'ARCHIVE_META_INVALID'
  /** NS-21. */
  | 'ARCHIVE_VERSION_UNSUPPORTED'
  | 'ARCHIVE_SUMS_INVALID'
  /** A hash is missing from `SHA256SUMS`, is there for nothing, or differs (NS-19). */
  | 'ARCHIVE_HASH_MISMATCH'
  /** `state.bin` has not the size that `meta.json` says (NS-15, D19). */
  | 'ARCHIVE_SIZE_MISMATCH'
  /** Not the archive that was verified before, or that was asked for by its checksum. */
  | 'ARCHIVE_CHANGED'
  /** A good archive, whose state is not of the engine that was asked for. */
  | 'ARCHIVE_FOREIGN'
  /** To be converted: of no kind that is known, or not of the kind it was said to be. */
  | 'ARCHIVE_SOURCE_UNKNOWN'
  /** To be converted: a folder without a snapshot, or without a good one. */
  | 'ARCHIVE_SOURCE_EMPTY'
  /** To be converted: not what a program of its kind writes. */
  | 'ARCHIVE_SOURCE_INVALID';

/** An archive that cannot be written or must not be used. */
export class ArchiveError extends Error {
  override readonly name = 'ArchiveError';
  readonly code: ArchiveErrorCode;
  /** Where it was noticed; absent where no place is to blame. */
  readonly place: ArchivePlace | undefined;
  constructor(code: ArchiveErrorCode, message: string, options: { place?: ArchivePlace; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.place = options.place;
  }
}

/** A byte of the compressed archive, or one of the tar inside it. */
export interface ArchivePlace {
  readonly layer: 'gzip' | 'tar';
  readonly offset: number;
}

export interface VerifyOptions {
  /**
   * Receives the bytes of `state.bin` as they come. They are tentative: the archive is good only when the call
   * resolves. Awaited, so that a slow sink holds the reader back.
   */
  readonly onState?: (chunk: Uint8Array) => void | Promise<void>;
  readonly onProgress?: (progress: ArchiveProgress) => void;
  readonly signal?: AbortSignal;
}

export interface WriteOptions {
  /** One time for all entries (NS-14), in whole seconds in the file. */
  readonly modifiedAt: Date;
  /** gzip level, 1 to 9. Default 6. */
  readonly level?: number;
  readonly onProgress?: (progress: ArchiveProgress) => void;
  readonly signal?: AbortSignal;
}

/** An archive being written: `chunks` are its compressed bytes, to be consumed once. */
export interface ArchiveWriting {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Throws until `chunks` has been consumed to its end. */
  summary(): ArchiveSummary;
}
