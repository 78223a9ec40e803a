import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type AppendFile, realDisk } from '../../src/storage/disk.ts';
import type { LogEntry, WalBatch } from '../../src/storage/types.ts';
import { Wal, type WalInternals } from '../../src/storage/wal.ts';
import { newFolder } from './folder.ts';

const identity = { clusterId: 'cdf818194e3a8c32', memberId: '8e9e05c52164694d' };
const entry = (index: number, term = 1, data = `entry ${index}`): LogEntry => ({
  index,
  term,
  kind: 'normal',
  data: new Uint8Array(Buffer.from(data)),
});
const entries = (from: number, to: number, term = 1) =>
  Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term));
const mark = (index: number, term = 1, replacesLog = false) => ({
  index,
  term,
  configuration: { voters: ['a'] },
  configurationIndex: 0,
  replacesLog,
});
const state = (term: number, commit: number, vote: string | null = null) => ({ term, commit, vote });

async function newWal(options: WalInternals = {}) {
  const folder = join(await newFolder(), 'wal');
  return { folder, wal: await Wal.create(folder, identity, { allocationBytes: 4096, ...options }) };
}

async function reopened(folder: string, options: WalInternals = {}) {
  const opened = await Wal.open(folder, options);
  await opened.wal.close();
  return opened.contents;
}

async function write(wal: Wal, ...batches: WalBatch[]): Promise<void> {
  for (const batch of batches) await wal.append(batch);
}

describe('what was appended is read back', () => {
  test('D1 identity, term and vote, entries of every kind, and snapshot marks survive a restart', async () => {
    const { folder, wal } = await newWal();
    const kinds: LogEntry[] = [
      { ...entry(1), kind: 'noop', data: new Uint8Array() },
      entry(2),
      { ...entry(3), kind: 'configuration', data: new Uint8Array([0, 255, 0]) },
    ];
    await write(wal, { hardState: state(7, 3, 'beef'), entries: kinds }, { snapshot: mark(2) });
    await wal.close();
    expect(await reopened(folder)).toEqual({
      identity,
      hardState: state(7, 3, 'beef'),
      entries: kinds,
      snapshots: [mark(2)],
      tornBytes: 0,
    });
  });

  test('numbers up to 2^53 - 1 and an entry of 2 MiB keep their value', async () => {
    const { folder, wal } = await newWal();
    const big = new Uint8Array(2 << 20).map((_, i) => i * 31);
    await write(wal, {
      hardState: state(Number.MAX_SAFE_INTEGER, 4_294_967_297),
      entries: [{ ...entry(1, 4_294_967_296), data: big }],
    });
    await wal.close();
    const contents = await reopened(folder);
    expect(contents.hardState).toEqual(state(Number.MAX_SAFE_INTEGER, 4_294_967_297));
    expect(contents.entries[0]!.term).toBe(4_294_967_296);
    expect(Buffer.compare(contents.entries[0]!.data, big)).toBe(0);
  });

  test('RS-22 an entry with a lower index supersedes it and everything after it', async () => {
    const { folder, wal } = await newWal();
    await write(wal, { entries: entries(1, 10) }, { entries: entries(4, 5, 2) }, { entries: [entry(6, 3)] });
    await wal.close();
    expect((await reopened(folder)).entries.map((e) => [e.index, e.term])).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
      [4, 2],
      [5, 2],
      [6, 3],
    ]);
  });

  test('RA-13 a mark that replaces the log voids the entries before it', async () => {
    const { folder, wal } = await newWal();
    await write(
      wal,
      { entries: entries(1, 10) },
      { hardState: state(3, 100), snapshot: mark(100, 3, true) },
      { entries: entries(101, 102, 3) },
    );
    await wal.close();
    const contents = await reopened(folder);
    expect(contents.entries.map((e) => e.index)).toEqual([101, 102]);
    expect(contents.snapshots).toEqual([mark(100, 3, true)]);
  });

  test('RA-19 a mark beyond the commit index is left out', async () => {
    const { folder, wal } = await newWal();
    await write(wal, { hardState: state(1, 2), entries: entries(1, 5) }, { snapshot: mark(2) }, { snapshot: mark(4) });
    await wal.close();
    expect((await reopened(folder)).snapshots).toEqual([mark(2)]);
  });
});

