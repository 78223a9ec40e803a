import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { convertToFile } from '../../../src/archive/convert.ts';
import { openSource } from '../../../src/archive/sources/open.ts';
import type { SourceKind } from '../../../src/archive/sources/source.ts';
import { readArchive } from '../../../src/archive/verify.ts';
import { archiveOf, collect, goodPieces, sampleState, stream, written } from '../samples.ts';
import { goraftFile, goraftJson, stateOf, storedMeta, storeSnapshot } from './samples.ts';

/**
 * Any bytes, and anything done to good ones: the reader answers with the content as it was, or with an error that has a
 * code. A change that is accepted must not have changed what the source says.
 */

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-fuzz-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

type Damage = (bytes: Uint8Array) => Uint8Array;

/** Flip, cut, duplicate and splice, at places given as fractions, so that they fit bytes of any length. */
const damage: fc.Arbitrary<Damage> = (() => {
  const place = fc.integer({ min: 0, max: 99_999 }).map((n) => n / 100_000);
  const at = (bytes: Uint8Array, fraction: number) => Math.min(bytes.length - 1, Math.floor(fraction * bytes.length));
  const join = (...parts: Uint8Array[]) => Uint8Array.from(Buffer.concat(parts));
  return fc.oneof(
    fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(
      ([where, mask]): Damage =>
        (bytes) => {
          const copy = Uint8Array.from(bytes);
          const index = at(copy, where);
          copy[index] = (copy[index] ?? 0) ^ mask;
          return copy;
        },
    ),
    place.map(
      (where): Damage =>
        (bytes) =>
          bytes.slice(0, at(bytes, where)),
    ),
    fc.tuple(place, place).map(
      ([one, two]): Damage =>
        (bytes) => {
          const [from, to] = [at(bytes, Math.min(one, two)), at(bytes, Math.max(one, two))];
          return join(bytes.subarray(0, to), bytes.subarray(from));
        },
    ),
    fc.tuple(place, place).map(
      ([one, two]): Damage =>
        (bytes) => {
          const [from, to] = [at(bytes, Math.min(one, two)), at(bytes, Math.max(one, two))];
          return join(bytes.subarray(0, from), bytes.subarray(to));
        },
    ),
    fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 40 })).map(
      ([where, more]): Damage =>
        (bytes) => {
          const index = at(bytes, where);
          return join(bytes.subarray(0, index), more, bytes.subarray(index));
        },
    ),
    fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 40 })).map(
      ([where, other]): Damage =>
        (bytes) => {
          const index = at(bytes, where);
          return join(bytes.subarray(0, index), other, bytes.subarray(index + other.length));
        },
    ),
  );
})();

/** What a source says, or the code of its error; anything else fails the property. */
async function said(read: () => Promise<unknown>): Promise<unknown> {
  try {
    return await read();
  } catch (error) {
    expect(error).toMatchObject({ name: 'ArchiveError', code: expect.stringMatching(/^ARCHIVE_[A-Z_]+$/) });
    return undefined;
  }
}

const content = (path: string, kind?: SourceKind) =>
  said(async () => {
    const source = await openSource(path, kind === undefined ? {} : { kind });
    return { meta: source.meta, state: (await stateOf(source)).toString('base64') };
  });

const archiveContent = (bytes: Uint8Array) =>
  said(async () => {
    const reading = readArchive(stream(bytes));
    const state: Uint8Array[] = [];
    for (;;) {
      const next = await reading.next();
      if (next.done === true) return { meta: next.value.meta, state: Buffer.concat(state).toString('base64') };
      state.push(Uint8Array.from(next.value));
    }
  });

