import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { expectArchive } from '../../src/archive/check.ts';
import { convertToFile, proven } from '../../src/archive/convert.ts';
import { verifyArchiveFile } from '../../src/archive/file.ts';
import { openSource } from '../../src/archive/sources/open.ts';
import type { MemoryInUse } from './memory.ts';
import { archiveOf, goodPieces, metaText, sampleState, stream, sumsText, verdict, verify, written } from './samples.ts';
import { goraftFile, goraftJson, storeSnapshot } from './sources/samples.ts';

let folder: string;
let target: string;
const now = new Date('2026-11-22T05:06:07Z');
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-convert-'));
  target = join(folder, 'out.snap');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function stateIn(path: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  await verify(await readFile(path), { onState: (chunk) => void chunks.push(Uint8Array.from(chunk)) });
  return Buffer.concat(chunks);
}

async function goraft(state: Uint8Array): Promise<string> {
  const path = join(folder, '2_17.ss');
  await writeFile(path, goraftFile(goraftJson(state)));
  return path;
}

describe('converting', () => {
  test('NS-01: a goraft file becomes an archive with its index, term, peers and state, and says where it came from', async () => {
    const state = sampleState(150_000);
    const summary = await convertToFile(await openSource(await goraft(state)), target, { now });
    expect(summary).toEqual(await verifyArchiveFile(target));
    expect(summary.meta).toMatchObject({
      version: 1,
      id: `2-17-${now.getTime()}`,
      index: 17n,
      term: 2n,
      configuration: {
        servers: [
          { suffrage: 'voter', id: 'one', address: 'http://127.0.0.1:7001' },
          { suffrage: 'voter', id: 'two', address: 'http://127.0.0.1:7002' },
        ],
      },
      size: state.length,
      raftsman: { engine: 'Goraft', convertedFrom: 'goraft snapshot file', convertedAt: '2026-11-22T05:06:07.000Z' },
    });
    expect((await stateIn(target)).equals(state)).toBe(true);
    expect((await readdir(folder)).sort()).toEqual(['2_17.ss', 'out.snap']);
  });

  test('HR-01: a stored snapshot keeps its id, configuration index and peers to the byte', async () => {
    const state = sampleState(7777);
    const path = await storeSnapshot(folder, '3-42-17', state);
    const { meta } = await convertToFile(await openSource(path), target, { now });
    expect(meta).toMatchObject({
      version: 1,
      id: '3-42-17',
      index: 42n,
      term: 3n,
      configurationIndex: 1n,
      raftsman: { engine: 'HashicorpRaft', convertedFrom: 'hashicorp/raft file snapshot, version 1' },
    });
    expect(Buffer.from(meta.peers ?? []).toString('base64')).toBe('ka4xMjcuMC4wLjE6ODMwMA==');
    expect((await stateIn(target)).equals(state)).toBe(true);
  });

  test('NS-17: a .snap of other make, sealed or not, becomes ours; one of ours is refused', async () => {
    const path = join(folder, 'backup.snap');
    await writeFile(path, await archiveOf([...goodPieces(), { name: 'SHA256SUMS.sealed', bytes: 'x' }]));
    const { meta } = await convertToFile(await openSource(path), target, { now });
    expect(meta).toMatchObject({
      id: '2-17-1',
      index: 17n,
      configuration: { servers: [{ id: 'a' }] },
      raftsman: { engine: 'HashicorpRaft', convertedFrom: 'snapshot archive, version 1' },
    });
    expect((await stateIn(target)).toString()).toBe('the state');
    for (const ours of [await written(sampleState(9)), await readFile(target)]) {
      await writeFile(path, ours);
      await expect(openSource(path)).rejects.toMatchObject({
        code: 'ARCHIVE_SOURCE_INVALID',
        message: expect.stringContaining('it is an archive of Raftsman already'),
      });
    }
  });

  test('NS-21: a .snap of version 0 is read by its peers, and one of version 2 refused', async () => {
    const path = join(folder, 'backup.snap');
    const state = goodPieces()[1];
    const snap = async (version: number) => {
      const text = metaText(9)
        .replace('"Version":1', `"Version":${version}`)
        .replace('"Peers":null', '"Peers":"ka4xMjcuMC4wLjE6ODMwMA=="');
      const meta = { name: 'meta.json', bytes: text };
      await writeFile(path, await archiveOf([meta, state, { name: 'SHA256SUMS', bytes: sumsText([meta, state]) }]));
    };
    await snap(0);
    const { meta } = await convertToFile(await openSource(path), target, { now });
    expect(meta).toMatchObject({
      version: 1,
      configuration: { servers: [{ suffrage: 'voter', id: '127.0.0.1:8300', address: '127.0.0.1:8300' }] },
      configurationIndex: 17n,
      raftsman: { convertedFrom: 'snapshot archive, version 0' },
    });
    await snap(2);
    await expect(openSource(path)).rejects.toMatchObject({
      code: 'ARCHIVE_VERSION_UNSUPPORTED',
      message: expect.stringMatching(/backup\.snap: unsupported snapshot version 2/),
    });
  });

  test('a converted archive is of no use to an engine, and the refusal says whose state it is', async () => {
    const summary = await convertToFile(await openSource(await goraft(sampleState(10))), target, { now });
    expect(expectArchive(summary, {})).toMatchObject({ engine: 'Goraft' });
    for (const engine of ['Embedded', 'Goraft']) {
      expect(() => expectArchive(summary, { engine })).toThrow(
        `its state.bin is the state of Goraft, converted from a goraft snapshot file, and no key-values: the engine ${engine} cannot use it`,
      );
    }
  });

  test('D8: a target that is there is never touched, and a failure leaves nothing', async () => {
    const source = await openSource(await goraft(sampleState(50_000)));
    await writeFile(target, 'precious');
    expect(await verdict(convertToFile(source, target, { now }))).toBe('EEXIST');
    expect(await readFile(target, 'utf8')).toBe('precious');
    await rm(target);
    const abort = new AbortController();
    abort.abort(new Error('interrupted'));
    await expect(convertToFile(source, target, { now, signal: abort.signal })).rejects.toThrow();
    expect(await readdir(folder)).toEqual(['2_17.ss']);
  });

  test('a source that changes between the passes is not converted', async () => {
    const state = sampleState(60_000);
    const path = await goraft(state);
    const cases: [string, Uint8Array, RegExp][] = [
      ['another of the same size', goraftFile(goraftJson(sampleState(60_000, 5))), /^ARCHIVE_CHANGED$/],
      ['a longer one', goraftFile(goraftJson(sampleState(70_000))), /^ARCHIVE_CHANGED$/],
      ['a shorter one', goraftFile(goraftJson(sampleState(50_000))), /^ARCHIVE_CHANGED$/],
      ['a cut one', goraftFile(goraftJson(state)).subarray(0, 999), /^ARCHIVE_TRUNCATED$/],
    ];
    for (const [what, bytes, code] of cases) {
      await goraft(state);
      const source = await openSource(path);
      await writeFile(path, bytes);
      expect([what, await verdict(convertToFile(source, target, { now }))]).toEqual([
        what,
        expect.stringMatching(code),
      ]);
      expect(await readdir(folder)).toEqual(['2_17.ss']);
    }
    const stored = await storeSnapshot(folder, '3-42-17', state);
    const source = await openSource(stored);
    await writeFile(join(stored, 'state.bin'), sampleState(60_000, 6));
    expect(await verdict(convertToFile(source, target, { now }))).toBe('ARCHIVE_CHANGED');
  });

  test('what was written is read back, and a disk that gives back something else is noticed', async () => {
    const source = await openSource(await goraft(sampleState(1000)));
    const summary = await convertToFile(source, target, { now });
    const bytes = await readFile(target);
    const back = (given: Uint8Array) => verdict(proven(source, summary, stream(given), { now }));
    expect(await back(bytes)).toBe('good');
    expect(await back(bytes.subarray(0, -1))).toBe('ARCHIVE_TRUNCATED');
    expect(await back(await written(sampleState(1000)))).toBe('ARCHIVE_CHANGED');
    const other = { ...source, stateHash: '0'.repeat(64) };
    expect(await verdict(proven(other, summary, stream(bytes), { now }))).toBe('ARCHIVE_CHANGED');
  });

  test('NS-22: peers that make the metadata larger than its readers take are refused, and nothing is left', async () => {
    const peers = Array.from({ length: 200 }, (_, at) => ({
      name: `n${at}`,
      connectionString: `http://10.0.0.${at}:1`,
    }));
    const path = join(folder, '2_17.ss');
    await writeFile(path, goraftFile(goraftJson(sampleState(10), { peers })));
    expect(await verdict(convertToFile(await openSource(path), target, { now }))).toBe('ARCHIVE_FILE_TOO_LARGE');
    expect(await readdir(folder)).toEqual(['2_17.ss']);
  });
});

