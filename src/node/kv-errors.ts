import { EtcdError, etcdError } from '../etcd/errors.ts';
import { MvccError } from '../mvcc/types.ts';

export type KvErrorCode =
  /** An entry does not follow the one applied last. The member must stop. */
  | 'KV_OUT_OF_ORDER'
  /** An entry that this version cannot apply. The member must stop. */
  | 'KV_UNKNOWN_ENTRY'
  /** The part of a snapshot that is not keys is not what this version knows. */
  | 'KV_SNAPSHOT_ATTACHMENT';

export class KvError extends Error {
  override readonly name = 'KvError';
  readonly code: KvErrorCode;
  constructor(code: KvErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** What a client is told when the state refuses an operation; anything that is not a refusal is thrown on. */
export function refusal(error: unknown): EtcdError {
  if (error instanceof EtcdError) return error;
  if (!(error instanceof MvccError)) throw error;
  const options = { cause: error };
  switch (error.code) {
    case 'MVCC_COMPACTED':
      return etcdError('ETCD_COMPACTED', options);
    case 'MVCC_FUTURE_REVISION':
      return etcdError('ETCD_FUTURE_REVISION', options);
    case 'MVCC_KEY_NOT_FOUND':
      return etcdError('ETCD_KEY_NOT_FOUND', options);
    case 'MVCC_LEASE_NOT_FOUND':
      return etcdError('ETCD_LEASE_NOT_FOUND', options);
    case 'MVCC_SNAPSHOT_CORRUPT':
    case 'MVCC_SNAPSHOT_TRUNCATED':
    case 'MVCC_SNAPSHOT_VERSION':
    case 'MVCC_SNAPSHOT_RELEASED':
      throw error;
  }
}
