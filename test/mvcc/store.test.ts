import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { finish } from '../../src/mvcc/hash.ts';
import { restoreStore } from '../../src/mvcc/restore.ts';
import { MvccStore } from '../../src/mvcc/store.ts';
import { type KeyRecord, MvccError, type Operation, type Result } from '../../src/mvcc/types.ts';
import { Model } from './model.ts';
import { all, anyDelete, anyPut, anyRead, anyTxn, bytes, del, one, put, range, txn } from './operations.ts';

/** Records as plain data, whatever class they are of. */
function plain(record: KeyRecord): unknown {
  const { key, createRevision, modRevision, version, lease, value } = record;
  return { key, createRevision, modRevision, version, lease, value: Buffer.from(value).toString('latin1') };
}

function outcome(run: () => Result): unknown {
  const strip = (result: Result): unknown => {
    switch (result.kind) {
      case 'range':
        return { ...result, records: result.records.map(plain) };
      case 'put':
        return { ...result, previous: result.previous && plain(result.previous) };
      case 'delete':
        return { ...result, previous: result.previous.map(plain) };
      case 'txn':
        return { ...result, results: result.results.map(strip) };
    }
  };
  try {
    return strip(run());
  } catch (error) {
    if (error instanceof MvccError) return error.code;
    throw error;
  }
}

type Step = Operation | { kind: 'compact'; back: number } | { kind: 'sweep' } | { kind: 'repack' };
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: anyPut },
  { weight: 3, arbitrary: anyDelete },
  { weight: 4, arbitrary: anyTxn },
  { weight: 3, arbitrary: anyRead },
  { weight: 1, arbitrary: fc.integer({ min: -1, max: 12 }).map((back): Step => ({ kind: 'compact', back })) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: 'sweep' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'repack' }) },
);

function run(store: MvccStore, step: Operation): Result {
  switch (step.kind) {
    case 'put':
      return store.put(step);
    case 'delete':
      return store.deleteRange(step);
    case 'txn':
      return store.txn(step);
    case 'range':
      return store.range(step);
  }
}

describe('the store against a model that keeps every state', () => {
  test('answers every operation as the model does, and reads every revision that is not compacted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 60 }), async (steps) => {
        const store = new MvccStore();
        const model = new Model();
        for (const step of steps) {
          if (step.kind === 'sweep') store.sweep();
          else if (step.kind === 'repack') for (const _ of store.repack());
          else if (step.kind === 'compact') {
            const revision = model.revision - step.back;
            const both = [store, model].map((either) =>
              outcome(() => {
                either.compact(revision);
                return { kind: 'put', revision };
              }),
            );
            expect(both[0]).toEqual(both[1]);
          } else {
            const expected = outcome(() => (step.kind === 'range' ? model.range(step) : model.apply(step)));
            expect(outcome(() => run(store, step))).toEqual(expected);
          }
          expect(store.revision).toBe(model.revision);
          expect(store.keys).toBe(model.states.at(-1)!.size);
        }
        const { store: again } = await restoreStore(store.snapshot({ index: 1, term: 1, attachment: null }).slices());
        while (store.sweep());
        for (let revision = 1; revision <= model.revision + 1; revision++) {
          const read = range(all, { revision });
          const expected = outcome(() => model.range(read));
          expect(outcome(() => store.range(read))).toEqual(expected);
          expect(outcome(() => again.range(read))).toEqual(expected);
          if (typeof expected === 'string') continue;
          expect(finish(again.hash(revision))).toEqual(finish(store.hash(revision)));
        }
      }),
      { seed: 3, numRuns: 400 },
    );
  });
});

