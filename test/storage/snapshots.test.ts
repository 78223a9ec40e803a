import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Crc64 } from '../../src/crc64.ts';
import { openSnapshotFolder } from '../../src/storage/snapshots.ts';
import type { OpenSnapshot } from '../../src/storage/types.ts';
import { newFolder } from './folder.ts';

const configuration = { voters: ['a', 'b'] };
const about = (index: number, term = 3) => ({ version: 1, index, term, configuration, configurationIndex: 1 });
const bytes = (text: string) => new Uint8Array(Buffer.from(text));

async function newStore(retain = 2, warn?: (message: string, pairs: Record<string, unknown>) => void) {
  const folder = join(await newFolder(), 'snap');
  let clock = 1000;
  const options = { folder, retain, now: () => clock++, ...(warn ? { warn } : {}) };
  return { folder, store: await openSnapshotFolder(options), again: () => openSnapshotFolder(options) };
}

type Store = Awaited<ReturnType<typeof newStore>>['store'];

async function save(store: Store, index: number, text: string, term = 3) {
  const sink = await store.create(about(index, term));
  await sink.write(bytes(text.slice(0, 5)));
  await sink.write(bytes(text.slice(5)));
  return sink.close();
}

async function textOf({ read }: OpenSnapshot, offset = 0): Promise<string> {
  let text = '';
  for await (const chunk of read(offset)) text += Buffer.from(chunk).toString();
  return text;
}

async function read(store: Store, id: string): Promise<string> {
  const snapshot = await store.open(id);
  try {
    return await textOf(snapshot);
  } finally {
    await snapshot.close();
  }
}

