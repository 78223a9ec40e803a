import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KeyValue } from '../../src/etcd/gen/kv.ts';
import { PutRequest, PutResponse } from '../../src/etcd/gen/rpc.ts';
import { decimalId, hexId } from '../../src/etcd/ids.ts';
import { maintenanceStream, stateOf } from '../../src/etcd/maintenance-stream.ts';
import { encodePutResponse } from '../../src/etcd/put-response.ts';

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('messages', () => {
  test('the answer to a put encoded by hand is what the generated code reads', () => {
    const anyNumber = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
    const anyId = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String);
    fc.assert(
      fc.property(anyId, anyId, anyNumber, anyNumber, (clusterId, memberId, revision, raftTerm) => {
        const response = { header: { clusterId, memberId, revision, raftTerm }, prevKv: undefined };
        const bytes = encodePutResponse(response);
        expect(PutResponse.decode(bytes)).toEqual(response);
        expect(Buffer.from(bytes)).toEqual(Buffer.from(PutResponse.encode(response).finish()));
      }),
      { seed: 1 },
    );
  });

  test('ids and leases keep all of their 64 bits', () => {
    expect(decimalId('ffffffffffffffff')).toBe('18446744073709551615');
    expect(hexId('10276657743932975437')).toBe('8e9e05c52164694d');
    const lease = '7587862094952331781';
    expect(PutRequest.decode(PutRequest.encode(PutRequest.fromPartial({ lease })).finish()).lease).toBe(lease);
    expect(KeyValue.decode(KeyValue.encode(KeyValue.fromPartial({ lease })).finish()).lease).toBe(lease);
  });
});

describe('the maintenance stream', () => {
  const state = Buffer.from('some state '.repeat(200));
  const blobs = async (): Promise<Buffer> =>
    Buffer.concat(
      (await collect(maintenanceStream([state.subarray(0, 1_000), state.subarray(1_000)], state.length))).map(
        ({ blob }) => blob,
      ),
    );

  test('says rightly how much is still to come, the hash not counted', async () => {
    const parts = await collect(maintenanceStream([state], state.length));
    const total = parts.slice(0, -1).reduce((sum, { blob }) => sum + blob.length, 0);
    let sent = 0;
    for (const { blob, remaining } of parts.slice(0, -1)) {
      sent += blob.length;
      expect(remaining).toBe(total - sent);
    }
    expect(parts.at(-1)).toMatchObject({ remaining: 0, blob: { length: 32 } });
  });

  test('gives its state back, in pieces of any size', async () => {
    const whole = await blobs();
    for (const size of [1, 31, 32, 33, 500, 5_000]) {
      const pieces = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
        whole.subarray(i * size, (i + 1) * size),
      );
      const back = Buffer.concat(await collect(stateOf(pieces)));
      expect(back.subarray(0, state.length)).toEqual(state);
      expect(back.length % 512).toBe(0);
    }
  });

  test('is refused when cut or changed anywhere', async () => {
    const whole = await blobs();
    for (let length = 0; length < whole.length; length += 37) {
      await expect(collect(stateOf([whole.subarray(0, length)]))).rejects.toMatchObject({
        code: expect.stringMatching(/^ETCD_SNAPSHOT_(TRUNCATED|CORRUPT)$/),
      });
    }
    for (let at = 0; at < whole.length; at += 29) {
      const bad = Buffer.from(whole);
      bad[at]! ^= 4;
      await expect(collect(stateOf([bad]))).rejects.toMatchObject({ code: 'ETCD_SNAPSHOT_CORRUPT' });
    }
  });

  test('fails rather than send another size than it announced', async () => {
    await expect(collect(maintenanceStream([state], state.length + 1))).rejects.toThrow('announced');
    await expect(collect(maintenanceStream([state], state.length - 1))).rejects.toThrow('announced');
  });
});
