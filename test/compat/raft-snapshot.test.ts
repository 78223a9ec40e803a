import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { extractState, verifyArchiveFile } from '../../src/archive/file.ts';
import {
  archiveOf,
  goodPieces,
  hex,
  metaText,
  type Piece,
  sampleMeta,
  sampleState,
  sumsText,
  tarOf,
  verdict,
  verify,
  written,
} from '../archive/samples.ts';
import { perform } from './go-program.ts';
import { buildOracle, fixtures, judge } from './raft-snapshot/oracle.ts';

/** Our archives against HashiCorp's published code (Go module raft-snapshot v1.0.4), in both directions. */

let oracle: string;
let folder: string;

beforeAll(async () => {
  oracle = await buildOracle();
  folder = await mkdtemp(join(tmpdir(), 'raftsman-compat-'));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function theirs(cases: readonly (readonly [string, Uint8Array])[]) {
  const files: string[] = [];
  for (const [at, [, bytes]] of cases.entries()) {
    const path = join(folder, `case-${at}.tar.gz`);
    await writeFile(path, bytes);
    files.push(path);
  }
  return judge(oracle, files);
}

describe('archives that HashiCorp reads', () => {
  test('NS-01 NS-14 NS-16 ours is good to its Verify, with all the metadata', async () => {
    const [judgement] = await theirs([['ours', await written(sampleState(100_000))]]);
    expect(judgement).toMatchObject({
      meta: {
        Version: 1,
        ID: '2-17-1770091506000',
        Index: 17,
        Term: 2,
        Configuration: { Servers: [{ Suffrage: 0, ID: '8e9e05c52164694d', Address: 'http://127.0.0.1:2380' }] },
        ConfigurationIndex: 1,
        Size: 100_000,
      },
    });
    expect(judgement?.error).toBeUndefined();
  });

  test('uint64 numbers arrive whole', async () => {
    const most = 2n ** 64n - 1n;
    const path = join(folder, 'most.tar.gz');
    await writeFile(path, await written(sampleState(10), { index: most, term: most, configurationIndex: most }));
    // As text: a parser of JSON would lose the last digits here.
    expect(await perform(oracle, 'verify', path)).toContain('"Index":18446744073709551615,"Term":18446744073709551615');
  });

  test('NS-20 a real Raft restores the state from ours', async () => {
    const state = sampleState(300_000);
    const path = join(folder, 'ours.tar.gz');
    await writeFile(path, await written(state));
    await perform(oracle, 'restore', path, join(folder, 'restored'));
    expect((await readFile(join(folder, 'restored'))).equals(state)).toBe(true);
  });
});

describe('archives that HashiCorp writes', () => {
  test('NS-05 NS-08 that of a real Raft is good to us, with the same metadata, checksum and state', async () => {
    const state = sampleState(250_000, 9);
    const path = join(folder, 'theirs.tar.gz');
    await writeFile(join(folder, 'state'), state);
    const told = JSON.parse(await perform(oracle, 'write', join(folder, 'state'), path)) as {
      index: number;
      checksum: string;
    };
    const verified = await verifyArchiveFile(path);
    const [judgement] = await judge(oracle, [path]);
    expect(verified.checksum).toBe(told.checksum);
    expect(verified.meta).toMatchObject({
      version: 1,
      id: judgement?.meta?.['ID'],
      index: BigInt(told.index),
      term: BigInt(judgement?.meta?.['Term'] as number),
      configuration: { servers: [{ suffrage: 'voter', id: 'one', address: '127.0.0.1:8300' }] },
      configurationIndex: 1n,
      size: state.length,
    });
    expect(Buffer.from(verified.meta.peers ?? []).toString('latin1')).toBe('\x91\xae127.0.0.1:8300');
    await extractState(path, verified, join(folder, 'extracted'));
    expect((await readFile(join(folder, 'extracted'))).equals(state)).toBe(true);
  });

  test('HR-04 our peer list is what a real Raft writes for the same configuration', async () => {
    const configuration = { servers: [{ suffrage: 'voter' as const, id: 'one', address: '127.0.0.1:8300' }] };
    const { meta } = await verify(await written(sampleState(5), { configuration }));
    expect(meta.peers).toEqual(Uint8Array.from(Buffer.from('ka4xMjcuMC4wLjE6ODMwMA==', 'base64')));
  });

  test("NS-18 NS-19 HashiCorp's own damaged archives are refused for the reason that they were made for", async () => {
    const from = await fixtures();
    const cases: Readonly<Record<string, [string, string]>> = {
      'corrupt-meta': ['ARCHIVE_HASH_MISMATCH', 'hash check failed for "meta.json"'],
      'corrupt-state': ['ARCHIVE_HASH_MISMATCH', 'hash check failed for "state.bin"'],
      'corrupt-sha': ['ARCHIVE_HASH_MISMATCH', 'list missing hash for "nope"'],
      empty: ['ARCHIVE_FILE_MISSING', 'failed checking integrity of snapshot: file missing for'],
      extra: ['ARCHIVE_UNEXPECTED_FILE', 'unexpected file "nope" in snapshot'],
      'missing-meta': ['ARCHIVE_FILE_MISSING', 'hash check failed for "meta.json"'],
      'missing-state': ['ARCHIVE_FILE_MISSING', 'hash check failed for "state.bin"'],
      'missing-sha': ['ARCHIVE_FILE_MISSING', 'file missing for'],
    };
    for (const [name, [code, message]] of Object.entries(cases)) {
      const tar = unpadded(await readFile(join(from, `${name}.tar`)));
      await expect(verify(gzipSync(tar))).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    }
  });

  test('NS-09 NS-18 the archive with spaces after its metadata fails for its padding alone', async () => {
    const tar = await readFile(join(await fixtures(), 'spaces-meta.tar'));
    await expect(verify(gzipSync(tar))).rejects.toThrow('1536 unread uncompressed bytes remain');
    const [judgement] = await theirs([['spaces', gzipSync(tar)]]);
    expect(judgement?.error).toContain('1536 unread uncompressed bytes remain');
  });
});

/** The tar without what a blocking factor has put after its end. */
function unpadded(tar: Buffer): Buffer {
  let end = tar.length;
  while (end > 0 && tar[end - 1] === 0) end -= 1;
  return tar.subarray(0, Math.min(tar.length, Math.ceil(end / 512) * 512 + 1024));
}

describe('the oracle matrix', () => {
  const [meta, state, sums] = goodPieces();
  const withSums = (bytes: string): Piece[] => [meta, state, { name: 'SHA256SUMS', bytes }];
  const lines = [meta, state].map(({ name, bytes }) => `${hex(bytes)}  ${name}`);

  /** Archives, whether HashiCorp takes them, and our verdict: never milder, in two places stricter. */
  async function matrix(): Promise<[string, Uint8Array, 'good' | 'bad', string][]> {
    const good = await archiveOf(goodPieces());
    const tar = await tarOf(goodPieces());
    const cut = [1, 4, 8, 16, 200].map((size): [string, Uint8Array, 'bad', string] => [
      `cut by ${size}`,
      good.subarray(0, good.length - size),
      'bad',
      'ARCHIVE_TRUNCATED',
    ]);
    const wrongCrc = Buffer.from(good);
    wrongCrc[good.length - 8] = (wrongCrc[good.length - 8] ?? 0) ^ 1;
    const wrongSize: Piece = { name: 'meta.json', bytes: metaText(10) };
    return [
      ['good', good, 'good', 'good'],
      ['re-ordered', await archiveOf([sums, state, meta]), 'good', 'good'],
      ['sums without a final newline', await archiveOf(withSums(lines.join('\n'))), 'good', 'good'],
      ['sums with one space', await archiveOf(withSums(lines.join('\n').replaceAll('  ', ' '))), 'good', 'good'],
      [
        'sums in upper case',
        await archiveOf(withSums(lines.map((line) => line.slice(0, 64).toUpperCase() + line.slice(64)).join('\n'))),
        'good',
        'good',
      ],
      [
        'sealed sums beside',
        await archiveOf([...goodPieces(), { name: 'SHA256SUMS.sealed', bytes: 'x' }]),
        'good',
        'good',
      ],
      ['a second, empty gzip member', Buffer.concat([good, gzipSync('')]), 'good', 'ARCHIVE_TRAILING_BYTES'],
      [
        'a wrong size, hashes right',
        await archiveOf([wrongSize, state, { name: 'SHA256SUMS', bytes: sumsText([wrongSize, state]) }]),
        'good',
        'ARCHIVE_SIZE_MISMATCH',
      ],
      ...cut,
      ['a wrong CRC', wrongCrc, 'bad', 'ARCHIVE_GZIP_CORRUPT'],
      ['zero bytes after the gzip end', Buffer.concat([good, new Uint8Array(100)]), 'bad', 'ARCHIVE_TRAILING_BYTES'],
      ['garbage after the gzip end', Buffer.concat([good, Buffer.from('xyz')]), 'bad', 'ARCHIVE_TRAILING_BYTES'],
      [
        'a second gzip member with five bytes',
        Buffer.concat([good, gzipSync('five!')]),
        'bad',
        'ARCHIVE_TRAILING_BYTES',
      ],
      ['data after the tar end', gzipSync(Buffer.concat([tar, Buffer.from('x')])), 'bad', 'ARCHIVE_TRAILING_BYTES'],
      [
        "GNU tar's padding",
        gzipSync(Buffer.concat([tar, new Uint8Array(10_240 - tar.length)])),
        'bad',
        'ARCHIVE_TRAILING_BYTES',
      ],
      [
        'an extra file',
        await archiveOf([...goodPieces(), { name: 'x', bytes: 'x' }]),
        'bad',
        'ARCHIVE_UNEXPECTED_FILE',
      ],
      [
        'names with ./',
        await archiveOf(goodPieces().map((piece) => ({ ...piece, name: `./${piece.name}` }))),
        'bad',
        'ARCHIVE_UNEXPECTED_FILE',
      ],
      ['state.bin twice', await archiveOf([...goodPieces(), state]), 'bad', 'ARCHIVE_DUPLICATE_FILE'],
      ['a plain tar', tar, 'bad', 'ARCHIVE_NOT_GZIP'],
      ['an empty file', new Uint8Array(0), 'bad', 'ARCHIVE_TRUNCATED'],
    ];
  }

  test('NS-09 NS-10 NS-17 NS-19 D19 each archive gets the verdict that HashiCorp gives, or a stricter one', async () => {
    const cases = await matrix();
    const judgements = await theirs(cases.map(([what, bytes]) => [what, bytes] as const));
    const found = await Promise.all(
      cases.map(async ([what, bytes], at) => [
        what,
        judgements[at]?.error === undefined ? 'good' : 'bad',
        await verdict(verify(bytes)),
      ]),
    );
    expect(found).toEqual(cases.map(([what, , their, our]) => [what, their, our]));
  });

  test('NS-12 of random damage, nothing that HashiCorp refuses is good to us', async () => {
    const good = await written(sampleState(3000), { ...sampleMeta(3000) });
    const damage = sampleState(400, 77);
    const cases = Array.from({ length: 150 }, (_, at): [string, Uint8Array] => {
      const bytes = Buffer.from(good);
      const place = ((damage[2 * at] ?? 0) * 256 + (damage[2 * at + 1] ?? 0)) % bytes.length;
      bytes[place] = (bytes[place] ?? 0) ^ (1 << (at % 8));
      return [`bit ${at % 8} of byte ${place}`, bytes];
    });
    const judgements = await theirs(cases);
    for (const [at, [what, bytes]] of cases.entries()) {
      const ours = await verdict(verify(bytes));
      if (judgements[at]?.error !== undefined) expect([what, ours]).not.toEqual([what, 'good']);
      else expect([what, ours]).toEqual([what, 'good']);
    }
  });
});
