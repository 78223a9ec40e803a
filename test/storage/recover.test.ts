import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { dataPaths, holdsMember, lockDataDir } from '../../src/storage/data-dir.ts';
import { recoverSnapshot } from '../../src/storage/recover.ts';
import { type FolderSnapshotStore, openSnapshotFolder } from '../../src/storage/snapshots.ts';
import type { LogEntry, OpenSnapshot, SnapshotMark } from '../../src/storage/types.ts';
import { newFolder } from './folder.ts';

const mark = (index: number, replacesLog = false): SnapshotMark => ({
  index,
  term: 1,
  configuration: {},
  configurationIndex: 0,
  replacesLog,
});
const entries = (from: number, to: number): LogEntry[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({
    index: from + i,
    term: 1,
    kind: 'normal',
    data: new Uint8Array(),
  }));

async function stored(store: FolderSnapshotStore, index: number): Promise<string> {
  const sink = await store.create({ version: 1, index, term: 1, configuration: {}, configurationIndex: 0 });
  await sink.write(new Uint8Array(Buffer.from(`state ${index}`)));
  return (await sink.close()).id;
}

async function newStore(indexes: number[], retain = 5) {
  const folder = await newFolder();
  const again = () => openSnapshotFolder({ folder, retain, now: Date.now });
  const store = await again();
  const ids: string[] = [];
  for (const index of indexes) ids.push(await stored(store, index));
  return { folder, store, ids, again };
}

const hardState = { term: 1, vote: null, commit: 0 };
const options = {
  warn: () => {},
  load: async ({ read }: OpenSnapshot) => {
    for await (const chunk of read()) expect(chunk.length).toBeGreaterThan(0);
  },
};

describe('which snapshot a restart begins with', () => {
  test('RA-19 the newest that the log has a mark of: an orphan is passed over', async () => {
    const { store } = await newStore([10, 20, 30]);
    const log = { hardState, entries: entries(5, 40), snapshots: [mark(0), mark(10), mark(20)] };
    expect(await recoverSnapshot(store, log, options)).toEqual(mark(20));
  });

  test('RA-19 HR-35 what was stored and never recorded does not push out the one that the log goes on from, crash after crash', async () => {
    const { store, again } = await newStore([10], 2);
    const log = { hardState, entries: entries(11, 60), snapshots: [mark(10)] };
    store.hold(mark(10));
    for (const index of [20, 30]) await stored(store, index);
    const second = await again();
    expect(await recoverSnapshot(second, log, options)).toEqual(mark(10));
    expect((await second.all()).map(({ index }) => index)).toEqual([10]);
    for (const index of [40, 50]) await stored(second, index);
    const third = await again();
    expect(await recoverSnapshot(third, log, options)).toEqual(mark(10));
    await stored(third, 60);
    third.hold(mark(60));
    for (const index of [70, 80]) await stored(third, index);
    expect((await third.all()).map(({ index }) => index)).toEqual([80, 70, 60]);
  });

  test('RA-19 HR-35 while one is looked at none is removed: the next older one may be needed', async () => {
    const { folder, ids } = await newStore([10, 20, 30, 40]);
    await writeFile(join(folder, ids[1]!, 'state.bin'), 'damaged');
    const log = { hardState, entries: entries(5, 60), snapshots: [mark(10), mark(20)] };
    const store = await openSnapshotFolder({ folder, retain: 2, now: Date.now });
    expect(await recoverSnapshot(store, log, options)).toEqual(mark(10));
    expect((await store.all()).map(({ index }) => index)).toEqual([20, 10]);
  });

  test('RA-19 the record of an older one, which comes after that of one installed meanwhile, lets go of neither', async () => {
    const { store } = await newStore([15, 20], 2);
    store.hold(mark(20));
    store.hold(mark(15));
    for (const index of [30, 40]) await stored(store, index);
    expect((await store.all()).map(({ index }) => index)).toEqual([40, 30, 20]);
  });

  test('RA-18 no snapshot is no error when the log begins at its beginning', async () => {
    const { store } = await newStore([]);
    expect(await recoverSnapshot(store, { hardState, entries: entries(1, 4), snapshots: [mark(0)] }, options)).toEqual(
      mark(0),
    );
  });

  test('HR-35 a newer one that does not load is passed over for the next older, when the log bridges the gap', async () => {
    const { folder, store, ids } = await newStore([10, 20]);
    await writeFile(join(folder, ids[1]!, 'state.bin'), 'damaged');
    const log = { hardState, entries: entries(5, 40), snapshots: [mark(10), mark(20)] };
    expect(await recoverSnapshot(store, log, options)).toEqual(mark(10));
    const short = { hardState, entries: entries(15, 40), snapshots: [mark(10), mark(20)] };
    await expect(recoverSnapshot(store, short, options)).rejects.toMatchObject({
      code: 'SNAPSHOT_UNUSABLE',
      message: expect.stringMatching(/the log begins at 15/),
    });
  });

  test('HR-35 when some exist and none loads the start fails', async () => {
    const { folder, store, ids } = await newStore([10]);
    await rm(join(folder, ids[0]!, 'state.bin'));
    const log = { hardState, entries: entries(1, 40), snapshots: [mark(0), mark(10)] };
    await expect(recoverSnapshot(store, log, options)).rejects.toThrow('failed to load any existing snapshots');
  });

  test('a log that tells of a snapshot which is not there is not started from nothing', async () => {
    const { store } = await newStore([]);
    const log = { hardState, entries: entries(21, 40), snapshots: [mark(20)] };
    await expect(recoverSnapshot(store, log, options)).rejects.toMatchObject({ code: 'SNAPSHOT_UNUSABLE' });
  });

  test('an older snapshot is no ground to stand on once a snapshot from the leader replaced the log', async () => {
    const { folder, store, ids } = await newStore([10, 90]);
    await writeFile(join(folder, ids[1]!, 'state.bin'), 'damaged');
    const log = { hardState, entries: [], snapshots: [mark(10), mark(90, true)] };
    await expect(recoverSnapshot(store, log, options)).rejects.toMatchObject({
      code: 'SNAPSHOT_UNUSABLE',
      message: expect.stringMatching(/begins anew at 91/),
    });
  });

  test('a log that ends before what is known as committed is refused', async () => {
    const { store } = await newStore([10]);
    const log = { hardState: { ...hardState, commit: 50 }, entries: entries(5, 40), snapshots: [mark(10)] };
    await expect(recoverSnapshot(store, log, options)).rejects.toMatchObject({
      message: expect.stringMatching(/ends at 40, before.*50/),
    });
  });
});

describe('the data directory', () => {
  test('is locked against a second holder until released', async () => {
    const paths = dataPaths(join(await newFolder(), 'data'));
    expect(await holdsMember(paths)).toBe(false);
    const lock = await lockDataDir(paths);
    await expect(lockDataDir(paths)).rejects.toMatchObject({
      code: 'DATA_DIR_LOCKED',
      message: expect.stringContaining(paths.root),
    });
    lock.release();
    (await lockDataDir(paths)).release();
  });

  test('that cannot be made is refused with its path', async () => {
    const folder = await newFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(lockDataDir(dataPaths(join(folder, 'file', 'data')))).rejects.toMatchObject({
      code: 'DATA_DIR_UNUSABLE',
    });
  });
});
