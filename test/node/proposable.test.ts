import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from '../../src/etcd/gen/rpc.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { type EntryKind, encodeEntry, entryKinds } from '../../src/node/kv-entries.ts';
import { isProposable } from '../../src/node/proposable.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const json = (value: unknown): Uint8Array => bytes(JSON.stringify(value));
const put = PutRequest.encode(PutRequest.fromPartial({ key: bytes('k'), value: bytes('v') })).finish();

const good: Record<EntryKind, Uint8Array> = {
  put,
  deleteRange: DeleteRangeRequest.encode(DeleteRangeRequest.fromPartial({ key: bytes('k') })).finish(),
  txn: TxnRequest.encode(
    TxnRequest.fromPartial({ success: [{ request: { $case: 'requestPut', value: { key: bytes('k') } } }] }),
  ).finish(),
  compact: CompactionRequest.encode(CompactionRequest.fromPartial({ revision: 1 })).finish(),
  attributes: json({ memberId: 'a1', name: 'm0', clientUrls: ['http://h:1'] }),
  peerUrls: json({ memberId: 'a1', peerUrls: ['http://h:1'] }),
  alarm: json({ type: 'raise', memberId: 'a1', cause: 'disk' }),
};

describe('an entry that another member proposes', () => {
  test.each(Object.keys(good) as EntryKind[])('%s as members make it is taken', (kind) => {
    expect(isProposable(encodeEntry(kind, 1, 2, good[kind]))).toBe(true);
  });

  test('what is no entry, has no sense, or would be refused to a client is not', () => {
    for (const data of [
      bytes(''),
      bytes('nonsense'),
      Uint8Array.of(99, 0, 0, 0, 0, 0, 0, 0, 0),
      encodeEntry('put', 1, 2, put.subarray(0, -1)),
      encodeEntry('put', 1, 2, PutRequest.encode(PutRequest.fromPartial({ value: bytes('v') })).finish()),
      encodeEntry('attributes', 1, 2, bytes('null')),
      encodeEntry('attributes', 1, 2, json({ memberId: 'x y', name: '', clientUrls: [] })),
      encodeEntry('peerUrls', 1, 2, json({ memberId: 'a1', peerUrls: 'http://h:1' })),
      encodeEntry('alarm', 1, 2, json({ type: 'raise', memberId: 'a1', cause: 'mood' })),
      encodeEntry('alarm', 1, 2, json({ type: 'lower', memberId: 'a1' })),
    ])
      expect([Buffer.from(data).toString('latin1'), isProposable(data)]).toEqual([expect.any(String), false]);
  });

  test('whatever is taken can be applied: no bytes stop a member', () => {
    const keyValues = new KeyValues();
    let index = 0;
    const kind = fc.constantFrom(...(Object.keys(entryKinds) as EntryKind[]));
    const change = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 255 }));
    const data = fc.oneof(
      fc.tuple(kind, fc.uint8Array({ maxLength: 40 })).map(([one, payload]) => encodeEntry(one, 1, 2, payload)),
      fc.tuple(kind, fc.array(change, { maxLength: 3 })).map(([one, changes]) => {
        const entry = Uint8Array.from(encodeEntry(one, 1, 2, good[one]));
        for (const [at, by] of changes) entry[at % entry.length]! ^= by;
        return entry;
      }),
      fc.uint8Array({ maxLength: 40 }),
    );
    let taken = 0;
    fc.assert(
      fc.property(data, (entry) => {
        if (!isProposable(entry)) return;
        taken++;
        keyValues.apply(++index, 1, entry);
      }),
      { seed: 20261122, numRuns: 5000 },
    );
    expect(taken).toBeGreaterThan(500);
    keyValues.stop();
  });
});