describe('batches', () => {
  test('appends that arrive while one is being written share the next write', async () => {
    const writes: number[] = [];
    const openAppend = async (path: string): Promise<AppendFile> => {
      const file = await realDisk.openAppend(path);
      const write = (bytes: Uint8Array, at: number) => {
        writes.push(bytes.length);
        return file.write(bytes, at);
      };
      return { ...file, write };
    };
    const { folder, wal } = await newWal({ disk: { ...realDisk, openAppend } });
    await Promise.all(entries(1, 50).map((e) => wal.append({ entries: [e] })));
    expect(writes.length).toBe(1);
    const first = wal.append({ entries: [entry(51)] });
    await Promise.resolve();
    await Promise.all([first, ...entries(52, 99).map((e) => wal.append({ entries: [e] }))]);
    expect(writes.length).toBe(3);
    await wal.close();
    expect((await reopened(folder)).entries.length).toBe(99);
  });

  test('a commit index alone costs no write, and is written with the next batch or at the end', async () => {
    let writes = 0;
    const openAppend = async (path: string): Promise<AppendFile> => {
      const file = await realDisk.openAppend(path);
      const write = (bytes: Uint8Array, at: number) => {
        writes++;
        return file.write(bytes, at);
      };
      return { ...file, write };
    };
    const { folder, wal } = await newWal({ disk: { ...realDisk, openAppend } });
    await write(wal, { hardState: state(1, 0, 'a'), entries: entries(1, 3) });
    await write(wal, { hardState: state(1, 2, 'a') }, { hardState: state(1, 3, 'a') });
    expect(writes).toBe(1);
    await wal.close();
    expect((await reopened(folder)).hardState).toEqual(state(1, 3, 'a'));
    const { wal: again } = await Wal.open(folder, { disk: { ...realDisk, openAppend } });
    const before = writes;
    await write(again, { hardState: state(2, 3, 'a') });
    expect(writes - before).toBe(1);
    await again.close();
  });

  test('RS-23 a failed write is final: nothing is retried, later appends are refused, the owner is told once', async () => {
    const told: Error[] = [];
    let broken = false;
    const openAppend = async (path: string): Promise<AppendFile> => {
      const file = await realDisk.openAppend(path);
      return {
        ...file,
        write: (bytes, at) => (broken ? Promise.reject(new Error('EIO: i/o error, fdatasync')) : file.write(bytes, at)),
      };
    };
    const { folder, wal } = await newWal({ disk: { ...realDisk, openAppend }, onFailure: (e) => told.push(e) });
    await write(wal, { entries: [entry(1)] });
    broken = true;
    const refused = [wal.append({ entries: [entry(2)] }), wal.append({ entries: [entry(3)] })];
    for (const one of refused)
      await expect(one).rejects.toMatchObject({ code: 'WAL_FAILED', message: /EIO.*the member must stop/ });
    broken = false;
    await expect(wal.append({ entries: [entry(2)] })).rejects.toMatchObject({ code: 'WAL_FAILED' });
    expect(told.length).toBe(1);
    await wal.close();
    expect((await reopened(folder)).entries.map((e) => e.index)).toEqual([1]);
  });
});

describe('a full disk', () => {
  test('RS-24 is waited for: nothing is acknowledged, and all goes on when there is room; who stops waits no more', async () => {
    const asked: string[] = [];
    const full = { is: true, from: 4096 };
    const openAppend = async (path: string): Promise<AppendFile> => {
      const file = await realDisk.openAppend(path);
      const zero = async (from: number, to: number) => {
        asked.push(`${from}-${to}`);
        if (!full.is || to <= full.from) return file.zero(from, to);
        // As far as there is room, and no further.
        await file.zero(from, from + 100);
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
      };
      return { ...file, zero };
    };
    const disk = { ...realDisk, openAppend };
    const told: string[] = [];
    const pauses: (() => void)[] = [];
    const options = {
      disk,
      onFull: (error: Error) => told.push(error.message),
      onFailure: (error: Error) => told.push(error.message),
      pauseWhenFull: () => new Promise<void>((resolve) => pauses.push(resolve)),
    };
    const { folder, wal } = await newWal(options);
    await write(wal, { entries: [entry(1)] });
    expect([wal.isFull, wal.isStuck, asked]).toEqual([false, false, []]);
    // More than half of the allocation: the next zeros are wanted, and need not be there yet.
    await write(wal, { entries: [entry(2, 1, 'x'.repeat(2500))] });
    while (!wal.isFull) await new Promise(setImmediate);
    expect([wal.isStuck, asked]).toEqual([false, ['4096-8192']]);
    const acknowledged: number[] = [];
    const large = wal.append({ entries: [entry(3, 1, 'y'.repeat(3000))] }).then(() => acknowledged.push(3));
    const small = wal.append({ entries: [entry(4)] }).then(() => acknowledged.push(4));
    while (!wal.isStuck) await new Promise(setImmediate);
    pauses.splice(0)[0]!();
    while (told.length < 3) await new Promise(setImmediate);
    expect([acknowledged, asked.length]).toEqual([[], 3]);
    full.is = false;
    pauses.splice(0)[0]!();
    await Promise.all([large, small]);
    expect([acknowledged, wal.isFull, wal.isStuck]).toEqual([[3, 4], false, false]);
    expect(new Set(told)).toEqual(new Set(['ENOSPC: no space left on device, write']));
    await wal.close();

    const { wal: again, contents } = await Wal.open(folder, options);
    expect(contents.entries.map(({ data }) => data.length)).toEqual([7, 2500, 3000, 7]);
    asked.length = 0;
    full.is = true;
    full.from = 8192;
    const refused = again.append({ entries: [entry(5, 1, 'z'.repeat(9000))] });
    while (!again.isStuck) await new Promise(setImmediate);
    again.stopWaiting();
    await expect(refused).rejects.toMatchObject({
      code: 'WAL_FAILED',
      message: expect.stringMatching(/ENOSPC/),
    });
    await again.close();
    // What was cut short is no reason not to open, on a disk that is still full.
    expect((await reopened(folder, options)).entries).toHaveLength(4);
  });

  test.each(['fdatasync', 'fsync'])('RS-23 a failed %s is final, also for want of room', async (syscall) => {
    const openAppend = async (path: string): Promise<AppendFile> => ({
      ...(await realDisk.openAppend(path)),
      zero: () =>
        Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', syscall })),
    });
    const { wal } = await newWal({ disk: { ...realDisk, openAppend } });
    await expect(wal.append({ entries: [entry(1, 1, 'x'.repeat(9000))] })).rejects.toMatchObject({
      code: 'WAL_FAILED',
    });
    await wal.close();
  });
});

