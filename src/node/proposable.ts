/**
 * What another member may propose. An entry that cannot be applied stops every member that has it, and stops it again at
 * each start: so it must never come into the log.
 */
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from '../etcd/gen/rpc.ts';
import { checkDelete, checkPut, checkTxn } from '../etcd/validate.ts';
import { isId } from '../raft/membership.ts';
import { isCause } from './alarms.ts';
import { peerUrlsFrom } from './identity.ts';
import { decodeEntry, type KvEntry } from './kv-entries.ts';

/** Whether this is an entry as a member of this version makes it. */
export function isProposable(data: Uint8Array): boolean {
  try {
    return isSound(decodeEntry(0, data));
  } catch {
    // Whatever the decoders and checks say, it is no entry of ours.
    return false;
  }
}

function isSound({ kind, payload }: KvEntry): boolean {
  switch (kind) {
    case 'put':
      checkPut(PutRequest.decode(payload));
      return true;
    case 'deleteRange':
      checkDelete(DeleteRangeRequest.decode(payload));
      return true;
    case 'txn':
      checkTxn(TxnRequest.decode(payload));
      return true;
    case 'compact':
      CompactionRequest.decode(payload);
      return true;
    case 'attributes': {
      const { memberId, name, clientUrls } = fieldsOf(payload);
      return isId(memberId) && typeof name === 'string' && areStrings(clientUrls);
    }
    case 'peerUrls': {
      const { memberId, peerUrls } = fieldsOf(payload);
      return isId(memberId) && peerUrlsFrom(peerUrls) !== undefined;
    }
    case 'alarm': {
      const { type, memberId, cause } = fieldsOf(payload);
      return isId(memberId) && (type === 'lift' || type === 'disarm' || (type === 'raise' && isCause(cause)));
    }
  }
}

const fieldsOf = (payload: Uint8Array): Readonly<Record<string, unknown>> =>
  JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>;

const areStrings = (value: unknown): boolean => Array.isArray(value) && value.every((one) => typeof one === 'string');
