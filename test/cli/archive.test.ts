import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { archiveOf, goodPieces } from '../archive/samples.ts';
import { type Single, startSingle } from '../etcd/single.ts';
import { archive } from './run.ts';

let member: Single;
let folder: string;

beforeAll(async () => {
  member = await startSingle();
  const client = new EtcdClient({ endpoints: [member.url] });
  for (let at = 0; at < 5; at++) await client.put({ key: Buffer.from(`k${at}`), value: Buffer.from('v') });
  client.close();
});
afterAll(() => member.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-cli-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('raftsman archive', () => {
  test('save, inspect and verify a file', async () => {
    const file = join(folder, 'a.tar.gz');
    const save = await archive('save', '--endpoints', member.url, '--cluster', 'demo', file);
    expect(save).toMatchObject({ status: 0, err: '' });
    expect(save.out).toMatch(/^saved .*a\.tar\.gz: 5 keys at revision 6, index \d+, term 3, \d+ bytes, sha-256=\S+\n$/);
    const inspect = await archive('inspect', file);
    expect(inspect).toMatchObject({ status: 0, err: '' });
    expect(JSON.parse(inspect.out)).toMatchObject({
      engine: 'Embedded',
      cluster: 'demo',
      revision: 6,
      keys: 5,
      term: 3,
      sizeBytes: (await readFile(file)).length,
      checksum: expect.stringMatching(/^sha-256=/),
      servers: [{ suffrage: 'voter', id: '8e9e05c52164694d' }],
    });
    expect(await archive('verify', file)).toMatchObject({
      status: 0,
      out: expect.stringContaining('a.tar.gz is good: 5 keys'),
    });
    expect(await readdir(folder)).toEqual(['a.tar.gz']);
  });

  test('save refuses to overwrite, unless forced, and leaves the old file when it fails', async () => {
    const file = join(folder, 'a.tar.gz');
    await writeFile(file, 'precious');
    const refused = await archive('save', `--endpoints=${member.url}`, file);
    expect(refused).toMatchObject({ status: 1, out: '', err: expect.stringContaining('is there already') });
    expect((await archive('save', '--endpoints=http://127.0.0.1:1', '--force', file)).status).toBe(1);
    expect(await readFile(file, 'utf8')).toBe('precious');
    expect((await archive('save', `--endpoints=${member.url}`, '--force', file)).status).toBe(0);
    expect((await archive('verify', file)).status).toBe(0);
    expect(await readdir(folder)).toEqual(['a.tar.gz']);
  });

  test('the same in a store, named by its manifest', async () => {
    const manifest = join(folder, 'store.yaml');
    await writeFile(
      manifest,
      `# two documents\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\napiVersion: raftsman.dev/v1alpha1\nkind: RaftSnapshotStore\nmetadata: {name: vol}\nspec:\n  volume: {claimName: c, path: backups}\n`,
    );
    const place = ['--store', manifest, '--mount', folder, '--key', 'ns/a.tar.gz'];
    expect(await archive('save', '--endpoints', member.url, ...place)).toMatchObject({ status: 0, err: '' });
    expect(await archive('save', '--endpoints', member.url, ...place)).toMatchObject({
      status: 1,
      err: expect.stringContaining('is there already'),
    });
    expect(await archive('save', '--endpoints', member.url, '--force', ...place)).toMatchObject({ status: 0 });
    expect(await archive('verify', ...place)).toMatchObject({ status: 0 });
    expect(JSON.parse((await archive('inspect', ...place)).out)).toMatchObject({ keys: 5 });
    expect(await readdir(join(folder, 'backups/ns'))).toEqual(['a.tar.gz']);
    expect(await archive('verify', '--store', manifest, '--mount', folder, '--key', 'none')).toMatchObject({
      status: 1,
      err: expect.stringMatching(/there is no "none" in .* \[STORE_KEY_MISSING\]/),
    });
  });

  test('a bad archive is status 1 with one line that says what is wrong', async () => {
    const file = join(folder, 'bad.tar.gz');
    const good = await archiveOf(goodPieces());
    for (const [bytes, message] of [
      [good.subarray(0, 50), 'unexpected EOF: the archive ends after 50 bytes'],
      [Buffer.from('text'), 'not a gzip file'],
      [Buffer.concat([good, Buffer.alloc(1)]), 'bytes follow the end of the gzip stream'],
    ] as const) {
      await writeFile(file, bytes);
      for (const verb of ['verify', 'inspect']) {
        const { status, out, err } = await archive(verb, file);
        expect([status, out]).toEqual([1, '']);
        expect(err).toContain(message);
        expect(err.split('\n')).toHaveLength(2);
      }
    }
    expect(await archive('verify', join(folder, 'none'))).toMatchObject({
      status: 1,
      err: expect.stringContaining('ENOENT'),
    });
  });

  test('NS-17 an archive of other make is good, and said to be of other make', async () => {
    const file = join(folder, 'foreign.tar.gz');
    await writeFile(file, await archiveOf(goodPieces()));
    expect(await archive('verify', file)).toMatchObject({ status: 0, out: expect.stringContaining('not of Raftsman') });
  });

  test('wrong usage is status 2 with the flag in one line', async () => {
    for (const [argv, message] of [
      [[], 'use save, inspect, verify or convert'],
      [['restore'], 'unknown command "restore"'],
      [['save', 'x'], 'save needs --endpoints'],
      [['save', '--endpoints', 'http://a'], 'save needs a FILE'],
      [['verify', '--nonsense', 'x'], "'--nonsense'"],
      [['verify', '--force', 'x'], 'verify takes no --force'],
      [['verify', 'x', 'y'], 'unexpected argument "y"'],
      [['verify', '--store', 's', 'x'], 'give either a file'],
      [['verify', '--store', 's'], '--store needs --key'],
      [['verify', '--key', 'k'], '--key needs --store'],
    ] as const) {
      const { status, out, err } = await archive(...argv);
      expect([argv, status, out]).toEqual([argv, 2, '']);
      expect(err).toContain(message);
      expect(err.split('\n')).toHaveLength(2);
    }
    expect(await archive('--help')).toMatchObject({ status: 0, out: expect.stringContaining('usage:') });
  });

  test('a manifest that is none is refused with its file', async () => {
    const manifest = join(folder, 'store.yaml');
    for (const [text, message] of [
      ['kind: Secret', 'has no RaftSnapshotStore'],
      ['', 'RaftSnapshotStore'],
      ['a: [', 'store.yaml'],
      ['kind: RaftSnapshotStore\nspec: {}', 'exactly one of volume and s3'],
    ] as const) {
      await writeFile(manifest, text);
      expect(await archive('verify', '--store', manifest, '--key', 'k')).toMatchObject({
        status: 1,
        err: expect.stringContaining(message),
      });
    }
  });
});