describe('what is at a path', () => {
  test('is told by its content; a kind that is said is believed, and held to', async () => {
    const ss = await goraft(sampleState(9));
    const snap = join(folder, 'looks-like.ss');
    await writeFile(snap, await archiveOf(goodPieces()));
    expect((await openSource(snap)).engine).toBe('HashicorpRaft');
    expect((await openSource(ss, { kind: 'goraft' })).engine).toBe('Goraft');
    expect(await verdict(openSource(ss, { kind: 'snap' }))).toBe('ARCHIVE_NOT_GZIP');
    expect(await verdict(openSource(snap, { kind: 'goraft' }))).toBe('ARCHIVE_SOURCE_INVALID');
    for (const [path, kind] of [
      [ss, 'hashicorp'],
      [folder, 'hashicorp'],
      [folder, 'snap'],
      [import.meta.filename, undefined],
      [import.meta.dirname, undefined],
    ] as const) {
      const attempt = openSource(path, kind === undefined ? {} : { kind });
      await expect(attempt).rejects.toMatchObject({
        code: 'ARCHIVE_SOURCE_UNKNOWN',
        message: expect.stringContaining(path),
      });
    }
  });

  test('a folder with both kinds needs a word which', async () => {
    await goraft(sampleState(9));
    await storeSnapshot(folder, '3-42-17', sampleState(9));
    await expect(openSource(folder)).rejects.toMatchObject({
      code: 'ARCHIVE_SOURCE_UNKNOWN',
      message: expect.stringContaining('snapshots of hashicorp and of goraft: say with --from which to take'),
    });
    expect((await openSource(folder, { kind: 'goraft' })).engine).toBe('Goraft');
    expect((await openSource(folder, { kind: 'hashicorp' })).engine).toBe('HashicorpRaft');
  });
});

test('NS-02 D19: 200 MB of state, or of anything else in the file, take no more memory than a small file does', async () => {
  const child = join(import.meta.dirname, 'sources/large-source.ts');
  const convert = async (field: string) => {
    const argv = [
      '--disable-warning=ExperimentalWarning',
      '--expose-gc',
      child,
      field,
      join(folder, field),
      String(200_000_000),
    ];
    const { stdout } = await promisify(execFile)(process.execPath, argv);
    return JSON.parse(stdout) as MemoryInUse & { outcome: unknown };
  };
  for (const [field, outcome] of [
    ['state', true],
    ['path', 'ARCHIVE_SOURCE_INVALID'],
  ] as const) {
    const told = await convert(field);
    expect([field, told.outcome]).toEqual([field, outcome]);
    expect(told.samples).toBeGreaterThan(5);
    expect((told.most - told.start) / 1e6).toBeLessThan(50);
  }
});
