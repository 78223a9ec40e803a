/** Operations with the fields that a test does not care about filled in, and generators of random ones. */
import fc from 'fast-check';
import type {
  Compare,
  DeleteOperation,
  KeyRange,
  Operation,
  PutOperation,
  RangeOperation,
  TxnOperation,
} from '../../src/mvcc/types.ts';

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const one = (key: string): KeyRange => ({ kind: 'one', key });
export const all: KeyRange = { kind: 'from', from: '\0' };

export function range(over: KeyRange, more: Partial<RangeOperation> = {}): RangeOperation {
  return {
    kind: 'range',
    range: over,
    limit: 0,
    revision: 0,
    sortOrder: 'none',
    sortTarget: 'key',
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
    ...more,
  };
}

export function put(key: string, value: string, more: Partial<PutOperation> = {}): PutOperation {
  const plain = { lease: '0', previous: false, ignoreValue: false, ignoreLease: false };
  return { kind: 'put', key, value: bytes(value), ...plain, ...more };
}

export function del(over: KeyRange, previous = false): DeleteOperation {
  return { kind: 'delete', range: over, previous };
}

export function txn(
  compare: readonly Compare[],
  success: readonly Operation[],
  failure: readonly Operation[] = [],
): TxnOperation {
  return { kind: 'txn', compare, success, failure };
}

/** Few keys, so that they meet: among them bytes at both ends and keys that are prefixes of others. */
export const keys = ['\0', 'a', 'a\0', 'ab', 'b', 'c', '\xfe', '\xff', '\xff\xff'];

export const anyKey = fc.constantFrom(...keys);
export const anyRange: fc.Arbitrary<KeyRange> = fc.oneof(
  anyKey.map(one),
  fc.tuple(anyKey, anyKey).map(([from, to]): KeyRange => ({ kind: 'span', from, to })),
  anyKey.map((from): KeyRange => ({ kind: 'from', from })),
);
const anyRevision = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: -1, max: 40 }));
const anyBound = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 30 }));
const anyValue = fc.constantFrom('', 'x', 'y', 'a long value '.repeat(10));

export const anyRead: fc.Arbitrary<RangeOperation> = fc
  .record({
    range: anyRange,
    limit: fc.constantFrom(0, 0, 1, 2, 5),
    revision: anyRevision,
    sortOrder: fc.constantFrom('none' as const, 'ascend' as const, 'descend' as const),
    sortTarget: fc.constantFrom(...(['key', 'version', 'create', 'mod', 'value'] as const)),
    keysOnly: fc.boolean(),
    countOnly: fc.boolean(),
    minModRevision: anyBound,
    maxModRevision: anyBound,
    minCreateRevision: anyBound,
    maxCreateRevision: anyBound,
  })
  .map((fields) => ({ kind: 'range', ...fields }));

export const anyPut: fc.Arbitrary<PutOperation> = fc
  .record({
    key: anyKey,
    value: anyValue.map(bytes),
    previous: fc.boolean(),
    ignoreValue: fc.constantFrom(false, false, false, true),
    ignoreLease: fc.constantFrom(false, false, false, true),
    lease: fc.constantFrom('0', '0', '0', '0', '0', '0', '7'),
  })
  .map((fields) => ({ kind: 'put', ...fields }));

export const anyDelete: fc.Arbitrary<DeleteOperation> = fc
  .record({ range: anyRange, previous: fc.boolean() })
  .map((fields) => ({ kind: 'delete', ...fields }));

const anyCompare: fc.Arbitrary<Compare> = fc.record({
  range: anyRange,
  result: fc.constantFrom('equal' as const, 'greater' as const, 'less' as const, 'notEqual' as const),
  target: fc.oneof(
    fc.record({
      kind: fc.constantFrom('version' as const, 'create' as const, 'mod' as const),
      than: fc.integer({ min: 0, max: 12 }),
    }),
    fc.record({ kind: fc.constant('lease' as const), than: fc.constantFrom('0', '7', '9223372036854775807') }),
    fc.record({ kind: fc.constant('value' as const), than: anyValue.map(bytes) }),
  ),
});

/** No key is put twice, or put and deleted, in one transaction: the services refuse that before the store sees it. */
function withoutOverlap(operations: readonly Operation[], taken = new Set<string>()): Operation[] {
  const covers = ({ range: r }: DeleteOperation, key: string): boolean =>
    r.kind === 'one' ? r.key === key : key >= r.from && (r.kind === 'from' || key < r.to);
  const deletions = operations.filter((operation) => operation.kind === 'delete');
  return operations.filter((operation) => {
    if (operation.kind !== 'put') return true;
    if (taken.has(operation.key) || deletions.some((deletion) => covers(deletion, operation.key))) return false;
    taken.add(operation.key);
    return true;
  });
}

const anyFlatTxn: fc.Arbitrary<TxnOperation> = fc
  .record({
    compare: fc.array(anyCompare, { maxLength: 3 }),
    success: fc.array(fc.oneof(anyRead, anyPut, anyDelete), { maxLength: 4 }),
    failure: fc.array(fc.oneof(anyRead, anyPut, anyDelete), { maxLength: 4 }),
  })
  .map(({ compare, success, failure }) => txn(compare, withoutOverlap(success), withoutOverlap(failure)));

/** Nested ones only read around what the inner one writes, so that nothing overlaps. */
export const anyTxn: fc.Arbitrary<TxnOperation> = fc.oneof(
  { weight: 3, arbitrary: anyFlatTxn },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.array(anyCompare, { maxLength: 2 }), anyRead, anyFlatTxn, anyRead, anyFlatTxn)
      .map(([compare, before, inner, after, other]) => txn(compare, [before, inner, after], [other])),
  },
);
