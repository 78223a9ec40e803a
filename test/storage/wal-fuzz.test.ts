/**
 * Bytes that no log of ours wrote: the log that is read is the one that was written (without its last write, when that is
 * what a crash would leave), or it is refused with file and offset. Never another content, never another kind of error.
 */
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WalCorruptError } from '../../src/storage/errors.ts';
import { decodeRecord, encodeBatch, type RecordType, type WalRecord } from '../../src/storage/record.ts';
import { segmentName } from '../../src/storage/replay.ts';
import type { LogEntry, WalBatch, WalContents } from '../../src/storage/types.ts';
import { Wal } from '../../src/storage/wal.ts';
import { MemoryDisk } from './memory-disk.ts';

const folder = '/wal';
const identity = { clusterId: 'c1', memberId: 'm1' };
const seeded = { seed: 20261122, numRuns: 4000 };

type Files = Map<string, Buffer>;

async function diskOf(files: Files): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeFolder(folder);
  for (const [name, bytes] of files) await disk.writeNew(`${folder}/${name}`, bytes);
  return disk;
}

async function read(files: Files): Promise<WalContents | Error> {
  try {
    return (await Wal.open(folder, { disk: await diskOf(files) })).contents;
  } catch (error) {
    return error as Error;
  }
}

const text = ({ hardState, entries, snapshots, identity }: WalContents): string =>
  JSON.stringify([hardState, entries.map((e) => [e.index, e.term, e.kind, [...e.data]]), snapshots, identity]);

const batches: WalBatch[] = Array.from({ length: 27 }, (_, i) => {
  const first = 1 + 2 * i - (i > 20 ? 3 : 0);
  const entries = [0, 1].map(
    (k): LogEntry => ({
      index: first + k,
      term: i > 20 ? 3 : 2,
      kind: k === 0 ? 'normal' : 'noop',
      data: new Uint8Array(k === 0 ? (i * 53) % 700 : 0).fill(i % 5 === 0 ? 0 : i),
    }),
  );
  const mark = { index: i, term: 2, configuration: { voters: ['a'] }, configurationIndex: 0, replacesLog: false };
  return {
    hardState: { term: i > 20 ? 3 : 2, vote: 'a', commit: i },
    entries,
    ...(i === 10 ? { snapshot: mark } : {}),
  };
});

const good: Files = new Map();
let names: string[];
/** The log as written, and as it is without its last write. */
let whole: string;
let cut: string;
let lastStart = 0;
let lastEnd = 0;

beforeAll(async () => {
  const disk = new MemoryDisk();
  const wal = await Wal.create(folder, identity, { segmentBytes: 1500, allocationBytes: 1024, disk });
  for (const batch of batches.slice(0, -1)) await wal.append(batch);
  const [segments] = [(await disk.list(folder)).length];
  cut = text((await Wal.open(folder, { disk: disk.killed(disk.journal.length) })).contents);
  await wal.append(batches.at(-1)!);
  names = (await disk.list(folder)).sort();
  for (const name of names) good.set(name, await disk.read(`${folder}/${name}`));
  whole = text((await Wal.open(folder, { disk })).contents);
  // The last write lies in the last segment, which has others before it.
  expect([names.length, segments > 3, whole === cut]).toEqual([segments, true, false]);
  const last = good.get(names.at(-1)!)!;
  for (let found = decodeRecord(last, 0, segments - 1), fresh = true; found.is === 'record'; ) {
    if (fresh) lastStart = lastEnd;
    fresh = found.endsBatch;
    lastEnd = found.end;
    found = decodeRecord(last, lastEnd, segments - 1);
  }
});

const at = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const segment = fc.nat(1000);
const bytes = fc.uint8Array({ minLength: 1, maxLength: 60 });

/** A way to damage the files. False: it would leave what a shorter log leaves, which nothing in the log can tell. */
type Damage = (files: Files) => boolean;

const pick = (files: Files, which: number): [string, Buffer] => [...files][which % files.size]!;
const place = (file: Buffer, where: number, aligned: boolean): number => {
  const offset = Math.floor(where * file.length);
  return aligned ? offset - (offset % 16) : offset;
};

function overwrite(files: Files, which: number, from: number, what: Uint8Array): boolean {
  const [name, file] = pick(files, which);
  const to = Math.min(file.length, from + what.length);
  const isZero = what.every((byte) => byte === 0);
  if (isZero && name === names.at(-1) && from < lastStart && to > lastStart) return false;
  file.set(what.subarray(0, to - from), from);
  return true;
}

