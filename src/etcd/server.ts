/**
 * The etcd v3 gRPC services, bound to a member through `EtcdBackend`. What the protocol asks of a request before it
 * may reach the member (keys, sort options, transaction size) is checked here; the rest is the backend's.
 */

import type {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  MemberListRequest,
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

/** A request and the very bytes it came in, which go into the log as they are: nothing is encoded twice. */
export interface Received<T> {
  readonly message: T;
  readonly bytes: Uint8Array;
}

/** A snapshot to be streamed. `slices` is read to its end or returned early; either way it is given back. */
export interface BackendSnapshot {
  readonly metadata: SnapshotMetadata;
  /** Bytes in `slices`; padding and hash come on top. */
  readonly sizeBytes: number;
  readonly slices: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/**
 * One member, as the services need it. Every method rejects with an `EtcdError` (errors.ts) for what etcd has an error
 * for; anything else becomes INTERNAL. Responses carry their whole header.
 */
export interface EtcdBackend {
  range(request: RangeRequest): Promise<RangeResponse>;
  put(request: Received<PutRequest>): Promise<PutResponse>;
  deleteRange(request: Received<DeleteRangeRequest>): Promise<DeleteRangeResponse>;
  txn(request: Received<TxnRequest>): Promise<TxnResponse>;
  compact(request: Received<CompactionRequest>): Promise<CompactionResponse>;
  memberList(request: MemberListRequest): Promise<MemberListResponse>;
  alarm(request: AlarmRequest): Promise<AlarmResponse>;
  status(): Promise<StatusResponse>;
  hashKv(request: HashKVRequest): Promise<HashKVResponse>;
  snapshot(): Promise<BackendSnapshot>;
}

export interface EtcdServerOptions {
  readonly backend: EtcdBackend;
  /** Client URLs to listen on, `http://host:port`; port 0 takes a free one. `https` is refused for now. */
  readonly listen: readonly string[];
}

export interface EtcdServer {
  /** The URLs listened on, in the order asked for, with their real ports. */
  readonly urls: readonly string[];
  /** Lets running calls end for at most `graceMs`, then cuts them off. */
  close(graceMs?: number): Promise<void>;
}
