export type StorageErrorCode =
  /** Damage in what was once durable: the member must not start on it. */
  | 'WAL_CORRUPT'
  /** The disk does not give back what was written. */
  | 'WAL_UNREADABLE'
  /** A write or sync failed; what is on disk is unknown from here on. */
  | 'WAL_FAILED'
  | 'WAL_CLOSED'
  | 'WAL_EXISTS'
  | 'WAL_MISSING'
  | 'RECORD_TOO_LARGE'
  | 'SNAPSHOT_CORRUPT'
  | 'SNAPSHOT_MISSING'
  | 'SNAPSHOT_VERSION'
  | 'SNAPSHOT_EXISTS'
  | 'SNAPSHOT_UNUSABLE'
  | 'DATA_DIR_LOCKED'
  | 'DATA_DIR_UNUSABLE'
  | 'DATA_DIR_FOREIGN';

export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly code: StorageErrorCode;

  constructor(code: StorageErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Damage in a log file. `offset` is in bytes from the file's start. */
export class WalCorruptError extends StorageError {
  readonly file: string;
  readonly offset: number;

  constructor(file: string, offset: number, what: string) {
    super(
      'WAL_CORRUPT',
      `${file} is damaged at offset ${offset}: ${what}. What was once durable cannot be read back, so this member does not start; ` +
        'replace the member, or restore the cluster from a snapshot',
    );
    this.file = file;
    this.offset = offset;
  }
}