const damages: Record<string, fc.Arbitrary<Damage>> = {
  'bits inverted': fc.tuple(segment, at, fc.nat(7)).map(([which, where, bit]) => (files) => {
    const [, file] = pick(files, which);
    file[place(file, where, false)]! ^= 1 << bit;
    return true;
  }),
  'bytes replaced': fc.tuple(segment, at, bytes).map(
    ([which, where, what]) =>
      (files) =>
        overwrite(files, which, place(pick(files, which)[1], where, false), what),
  ),
  'zeros written': fc.tuple(segment, at, fc.integer({ min: 1, max: 900 })).map(
    ([which, where, length]) =>
      (files) =>
        overwrite(files, which, place(pick(files, which)[1], where, false), new Uint8Array(length)),
  ),
  'a piece copied elsewhere': fc
    .tuple(segment, at, segment, at, fc.integer({ min: 1, max: 800 }), fc.boolean())
    .map(([from, where, to, there, length, aligned]) => (files) => {
      const [, source] = pick(files, from);
      const start = place(source, where, aligned);
      const piece = Buffer.from(source.subarray(start, start + length));
      return overwrite(files, to, place(pick(files, to)[1], there, aligned), piece);
    }),
  'a piece taken out': fc
    .tuple(segment, at, fc.integer({ min: 1, max: 600 }), fc.boolean())
    .map(([which, where, length, aligned]) => (files) => {
      const [name, file] = pick(files, which);
      const from = place(file, where, aligned);
      files.set(name, Buffer.concat([file.subarray(0, from), file.subarray(from + (aligned ? length & ~15 : length))]));
      return true;
    }),
  'a file cut short': fc.tuple(segment, at).map(([which, where]) => (files) => {
    const [name, file] = pick(files, which);
    files.set(name, file.subarray(0, place(file, where, false)));
    return true;
  }),
  'bytes added': fc.tuple(segment, bytes).map(([which, what]) => (files) => {
    const [name, file] = pick(files, which);
    files.set(name, Buffer.concat([file, what]));
    return true;
  }),
  'two segments swapped': fc.tuple(segment, segment).map(([one, other]) => (files) => {
    const [[a, first], [b, second]] = [pick(files, one), pick(files, other)];
    files.set(a, second).set(b, first);
    return true;
  }),
  'a segment doubled under another name': fc
    .tuple(segment, fc.nat(12), fc.nat(60))
    .map(([which, number, firstIndex]) => (files) => {
      files.set(segmentName({ number, firstIndex }), Buffer.from(pick(files, which)[1]));
      return true;
    }),
  'a segment renamed': fc.tuple(segment, fc.nat(12), fc.nat(60)).map(([which, number, firstIndex]) => (files) => {
    const [name, file] = pick(files, which);
    files.delete(name);
    files.set(segmentName({ number, firstIndex }), file);
    // Without its first segment a log looks as after a release, without its last as before it.
    return name !== names[0] && name !== names.at(-1);
  }),
  'a segment removed from the middle': segment.map((which) => (files) => {
    files.delete(names[1 + (which % (names.length - 2))]!);
    return true;
  }),
};

describe('damage of any kind', () => {
  test.each(Object.keys(damages))('%s: the same log, or refused with file and offset', async (kind) => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(damages[kind]!, { minLength: 1, maxLength: 2 }), async (list) => {
        const files: Files = new Map([...good].map(([name, file]) => [name, Buffer.from(file)]));
        for (const damage of list) fc.pre(damage(files));
        const outcome = await read(files);
        if (outcome instanceof Error) {
          expect(outcome).toBeInstanceOf(WalCorruptError);
          const { file, offset } = outcome as WalCorruptError;
          expect(file).toContain(folder);
          expect(offset).toBeGreaterThanOrEqual(0);
          refused++;
        } else if (text(outcome) !== whole) {
          expect(text(outcome)).toBe(cut);
        }
      }),
      { ...seeded, numRuns: 400 },
    );
    expect(refused).toBeGreaterThan(20);
  });
});

describe('records whose checksums are right and whose content is not', () => {
  test('are refused with file and offset, whatever they say', async () => {
    const json = fc
      .oneof(
        fc.anything(),
        fc.record({ index: fc.anything(), term: fc.nat(), configurationIndex: fc.nat(), replacesLog: fc.anything() }),
      )
      .map((value) => Buffer.from(JSON.stringify(value) ?? ''));
    const payload = fc.oneof(fc.uint8Array({ maxLength: 40 }), json);
    const record = fc.record({ type: fc.constantFrom<RecordType>('head', 'hardState', 'entry', 'snapshot'), payload });
    const [name, file] = [names.at(-1)!, good.get(names.at(-1)!)!];
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 3 }), fc.boolean(), async (records, instead) => {
        const changed = Buffer.concat([file, Buffer.alloc(4096)]);
        const number = names.length - 1;
        const found = decodeRecord(file, lastStart, number);
        const batch = found.is === 'record' ? found.batch : 0;
        if (instead) {
          // The head itself: all that follows belongs to it no more.
          changed.fill(0);
          changed.set(encodeBatch(records, number, 0, batch), 0);
        } else {
          changed.set(encodeBatch(records, number, lastEnd, batch + 1), lastEnd);
        }
        const outcome = await read(new Map([...good, [name, changed]]));
        if (outcome instanceof Error) {
          expect(outcome).toBeInstanceOf(WalCorruptError);
          refused++;
        }
      }),
      { ...seeded, numRuns: 600 },
    );
    expect(refused).toBeGreaterThan(200);
  });

  test('no bytes at all make a record, and no length is believed before it is proven', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 200 }), fc.nat(5), (random, number) => {
        const found = decodeRecord(Buffer.from(random), 0, number);
        expect(['empty', 'bad-header', 'cut', 'bad-payload']).toContain(found.is);
      }),
      seeded,
    );
    const record: WalRecord = { type: 'entry', payload: new Uint8Array(10) };
    const huge = encodeBatch([record], 0, 0, 1);
    huge.writeUInt32LE(0xffff_ffff, 0);
    expect(decodeRecord(huge, 0, 0)).toEqual({ is: 'bad-header' });
  });
});
