import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { crc32c } from '../../src/mvcc/crc32c.ts';
import { varintSize, writeVarint } from '../../src/mvcc/encoding.ts';
import { finish } from '../../src/mvcc/hash.ts';
import { Restorer, restoreStore } from '../../src/mvcc/restore.ts';
import { MvccStore } from '../../src/mvcc/store.ts';
import { MvccError } from '../../src/mvcc/types.ts';
import { all, anyDelete, anyPut, bytes, del, one, put, range } from './operations.ts';

const options = { index: 7, term: 2, attachment: { members: { a: 'b' } } };

function join(slices: Iterable<Uint8Array>): Uint8Array {
  return new Uint8Array(Buffer.concat([...slices]));
}

function small(): MvccStore {
  const store = new MvccStore();
  store.put(put('a', '1'));
  store.put(put('b', 'two'));
  store.put(put('a', ''));
  store.deleteRange(del(one('b')));
  return store;
}

/** The whole state as plain data. */
function content(store: MvccStore): unknown {
  return store
    .range(range(all))
    .records.map((r) => [r.key, r.modRevision, r.version, Buffer.from(r.value).toString('hex')]);
}

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof MvccError) return error.code;
    throw error;
  }
  return 'accepted';
}

function restoreSync(...chunks: Uint8Array[]): MvccStore {
  const restorer = new Restorer();
  for (const chunk of chunks) restorer.write(chunk);
  return restorer.finish().store;
}

describe('a snapshot and its restore', () => {
  test('RA-22 RA-01 hold every revision: the hash at each is the same before and after', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(anyPut, anyDelete), { maxLength: 40 }),
        fc.integer({ min: 0, max: 30 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 300 }),
        async (operations, compactAt, swept, pieces) => {
          const store = new MvccStore();
          for (const operation of operations) {
            if (operation.kind === 'delete') store.deleteRange(operation);
            else if (operation.lease === '0' && !operation.ignoreLease && !operation.ignoreValue) store.put(operation);
          }
          if (compactAt > 0 && compactAt <= store.revision) store.compact(compactAt);
          while (swept && store.sweep());
          const snapshot = store.snapshot(options);
          const whole = join(snapshot.slices());
          expect(whole.length).toBe(snapshot.header.sizeBytes);
          const chunks = Array.from({ length: Math.ceil(whole.length / pieces) }, (_, i) =>
            whole.subarray(i * pieces, (i + 1) * pieces),
          );
          const { store: again, header } = await restoreStore(chunks);
          expect(header).toEqual(snapshot.header);
          expect([again.revision, again.compactRevision, again.keys]).toEqual([
            store.revision,
            store.compactRevision,
            store.keys,
          ]);
          for (let revision = Math.max(1, store.compactRevision); revision <= store.revision; revision++) {
            expect(finish(again.hash(revision))).toEqual(finish(store.hash(revision)));
          }
          expect(content(again)).toEqual(content(store));
        },
      ),
      { seed: 5, numRuns: 200 },
    );
  });

  test('RA-22 leases and numbers of all sizes survive', () => {
    const numbers = [0, 1, 127, 128, 16_383, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40 + 5, Number.MAX_SAFE_INTEGER];
    const store = new MvccStore();
    let revision = 1;
    for (const lease of ['0', '1', '7587862094952331781', '9223372036854775807', '-1', '-9223372036854775808']) {
      store.restoreChange(`k${lease}`, ++revision, 3, revision, 2 ** 33, lease, bytes(lease));
    }
    store.restoreRevisions(revision, -1);
    const again = restoreSync(join(store.snapshot(options).slices()));
    expect(again.range(range(all)).records.map((r) => [r.key, r.lease, r.version])).toEqual(
      store.range(range(all)).records.map((r) => [r.key, r.lease, r.version]),
    );
    expect(finish(again.hash())).toEqual(finish(store.hash()));
    for (const number of numbers) {
      expect(writeVarint(new Uint8Array(8), 0, number)).toBe(varintSize(number));
    }
  });

  test('D17 RS-27 slices are at most 64 KiB, whatever the values', () => {
    const store = new MvccStore();
    for (const size of [0, 1, 65_000, 65_536, 65_537, 1_500_000, 10]) {
      store.put({ ...put(`k${size}`, ''), value: new Uint8Array(size).fill(size % 251) });
    }
    store.put(put('x'.repeat(100_000), 'long key'));
    const slices = [...store.snapshot(options).slices()];
    expect(Math.max(...slices.map((slice) => slice.length))).toBeLessThanOrEqual(65_536);
    expect(content(restoreSync(...slices))).toEqual(content(store));
  });

  test('D17 HR-10 is the state of its moment however slowly it is read, while changes, compaction and sweeps go on', () => {
    const store = new MvccStore();
    for (let i = 0; i < 9_000; i++) store.put(put(`k${i % 500}`, `${i} `.repeat(8)));
    store.deleteRange(del(one('k7')));
    const [before, revision] = [content(store), store.revision];
    const hash = finish(store.hash());
    const snapshot = store.snapshot(options);
    const hashing = store.hash();
    const slices: Uint8Array[] = [];
    let step = 0;
    for (const slice of snapshot.slices()) {
      slices.push(slice);
      step++;
      for (let i = 0; i < 200; i++) store.put(put(`k${(i * step) % 600}`, `later ${step}`));
      store.deleteRange(del({ kind: 'span', from: `k${step}`, to: `k${step + 1}` }));
      if (step % 3 === 0) store.compact(store.revision - 10);
      store.sweep();
      hashing.next();
    }
    expect(step).toBeGreaterThan(5);
    while (store.sweep());
    const again = restoreSync(...slices);
    expect(again.revision).toBe(revision);
    expect(content(again)).toEqual(before);
    expect(finish(again.hash())).toEqual(hash);
    // Not toEqual: it compares a megabyte number by number.
    expect(Buffer.compare(join(snapshot.slices()), join(slices))).toBe(0);
  });

  test('an empty store and one whose keys are all gone can be restored too', () => {
    for (const store of [new MvccStore(), small()]) {
      store.deleteRange(del(all));
      store.compact(store.revision);
      while (store.sweep());
      const again = restoreSync(join(store.snapshot(options).slices()));
      expect([again.revision, again.keys]).toEqual([store.revision, 0]);
    }
  });
});

