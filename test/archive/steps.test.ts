import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { convertToFile } from '../../src/archive/convert.ts';
import { extractState, verifyArchiveFile, writeAll, writeAside } from '../../src/archive/file.ts';
import { openSource } from '../../src/archive/sources/open.ts';
import { verifyArchive } from '../../src/archive/verify.ts';
import { writeArchive } from '../../src/archive/write.ts';
import {
  archiveOf,
  collect,
  goodPieces,
  modifiedAt,
  sampleMeta,
  sampleState,
  stream,
  verdict,
  verify,
  written,
} from './samples.ts';
import { goraftFile, goraftJson } from './sources/samples.ts';

/** The steps of making and using an archive: their order, what there is when there is nothing, and how each fails. */

let folder: string;
let target: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-steps-'));
  target = join(folder, 'a.snap');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('NS-04: written, the gzip ended, synced, and only then there under its name, to be read from its first byte', async () => {
  const steps: string[] = [];
  const summary = await writeAside(target, async (file) => {
    const { sync, close } = { sync: file.sync.bind(file), close: file.close.bind(file) };
    const look = async (step: string) => {
      const names = await readdir(folder);
      const [aside = ''] = names;
      const whole = await verdict(verifyArchiveFile(join(folder, aside)));
      steps.push(`${step}: ${whole}, ${names.includes('a.snap') ? 'there' : 'not there'}`);
    };
    file.sync = async () => {
      await look('sync');
      await sync();
    };
    file.close = async () => {
      await look('close');
      await close();
    };
    const writing = writeArchive(sampleMeta(70_000), stream(sampleState(70_000)), { modifiedAt });
    for await (const chunk of writing.chunks) await writeAll(file, chunk);
    return writing.summary();
  });
  // The gzip trailer was in the file before the sync, or it would not have been good then.
  expect(steps).toEqual(['sync: good, not there', 'close: good, not there']);
  expect(await readdir(folder)).toEqual(['a.snap']);
  expect(await verifyArchiveFile(target)).toMatchObject({ checksum: summary.checksum });
});

describe('NS-06: where there is no snapshot', () => {
  test('there is no archive that looks like one: no index and no checksum before the last byte was read', async () => {
    const writing = writeArchive(sampleMeta(5), stream(sampleState(5)), { modifiedAt });
    expect(() => writing.summary()).toThrow('the archive has not been read to its end');
    for await (const _ of writing.chunks) break;
    expect(() => writing.summary()).toThrow('the archive has not been read to its end');
    // What is read after the end is nothing, and no error.
    expect(await collect(writing.chunks)).toEqual(Buffer.alloc(0));
  });

  test('reading nothing is an error of its own, and ending a reader twice is none', async () => {
    await expect(verifyArchive(stream(new Uint8Array(0)))).rejects.toMatchObject({
      code: 'ARCHIVE_TRUNCATED',
      message: 'unexpected EOF: the archive is empty',
    });
    const chunks = writeArchive(sampleMeta(5), stream(sampleState(5)), { modifiedAt }).chunks[Symbol.asyncIterator]();
    for (let times = 0; times < 2; times++) {
      expect(await chunks.return?.(undefined)).toEqual({ done: true, value: undefined });
    }
  });
});

describe('NS-07: each step that fails says which it was, by its code and in words', () => {
  const good = () => written(sampleState(3000));
  async function* broken(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    yield bytes;
    throw new Error('connection reset');
  }

  test('taking the snapshot: the error of whoever takes it', async () => {
    const writing = writeArchive(sampleMeta(9), broken(sampleState(5)), { modifiedAt });
    await expect(collect(writing.chunks)).rejects.toThrow('connection reset');
  });

  test('creating the file, and renaming it: the error of the system, with the path', async () => {
    const missing = join(folder, 'none', 'a.snap');
    await expect(writeAside(missing, async () => {})).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(missing),
    });
    await writeFile(target, 'precious');
    await expect(writeAside(target, async () => {}, { overwrite: false })).rejects.toMatchObject({
      code: 'EEXIST',
      message: expect.stringContaining(target),
    });
  });

  test('writing, and syncing: the error of the system, and nothing is left', async () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device, fsync'), { code: 'ENOSPC' });
    const attempt = writeAside(target, async (file) => {
      file.sync = async () => {
        throw full;
      };
    });
    await expect(attempt).rejects.toBe(full);
    expect(await readdir(folder)).toEqual([]);
  });

  test('opening, reading and decompressing: what was read so far and why, apart from what is wrong with the bytes', async () => {
    expect(await verdict(verifyArchiveFile(target))).toBe('ENOENT');
    await expect(verifyArchive(broken((await good()).subarray(0, 700)))).rejects.toMatchObject({
      code: 'ARCHIVE_READ_FAILED',
      message: 'failed to read after 700: connection reset',
    });
    for (const [bytes, code] of [
      [Buffer.from('text'), 'ARCHIVE_NOT_GZIP'],
      [gzipSync('text'.repeat(200)), 'ARCHIVE_NOT_TAR'],
      [(await good()).subarray(0, -1), 'ARCHIVE_TRUNCATED'],
      [Buffer.concat([await good(), Buffer.alloc(4)]), 'ARCHIVE_TRAILING_BYTES'],
      [await archiveOf(goodPieces().slice(0, 2)), 'ARCHIVE_FILE_MISSING'],
    ] as const) {
      await expect(verify(bytes)).rejects.toMatchObject({ name: 'ArchiveError', code });
    }
  });

  test('writing the state aside for a restore: the error of the system, and the state is not there', async () => {
    await writeFile(target, await good());
    const verified = await verifyArchiveFile(target);
    const state = join(folder, 'none', 'state.bin');
    await expect(extractState(target, verified, state)).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(state),
    });
    expect(await readdir(folder)).toEqual(['a.snap']);
  });

  test('reading what is to be converted: the file first, then the reason', async () => {
    const path = join(folder, '2_17.ss');
    await writeFile(path, goraftFile(goraftJson(sampleState(300))).subarray(0, 200));
    await expect(openSource(path)).rejects.toMatchObject({
      code: 'ARCHIVE_TRUNCATED',
      message: `${path}: cut short: it ends after 200 bytes, inside its state`,
    });
    await writeFile(path, goraftFile(goraftJson(sampleState(300))));
    const source = await openSource(path);
    await rm(path);
    await expect(convertToFile(source, target, { now: modifiedAt })).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(path),
    });
    await expect(readFile(target)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
