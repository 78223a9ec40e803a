/** The services' methods, for server and client alike: paths, and how messages become bytes. */
import type { MethodDefinition } from '@grpc/grpc-js';
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DefragmentRequest,
  DefragmentResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  SnapshotRequest,
  SnapshotResponse,
  StatusRequest,
  StatusResponse,
  TxnRequest,
  TxnResponse,
} from './gen/rpc.ts';
import { encodePutResponse } from './put-response.ts';

/** A request and the very bytes it came in, which go into the log as they are: nothing is encoded twice. */
export interface Received<T> {
  readonly message: T;
  readonly bytes: Uint8Array;
}

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function method<Q, R>(
  path: string,
  request: Codec<Q>,
  response: Codec<R>,
  responseStream = false,
): MethodDefinition<Q, R> {
  return {
    path: `/etcdserverpb.${path}`,
    requestStream: false,
    responseStream,
    requestSerialize: (message) => asBuffer(request.encode(message).finish()),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: (message) => asBuffer(response.encode(message).finish()),
    responseDeserialize: (bytes) => response.decode(bytes),
  };
}

export const methods = {
  range: method('KV/Range', RangeRequest, RangeResponse),
  put: method('KV/Put', PutRequest, {
    encode: (message: PutResponse) => ({ finish: () => encodePutResponse(message) }),
    decode: (bytes) => PutResponse.decode(bytes),
  }),
  deleteRange: method('KV/DeleteRange', DeleteRangeRequest, DeleteRangeResponse),
  txn: method('KV/Txn', TxnRequest, TxnResponse),
  compact: method('KV/Compact', CompactionRequest, CompactionResponse),
  memberList: method('Cluster/MemberList', MemberListRequest, MemberListResponse),
  memberAdd: method('Cluster/MemberAdd', MemberAddRequest, MemberAddResponse),
  memberRemove: method('Cluster/MemberRemove', MemberRemoveRequest, MemberRemoveResponse),
  memberUpdate: method('Cluster/MemberUpdate', MemberUpdateRequest, MemberUpdateResponse),
  memberPromote: method('Cluster/MemberPromote', MemberPromoteRequest, MemberPromoteResponse),
  moveLeader: method('Maintenance/MoveLeader', MoveLeaderRequest, MoveLeaderResponse),
  alarm: method('Maintenance/Alarm', AlarmRequest, AlarmResponse),
  defragment: method('Maintenance/Defragment', DefragmentRequest, DefragmentResponse),
  status: method('Maintenance/Status', StatusRequest, StatusResponse),
  hashKv: method('Maintenance/HashKV', HashKVRequest, HashKVResponse),
  snapshot: method('Maintenance/Snapshot', SnapshotRequest, SnapshotResponse, true),
};

/** The same method, for a server that wants the request's bytes too. */
export function receiving<Q, R>(definition: MethodDefinition<Q, R>): MethodDefinition<Received<Q>, R> {
  return {
    ...definition,
    requestSerialize: (received) => asBuffer(received.bytes),
    requestDeserialize: (bytes) => ({ message: definition.requestDeserialize(bytes), bytes }),
  };
}
