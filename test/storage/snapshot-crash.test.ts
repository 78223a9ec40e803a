/** Snapshots on a disk that loses its power, or whose process dies, between any two operations. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { openSnapshotFolder } from '../../src/storage/snapshots.ts';
import type { StoredSnapshotMeta } from '../../src/storage/types.ts';
import { type Fate, MemoryDisk } from './memory-disk.ts';

const folder = '/member/snap';
const retain = 2;
const stateOf = (index: number): Buffer => Buffer.alloc(700 + index * 300, index);

async function newStore(disk: MemoryDisk) {
  let clock = 1000;
  return openSnapshotFolder({ folder, retain, now: () => clock++, disk });
}

/** Three snapshots, one after the other, and a fourth that is given up. The journal says when each was done. */
async function life(): Promise<{ disk: MemoryDisk; from: number }> {
  const disk = new MemoryDisk();
  await disk.makeFolder('/member');
  await disk.makeFolder(folder);
  await disk.syncFolder('/');
  await disk.syncFolder('/member');
  const from = disk.journal.length;
  const store = await newStore(disk);
  for (const index of [1, 2, 3, 4]) {
    const sink = await store.create({ version: 1, index, term: 7, configuration: {}, configurationIndex: 0 });
    const state = stateOf(index);
    await sink.write(state.subarray(0, 600));
    await sink.write(state.subarray(600));
    if (index === 4) await sink.cancel();
    else {
      await sink.close();
      disk.note(`${index} is stored`);
    }
  }
  return { disk, from };
}

async function contentOf(disk: MemoryDisk, { id }: StoredSnapshotMeta): Promise<Buffer> {
  const opened = await (await newStore(disk)).open(id);
  const chunks: Buffer[] = [];
  for await (const chunk of opened.read()) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** Whatever is listed is whole, what was said to be stored and is among the newest is there, and another can be stored. */
async function holds(disk: MemoryDisk, stored: readonly number[]): Promise<void> {
  const store = await newStore(disk);
  const listed = await store.list();
  // By Buffer's own comparison: `toEqual` looks at each byte as at an object.
  for (const meta of listed) expect((await contentOf(disk, meta)).equals(stateOf(meta.index))).toBe(true);
  const found = listed.map(({ index }) => index);
  // One that was renamed into place, and not yet said to be stored, may be the newest by now.
  const newest = [...new Set([...stored, ...found])].sort((a, b) => b - a).slice(0, retain);
  expect(found).toEqual(newest);
  expect((await disk.list(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  const sink = await store.create({ version: 1, index: 9, term: 7, configuration: {}, configurationIndex: 0 });
  await sink.write(stateOf(9));
  expect((await contentOf(disk, await sink.close())).equals(stateOf(9))).toBe(true);
}

function storedIn({ journal }: MemoryDisk, count: number): number[] {
  const notes = journal.slice(0, count).flatMap((each) => (each.type === 'note' ? [each.what] : []));
  return notes.map((what) => Number.parseInt(what, 10));
}

describe('a snapshot that was said to be stored', () => {
  test('ES-20 ES-21 is there and whole when the process dies after any operation, and nothing unfinished is listed', async () => {
    const { disk, from } = await life();
    for (let count = from; count <= disk.journal.length; count++) {
      await holds(disk.killed(count), storedIn(disk, count));
      await holds(disk.killed(count, 100), storedIn(disk, count));
    }
  });

  test('ES-21 HR-34 is there and whole when the power fails after any operation, whatever of the unsynced is left', async () => {
    const { disk, from } = await life();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: from, max: disk.journal.length }),
        fc.infiniteStream(fc.constantFrom('kept', 'lost', 'sectors', 'bytes')),
        fc.infiniteStream(fc.nat()),
        async (count, fates, chance) => {
          const next = (): number => chance.next().value as number;
          const fate = (): Fate => {
            const is = fates.next().value as 'kept' | 'lost' | 'sectors' | 'bytes';
            if (is === 'bytes') return { bytes: next() % 1000 };
            return is === 'sectors' ? { sectors: () => next() % 2 === 0 } : is;
          };
          await holds(disk.powerLost(count, fate), storedIn(disk, count));
        },
      ),
      { numRuns: 400, seed: 20_261_122 },
    );
  });
});
