import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { archiveOf, goodPieces, sampleState } from '../archive/samples.ts';
import { goraftFile, goraftJson, storeSnapshot } from '../archive/sources/samples.ts';
import { archive } from './run.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-cli-convert-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const snapshot = (term: number, index: number) =>
  goraftFile(goraftJson(sampleState(400, index), { lastTerm: term, lastIndex: index }));

describe('raftsman archive convert', () => {
  test('GR-06 D4: a folder of goraft: the newest, said which, and what else is there; verify and inspect know it', async () => {
    await mkdir(join(folder, 'snapshot'));
    await writeFile(join(folder, 'snapshot/9_1.ss'), snapshot(9, 1));
    await writeFile(join(folder, 'snapshot/10_1.ss'), snapshot(10, 1));
    const target = join(folder, 'out.snap');
    const { status, out, err } = await archive('convert', folder, target);
    expect([status, err]).toEqual([0, 'raftsman archive convert: took 10_1.ss, the newest; also there: 9_1.ss\n']);
    expect(out).toMatch(
      /^converted .*snapshot\/10_1\.ss to .*out\.snap: Goraft state of 400 bytes, index 1, term 10, \d+ bytes, sha-256=\S+\n$/,
    );
    expect(await archive('verify', target)).toMatchObject({
      status: 0,
      out: expect.stringContaining('is good: Goraft state of 400 bytes'),
    });
    expect(JSON.parse((await archive('inspect', target)).out)).toMatchObject({
      engine: 'Goraft',
      convertedFrom: 'goraft snapshot file',
      convertedAt: expect.any(String),
      stateBytes: 400,
      term: 10,
      servers: [{ id: 'one', address: 'http://127.0.0.1:7001' }, { id: 'two' }],
    });
  });

  test('HR-33: a store of hashicorp/raft, and a .snap', async () => {
    await storeSnapshot(join(folder, 'snapshots'), '3-42-17', sampleState(50));
    await writeFile(join(folder, 'backup.snap'), await archiveOf(goodPieces()));
    for (const source of [folder, join(folder, 'snapshots/3-42-17'), join(folder, 'backup.snap')]) {
      const target = join(folder, `${source.length}.tar.gz`);
      expect(await archive('convert', source, target)).toMatchObject({
        status: 0,
        err: '',
        out: expect.stringContaining('HashicorpRaft state of'),
      });
    }
  });

  test('D8: a target that is there is not replaced, and no flag does it', async () => {
    const [source, target] = [join(folder, '2_17.ss'), join(folder, 'out.snap')];
    await writeFile(source, snapshot(2, 17));
    await writeFile(target, 'precious');
    expect(await archive('convert', source, target)).toEqual({
      status: 1,
      out: '',
      err: `raftsman archive convert: ${target} is there already: choose another name\n`,
    });
    expect((await archive('convert', '--force', source, target)).status).toBe(2);
    expect(await readFile(target, 'utf8')).toBe('precious');
  });

  test('into a store, and there too nothing is replaced', async () => {
    const manifest = join(folder, 'store.yaml');
    await writeFile(manifest, 'kind: RaftSnapshotStore\nspec: {volume: {claimName: c, path: backups}}\n');
    const source = join(folder, '2_17.ss');
    await writeFile(source, snapshot(2, 17));
    const place = ['--store', manifest, '--mount', folder, '--key', 'old/2_17.snap'];
    expect(await archive('convert', source, ...place)).toMatchObject({
      status: 0,
      err: '',
      out: expect.stringMatching(/^converted .* to old\/2_17\.snap: Goraft state of 400 bytes/),
    });
    expect(await archive('verify', ...place)).toMatchObject({ status: 0 });
    expect(await archive('convert', source, ...place)).toMatchObject({
      status: 1,
      err: expect.stringContaining('old/2_17.snap is there already'),
    });
    expect(await readdir(join(folder, 'backups/old'))).toEqual(['2_17.snap']);
  });

  test('GR-31: what is damaged is status 1, one line with the file and the reason, and nothing behind', async () => {
    const source = join(folder, '2_17.ss');
    await writeFile(source, snapshot(2, 17).subarray(0, 300));
    expect(await archive('convert', source, join(folder, 'out.snap'))).toEqual({
      status: 1,
      out: '',
      err: `raftsman archive convert: ${source}: cut short: it ends after 300 bytes, inside its state [ARCHIVE_TRUNCATED]\n`,
    });
    expect(await readdir(folder)).toEqual(['2_17.ss']);
  });

  test('wrong usage is status 2 with what is missing in one line', async () => {
    for (const [argv, message] of [
      [['convert'], 'convert needs a SOURCE and a FILE'],
      [['convert', 'a'], 'convert needs a FILE, or --store and --key'],
      [['convert', 'a', 'b', 'c'], 'unexpected argument "c"'],
      [['convert', '--from', 'etcd', 'a', 'b'], '--from is "etcd": use goraft, hashicorp or snap'],
      [['convert', '--engine', 'x', 'a', 'b'], 'convert takes no --engine'],
      [['verify', '--from', 'snap', 'a'], 'verify takes no --from'],
      [['save', '--from', 'snap', '--endpoints', 'http://a', 'a'], 'save takes no --from'],
    ] as const) {
      const { status, out, err } = await archive(...argv);
      expect([argv, status, out]).toEqual([argv, 2, '']);
      expect(err).toContain(message);
      expect(err.split('\n')).toHaveLength(2);
    }
    expect((await archive('--help')).out).toContain('raftsman archive convert SOURCE FILE');
  });
});
