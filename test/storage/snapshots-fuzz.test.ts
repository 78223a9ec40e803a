/** Damaged snapshots: what is handed out is what was stored, or it is refused with an error of the store's own. */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { StorageError } from '../../src/storage/errors.ts';
import { openSnapshotFolder } from '../../src/storage/snapshots.ts';
import type { StoredSnapshotMeta } from '../../src/storage/types.ts';
import { newFolder } from './folder.ts';

const configuration = {
  voters: ['a1', 'b2'],
  votersOutgoing: [],
  learners: ['c3'],
  learnersNext: [],
  autoLeave: false,
};
const state = Buffer.from(Array.from({ length: 3000 }, (_, i) => (i * 7) & 0xff));

let original: string;
let meta: StoredSnapshotMeta;

beforeAll(async () => {
  original = join(await newFolder(), 'snap');
  const store = await openSnapshotFolder({ folder: original, retain: 2, now: () => 1000 });
  const sink = await store.create({ version: 1, index: 17, term: 3, configuration, configurationIndex: 5 });
  await sink.write(state);
  meta = await sink.close();
});

/** What comes of a snapshot whose file was changed so. */
async function outcome(folder: string, name: 'meta.json' | 'state.bin', bytes: Uint8Array): Promise<string> {
  await rm(folder, { recursive: true, force: true });
  await cp(original, folder, { recursive: true });
  await writeFile(join(folder, meta.id, name), bytes);
  const store = await openSnapshotFolder({ folder, retain: 2, now: () => 2000 });
  for (const listed of await store.list()) expect(listed).toEqual(meta);
  try {
    const open = await store.open(meta.id);
    const chunks: Buffer[] = [];
    for await (const chunk of open.read()) chunks.push(Buffer.from(chunk));
    await open.close();
    expect([open.meta, Buffer.concat(chunks).equals(state)]).toEqual([meta, true]);
    return 'the same';
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return error.code;
  }
}

const change = fc.tuple(fc.nat(5000), fc.integer({ min: 1, max: 255 }));
const cut = fc.option(fc.nat(5000));
const more = fc.option(fc.uint8Array({ minLength: 1, maxLength: 30 }));

describe.each(['meta.json', 'state.bin'] as const)('%s damaged', (name) => {
  test('HR-33 HR-34 bytes changed, cut off or added: the same snapshot or SNAPSHOT_CORRUPT', async () => {
    const folder = join(await newFolder(), 'snap');
    const good = await readFile(join(original, meta.id, name));
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 3 }), cut, more, async (changes, length, added) => {
        const bytes = Buffer.concat([
          good.subarray(0, length === null ? good.length : length % good.length),
          added ?? Buffer.alloc(0),
        ]);
        for (const [at, by] of changes) if (bytes.length > 0) bytes[at % bytes.length]! ^= by;
        const found = await outcome(folder, name, bytes);
        seen.set(found, 1 + (seen.get(found) ?? 0));
      }),
      { seed: 20261122, numRuns: 250 },
    );
    expect(
      [...seen.keys()].filter((found) => !['the same', 'SNAPSHOT_CORRUPT', 'SNAPSHOT_VERSION'].includes(found)),
    ).toEqual([]);
    expect(seen.get('SNAPSHOT_CORRUPT')).toBeGreaterThan(100);
  });
});

test('HR-33 any JSON in place of the description is refused', async () => {
  const folder = join(await newFolder(), 'snap');
  const good = JSON.parse(await readFile(join(original, meta.id, 'meta.json'), 'utf8')) as Record<string, unknown>;
  const text = fc.oneof(
    fc.json(),
    fc
      .tuple(fc.constantFrom(...Object.keys(good)), fc.jsonValue())
      .map(([key, value]) => JSON.stringify({ ...good, [key]: value })),
  );
  await fc.assert(
    fc.asyncProperty(text, async (json) => {
      await outcome(folder, 'meta.json', Buffer.from(json));
    }),
    { seed: 20261122, numRuns: 250, examples: [['null'], ['[]'], ['1'], ['""']] },
  );
});
