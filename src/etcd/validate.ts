/** What etcd refuses before a request reaches the member (server/etcdserver/api/v3rpc/key.go). All fail with EtcdError. */
import { etcdError } from './errors.ts';
import type { DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest } from './gen/rpc.ts';

/** Most comparisons, or operations in one branch, of a transaction and the transactions nested in it. */
export const maxTxnOperations = 128;
/** Largest request in bytes. gRPC itself takes 512 KiB more, so that the answer can be etcd's own. */
export const maxRequestBytes = 1_572_864;
export const maxMessageBytes = maxRequestBytes + 524_288;

export function checkSize(bytes: Uint8Array): void {
  if (bytes.length > maxRequestBytes) throw etcdError('ETCD_REQUEST_TOO_LARGE');
}

export function checkRange(request: RangeRequest): void {
  if (request.key.length === 0) throw etcdError('ETCD_EMPTY_KEY');
  // As numbers: a peer may send what our type does not know.
  const order: number = request.sortOrder;
  const target: number = request.sortTarget;
  if (order < 0 || order > 2 || target < 0 || target > 4) throw etcdError('ETCD_INVALID_SORT_OPTION');
}

export function checkPut(request: PutRequest): void {
  if (request.key.length === 0) throw etcdError('ETCD_EMPTY_KEY');
  if (request.ignoreValue && request.value.length !== 0) throw etcdError('ETCD_VALUE_PROVIDED');
  if (request.ignoreLease && request.lease !== '0') throw etcdError('ETCD_LEASE_PROVIDED');
}

export function checkDelete(request: DeleteRangeRequest): void {
  if (request.key.length === 0) throw etcdError('ETCD_EMPTY_KEY');
}

export function checkTxn(request: TxnRequest): void {
  checkShape(request, maxTxnOperations);
  checkOverlap(request.success);
  checkOverlap(request.failure);
}

function checkShape(request: TxnRequest, most: number): void {
  const longest = Math.max(request.compare.length, request.success.length, request.failure.length);
  if (longest > most) throw etcdError('ETCD_TOO_MANY_OPERATIONS');
  for (const compare of request.compare) if (compare.key.length === 0) throw etcdError('ETCD_EMPTY_KEY');
  for (const operation of request.success) checkOperation(operation, most - longest);
  for (const operation of request.failure) checkOperation(operation, most - longest);
}

function checkOperation({ request }: RequestOp, most: number): void {
  switch (request?.$case) {
    case 'requestRange':
      checkRange(request.value);
      break;
    case 'requestPut':
      checkPut(request.value);
      break;
    case 'requestDeleteRange':
      checkDelete(request.value);
      break;
    case 'requestTxn':
      checkShape(request.value, most);
      break;
    case undefined:
      throw etcdError('ETCD_KEY_NOT_FOUND');
  }
}

interface Deletion {
  readonly from: Buffer;
  /** Exclusive; undefined: only `from`. */
  readonly to: Buffer | undefined;
}

interface Written {
  readonly puts: Set<string>;
  readonly deletions: Deletion[];
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** `range_end` of one zero byte covers nothing here: etcd compares it as a plain end, and so do we. */
function deletes(deletion: Deletion, key: Buffer): boolean {
  const order = key.compare(deletion.from);
  return deletion.to === undefined ? order === 0 : order >= 0 && key.compare(deletion.to) < 0;
}

/**
 * One list of operations must not put a key twice, nor put and delete it. The two branches of a nested transaction may,
 * since only one of them happens. Order matters as in etcd: this level's deletions, nested transactions, then puts.
 */
function checkOverlap(operations: readonly RequestOp[]): Written {
  const puts = new Set<string>();
  const deletions: Deletion[] = [];
  const take = (key: string, exclusive: ReadonlySet<string> | undefined): void => {
    if (puts.has(key) && !exclusive?.has(key)) throw etcdError('ETCD_DUPLICATE_KEY');
    const bytes = Buffer.from(key, 'latin1');
    if (deletions.some((deletion) => deletes(deletion, bytes))) throw etcdError('ETCD_DUPLICATE_KEY');
  };
  for (const { request } of operations) {
    if (request?.$case !== 'requestDeleteRange') continue;
    const { key, rangeEnd } = request.value;
    deletions.push({ from: asBuffer(key), to: rangeEnd.length === 0 ? undefined : asBuffer(rangeEnd) });
  }
  for (const { request } of operations) {
    if (request?.$case !== 'requestTxn') continue;
    const success = checkOverlap(request.value.success);
    const failure = checkOverlap(request.value.failure);
    for (const key of success.puts) {
      take(key, undefined);
      puts.add(key);
    }
    for (const key of failure.puts) {
      take(key, success.puts);
      puts.add(key);
    }
    deletions.push(...success.deletions, ...failure.deletions);
  }
  for (const { request } of operations) {
    if (request?.$case !== 'requestPut') continue;
    const key = asBuffer(request.value.key).toString('latin1');
    take(key, undefined);
    puts.add(key);
  }
  return { puts, deletions };
}
