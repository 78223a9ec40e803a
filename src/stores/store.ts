/**
 * Where archives live. A key is a path of `/`-separated names; an object is there whole or not at all: a put that
 * fails or is aborted leaves nothing under the key that was not there before.
 */

export interface StoredObject {
  readonly key: string;
  readonly sizeBytes: number;
  /** Whatever the store tells versions of an object apart by. Opaque. */
  readonly etag?: string;
}

/** What a put has written. */
export interface PutResult extends StoredObject {
  /** SHA-256 of the bytes that were sent, lower-case hexadecimal. */
  readonly sha256: string;
}

export interface StoreCallOptions {
  readonly signal?: AbortSignal;
}

export interface Store {
  readonly kind: 'volume' | 's3';
  /** For people: `s3://bucket/prefix`, `/store/folder`. Bears no credentials. */
  readonly location: string;
  /** Replaces what is under `key`. `sizeHint` (bytes, an upper estimate) lets a store choose its part size. */
  put(
    key: string,
    source: AsyncIterable<Uint8Array>,
    options?: StoreCallOptions & { readonly sizeHint?: number },
  ): Promise<PutResult>;
  /** `STORE_KEY_MISSING` when there is none. `range` is in bytes, `end` inclusive as in HTTP. */
  get(
    key: string,
    options?: StoreCallOptions & { readonly range?: { readonly start: number; readonly end?: number } },
  ): Promise<{ readonly sizeBytes: number; readonly chunks: AsyncIterable<Uint8Array> }>;
  /** Undefined when there is no such object. */
  head(key: string, options?: StoreCallOptions): Promise<StoredObject | undefined>;
  /** Every object whose key begins with `prefix`, in the order of the keys' bytes. */
  list(prefix: string, options?: StoreCallOptions): AsyncIterable<StoredObject>;
  /** No error when there is none. */
  delete(key: string, options?: StoreCallOptions): Promise<void>;
  /** Resolves when the bucket or folder is there and answers; throws a StoreError whose message says what to do. */
  check(options?: StoreCallOptions): Promise<void>;
  /** Closes connections. */
  close(): void;
}

/** The spec of a RaftSnapshotStore, as far as reading and writing needs it. */
export type StoreSpec = { readonly volume: VolumeSpec } | { readonly s3: S3Spec };

export interface VolumeSpec {
  readonly claimName: string;
  /** Folder inside the volume. Default: its root. */
  readonly path?: string;
}

export interface S3Spec {
  readonly bucket: string;
  /** Put before every key, with a `/` between. */
  readonly prefix?: string;
  /** URL of an S3-compatible server. Default: AWS. */
  readonly endpoint?: string;
  /** Default `us-east-1`. */
  readonly region?: string;
  /** Whether the bucket is in the URL's path. Default false, as in the resource. */
  readonly forcePathStyle?: boolean;
}

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export type StoreErrorCode =
  /** The spec is not one of a RaftSnapshotStore. */
  | 'STORE_SPEC_INVALID'
  /** Not a key: empty, absolute, or leaving the store. */
  | 'STORE_KEY_INVALID'
  | 'STORE_KEY_MISSING'
  | 'STORE_BUCKET_MISSING'
  | 'STORE_FOLDER_MISSING'
  | 'STORE_ACCESS_DENIED'
  /** No connection, or it broke. A retry may help. */
  | 'STORE_UNREACHABLE'
  /** No room left. */
  | 'STORE_FULL'
  /** Anything else that the store answered. */
  | 'STORE_FAILED'
  /** The caller's signal fired. */
  | 'STORE_ABORTED';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
