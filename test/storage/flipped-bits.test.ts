/**
 * Bits that turn over, at rest or on their way from the disk, in the log and in snapshots: a start either refuses with an error
 * of storage's own, which in the log names file and offset, or has read exactly what was acknowledged.
 */
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { StorageError, type WalCorruptError } from '../../src/storage/errors.ts';
import { born, Life, type Move, Promises } from './life.ts';
import { MemoryDisk } from './memory-disk.ts';

const story: readonly Move[] = [
  ...Array.from({ length: 9 }, (_, i): Move => [i % 4, i, 3 * i + 1]),
  [5, 0, 0],
  ...Array.from({ length: 8 }, (_, i): Move => [i % 3, i, 5 * i + 2]),
  [5, 0, 0],
  [0, 1, 4],
  [3, 1, 2],
  [0, 1, 3],
];

let disk: MemoryDisk;
let promises: Promises;
let files: [path: string, size: number][];

beforeAll(async () => {
  disk = new MemoryDisk();
  promises = new Promises();
  await born(disk);
  const life = await Life.begin(disk, promises);
  await life.run(story);
  await life.wal.close();
  files = [...disk.files()];
  expect(life.failures).toEqual([]);
  expect(promises.acknowledged).toBe(promises.states.length - 1);
});

/** What a start makes of it: the same, or its refusal. Anything else fails. */
async function outcome(left: MemoryDisk): Promise<string> {
  try {
    await Life.begin(left, promises.copy());
    return 'the same';
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    if (error.code === 'WAL_CORRUPT') {
      const { file, offset } = error as WalCorruptError;
      expect([file, offset]).toEqual([expect.stringMatching(/^\/member\/wal\/.*\.wal$/), expect.any(Number)]);
      expect(error.message).toContain(`${file} is damaged at offset ${offset}`);
    }
    return error.code;
  }
}

const place = fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }));
const placed = ([file, at, mask]: readonly [number, number, number]) => {
  const [path, size] = files[file % files.length]!;
  return { path, at: at % size, mask };
};

describe('bits that turned over', () => {
  test('RS-21 HR-34 at rest, in any files and up to four bytes: refused, or nothing is lost', async () => {
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(place, { minLength: 1, maxLength: 4 }), async (places) => {
        const left = disk.killed(disk.journal.length);
        for (const { path, at, mask } of places.map(placed)) left.flip(path, at, mask);
        const found = await outcome(left);
        seen.set(found, 1 + (seen.get(found) ?? 0));
      }),
      { seed: 20261122, numRuns: 1500, endOnFailure: true },
    );
    for (const each of ['the same', 'WAL_CORRUPT']) expect([each, seen.get(each)]).toEqual([each, expect.any(Number)]);
  });

  test('RS-21 HR-34 each bit of the newest snapshot alone: the one before it takes its place, and nothing is lost', async () => {
    const newest = files.filter(([path]) => path.includes('/snap/')).map(([path]) => path);
    const folder = newest
      .sort()
      .at(-1)!
      .replace(/[^/]*$/, '');
    for (const [path, size] of files.filter(([each]) => each.startsWith(folder))) {
      for (let at = 0; at < size; at += 3) {
        const left = disk.killed(disk.journal.length);
        left.flip(path, at, 1 << (at % 8));
        expect([path, at, await outcome(left)]).toEqual([path, at, 'the same']);
      }
    }
  });

  test('RS-21 HR-34 on one read only: refused or nothing is lost, and the start after it finds all', async () => {
    await fc.assert(
      fc.asyncProperty(place, async (where) => {
        const { path, at, mask } = placed(where);
        const left = disk.killed(disk.journal.length);
        let isDue = true;
        left.onRead = (read, bytes, offset) => {
          if (!isDue || read !== path || at < offset || at >= offset + bytes.length) return;
          isDue = false;
          bytes[at - offset]! ^= mask;
        };
        await outcome(left);
        expect(await outcome(left.kill())).toBe('the same');
      }),
      { seed: 20261122, numRuns: 800, endOnFailure: true },
    );
  });
});
