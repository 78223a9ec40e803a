/** etcd's errors: a gRPC status and the exact message that etcd's clients know, under stable codes of ours. */
import { status } from '@grpc/grpc-js';

/** gRPC status code and message, as etcd's api/v3rpc/rpctypes has them; `raftsman: ` where etcd has no word for it. */
const catalogue = {
  ETCD_EMPTY_KEY: [status.INVALID_ARGUMENT, 'etcdserver: key is not provided'],
  ETCD_KEY_NOT_FOUND: [status.INVALID_ARGUMENT, 'etcdserver: key not found'],
  ETCD_VALUE_PROVIDED: [status.INVALID_ARGUMENT, 'etcdserver: value is provided'],
  ETCD_LEASE_PROVIDED: [status.INVALID_ARGUMENT, 'etcdserver: lease is provided'],
  ETCD_TOO_MANY_OPERATIONS: [status.INVALID_ARGUMENT, 'etcdserver: too many operations in txn request'],
  ETCD_DUPLICATE_KEY: [status.INVALID_ARGUMENT, 'etcdserver: duplicate key given in txn request'],
  ETCD_INVALID_SORT_OPTION: [status.INVALID_ARGUMENT, 'etcdserver: invalid sort option'],
  ETCD_REQUEST_TOO_LARGE: [status.INVALID_ARGUMENT, 'etcdserver: request is too large'],
  ETCD_COMPACTED: [status.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted'],
  ETCD_FUTURE_REVISION: [status.OUT_OF_RANGE, 'etcdserver: mvcc: required revision is a future revision'],
  ETCD_NO_SPACE: [status.RESOURCE_EXHAUSTED, 'etcdserver: mvcc: database space exceeded'],
  ETCD_TOO_MANY_REQUESTS: [status.RESOURCE_EXHAUSTED, 'etcdserver: too many requests'],
  ETCD_LEASE_NOT_FOUND: [status.NOT_FOUND, 'etcdserver: requested lease not found'],
  ETCD_MEMBER_NOT_FOUND: [status.NOT_FOUND, 'etcdserver: member not found'],
  ETCD_MEMBER_EXISTS: [status.FAILED_PRECONDITION, 'etcdserver: member ID already exist'],
  ETCD_PEER_URL_EXISTS: [status.FAILED_PRECONDITION, 'etcdserver: Peer URLs already exists'],
  ETCD_BAD_MEMBER_URLS: [status.INVALID_ARGUMENT, 'etcdserver: given member URLs are invalid'],
  ETCD_NOT_ENOUGH_STARTED: [
    status.FAILED_PRECONDITION,
    'etcdserver: re-configuration failed due to not enough started members',
  ],
  ETCD_MEMBER_NOT_LEARNER: [status.FAILED_PRECONDITION, 'etcdserver: can only promote a learner member'],
  ETCD_LEARNER_NOT_READY: [
    status.FAILED_PRECONDITION,
    'etcdserver: can only promote a learner member which is in sync with leader',
  ],
  ETCD_TOO_MANY_LEARNERS: [status.FAILED_PRECONDITION, 'etcdserver: too many learner members in cluster'],
  ETCD_NOT_SUPPORTED_FOR_LEARNER: [status.FAILED_PRECONDITION, 'etcdserver: rpc not supported for learner'],
  ETCD_NOT_LEADER: [status.FAILED_PRECONDITION, 'etcdserver: not leader'],
  ETCD_BAD_LEADER_TRANSFEREE: [status.FAILED_PRECONDITION, 'etcdserver: bad leader transferee'],
  ETCD_TRANSFER_TIMEOUT: [status.UNKNOWN, 'etcdserver: request timed out, leader transfer took too long'],
  ETCD_TRANSFER_BUSY: [status.UNAVAILABLE, 'raftsman: leadership is being handed to another member already'],
  ETCD_CHANGE_PENDING: [
    status.UNAVAILABLE,
    'raftsman: the membership change before this one is not committed yet; nothing was changed, try again',
  ],
  ETCD_CHANGE_OVERTAKEN: [
    status.UNAVAILABLE,
    'raftsman: the membership was changed by somebody else meanwhile; nothing was changed, look again',
  ],
  ETCD_NO_LEADER: [status.UNAVAILABLE, 'etcdserver: no leader'],
  ETCD_LEADER_CHANGED: [status.UNAVAILABLE, 'etcdserver: leader changed'],
  ETCD_STOPPED: [status.UNAVAILABLE, 'etcdserver: server stopped'],
  ETCD_TIMEOUT: [status.UNAVAILABLE, 'etcdserver: request timed out'],
  ETCD_TIMEOUT_LEADER_LOST: [
    status.UNAVAILABLE,
    'etcdserver: request timed out, possibly due to previous leader failure',
  ],
  ETCD_UNHEALTHY: [status.UNAVAILABLE, 'etcdserver: unhealthy cluster'],
  ETCD_CORRUPT: [status.DATA_LOSS, 'etcdserver: corrupt cluster'],
} as const satisfies Record<string, readonly [status, string]>;

export type EtcdErrorCode =
  | keyof typeof catalogue
  /** An endpoint is not `http://host:port` or `https://host:port`. */
  | 'ETCD_INVALID_ENDPOINT'
  /** The CA, certificate or key that was given cannot be used. */
  | 'ETCD_TLS_INVALID'
  /** An endpoint is there, and one side does not accept the other's certificate, or only one speaks TLS. */
  | 'ETCD_TLS_REFUSED'
  /** No endpoint could be reached. */
  | 'ETCD_UNREACHABLE'
  /** The client's own deadline passed. */
  | 'ETCD_DEADLINE_EXCEEDED'
  /** Cancelled by the caller. */
  | 'ETCD_CANCELLED'
  /** The server does not serve this call. */
  | 'ETCD_UNIMPLEMENTED'
  /** A message that is not what its type says. */
  | 'ETCD_MALFORMED'
  /** The snapshot stream ended early. */
  | 'ETCD_SNAPSHOT_TRUNCATED'
  /** The snapshot stream's SHA-256 is not that of its bytes. */
  | 'ETCD_SNAPSHOT_CORRUPT'
  /** The server said something that is not in this catalogue: see `status` and `message`. */
  | 'ETCD_OTHER';

export class EtcdError extends Error {
  override readonly name = 'EtcdError';
  readonly code: EtcdErrorCode;
  /** gRPC status code, 1..16. */
  readonly status: status;
  constructor(code: EtcdErrorCode, status: status, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.status = status;
  }
}

/** The error of that code, as etcd words it. */
export function etcdError(code: keyof typeof catalogue, options?: ErrorOptions): EtcdError {
  const [grpcStatus, message] = catalogue[code];
  return new EtcdError(code, grpcStatus, message, options);
}

const byMessage = new Map<string, keyof typeof catalogue>(
  Object.entries(catalogue).map(([code, [, message]]) => [message, code as keyof typeof catalogue]),
);

/** Our code for a message that a server sent. */
export function codeOfMessage(message: string): keyof typeof catalogue | undefined {
  return byMessage.get(message);
}
