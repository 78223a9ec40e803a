import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { expectArchive } from '../../src/archive/check.ts';
import { describeArchive } from '../../src/archive/describe.ts';
import { extractState, verifyArchiveFile, writeAside } from '../../src/archive/file.ts';
import type { MemoryInUse } from './memory.ts';
import { archiveOf, goodPieces, sampleState, verdict, verify, written } from './samples.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-archive-'));
  path = join(folder, 'a.tar.gz');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('an archive in a file', () => {
  test('NS-11 verified whole first, then extracted whole', async () => {
    const state = sampleState(400_000);
    await writeFile(path, await written(state));
    const verified = await verifyArchiveFile(path);
    await extractState(path, verified, join(folder, 'state.bin'));
    expect((await readFile(join(folder, 'state.bin'))).equals(state)).toBe(true);
    expect((await readdir(folder)).sort()).toEqual(['a.tar.gz', 'state.bin']);
  });

  test('NS-11 NS-12 an archive that changes between the passes extracts nothing, and an old target stays', async () => {
    await writeFile(path, await written(sampleState(4000)));
    const verified = await verifyArchiveFile(path);
    const target = join(folder, 'state.bin');
    await writeFile(target, 'old');
    await writeFile(path, await written(sampleState(4000, 2)));
    expect(await verdict(extractState(path, verified, target))).toBe('ARCHIVE_CHANGED');
    await writeFile(path, (await written(sampleState(4000))).subarray(0, 512));
    expect(await verdict(extractState(path, verified, target))).toBe('ARCHIVE_TRUNCATED');
    expect(await readFile(target, 'utf8')).toBe('old');
    expect((await readdir(folder)).sort()).toEqual(['a.tar.gz', 'state.bin']);
  });

  test('a file that is not there is no bad archive', async () => {
    expect(await verdict(verifyArchiveFile(join(folder, 'none')))).toBe('ENOENT');
    expect(await verdict(verifyArchiveFile(folder))).toMatch(/^(EISDIR|ARCHIVE_READ_FAILED)$/);
  });

  test('NS-03 D8 a file written aside appears whole, or not at all', async () => {
    await writeAside(path, (file) => file.writeFile('new'));
    expect(await readFile(path, 'utf8')).toBe('new');
    await expect(
      writeAside(path, async (file) => {
        await file.writeFile('half');
        throw new Error('no more');
      }),
    ).rejects.toThrow('no more');
    expect(await verdict(writeAside(path, (file) => file.writeFile('other'), { overwrite: false }))).toBe('EEXIST');
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await readdir(folder)).toEqual(['a.tar.gz']);
  });

  test('NS-02 writing and verifying 200 MB takes no more memory than a small archive does', async () => {
    const child = join(import.meta.dirname, 'large-state.ts');
    const argv = ['--disable-warning=ExperimentalWarning', '--expose-gc', child, path, String(200 * 1000 * 1000)];
    const { stdout } = await promisify(execFile)(process.execPath, argv);
    const { size, same, start, most, samples } = JSON.parse(stdout) as MemoryInUse & { size: number; same: boolean };
    expect([size, same]).toEqual([200_000_000, true]);
    expect(samples).toBeGreaterThan(10);
    expect((most - start) / 1e6).toBeLessThan(50);
  });
});

describe('what is expected of an archive', () => {
  test('its checksum and its engine, where they are asked for', async () => {
    const ours = await verify(await written(sampleState(10)));
    expect(expectArchive(ours, {})).toMatchObject({ cluster: 'sample' });
    expect(expectArchive(ours, { engine: 'Embedded', checksum: ours.checksum })).toMatchObject({ keys: 9 });
    expect(() => expectArchive(ours, { engine: 'Consul' })).toThrow('holds the state of the engine Embedded');
    expect(() => expectArchive(ours, { checksum: 'sha-256=x' })).toThrow('another archive than the one asked for');
    const foreign = await verify(await archiveOf(goodPieces()));
    expect(() => expectArchive(foreign, { engine: 'Embedded' })).toThrow('was not made by Raftsman');
    expect(expectArchive(foreign, {})).toBeUndefined();
  });

  test('a description has all digits of every number', async () => {
    const text = describeArchive(await verify(await written(sampleState(10), { index: 2n ** 64n - 1n })));
    expect(text).toContain('"index": 18446744073709551615');
    expect(JSON.parse(text)).toMatchObject({
      term: 2,
      revision: 12,
      keys: 9,
      stateBytes: 10,
      servers: [{ suffrage: 'voter' }],
    });
  });
});
