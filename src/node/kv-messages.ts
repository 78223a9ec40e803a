/** Between the protocol's messages and the state's operations and results. */
import type { KeyValue } from '../etcd/gen/kv.ts';
import type {
  Compare as CompareMessage,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  ResponseHeader,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from '../etcd/gen/rpc.ts';
import type {
  Compare,
  DeleteOperation,
  DeleteResult,
  KeyRange,
  KeyRecord,
  Operation,
  PutOperation,
  PutResult,
  RangeOperation,
  RangeResult,
  Result,
  TxnOperation,
  TxnResult,
} from '../mvcc/types.ts';

/** Latin-1 keeps every byte as one char. gRPC gives Buffers, which spares the wrapping. */
function keyOf(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString('latin1');
}

function rangeOf(key: Uint8Array, end: Uint8Array): KeyRange {
  if (end.length === 0) return { kind: 'one', key: keyOf(key) };
  if (end.length === 1 && end[0] === 0) return { kind: 'from', from: keyOf(key) };
  return { kind: 'span', from: keyOf(key), to: keyOf(end) };
}

const sortOrders = ['none', 'ascend', 'descend'] as const;
const sortTargets = ['key', 'version', 'create', 'mod', 'value'] as const;

export function rangeOperation(request: RangeRequest): RangeOperation {
  return {
    kind: 'range',
    range: rangeOf(request.key, request.rangeEnd),
    limit: request.limit,
    revision: request.revision,
    sortOrder: sortOrders[request.sortOrder],
    sortTarget: sortTargets[request.sortTarget],
    keysOnly: request.keysOnly,
    countOnly: request.countOnly,
    minModRevision: request.minModRevision,
    maxModRevision: request.maxModRevision,
    minCreateRevision: request.minCreateRevision,
    maxCreateRevision: request.maxCreateRevision,
  };
}

export function putOperation(request: PutRequest): PutOperation {
  return {
    kind: 'put',
    key: keyOf(request.key),
    value: request.value,
    lease: request.lease,
    previous: request.prevKv,
    ignoreValue: request.ignoreValue,
    ignoreLease: request.ignoreLease,
  };
}

export function deleteOperation(request: DeleteRangeRequest): DeleteOperation {
  return { kind: 'delete', range: rangeOf(request.key, request.rangeEnd), previous: request.prevKv };
}

const nothing = new Uint8Array(0);
const comparisons = ['equal', 'greater', 'less', 'notEqual'] as const;
const compareTargets = ['version', 'create', 'mod', 'value', 'lease'] as const;

/** An operand of another kind than the target counts as zero or empty, as in etcd. */
function compareOf(message: CompareMessage): Compare | undefined {
  const union = message.targetUnion;
  const result = comparisons[message.result] as Compare['result'] | undefined;
  const kind = compareTargets[message.target] as (typeof compareTargets)[number] | undefined;
  // A comparison that etcd does not know holds always; a target that it does not know is equal to anything.
  if (result === undefined || (kind === undefined && result === 'equal')) return undefined;
  const range = rangeOf(message.key, message.rangeEnd);
  switch (kind) {
    case undefined:
      return { range, result: 'less', target: { kind: 'mod', than: 0 } };
    case 'version':
      return { range, result, target: { kind, than: union?.$case === 'version' ? union.value : 0 } };
    case 'create':
      return { range, result, target: { kind, than: union?.$case === 'createRevision' ? union.value : 0 } };
    case 'mod':
      return { range, result, target: { kind, than: union?.$case === 'modRevision' ? union.value : 0 } };
    case 'value':
      return { range, result, target: { kind, than: union?.$case === 'value' ? union.value : nothing } };
    case 'lease':
      return { range, result, target: { kind, than: union?.$case === 'lease' ? union.value : '0' } };
  }
}

function operationOf({ request }: RequestOp): Operation {
  switch (request?.$case) {
    case 'requestRange':
      return rangeOperation(request.value);
    case 'requestPut':
      return putOperation(request.value);
    case 'requestDeleteRange':
      return deleteOperation(request.value);
    case 'requestTxn':
      return txnOperation(request.value);
    case undefined:
      // validate.ts lets none through.
      throw new TypeError('an operation of a transaction is empty');
  }
}

export function txnOperation(request: TxnRequest): TxnOperation {
  return {
    kind: 'txn',
    compare: request.compare.map(compareOf).filter((compare) => compare !== undefined),
    success: request.success.map(operationOf),
    failure: request.failure.map(operationOf),
  };
}

function onlyReads({ request }: RequestOp): boolean {
  return request?.$case === 'requestRange';
}

function readsLocally({ request }: RequestOp): boolean {
  return request?.$case === 'requestRange' && request.value.serializable;
}

/** Such a transaction needs no log entry. One with a nested transaction does, as in etcd. */
export function isReadOnly(request: TxnRequest): boolean {
  return request.success.every(onlyReads) && request.failure.every(onlyReads);
}

/** Whether a read-only transaction may be answered from this member's state as it is. */
export function isSerializable(request: TxnRequest): boolean {
  return request.success.every(readsLocally) && request.failure.every(readsLocally);
}

function keyValue(record: KeyRecord): KeyValue {
  return {
    key: Buffer.from(record.key, 'latin1'),
    createRevision: record.createRevision,
    modRevision: record.modRevision,
    version: record.version,
    value: record.value,
    lease: record.lease,
  };
}

export function rangeResponse(header: ResponseHeader, result: RangeResult): RangeResponse {
  return { header, kvs: result.records.map(keyValue), more: result.more, count: result.count };
}

export function putResponse(header: ResponseHeader, result: PutResult): PutResponse {
  return { header, prevKv: result.previous === undefined ? undefined : keyValue(result.previous) };
}

export function deleteResponse(header: ResponseHeader, result: DeleteResult): DeleteRangeResponse {
  return { header, deleted: result.deleted, prevKvs: result.previous.map(keyValue) };
}

/** Headers inside a transaction hold nothing but the revision, and those of nested transactions nothing at all. */
function innerHeader(revision: number): ResponseHeader {
  return { clusterId: '0', memberId: '0', revision, raftTerm: 0 };
}

function responseOf(result: Result): ResponseOp {
  const header = innerHeader(result.revision);
  switch (result.kind) {
    case 'range':
      return { response: { $case: 'responseRange', value: rangeResponse(header, result) } };
    case 'put':
      return { response: { $case: 'responsePut', value: putResponse(header, result) } };
    case 'delete':
      return { response: { $case: 'responseDeleteRange', value: deleteResponse(header, result) } };
    case 'txn':
      return { response: { $case: 'responseTxn', value: txnResponse(header, result) } };
  }
}

export function txnResponse(header: ResponseHeader, result: TxnResult): TxnResponse {
  return { header, succeeded: result.succeeded, responses: result.results.map(responseOf) };
}
