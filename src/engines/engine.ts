/**
 * The contract between Raftsman and one kind of Raft system. The operator and the jobs know members only through it,
 * so that an engine is added without a change anywhere else.
 */

/** How to reach one member's client address. */
export interface Endpoint {
  /** `http://host:port`. The path is ignored. */
  readonly url: string;
  /** PEM bytes for `https` endpoints. */
  readonly tls?: EndpointTls;
}

export interface EndpointTls {
  readonly ca?: Uint8Array;
  readonly cert?: Uint8Array;
  readonly key?: Uint8Array;
  /** Name that the member's certificate is checked against, where it is not the endpoint's host. */
  readonly serverName?: string;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** The whole call, in milliseconds. Default 5000. */
  readonly timeoutMs?: number;
}

/** What one member says of itself. Never an answer of another member: it is asked without forwarding. */
export interface MemberStatus {
  /** Lower-case hexadecimal without padding, as etcd prints it. */
  readonly memberId: string;
  readonly clusterId: string;
  /** Name of the member in the member list; empty when it has not published one yet. */
  readonly name: string;
  /** Absent when the member knows no leader. */
  readonly leaderId?: string;
  readonly isLearner: boolean;
  readonly term: number;
  /** Last index in the member's log, committed or not, as the engine reports it. */
  readonly index: number;
  readonly appliedIndex: number;
  readonly revision: number;
  /** Bytes of the member's state. */
  readonly sizeBytes: number;
  readonly version: string;
}

export interface Member {
  readonly id: string;
  /** Empty when the member has never started. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

/**
 * The state of one member at one revision in three values. Equal on all members of a cluster, and equal before a
 * snapshot and after its restore.
 */
export interface Fingerprint {
  readonly revision: number;
  readonly keys: number;
  /** Opaque; compared for equality only. The key-value engines give eight lower-case hexadecimal digits. */
  readonly hash: string;
}

/** Facts of a snapshot that the member sends ahead of its bytes. */
export interface SnapshotFacts {
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  readonly configuration: readonly SnapshotServer[];
  readonly configurationIndex: number;
  readonly clusterId: string;
  readonly engineVersion: string;
}

export interface SnapshotServer {
  readonly id: string;
  readonly address: string;
  readonly suffrage: 'voter' | 'nonvoter';
}

export interface OpenSnapshot {
  /** The member that sends it. */
  readonly endpoint: Endpoint;
  readonly facts: SnapshotFacts;
  /** Exactly the number of bytes that `chunks` yields. */
  readonly sizeBytes: number;
  /**
   * The state in the engine's own form, once. Throws `ENGINE_SNAPSHOT_CORRUPT` at its end when the bytes do not bear
   * the checksum that the member sent, `ENGINE_UNAVAILABLE` when the member goes away.
   */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Ends the stream before its end. Idempotent. */
  close(): void;
}

export interface Engine {
  /** The `engine.type` of a RaftCluster. */
  readonly type: EngineType;
  status(endpoint: Endpoint, options?: CallOptions): Promise<MemberStatus>;
  members(endpoint: Endpoint, options?: CallOptions): Promise<Member[]>;
  /** Of this very member, at `revision` or at its present one. */
  fingerprint(endpoint: Endpoint, revision?: number, options?: CallOptions): Promise<Fingerprint>;
  /** From the first endpoint that answers. `signal` also ends the stream. */
  openSnapshot(endpoints: readonly Endpoint[], options?: { readonly signal?: AbortSignal }): Promise<OpenSnapshot>;
  /** Closes idle connections. The engine can be used again afterwards. */
  close(): void;
}

export type EngineType = 'Embedded';

export type EngineErrorCode =
  /** No connection, no quorum, or no answer in time. A retry may help. */
  | 'ENGINE_UNAVAILABLE'
  /** The member refused the call. A retry does not help. */
  | 'ENGINE_REFUSED'
  /** The snapshot's bytes do not bear their checksum or their announced size. */
  | 'ENGINE_SNAPSHOT_CORRUPT'
  /** The history at that revision is compacted away, or not there yet. */
  | 'ENGINE_REVISION_UNAVAILABLE'
  /** Not an engine that this version knows. */
  | 'ENGINE_UNKNOWN'
  /** Not an endpoint URL. */
  | 'ENGINE_ENDPOINT_INVALID';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: EngineErrorCode;
  constructor(code: EngineErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