describe('a folder that has gone', () => {
  test('is not made anew: what is mounted there may have gone with it', async () => {
    const { folder, store } = await newStore();
    await rm(folder, { recursive: true });
    await expect(save(store, 17, 'hello world')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(readdir(folder)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('one snapshot', () => {
  test('HR-01 HR-04 HR-33 is a folder named by term, index and time, with meta.json and state.bin', async () => {
    const { folder, store } = await newStore();
    const meta = await save(store, 17, 'hello world');
    expect(meta).toEqual({
      version: 1,
      id: '3-17-1000',
      index: 17,
      term: 3,
      configuration,
      configurationIndex: 1,
      size: 11,
      crc: meta.crc,
    });
    expect((await readdir(join(folder, meta.id))).sort()).toEqual(['meta.json', 'state.bin']);
    expect(JSON.parse(await readFile(join(folder, meta.id, 'meta.json'), 'utf8'))).toMatchObject({
      Version: 1,
      ID: meta.id,
      Index: 17,
      Term: 3,
      Peers: null,
      Configuration: configuration,
      ConfigurationIndex: 1,
      Size: 11,
    });
    expect(await read(store, meta.id)).toBe('hello world');
  });

  test('HR-05 NS-21 an unsupported version is refused', async () => {
    const { store } = await newStore();
    await expect(store.create({ ...about(1), version: 2 })).rejects.toThrow('unsupported snapshot version 2');
  });

  test('HR-22 ES-20 is invisible until closed, and leaves nothing when cancelled', async () => {
    const { folder, store } = await newStore();
    const sink = await store.create(about(5));
    await sink.write(bytes('half'));
    expect(await store.list()).toEqual([]);
    await sink.cancel();
    expect(await readdir(folder)).toEqual([]);
  });

  test('HR-34 close and cancel may be called again', async () => {
    const { store } = await newStore();
    const sink = await store.create(about(5));
    const meta = await sink.close();
    expect(await sink.close()).toEqual(meta);
    await sink.cancel();
    expect((await store.list()).length).toBe(1);
    const other = await store.create(about(6));
    await other.cancel();
    await other.cancel();
    await expect(other.close()).rejects.toMatchObject({ code: 'SNAPSHOT_UNUSABLE' });
    await expect(other.write(bytes('x'))).rejects.toMatchObject({ code: 'SNAPSHOT_UNUSABLE' });
  });

  test('HR-23 a failing close reports the error and leaves no snapshot', async () => {
    const { folder, store } = await newStore();
    const sink = await store.create(about(5));
    await rm(folder, { recursive: true });
    await expect(sink.close()).rejects.toThrow();
    await mkdir(folder);
    expect(await store.list()).toEqual([]);
  });

  test('HR-34 every changed byte of the state is found out on open: CRC mismatch', async () => {
    const { folder, store } = await newStore();
    const meta = await save(store, 9, 'some state');
    const path = join(folder, meta.id, 'state.bin');
    const good = await readFile(path);
    for (let i = 0; i < good.length; i++) {
      const bad = Buffer.from(good);
      bad[i]! ^= 1;
      await writeFile(path, bad);
      await expect(store.open(meta.id)).rejects.toMatchObject({
        code: 'SNAPSHOT_CORRUPT',
        message: expect.stringMatching(/CRC mismatch/),
      });
    }
    await writeFile(path, good.subarray(1));
    await expect(store.open(meta.id)).rejects.toMatchObject({
      code: 'SNAPSHOT_CORRUPT',
      message: expect.stringMatching(/9 bytes.*says 10/),
    });
  });

  test('HR-07 what was not asked for by a listed id does not exist', async () => {
    const { store } = await newStore();
    for (const id of ['1-2-3', '../snap', ''])
      await expect(store.open(id)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
  });
});

describe('the folder', () => {
  test('HR-06 D4 lists by number, not by text: term, then index, then time, newest first', async () => {
    const { store } = await newStore(9);
    for (const [index, term] of [
      [10, 9],
      [9, 10],
      [100, 9],
      [9, 9],
    ] as const)
      await save(store, index, 'x', term);
    expect((await store.list()).map((m) => [m.term, m.index])).toEqual([
      [10, 9],
      [9, 100],
      [9, 10],
      [9, 9],
    ]);
  });

  test('HR-34 keeps the retained number and removes older ones after each close', async () => {
    const { folder, store } = await newStore(2);
    for (const index of [1, 2, 3, 4]) await save(store, index, `state ${index}`);
    expect((await store.list()).map((m) => m.index)).toEqual([4, 3]);
    expect((await readdir(folder)).length).toBe(2);
  });

  test('HR-07 an opened snapshot can be read from anywhere, again and again, and is kept until it is closed', async () => {
    const { store } = await newStore(1);
    const old = await save(store, 1, 'old state');
    const open = await store.open(old.id);
    await save(store, 2, 'new state');
    expect(await textOf(open)).toBe('old state');
    expect(await textOf(open, 4)).toBe('state');
    await open.close();
    await open.close();
    await expect(store.open(old.id)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
  });

  test('HR-34 must retain at least one snapshot', async () => {
    await expect(newStore(0)).rejects.toThrow('must retain at least one snapshot');
  });

  test('HR-33 what a crash left under .tmp is cleared away; unreadable descriptions and versions are skipped with a warning', async () => {
    const warnings: string[] = [];
    const { folder, store, again } = await newStore(5, (_, pairs) => warnings.push(String(pairs['id'])));
    await save(store, 1, 'good');
    const unfinished = await store.create(about(2));
    await unfinished.write(bytes('never finished'));
    await mkdir(join(folder, '4-4-4'));
    await mkdir(join(folder, '5-5-5'));
    await writeFile(join(folder, '5-5-5', 'meta.json'), '{"Version":7}');
    const reopened = await again();
    expect((await reopened.list()).map((m) => m.index)).toEqual([1]);
    expect(warnings.sort()).toEqual(['4-4-4', '5-5-5']);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    await unfinished.cancel();
  });

  test('HR-34 a folder that cannot be written is refused at start', async () => {
    const folder = await newFolder();
    await writeFile(join(folder, 'snap'), '');
    await expect(openSnapshotFolder({ folder: join(folder, 'snap'), retain: 2, now: Date.now })).rejects.toMatchObject({
      code: 'DATA_DIR_UNUSABLE',
    });
  });
});

test('CRC-64/ECMA has its published check value, however the bytes are cut', () => {
  expect(new Crc64().update(bytes('123456789')).digest()).toBe('995dc9bbdf1939fa');
  const whole = new Uint8Array(1000).map((_, i) => i * 13);
  const expected = new Crc64().update(whole).digest();
  for (const cut of [0, 1, 7, 8, 9, 500]) {
    expect(new Crc64().update(whole.subarray(0, cut)).update(whole.subarray(cut)).digest()).toBe(expected);
  }
});