describe('segments', () => {
  test('a full segment is followed by the next, and reading goes through all of them', async () => {
    const { folder, wal } = await newWal({ segmentBytes: 2000 });
    for (let i = 1; i <= 200; i++) await write(wal, { hardState: state(1, i - 1, 'a'), entries: [entry(i)] });
    expect(wal.segmentCount).toBeGreaterThan(4);
    await wal.close();
    const contents = await reopened(folder);
    expect(contents.entries.map((e) => e.index)).toEqual(entries(1, 200).map((e) => e.index));
    expect(contents.hardState).toEqual(state(1, 199, 'a'));
  });

  test('release removes the segments behind a snapshot and keeps identity, vote and marks', async () => {
    const { folder, wal } = await newWal({ segmentBytes: 2000 });
    for (let i = 1; i <= 200; i++) await write(wal, { hardState: state(3, i, 'a'), entries: [entry(i)] });
    await write(wal, { snapshot: mark(50) }, { snapshot: mark(120) });
    await write(wal, { entries: entries(201, 230) }, { entries: entries(231, 260) });
    const before = wal.segmentCount;
    await wal.release(120);
    expect(wal.segmentCount).toBeLessThan(before);
    await wal.close();
    expect((await readdir(folder)).length).toBe(wal.segmentCount);
    const contents = await reopened(folder);
    expect(contents.identity).toEqual(identity);
    expect(contents.hardState).toEqual(state(3, 200, 'a'));
    expect(contents.entries[0]!.index).toBeLessThanOrEqual(121);
    expect(contents.entries.at(-1)!.index).toBe(260);
    expect(contents.snapshots.at(-1)).toEqual(mark(120));
  });

  test('an unfinished new segment is cleared away; a missing one is refused with its file', async () => {
    const { folder, wal } = await newWal({ segmentBytes: 2000 });
    for (let i = 1; i <= 100; i++) await write(wal, { entries: [entry(i)] });
    await wal.close();
    const names = (await readdir(folder)).sort();
    await rm(join(folder, names[1]!));
    await expect(Wal.open(folder)).rejects.toMatchObject({
      code: 'WAL_CORRUPT',
      file: join(folder, names[2]!),
      message: /one is missing/,
    });
  });

  test('the file grows by whole allocations ahead of the data', async () => {
    const { folder, wal } = await newWal();
    for (let i = 1; i <= 100; i++) await write(wal, { entries: [entry(i, 1, 'x'.repeat(200))] });
    await wal.close();
    const { size } = await stat(join(folder, (await readdir(folder))[0]!));
    expect(size % 4096).toBe(0);
    expect(size).toBeGreaterThan(100 * 200);
  });

  test('a second log in the same place is refused', async () => {
    const { folder, wal } = await newWal();
    await wal.close();
    await expect(Wal.create(folder, identity)).rejects.toMatchObject({ code: 'WAL_EXISTS' });
    await expect(Wal.open(`${folder}-none`)).rejects.toMatchObject({ code: 'WAL_MISSING' });
  });
});
