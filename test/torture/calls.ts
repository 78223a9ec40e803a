/** A transaction as a call of the etcd protocol, and what its outcome means. */
import type { EtcdClient } from '../../src/etcd/client.ts';
import { EtcdError } from '../../src/etcd/errors.ts';
import type { KeyValue } from '../../src/etcd/gen/kv.ts';
import {
  Compare,
  Compare_CompareTarget,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  type ResponseOp,
} from '../../src/etcd/gen/rpc.ts';
import {
  type Action,
  type Answer,
  all,
  type Condition,
  type Result,
  type Seen,
  type Transaction,
} from './operations.ts';

/** A value that nobody wrote, in full. */
export class DamagedError extends Error {
  override readonly name = 'DamagedError';
}

/** Everything that the histories are about. */
export const prefix = 't/';
export const keyOf = (group: string, key: number): string => `${prefix}${group}/${key}`;

/** Some values are long, so that entries, batches and snapshots are of many sizes; what is long follows from the value itself. */
function padded(value: string): string {
  let sum = 0;
  for (const char of value) sum = (sum * 31 + char.charCodeAt(0)) >>> 0;
  const length = sum % 50 === 0 ? 20_000 : sum % 5 === 0 ? 1500 : sum % 60;
  return `${value}|${'.'.repeat(length)}`;
}

function unpadded(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  const value = text.slice(0, Math.max(0, text.indexOf('|')));
  if (padded(value) !== text)
    throw new DamagedError(`read a value that nobody wrote: ${JSON.stringify(text.slice(0, 200))}`);
  return value;
}

/** Throws a DamagedError. */
export function seenOf({ key, value, createRevision, modRevision, version }: KeyValue): Seen {
  const name = Buffer.from(key).toString('latin1');
  const place = Number(name.slice(name.lastIndexOf('/') + 1));
  return { key: place, value: unpadded(value), create: createRevision, mod: modRevision, version };
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

function rangeOf(group: string, key: number): { key: Uint8Array; rangeEnd: Uint8Array } {
  if (key !== all) return { key: bytes(keyOf(group, key)), rangeEnd: new Uint8Array(0) };
  return { key: bytes(`${prefix}${group}/`), rangeEnd: bytes(`${prefix}${group}0`) };
}

function requestOf(group: string, action: Action): NonNullable<RequestOp['request']> {
  switch (action.do) {
    case 'get':
      return { $case: 'requestRange', value: RangeRequest.fromPartial(rangeOf(group, action.key)) };
    case 'put': {
      const [key, value] = [bytes(keyOf(group, action.key)), bytes(padded(action.value))];
      return { $case: 'requestPut', value: PutRequest.fromPartial({ key, value, prevKv: action.previous === true }) };
    }
    case 'delete': {
      const value = DeleteRangeRequest.fromPartial({
        ...rangeOf(group, action.key),
        prevKv: action.previous === true,
      });
      return { $case: 'requestDeleteRange', value };
    }
  }
}

function compareOf(group: string, condition: Condition): Compare {
  const key = bytes(keyOf(group, condition.key));
  switch (condition.by) {
    case 'value': {
      const value = bytes(padded(condition.value));
      return Compare.fromPartial({ key, target: Compare_CompareTarget.VALUE, targetUnion: { $case: 'value', value } });
    }
    case 'version':
      return Compare.fromPartial({
        key,
        target: Compare_CompareTarget.VERSION,
        targetUnion: { $case: 'version', value: condition.number },
      });
    case 'create':
      return Compare.fromPartial({
        key,
        target: Compare_CompareTarget.CREATE,
        targetUnion: { $case: 'createRevision', value: condition.number },
      });
    case 'mod':
      return Compare.fromPartial({
        key,
        target: Compare_CompareTarget.MOD,
        targetUnion: { $case: 'modRevision', value: condition.number },
      });
  }
}

type Response = NonNullable<ResponseOp['response']>;

function resultOf(response: Response | undefined): Result {
  switch (response?.$case) {
    case 'responseRange':
      return { records: response.value.kvs.map(seenOf) };
    case 'responsePut':
      return { records: response.value.prevKv === undefined ? [] : [seenOf(response.value.prevKv)] };
    case 'responseDeleteRange':
      return { deleted: response.value.deleted, records: response.value.prevKvs.map(seenOf) };
    default:
      throw new DamagedError(`an answer to nothing that was asked: ${JSON.stringify(response)}`);
  }
}

async function single(client: EtcdClient, request: NonNullable<RequestOp['request']>): Promise<Answer> {
  const call = async (): Promise<Response> => {
    switch (request.$case) {
      case 'requestRange':
        return { $case: 'responseRange', value: await client.range(request.value) };
      case 'requestPut':
        return { $case: 'responsePut', value: await client.put(request.value) };
      case 'requestDeleteRange':
        return { $case: 'responseDeleteRange', value: await client.deleteRange(request.value) };
      case 'requestTxn':
        throw new TypeError('a transaction within another is not asked for');
    }
  };
  const response = await call();
  return { revision: response.value.header!.revision, succeeded: true, results: [resultOf(response)] };
}

/** Rejects with an EtcdError, or a DamagedError. */
export async function perform(client: EtcdClient, group: string, transaction: Transaction): Promise<Answer> {
  const { compare = [], success, failure = [] } = transaction;
  if (compare.length === 0 && success.length === 1) return single(client, requestOf(group, success[0]!));
  const { header, succeeded, responses } = await client.txn({
    compare: compare.map((condition) => compareOf(group, condition)),
    success: success.map((action) => RequestOp.fromPartial({ request: requestOf(group, action) })),
    failure: failure.map((action) => RequestOp.fromPartial({ request: requestOf(group, action) })),
  });
  return { revision: header!.revision, succeeded, results: responses.map(({ response }) => resultOf(response)) };
}

/** Refusals after which nothing will ever be done; all other failures leave that open. */
const certain: ReadonlySet<string> = new Set([
  'ETCD_NO_LEADER',
  'ETCD_TOO_MANY_REQUESTS',
  'ETCD_NO_SPACE',
  'ETCD_NOT_SUPPORTED_FOR_LEARNER',
]);

export function isRefusal(error: unknown): boolean {
  if (!(error instanceof EtcdError)) return false;
  return (
    certain.has(error.code) || (error.code === 'ETCD_UNREACHABLE' && /No connection established/.test(error.message))
  );
}
