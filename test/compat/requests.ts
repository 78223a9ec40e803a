/** Random requests of the etcd protocol, legal and illegal, over few keys so that they meet. */
import fc from 'fast-check';
import type {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from '../../src/etcd/gen/rpc.ts';

export type Call =
  | { readonly kind: 'range'; readonly request: RangeRequest }
  | { readonly kind: 'put'; readonly request: PutRequest }
  | { readonly kind: 'deleteRange'; readonly request: DeleteRangeRequest }
  | { readonly kind: 'txn'; readonly request: TxnRequest }
  /** Revisions are counted back from the newest. */
  | { readonly kind: 'compact'; readonly back: number }
  | { readonly kind: 'hash'; readonly back: number };

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const anyKey = fc.constantFrom('a', 'a\0', 'ab', 'b', 'c', '\0', '\xff', '\xff\xff', 'a', 'b', 'c', '').map(bytes);
const anyEnd = fc.constantFrom('', '', '', '\0', 'b', 'c', 'ac', '\xff', 'a').map(bytes);
const anyValue = fc.constantFrom('', 'x', 'y', 'zz', '\0\xff', 'long '.repeat(60)).map(bytes);
const rarely = (weight: number): fc.Arbitrary<boolean> =>
  fc.oneof({ weight, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) });
const anyRevision = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: -3, max: 900 }));
const anyBound = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: -1, max: 700 }));

export const anyRange: fc.Arbitrary<RangeRequest> = fc.record({
  key: anyKey,
  rangeEnd: anyEnd,
  limit: fc.constantFrom(0, 0, 0, 1, 2, 3, -1),
  revision: anyRevision,
  // 7 is none that exists.
  sortOrder: fc.constantFrom(0, 0, 0, 1, 2, 1, 2, 7) as fc.Arbitrary<0>,
  sortTarget: fc.constantFrom(0, 0, 1, 2, 3, 4) as fc.Arbitrary<0>,
  serializable: rarely(3),
  keysOnly: rarely(4),
  countOnly: rarely(4),
  minModRevision: anyBound,
  maxModRevision: anyBound,
  minCreateRevision: anyBound,
  maxCreateRevision: anyBound,
});

export const anyPut: fc.Arbitrary<PutRequest> = fc.record({
  key: anyKey,
  value: anyValue,
  lease: fc.oneof(
    { weight: 12, arbitrary: fc.constant('0') },
    { weight: 1, arbitrary: fc.constant('7587862094952331781') },
  ),
  prevKv: fc.boolean(),
  ignoreValue: rarely(8),
  ignoreLease: rarely(8),
});

export const anyDelete: fc.Arbitrary<DeleteRangeRequest> = fc.record({
  key: anyKey,
  rangeEnd: anyEnd,
  prevKv: fc.boolean(),
});

const anyCompare: fc.Arbitrary<Compare> = fc.record({
  key: fc.oneof({ weight: 9, arbitrary: fc.constantFrom('a', 'b', 'c').map(bytes) }, anyKey),
  rangeEnd: anyEnd,
  result: fc.constantFrom(0, 1, 2, 3),
  target: fc.constantFrom(0, 1, 2, 3, 4),
  // Often of another kind than the target.
  targetUnion: fc.oneof(
    fc.constant(undefined),
    fc.integer({ min: 0, max: 5 }).map((value) => ({ $case: 'version' as const, value })),
    fc.integer({ min: 0, max: 500 }).map((value) => ({ $case: 'createRevision' as const, value })),
    fc.integer({ min: 0, max: 500 }).map((value) => ({ $case: 'modRevision' as const, value })),
    anyValue.map((value) => ({ $case: 'value' as const, value })),
    fc.constantFrom('0', '1').map((value) => ({ $case: 'lease' as const, value })),
  ),
});

const anySimple: fc.Arbitrary<RequestOp> = fc.oneof(
  anyRange.map((value) => ({ request: { $case: 'requestRange' as const, value } })),
  { weight: 2, arbitrary: anyPut.map((value) => ({ request: { $case: 'requestPut' as const, value } })) },
  anyDelete.map((value) => ({ request: { $case: 'requestDeleteRange' as const, value } })),
);
const branch = (inner: fc.Arbitrary<RequestOp>): fc.Arbitrary<RequestOp[]> => fc.array(inner, { maxLength: 3 });
const transaction = (inner: fc.Arbitrary<RequestOp>): fc.Arbitrary<TxnRequest> =>
  fc.record({ compare: fc.array(anyCompare, { maxLength: 2 }), success: branch(inner), failure: branch(inner) });
const nesting = (inner: fc.Arbitrary<RequestOp>): fc.Arbitrary<RequestOp> =>
  fc.oneof(
    { weight: 5, arbitrary: anySimple },
    transaction(inner).map((value): RequestOp => ({ request: { $case: 'requestTxn', value } })),
  );

export const anyTxn = transaction(nesting(nesting(anySimple)));

export const anyCall: fc.Arbitrary<Call> = fc.oneof(
  { weight: 4, arbitrary: anyRange.map((request): Call => ({ kind: 'range', request })) },
  { weight: 6, arbitrary: anyPut.map((request): Call => ({ kind: 'put', request })) },
  { weight: 2, arbitrary: anyDelete.map((request): Call => ({ kind: 'deleteRange', request })) },
  { weight: 5, arbitrary: anyTxn.map((request): Call => ({ kind: 'txn', request })) },
  { weight: 1, arbitrary: fc.integer({ min: -2, max: 150 }).map((back): Call => ({ kind: 'compact', back })) },
  { weight: 1, arbitrary: fc.integer({ min: -2, max: 60 }).map((back): Call => ({ kind: 'hash', back })) },
);
