import { describe, expect, test } from '@jest/globals';
import { EtcdError } from '../../src/etcd/errors.ts';
import { type RequestOp, TxnRequest } from '../../src/etcd/gen/rpc.ts';
import { checkTxn, maxTxnOperations } from '../../src/etcd/validate.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const none = new Uint8Array(0);

const put = (key: string): RequestOp => ({
  request: {
    $case: 'requestPut',
    value: { key: bytes(key), value: none, lease: '0', prevKv: false, ignoreValue: false, ignoreLease: false },
  },
});
const del = (key: string, end = ''): RequestOp => ({
  request: { $case: 'requestDeleteRange', value: { key: bytes(key), rangeEnd: bytes(end), prevKv: false } },
});
const txn = (success: RequestOp[], failure: RequestOp[] = []): RequestOp => ({
  request: { $case: 'requestTxn', value: { compare: [], success, failure } },
});

function verdict(request: Partial<TxnRequest>): string {
  try {
    checkTxn({ compare: [], success: [], failure: [], ...request });
  } catch (error) {
    if (error instanceof EtcdError) return error.code;
    throw error;
  }
  return 'ok';
}

const many = (count: number): RequestOp[] => Array.from({ length: count }, (_, i) => put(`k${i}`));

describe('a transaction', () => {
  test.each<[string, RequestOp[], string]>([
    ['puts of different keys', [put('a'), put('b')], 'ok'],
    ['two puts of one key', [put('a'), put('a')], 'ETCD_DUPLICATE_KEY'],
    ['a put and a deletion of one key', [put('a'), del('a')], 'ETCD_DUPLICATE_KEY'],
    ['a put inside a deleted range', [del('a', 'c'), put('b')], 'ETCD_DUPLICATE_KEY'],
    ['a put at the end of a deleted range, which is exclusive', [del('a', 'c'), put('c')], 'ok'],
    ['deletions of one key', [del('a'), del('a', 'z')], 'ok'],
    ['a range whose end is before its begin', [del('c', 'a'), put('b')], 'ok'],
    ['a range to the end of all keys, which etcd does not see', [del('a', '\0'), put('b')], 'ok'],
    ['keys by bytes, not by characters', [del('\x7f', '\xff'), put('\x80')], 'ETCD_DUPLICATE_KEY'],
    ['one key in both branches of a nested transaction', [txn([put('a')], [put('a')])], 'ok'],
    ['one key here and in a nested transaction', [txn([put('a')]), put('a')], 'ETCD_DUPLICATE_KEY'],
    ['one key in two nested transactions', [txn([put('a')]), txn([], [put('a')])], 'ETCD_DUPLICATE_KEY'],
    ['a deletion here over a nested put', [del('a'), txn([], [put('a')])], 'ETCD_DUPLICATE_KEY'],
    ['a nested deletion over a put here', [txn([del('a', 'c')]), put('b')], 'ETCD_DUPLICATE_KEY'],
    ['a nested deletion, then a nested put of the same key', [txn([del('a')]), txn([put('a')])], 'ETCD_DUPLICATE_KEY'],
    ['a nested put, then a nested deletion of the same key', [txn([put('a')]), txn([del('a')])], 'ok'],
    ['an empty operation', [{ request: undefined }], 'ETCD_KEY_NOT_FOUND'],
    ['an operation without a key', [put('')], 'ETCD_EMPTY_KEY'],
    ['a nested operation without a key', [txn([del('')])], 'ETCD_EMPTY_KEY'],
    ['as many operations as there may be', many(maxTxnOperations), 'ok'],
    ['one more', many(maxTxnOperations + 1), 'ETCD_TOO_MANY_OPERATIONS'],
    ['nested ones beyond what the outer leaves', [txn(many(maxTxnOperations))], 'ETCD_TOO_MANY_OPERATIONS'],
    ['nested ones within what the outer leaves', [txn(many(maxTxnOperations - 1))], 'ok'],
  ])('%s', (_, operations, expected) => {
    expect(verdict({ success: operations })).toBe(expected);
    expect(verdict({ failure: operations })).toBe(expected);
  });

  test('puts of one key in the two branches, of which only one happens', () => {
    expect(verdict({ success: [put('a')], failure: [put('a')] })).toBe('ok');
  });

  test('a comparison without a key', () => {
    expect(verdict(TxnRequest.fromPartial({ compare: [{}] }))).toBe('ETCD_EMPTY_KEY');
  });
});
