import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { VolumeStore } from '../../src/stores/volume.ts';
import { collect, sampleState, stream, verdict } from '../archive/samples.ts';

let mount: string;
let store: VolumeStore;

beforeEach(async () => {
  mount = await mkdtemp(join(tmpdir(), 'raftsman-volume-'));
  store = new VolumeStore(mount, 'backups/prod');
});
afterEach(() => rm(mount, { recursive: true, force: true }));

async function keys(prefix = ''): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix)) found.push(key);
  return found;
}

/** Every file under the mount, what is being written included. */
async function files(): Promise<string[]> {
  const all = await readdir(mount, { recursive: true, withFileTypes: true });
  return all.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

async function* failing(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield* stream(bytes, 1000);
  throw new Error('the member went away');
}

describe('a volume store', () => {
  test('gives back what was put, whole and in ranges, and says its size and SHA-256', async () => {
    const bytes = sampleState(700_000);
    const put = await store.put('ns/demo/one.tar.gz', stream(bytes));
    expect(put).toEqual({
      key: 'ns/demo/one.tar.gz',
      sizeBytes: 700_000,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
    const whole = await store.get('ns/demo/one.tar.gz');
    expect(whole.sizeBytes).toBe(700_000);
    expect((await collect(whole.chunks)).equals(bytes)).toBe(true);
    for (const range of [
      { start: 10 },
      { start: 0, end: 0 },
      { start: 100, end: 300_000 },
      { start: 699_999, end: 9e6 },
    ]) {
      const part = await store.get('ns/demo/one.tar.gz', { range });
      const expected = bytes.subarray(range.start, (range.end ?? bytes.length) + 1);
      expect(part.sizeBytes).toBe(expected.length);
      expect((await collect(part.chunks)).equals(expected)).toBe(true);
    }
    expect(await readFile(join(mount, 'backups/prod/ns/demo/one.tar.gz'))).toHaveLength(700_000);
  });

  test('an empty object is an object', async () => {
    await store.put('empty', stream(new Uint8Array(0)));
    expect((await collect((await store.get('empty')).chunks)).length).toBe(0);
    expect(await store.head('empty')).toMatchObject({ sizeBytes: 0 });
  });

  test('lists keys in the order of their bytes, by any prefix, without what is being written', async () => {
    expect(await keys()).toEqual([]);
    for (const key of ['a/b', 'a-b', 'a/c/d', 'b', 'A']) await store.put(key, stream(Buffer.from(key)));
    await writeFile(join(mount, 'backups/prod/.partial-0011-x'), 'x');
    expect(await keys()).toEqual(['A', 'a-b', 'a/b', 'a/c/d', 'b']);
    expect(await keys('a/')).toEqual(['a/b', 'a/c/d']);
    expect(await keys('a')).toEqual(['a-b', 'a/b', 'a/c/d']);
    expect(await keys('none')).toEqual([]);
  });

  test('a put that fails midway leaves nothing, and what was there before stays', async () => {
    await expect(store.put('ns/x', failing(sampleState(50_000)))).rejects.toThrow('the member went away');
    expect(await files()).toEqual([]);
    await store.put('ns/x', stream(Buffer.from('old')));
    await expect(store.put('ns/x', failing(sampleState(50_000)))).rejects.toThrow('the member went away');
    expect((await collect((await store.get('ns/x')).chunks)).toString()).toBe('old');
    expect(await files()).toEqual(['x']);
  });

  test('D8 a shorter object replaces a longer one whole', async () => {
    await store.put('k', stream(sampleState(10_000)));
    await store.put('k', stream(Buffer.from('short')));
    expect((await collect((await store.get('k')).chunks)).toString()).toBe('short');
  });

  test('an abort leaves nothing', async () => {
    const abort = new AbortController();
    async function* slow() {
      yield sampleState(1000);
      abort.abort(new Error('enough'));
      yield sampleState(1000);
    }
    expect(await verdict(store.put('k', slow(), { signal: abort.signal }))).toBe('STORE_ABORTED');
    expect(await files()).toEqual([]);
  });

  test('what is not there: head knows nothing, get says so, delete does not mind', async () => {
    expect(await store.head('nothing')).toBeUndefined();
    await expect(store.get('nothing')).rejects.toMatchObject({
      code: 'STORE_KEY_MISSING',
      message: expect.stringContaining('there is no "nothing" in'),
    });
    await store.put('a/b', stream(Buffer.from('x')));
    expect(await verdict(store.get('a'))).toBe('STORE_KEY_MISSING');
    expect(await verdict(store.get('a/b/c'))).toBe('STORE_KEY_MISSING');
    expect(await store.head('a')).toBeUndefined();
    await store.delete('a/b');
    await store.delete('a/b');
    expect(await keys()).toEqual([]);
  });

  test('keys that would leave the folder, or be taken for something else, are refused', async () => {
    for (const key of [
      '',
      '/etc/passwd',
      '../x',
      'a/../b',
      'a//b',
      'a/',
      './a',
      '.partial-1-x',
      'a/.b',
      'a\0b',
      'a b',
      'x'.repeat(1025),
    ]) {
      expect([key, await verdict(store.put(key, stream(Buffer.from('x'))))]).toEqual([key, 'STORE_KEY_INVALID']);
      expect(await verdict(store.get(key))).toBe('STORE_KEY_INVALID');
      expect(await verdict(store.delete(key))).toBe('STORE_KEY_INVALID');
    }
    expect(() => new VolumeStore(mount, '../other')).toThrow('is not a key');
    expect(await files()).toEqual([]);
  });

  test('a link inside the volume does not lead out of it', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'raftsman-outside-'));
    try {
      await writeFile(join(outside, 'secret'), 'secret');
      await mkdir(join(mount, 'backups/prod'), { recursive: true });
      await symlink(outside, join(mount, 'backups/prod/link'));
      for (const action of [
        store.put('link/new', stream(Buffer.from('x'))),
        store.get('link/secret'),
        store.delete('link/secret'),
      ]) {
        expect(await verdict(action)).toBe('STORE_KEY_INVALID');
      }
      expect(await readdir(outside)).toEqual(['secret']);
    } finally {
      await rm(outside, { recursive: true });
    }
  });

  test('a mount that is not there is said to be missing, with what to do', async () => {
    const missing = new VolumeStore(join(mount, 'nowhere'));
    await expect(missing.check()).rejects.toMatchObject({
      code: 'STORE_FOLDER_MISSING',
      message: expect.stringContaining("mount the store's volume there"),
    });
    expect(await verdict(missing.put('k', stream(Buffer.from('x'))))).toBe('STORE_FOLDER_MISSING');
    expect(await verdict(missing.get('k'))).toBe('STORE_FOLDER_MISSING');
    await store.check();
  });

  test('what a killed put left is removed after a day, and not before', async () => {
    const folder = join(mount, 'backups/prod');
    await mkdir(folder, { recursive: true });
    const old = join(folder, '.partial-aa-x');
    await writeFile(old, 'x');
    await writeFile(join(folder, '.partial-bb-y'), 'y');
    const before = new Date(Date.now() - 25 * 60 * 60 * 1000);
    await utimes(old, before, before);
    await store.put('z', stream(Buffer.from('z')));
    expect((await files()).sort()).toEqual(['.partial-bb-y', 'z']);
  });

  test('two puts of one key at once end with one of them whole', async () => {
    const one = sampleState(300_000, 1);
    const two = sampleState(300_000, 2);
    await Promise.all([store.put('k', stream(one, 5000)), store.put('k', stream(two, 7000))]);
    const bytes = await collect((await store.get('k')).chunks);
    expect(bytes.equals(one) || bytes.equals(two)).toBe(true);
    expect(await files()).toEqual(['k']);
  });
});
