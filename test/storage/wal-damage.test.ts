/**
 * The promise: what was acknowledged is never forgotten in silence. After a crash in the middle of a write the log opens
 * with everything acknowledged; after damage to what was acknowledged it refuses to open, with file and offset.
 */
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeRecord } from '../../src/storage/record.ts';
import type { LogEntry, WalContents } from '../../src/storage/types.ts';
import { Wal } from '../../src/storage/wal.ts';
import { newFolder } from './folder.ts';
import { rot } from './rot.ts';

const identity = { clusterId: 'c1', memberId: 'm1' };
const allocationBytes = 2048;
const entry = (index: number, data: Uint8Array): LogEntry => ({ index, term: 2, kind: 'normal', data });
const bytesOf = (length: number, seed: number) => new Uint8Array(length).map((_, i) => (i * 7 + seed) & 0xff);
const indexes = (contents: WalContents) => contents.entries.map((e) => e.index);

/** A log of these batches in a single segment, and where each begins and the last one ends. */
async function build(batches: LogEntry[][]) {
  const folder = join(await newFolder(), 'wal');
  const wal = await Wal.create(folder, identity, { allocationBytes });
  for (const entries of batches) await wal.append({ hardState: { term: 2, vote: 'm1', commit: 0 }, entries });
  await wal.close();
  const name = (await readdir(folder))[0]!;
  const file = await readFile(join(folder, name));
  const starts: number[] = [];
  let end = 0;
  for (
    let at = 0, found = decodeRecord(file, at, 0), fresh = true;
    found.is === 'record';
    found = decodeRecord(file, at, 0)
  ) {
    if (fresh) starts.push(at);
    fresh = found.endsBatch;
    end = at = found.end;
  }
  return { name, file, starts, end };
}

let scratch: string;
beforeAll(async () => {
  scratch = await newFolder();
});

/** Opens a log that consists of these bytes. */
async function open(name: string, file: Uint8Array): Promise<WalContents | Error> {
  const folder = join(scratch, 'wal');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  await writeFile(join(folder, name), file);
  let opened: Awaited<ReturnType<typeof Wal.open>>;
  try {
    opened = await Wal.open(folder);
  } catch (error) {
    return error as Error;
  }
  const { wal, contents } = opened;
  // It must also be possible to go on, and to read that again.
  const next = (contents.entries.at(-1)?.index ?? 0) + 1;
  await wal.append({ entries: [entry(next, bytesOf(40, 3))] }).finally(() => wal.close());
  const again = await Wal.open(folder);
  await again.wal.close();
  expect(indexes(again.contents)).toEqual([...indexes(contents), next]);
  return contents;
}

const small = [
  [entry(1, bytesOf(30, 1))],
  [entry(2, bytesOf(50, 2)), entry(3, bytesOf(10, 3))],
  [entry(4, bytesOf(70, 4))],
];

describe('RS-21 damage to acknowledged records', () => {
  test('each single byte of a log inverted, and each set to zero: refused with file and offset, or nothing is lost', async () => {
    const { name, file, end } = await build(small);
    let refused = 0;
    for (let at = 0; at < end; at++) {
      for (const value of new Set([file[at]! ^ (at % 2 ? 0xff : 1), 0])) {
        if (value === file[at]) continue;
        const damaged = Buffer.from(file);
        damaged[at] = value;
        const outcome = await open(name, damaged);
        if (outcome instanceof Error) {
          expect(outcome).toMatchObject({
            code: 'WAL_CORRUPT',
            file: expect.stringContaining(name),
            offset: expect.any(Number),
          });
          refused++;
        } else {
          expect(indexes(outcome)).toEqual([1, 2, 3, 4]);
        }
      }
    }
    expect(refused).toBeGreaterThan(end);
  });

  test('the file shortened to any length that cuts into acknowledged records is refused', async () => {
    const { name, file, end } = await build([...small, [entry(5, bytesOf(3000, 5))], [entry(6, bytesOf(20, 6))]]);
    for (let length = 0; length <= file.length; length++) {
      if (length > 400 && (length < end - 200 || length > end + 50) && length % 67 !== 0) continue;
      const outcome = await open(name, file.subarray(0, length));
      if (length < end) expect([length, outcome]).toEqual([length, expect.objectContaining({ code: 'WAL_CORRUPT' })]);
      else if (!(outcome instanceof Error)) expect(indexes(outcome)).toEqual([1, 2, 3, 4, 5, 6]);
    }
  });

  test('a value that is all zeros does not make damage beside it look like a torn write', async () => {
    const { name, file, starts, end } = await build([[entry(1, bytesOf(30, 1))], [entry(2, new Uint8Array(3000))]]);
    for (let at = starts.at(-1)!; at < end; at += 61) {
      const damaged = Buffer.from(file);
      damaged[at]! ^= 0x10;
      const outcome = await open(name, damaged);
      if (!(outcome instanceof Error)) expect(indexes(outcome)).toEqual([1, 2]);
    }
  });

  test('a log that rots at its first fifth is refused, however little of it is written', async () => {
    for (const count of [1, 2, 10, 100]) {
      const folder = join(await newFolder(), 'wal');
      const wal = await Wal.create(folder, identity);
      for (let i = 1; i <= count; i++) await wal.append({ entries: [entry(i, bytesOf(40, i))] });
      await wal.close();
      rot(join(folder, (await readdir(folder))[0]!), 0.2, 256);
      const opened = await Wal.open(folder).catch((error: unknown) => error);
      expect([count, opened]).toEqual([count, expect.objectContaining({ code: 'WAL_CORRUPT' })]);
    }
  });

  test('damage in a segment that others follow is refused even when it looks unwritten', async () => {
    const folder = join(await newFolder(), 'wal');
    const wal = await Wal.create(folder, identity, { allocationBytes, segmentBytes: 1000 });
    for (let i = 1; i <= 40; i++) await wal.append({ entries: [entry(i, bytesOf(60, i))] });
    await wal.close();
    const names = (await readdir(folder)).sort();
    const path = join(folder, names[1]!);
    const file = await readFile(path);
    await copyFile(path, `${path}.kept`);
    await writeFile(path, Buffer.concat([file.subarray(0, 700), Buffer.alloc(file.length - 700)]));
    await expect(Wal.open(folder)).rejects.toMatchObject({ code: 'WAL_CORRUPT' });
  });
});