describe('revisions', () => {
  test('an empty store is at revision 1 and the first change makes 2', () => {
    const store = new MvccStore();
    expect(store.range(range(all)).revision).toBe(1);
    expect(store.put(put('k', 'v')).revision).toBe(2);
    expect(store.revision).toBe(2);
  });

  test('a deletion of nothing and a transaction that changes nothing make no revision', () => {
    const store = new MvccStore();
    store.put(put('k', 'v'));
    expect(store.deleteRange(del(one('other')))).toMatchObject({ deleted: 0, revision: 2 });
    expect(store.txn(txn([], [del(one('other'))])).revision).toBe(2);
    expect(store.revision).toBe(2);
  });

  test('a key that is deleted and put again begins with version 1 and a new create revision', () => {
    const store = new MvccStore();
    store.put(put('k', '1'));
    store.put(put('k', '2'));
    store.deleteRange(del(one('k')));
    store.put(put('k', '3'));
    expect(store.range(range(one('k'))).records.map(plain)).toEqual([
      { key: 'k', createRevision: 5, modRevision: 5, version: 1, lease: '0', value: '3' },
    ]);
    expect(store.range(range(one('k'), { revision: 3 })).records.map(plain)).toEqual([
      { key: 'k', createRevision: 2, modRevision: 3, version: 2, lease: '0', value: '2' },
    ]);
    expect(store.range(range(one('k'), { revision: 4 })).count).toBe(0);
  });

  test('reads in a transaction see what it has written, at its own revision', () => {
    const store = new MvccStore();
    const { results } = store.txn(txn([], [range(all), put('a', '1'), range(all), del(one('a')), range(all)]));
    expect(
      results.map((result) => (result.kind === 'range' ? [result.revision, result.count] : result.revision)),
    ).toEqual([[1, 0], 2, [2, 1], 2, [2, 0]]);
  });

  test('a failing read or put in a transaction leaves everything as it was', () => {
    const store = new MvccStore();
    store.put(put('k', 'v'));
    for (const bad of [
      range(all, { revision: 9 }),
      put('x', '', { ignoreValue: true }),
      put('y', '', { lease: '7' }),
    ]) {
      expect(() => store.txn(txn([], [put('k', 'other'), bad]))).toThrow(MvccError);
    }
    expect(store.revision).toBe(2);
    expect(store.range(range(one('k'))).records.map((record) => record.value)).toEqual([bytes('v')]);
  });

  test('RS-11 a put that is tried again under a comparison with what its author knew happens once', () => {
    const store = new MvccStore();
    const first = store.put(put('k', 'before')).revision;
    const known = { range: one('k'), result: 'equal', target: { kind: 'mod', than: first } } as const;
    const request = txn([known], [put('k', 'after')], [range(one('k'))]);
    expect(store.txn(request)).toMatchObject({ succeeded: true, revision: first + 1 });
    const again = store.txn(request);
    // The second time says that it had happened, and at which revision.
    expect(again).toMatchObject({ succeeded: false, revision: first + 1 });
    expect(again.results).toMatchObject([{ records: [{ modRevision: first + 1, value: bytes('after') }] }]);
  });

  test('the store does not keep the caller’s bytes', () => {
    const store = new MvccStore();
    const value = bytes('before');
    store.put({ ...put('k', ''), value });
    value.fill(0);
    expect(store.range(range(one('k'))).records[0]!.value).toEqual(bytes('before'));
  });
});

describe('compaction', () => {
  test('gives memory back in bounded steps and keeps every state from its revision on', () => {
    const store = new MvccStore();
    for (let i = 0; i < 30_000; i++) store.put(put(`k${i % 100}`, `value ${i}`));
    const before = store.sizeBytes;
    const at = store.revision - 50;
    const then = outcome(() => store.range(range(all, { revision: at })));
    store.compact(at);
    expect(outcome(() => store.range(range(all, { revision: at - 1 })))).toBe('MVCC_COMPACTED');
    let steps = 0;
    while (store.sweep()) steps++;
    expect(steps).toBeGreaterThan(5);
    expect(store.sizeBytes).toBeLessThan(before / 100);
    expect(outcome(() => store.range(range(all, { revision: at })))).toEqual(then);
    expect(store.range(range(all, { revision: at + 25 })).count).toBe(100);
  });

  test('leaves gaps where one value in hundreds stays, and repacking gives them back in bounded steps', async () => {
    const store = new MvccStore();
    const value = 'x'.repeat(400);
    for (let i = 0; i < 40_000; i++) store.put(put(`k${i % 40 === 0 ? i / 40 : 'again'}`, value));
    store.compact(store.revision);
    const early = store.snapshot({ index: 1, term: 1, attachment: null });
    while (store.sweep());
    expect(store.keys).toBe(1001);
    // Every slab of 64 KiB holds some value that stays.
    expect(store.heldBytes).toBeGreaterThan(store.sizeBytes * 10);
    const read = () => outcome(() => store.range(range(all)));
    const before = read();
    const hash = finish(store.hash());
    const small = store.snapshot({ index: 1, term: 1, attachment: null });

    let steps = 0;
    for (const _ of store.repack()) steps++;
    expect(steps).toBeGreaterThan(0);
    expect(store.heldBytes).toBe(store.sizeBytes);
    expect(read()).toEqual(before);
    // Both what was frozen before the sweep and what was frozen before the repacking read on.
    for (const frozen of [early, small]) {
      const { store: again } = await restoreStore(frozen.slices());
      while (again.sweep());
      expect(finish(again.hash())).toEqual(hash);
    }
    for (const _ of store.repack());
    expect(store.heldBytes).toBe(store.sizeBytes);
  });

  test('what is compacted while it is repacked is counted once', () => {
    const store = new MvccStore();
    for (let i = 0; i < 30_000; i++) store.put(put(`k${i % 3000}`, `value ${i} ${'y'.repeat(80)}`));
    store.compact(store.revision - 6000);
    while (store.sweep());
    const repacking = store.repack();
    repacking.next();
    store.compact(store.revision);
    while (store.sweep());
    for (const _ of repacking);
    for (const _ of store.repack());
    expect(store.heldBytes).toBe(store.sizeBytes);
    expect(store.range(range(all)).count).toBe(3000);
  });

  test('forgets deleted keys, and a key that comes back meanwhile stays', () => {
    const store = new MvccStore();
    store.put(put('gone', '1'));
    store.put(put('back', '1'));
    store.deleteRange(del(all));
    store.put(put('back', '2'));
    store.put(put('other', '1'));
    store.compact(store.revision);
    while (store.sweep());
    expect(store.range(range(all)).records.map((record) => record.key)).toEqual(['back', 'other']);
    store.put(put('gone', '2'));
    expect(store.range(range(one('gone'))).records[0]).toMatchObject({ version: 1, createRevision: 7 });
  });
});