describe('any bytes', () => {
  test('D19: as an archive, a goraft file or a .snap: an error with a code, whatever they are', async () => {
    const path = join(folder, 'any');
    const heads = [[], [0x1f, 0x8b], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0], [...Buffer.from('00000000\n{')]];
    const bytes = fc
      .tuple(fc.constantFrom(...heads), fc.uint8Array({ maxLength: 600 }))
      .map(([head, rest]) => Uint8Array.from([...head, ...rest]));
    await fc.assert(
      fc.asyncProperty(bytes, async (input) => {
        expect(await archiveContent(input)).toBeUndefined();
        await writeFile(path, input);
        for (const kind of [undefined, 'goraft', 'snap'] as const) expect(await content(path, kind)).toBeUndefined();
      }),
      { numRuns: 300, seed: 20 },
    );
  });

  test('GR-27 GR-31: as JSON under a right checksum, whatever it says: its numbers, peers and state, or an error', async () => {
    const path = join(folder, 'any.ss');
    const number = fc.oneof(
      fc.integer(),
      fc.double({ noInteger: true }),
      fc.bigInt({ min: -1n, max: 2n ** 65n }),
      fc.constant(null),
    );
    const text = (value: unknown) =>
      JSON.stringify(value, (_key, field: unknown) => (typeof field === 'bigint' ? `#${field}#` : field))?.replace(
        /"#(-?\d+)#"/g,
        '$1',
      ) ?? 'null';
    const shape = fc.record(
      {
        lastIndex: number,
        lastTerm: number,
        peers: fc.oneof(fc.jsonValue(), fc.array(fc.record({ name: fc.string(), connectionString: fc.string() }))),
        state: fc.oneof(fc.base64String(), fc.string(), fc.jsonValue()),
        path: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    let good = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ weight: 5, arbitrary: shape }, { weight: 1, arbitrary: fc.jsonValue() }),
        async (value) => {
          await writeFile(path, goraftFile(text(value)));
          const read = (await content(path)) as { meta: { index: bigint }; state: string } | undefined;
          if (read === undefined) return;
          good += 1;
          const { lastIndex, state } = value as { lastIndex: unknown; state: unknown };
          expect([read.meta.index, read.state]).toEqual([BigInt(lastIndex as number), state ?? '']);
        },
      ),
      { numRuns: 400, seed: 21, examples: [[{ lastIndex: 5, lastTerm: 1, peers: null, state: 'AAAA', path: '' }]] },
    );
    expect(good).toBeGreaterThan(3);
  });
});

describe('anything done to good bytes', () => {
  test('NS-12 NS-19: an archive says what it said, or nothing', async () => {
    const good = await written(sampleState(900));
    const was = await archiveContent(good);
    expect(was).toBeDefined();
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
        const now = await archiveContent(damages.reduce((bytes, apply) => apply(bytes), good as Uint8Array));
        if (now !== undefined) expect(now).toEqual(was);
      }),
      { numRuns: 600, seed: 22 },
    );
  });

  test('GR-27: a goraft file says what it said, or nothing', async () => {
    const path = join(folder, 'damaged.ss');
    const good = goraftFile(goraftJson(sampleState(300)));
    await writeFile(path, good);
    const was = await content(path, 'goraft');
    expect(was).toBeDefined();
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
        await writeFile(
          path,
          damages.reduce((bytes, apply) => apply(bytes), good as Uint8Array),
        );
        const now = await content(path, 'goraft');
        if (now !== undefined) expect(now).toEqual(was);
      }),
      { numRuns: 500, seed: 23 },
    );
  });

  test('HR-34: a stored snapshot has its state as it was, or none; only its metadata, which no sum covers, can differ', async () => {
    const store = join(folder, 'snapshots');
    const id = '3-42-1700000000000';
    const state = sampleState(500);
    const path = await storeSnapshot(store, id, state);
    const meta = Buffer.from(storedMeta(id, state));
    const was = (await content(path)) as { state: string };
    expect(was.state).toBe(Buffer.from(state).toString('base64'));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom('meta.json', 'state.bin'), damage, async (name, apply) => {
        await writeFile(join(path, 'meta.json'), name === 'meta.json' ? apply(meta) : meta);
        await writeFile(join(path, 'state.bin'), name === 'state.bin' ? apply(state) : state);
        const now = (await content(path)) as { state: string } | undefined;
        if (now === undefined) return;
        expect(now.state).toBe(was.state);
        if (name === 'state.bin') expect(now).toEqual(was);
      }),
      { numRuns: 400, seed: 24 },
    );
  });

  test('a .snap that is converted has the content that it had, and one that is not leaves nothing', async () => {
    const room = join(folder, 'room');
    await mkdir(room);
    const path = join(folder, 'damaged.snap');
    const target = join(room, 'out.snap');
    const good = await archiveOf(goodPieces('some state '.repeat(40)));
    await writeFile(path, good);
    const was = (await content(path, 'snap')) as { state: string; meta: object };
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(damage, async (apply) => {
        await writeFile(path, apply(good));
        const done = await said(async () =>
          convertToFile(await openSource(path, { kind: 'snap' }), target, { now: new Date(0) }),
        );
        if (done === undefined) {
          refused += 1;
          expect(await readdir(room)).toEqual([]);
          return;
        }
        const now = (await archiveContent(await readFile(target))) as { state: string; meta: object };
        expect(now.state).toBe(was.state);
        expect(now.meta).toMatchObject({ ...was.meta, raftsman: { engine: 'HashicorpRaft' } });
        await rm(target);
      }),
      { numRuns: 250, seed: 25 },
    );
    expect(refused).toBeGreaterThan(200);
  });
});

test('the fuzzers see good input as good', async () => {
  expect(await archiveContent(await collect(stream(await written(sampleState(5)))))).toMatchObject({
    state: expect.any(String),
  });
});