describe('RS-21 a crash in the middle of the last write', () => {
  test('GR-32 the write stopped at any byte: every earlier batch is there, the last one whole or not at all', async () => {
    const { name, file, starts, end } = await build(small);
    const from = starts.at(-1)!;
    for (let at = from; at <= end; at++) {
      const outcome = await open(name, Buffer.concat([file.subarray(0, at), Buffer.alloc(file.length - at)]));
      if (outcome instanceof Error) throw outcome;
      expect([at, indexes(outcome)]).toEqual([at, expect.arrayContaining([1, 2, 3])]);
    }
  });

  test('any subset of the last write’s sectors reached the disk: every earlier batch is there', async () => {
    const last = [entry(4, bytesOf(900, 4)), entry(5, new Uint8Array(1200)), entry(6, bytesOf(2000, 6))];
    const { name, file, starts, end } = await build([...small.slice(0, 2), last]);
    const from = starts.at(-1)!;
    const sectors: number[] = [];
    for (let s = Math.floor(from / 512) * 512; s < end; s += 512) sectors.push(s);
    expect(sectors.length).toBeGreaterThan(8);
    for (let kept = 0; kept < 2 ** sectors.length; kept += 29) {
      const torn = Buffer.from(file);
      sectors.forEach((s, i) => {
        if (!(kept & (1 << i))) torn.fill(0, Math.max(s, from), Math.min(s + 512, end));
      });
      const outcome = await open(name, torn);
      if (outcome instanceof Error) throw outcome;
      expect([
        [1, 2, 3],
        [1, 2, 3, 4, 5, 6],
      ]).toContainEqual(indexes(outcome));
    }
  });

  test('a crash while the torn tail is being zeroed leaves a log that opens', async () => {
    const { name, file, starts, end } = await build(small);
    const from = starts.at(-1)!;
    const torn = Buffer.from(file);
    torn.fill(0, end - 40);
    for (let zeroed = from; zeroed <= end; zeroed += 16) {
      const half = Buffer.from(torn);
      half.fill(0, from, zeroed);
      const outcome = await open(name, half);
      if (outcome instanceof Error) throw outcome;
      expect(indexes(outcome)).toEqual([1, 2, 3]);
    }
  });

  test('random logs, crashed at a random byte of the last write, keep every acknowledged entry', async () => {
    const sizes = fc.array(fc.array(fc.integer({ min: 0, max: 1500 }), { minLength: 1, maxLength: 4 }), {
      minLength: 2,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(sizes, fc.double({ min: 0, max: 1, noNaN: true }), async (shape, where) => {
        let index = 0;
        const { name, file, starts, end } = await build(
          shape.map((batch) => batch.map((size) => entry(++index, bytesOf(size, index)))),
        );
        const from = starts.at(-1)!;
        const at = from + Math.floor((end - from) * where);
        const outcome = await open(name, Buffer.concat([file.subarray(0, at), Buffer.alloc(file.length - at)]));
        if (outcome instanceof Error) throw outcome;
        const acknowledged = index - shape.at(-1)!.length;
        expect(outcome.entries.length).toBeGreaterThanOrEqual(acknowledged);
      }),
      { seed: 20261122, numRuns: 60 },
    );
  });
});
