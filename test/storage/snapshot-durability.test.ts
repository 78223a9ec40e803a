/** In which order a snapshot's files reach the disk: nothing but that order makes it survive a power loss (ES-21). */
import * as callbacks from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeEach, describe, expect, jest, test } from '@jest/globals';

const done: string[] = [];
/** What fails, by its line in `done`. */
let failing = '';
const note = (what: string): void => {
  done.push(what);
  if (what === failing) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
};
const known = (path: string): string => basename(path).replace(/^\d+-\d+-\d+/, 'snapshot');

const paths = new Map<number, string>();
jest.unstable_mockModule('node:fs', () => ({
  ...callbacks,
  write: (descriptor: number, ...rest: unknown[]) => {
    note(`write ${known(paths.get(descriptor)!)}`);
    (callbacks.write as (...all: unknown[]) => void)(descriptor, ...rest);
  },
}));
jest.unstable_mockModule('node:fs/promises', () => ({
  ...fs,
  open: async (path: string, flags: string, mode?: number) => {
    const file = await fs.open(path, flags, mode);
    paths.set(file.fd, path);
    return new Proxy(file, {
      get: (object, name) => {
        const value = Reflect.get(object, name, object) as unknown;
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (name === 'sync') note(`sync ${known(path)}`);
          return (value as (...all: unknown[]) => unknown).apply(object, args);
        };
      },
    });
  },
  rename: async (from: string, to: string) => {
    note(`rename ${known(from)} ${known(to)}`);
    await fs.rename(from, to);
  },
  rm: async (path: string, options: object) => {
    note(`rm ${known(path)}`);
    await fs.rm(path, options);
  },
}));

const { openSnapshotFolder } = await import('../../src/storage/snapshots.ts');
const { newFolder } = await import('./folder.ts');

beforeEach(() => {
  failing = '';
});

const about = (index: number) => ({ version: 1, index, term: 3, configuration: {}, configurationIndex: 1 });
const state = new Uint8Array(1000).fill(7);

async function newStore(retain = 1) {
  const folder = join(await newFolder(), 'snap');
  let clock = 1000;
  const store = await openSnapshotFolder({ folder, retain, now: () => clock++ });
  done.length = 0;
  return { folder, store };
}

describe('what is durable when', () => {
  test('ES-21 D14 HR-34 the state, then its description, then their folder, then the name, then the folder of names', async () => {
    const { store } = await newStore();
    const sink = await store.create(about(7));
    await sink.write(state);
    await sink.close();
    expect(done).toEqual([
      'write state.bin',
      'sync state.bin',
      'write meta.json',
      'sync meta.json',
      'sync snapshot.tmp',
      'rename snapshot.tmp snapshot',
      'sync snap',
    ]);
  });

  test('GR-26 HR-34 the one before goes only after the new one is durable, and is renamed before its files go', async () => {
    const { store } = await newStore();
    const before = await store.create(about(6));
    await before.close();
    done.length = 0;
    const sink = await store.create(about(7));
    await sink.write(state);
    expect((await store.list()).map(({ index }) => index)).toEqual([6]);
    await sink.close();
    expect(done.slice(done.indexOf('rename snapshot.tmp snapshot'))).toEqual([
      'rename snapshot.tmp snapshot',
      'sync snap',
      'rename snapshot snapshot.tmp',
      'rm snapshot.tmp',
      'sync snap',
    ]);
    expect((await store.list()).map(({ index }) => index)).toEqual([7]);
  });

  test('GR-26 one of the same index and term takes the place of the one before: it has a name of its own', async () => {
    const { folder, store } = await newStore();
    for (let i = 0; i < 2; i++) {
      const sink = await store.create(about(7));
      await sink.write(state);
      await sink.close();
    }
    expect(await fs.readdir(folder)).toEqual(['3-7-1001']);
  });

  test.each([
    'write state.bin',
    'sync state.bin',
    'write meta.json',
    'sync meta.json',
    'sync snapshot.tmp',
    'rename snapshot.tmp snapshot',
    'sync snap',
  ])(
    'ES-16 ES-19 HR-22 HR-23 when %s fails there is no snapshot, nothing is left over, and the one before is untouched',
    async (what) => {
      const { folder, store } = await newStore();
      await (await store.create(about(6))).close();
      failing = what;
      const sink = await store.create(about(7));
      const saving = async (): Promise<void> => {
        await sink.write(state);
        await sink.close();
      };
      await expect(saving()).rejects.toThrow('EIO');
      await sink.cancel();
      failing = '';
      expect((await store.list()).map(({ index }) => index)).toEqual([6]);
      expect(await fs.readdir(folder)).toEqual(['3-6-1000']);
    },
  );

  test('ES-18 D16 a name that is taken is left as it is, however late it was taken: the rename itself decides', async () => {
    const { folder, store } = await newStore(5);
    const sink = await store.create(about(7));
    await sink.write(state);
    const taken = join(folder, sink.id);
    await fs.mkdir(taken);
    await fs.writeFile(join(taken, 'state.bin'), 'the original');
    await expect(sink.close()).rejects.toMatchObject({
      code: 'SNAPSHOT_EXISTS',
      message: expect.stringContaining('snapshot to save has existed'),
    });
    expect(await fs.readFile(join(taken, 'state.bin'), 'utf8')).toBe('the original');
    expect(await fs.readdir(folder)).toEqual([sink.id]);
    expect(done.filter((line) => line.startsWith('rename'))).toEqual(['rename snapshot.tmp snapshot']);
  });

  test('ES-17 ES-22 a name says term, index and time; one that is still built, or is not there, is never found; a folder that cannot be read says so', async () => {
    const { folder, store } = await newStore(5);
    const sink = await store.create(about(7));
    expect(sink.id).toBe('3-7-1000');
    await sink.write(state);
    await expect(store.open(sink.id)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
    await expect(store.open(`${sink.id}.tmp`)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' });
    expect(await store.list()).toEqual([]);
    await sink.close();
    expect((await store.list()).map(({ id }) => id)).toEqual([sink.id]);
    await fs.rm(folder, { recursive: true });
    await expect(store.list()).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