describe('a snapshot that is not whole is refused', () => {
  const good = join(small().snapshot(options).slices());

  test('with any byte changed', () => {
    for (let at = 0; at < good.length; at++) {
      for (const flip of [1, 0x80, 0xff]) {
        const bad = good.slice();
        bad[at]! ^= flip;
        expect([at, code(() => restoreSync(bad))]).not.toEqual([at, 'accepted']);
      }
    }
  });

  test('truncated at any byte', () => {
    for (let length = 0; length < good.length; length++) {
      expect([length, code(() => restoreSync(good.subarray(0, length)))]).toEqual([length, 'MVCC_SNAPSHOT_TRUNCATED']);
    }
  });

  test('with a slice missing, doubled or in another place', () => {
    const store = new MvccStore();
    for (let i = 0; i < 300; i++) store.put(put(`k${i}`, 'v'.repeat(1_000)));
    const slices = [...store.snapshot(options).slices()];
    expect(slices.length).toBeGreaterThan(3);
    for (let i = 0; i < slices.length; i++) {
      expect(code(() => restoreSync(...slices.toSpliced(i, 1)))).toMatch(/^MVCC_SNAPSHOT/);
      expect(code(() => restoreSync(...slices.toSpliced(i, 0, slices[i]!)))).toMatch(/^MVCC_SNAPSHOT/);
    }
    const [a, b, ...rest] = slices as [Uint8Array, Uint8Array];
    expect(code(() => restoreSync(b, a, ...rest))).toBe('MVCC_SNAPSHOT_CORRUPT');
    expect(code(() => restoreSync(...slices))).toBe('accepted');
  });

  test('followed by anything but a little padding of zeros', () => {
    expect(code(() => restoreSync(good, new Uint8Array(511)))).toBe('accepted');
    expect(code(() => restoreSync(good, new Uint8Array(512)))).toBe('MVCC_SNAPSHOT_CORRUPT');
    expect(code(() => restoreSync(good, new Uint8Array([0, 1])))).toBe('MVCC_SNAPSHOT_CORRUPT');
    expect(code(() => restoreSync(good, good))).toBe('MVCC_SNAPSHOT_CORRUPT');
  });

  test('of a foreign kind or a newer format, and says which', () => {
    expect(code(() => restoreSync(bytes('{"not":"a snapshot of ours"}')))).toBe('MVCC_SNAPSHOT_CORRUPT');
    const newer = good.slice();
    newer[8] = 2;
    expect(() => restoreSync(newer)).toThrow('snapshot has format 2, this version reads format 1');
  });

  test('with lengths that would ask for more memory than there are bytes', () => {
    const store = new MvccStore();
    store.put(put('k', 'v'));
    const whole = join(store.snapshot(options).slices());
    const huge = whole.slice();
    new DataView(huge.buffer).setUint32(17, 0xffff_fff0, true);
    expect(code(() => restoreSync(huge))).toBe('MVCC_SNAPSHOT_CORRUPT');
  });
});

describe('hashes', () => {
  test('CRC-32C of the check value, in one piece and in two', () => {
    const digits = bytes('123456789');
    expect(crc32c(0, digits)).toBe(0xe3069283);
    for (let cut = 0; cut <= digits.length; cut++) {
      expect(crc32c(crc32c(0, digits, 0, cut), digits, cut)).toBe(0xe3069283);
    }
  });

  test('do not depend on how far the memory of a compaction has been given back', () => {
    const store = new MvccStore();
    for (let i = 0; i < 20_000; i++) store.put(put(`k${i % 50}`, `${i}`));
    store.compact(store.revision - 20);
    const before = finish(store.hash());
    while (store.sweep()) expect(finish(store.hash())).toEqual(before);
  });

  test('are taken in steps', () => {
    const store = new MvccStore();
    for (let i = 0; i < 5_000; i++) store.put(put(`k${i}`, 'x'.repeat(500)));
    const steps = store.hash();
    let count = 0;
    while (!steps.next().done) count++;
    expect(count).toBeGreaterThan(5);
  });
});
