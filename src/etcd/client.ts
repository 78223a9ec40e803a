/** A small typed client of the etcd v3 protocol: for engines, the command line and tests. Speaks to real etcd too. */
import type {
  AlarmResponse,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVResponse,
  MemberListResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  StatusResponse,
  TxnRequest,
  TxnResponse,
} from './gen/rpc.ts';
import type { SnapshotMetadata } from './maintenance-stream.ts';

export interface EtcdClientOptions {
  /** `http://host:port`; tried in turn when one cannot be reached (UNAVAILABLE). `https` waits for TLS: refused. */
  readonly endpoints: readonly string[];
  /** For each call, all endpoints together, in milliseconds. 5000 unless told. A snapshot stream has none of its own. */
  readonly deadlineMs?: number;
}

export interface CallOptions {
  /** Instead of the client's own deadline. For a snapshot: until the stream has begun. */
  readonly deadlineMs?: number;
  /** Cancels the call, or the stream. */
  readonly signal?: AbortSignal;
}

/** A snapshot stream: what `etcdctl snapshot save` would write, SHA-256 trailer included. */
export interface SnapshotStream {
  /** The endpoint that sends it. */
  readonly endpoint: string;
  /** Absent when the server is etcd. */
  readonly metadata: SnapshotMetadata | undefined;
  /** Bytes of the whole stream. */
  readonly sizeBytes: number;
  /** Fails with `ETCD_SNAPSHOT_TRUNCATED` or `ETCD_SNAPSHOT_CORRUPT` at the end when bytes are missing or wrong. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Ends the stream early. Idempotent. */
  close(): void;
}

/** Every method rejects with an `EtcdError` (errors.ts) that holds the server's message and gRPC status. */
export declare class EtcdClient {
  constructor(options: EtcdClientOptions);
  range(request: Partial<RangeRequest>, options?: CallOptions): Promise<RangeResponse>;
  put(request: Partial<PutRequest>, options?: CallOptions): Promise<PutResponse>;
  deleteRange(request: Partial<DeleteRangeRequest>, options?: CallOptions): Promise<DeleteRangeResponse>;
  txn(request: Partial<TxnRequest>, options?: CallOptions): Promise<TxnResponse>;
  compact(revision: number, physical?: boolean, options?: CallOptions): Promise<CompactionResponse>;
  memberList(linearizable?: boolean, options?: CallOptions): Promise<MemberListResponse>;
  /** Of the endpoint that answers: give one endpoint to ask one member. */
  status(options?: CallOptions): Promise<StatusResponse>;
  hashKv(revision?: number, options?: CallOptions): Promise<HashKVResponse>;
  alarms(options?: CallOptions): Promise<AlarmResponse>;
  /** Resolves when the stream has begun. */
  snapshot(options?: CallOptions): Promise<SnapshotStream>;
  close(): void;
}
