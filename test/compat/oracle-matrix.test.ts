import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import tarStream from 'tar-stream';
import {
  archiveOf,
  collect,
  type Piece,
  sampleState,
  sumsText,
  tarOf,
  verdict,
  verify,
  written,
} from '../archive/samples.ts';
import { perform } from './go-program.ts';
import { buildOracle, fixtures, judge } from './raft-snapshot/oracle.ts';

/**
 * The oracle matrix: what HashiCorp's code (Go module raft-snapshot v1.0.4), plain zlib and ours say of the same bytes. Each
 * row is made twice, from an archive of ours and from one that a real Raft wrote by HashiCorp's code. Ours is never milder
 * than theirs, and stricter in two rows.
 */

let oracle: string;
let folder: string;
const archives: Record<'ours' | 'theirs', Buffer> = { ours: Buffer.alloc(0), theirs: Buffer.alloc(0) };

beforeAll(async () => {
  oracle = await buildOracle();
  folder = await mkdtemp(join(tmpdir(), 'raftsman-matrix-'));
  const state = sampleState(5000);
  archives.ours = await written(state);
  await writeFile(join(folder, 'state'), state);
  await perform(oracle, 'write', join(folder, 'state'), join(folder, 'theirs'));
  archives.theirs = await readFile(join(folder, 'theirs'));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The three files of an archive: meta.json, state.bin, SHA256SUMS. */
async function piecesOf(archive: Uint8Array): Promise<[Piece, Piece, Piece]> {
  const extract = tarStream.extract();
  extract.end(gunzipSync(archive));
  const found: Piece[] = [];
  for await (const entry of extract) {
    found.push({ name: entry.header.name, bytes: await collect(entry as AsyncIterable<Uint8Array>) });
  }
  const [meta, state, sums] = found;
  if (meta === undefined || state === undefined || sums === undefined) throw new Error('an archive has three files');
  return [meta, state, sums];
}

const text = (piece: Piece): string => Buffer.from(piece.bytes).toString();

interface Row {
  readonly row: string;
  readonly ids: string;
  readonly make: (archive: Buffer) => Uint8Array | Promise<Uint8Array>;
  /** What Go says: good, or words of its error. */
  readonly go: 'good' | RegExp;
  /** Whether plain zlib.gunzip takes it; where it does and Go does not, the check is our own. */
  readonly zlib: 'ok' | 'error';
  readonly our: string;
}

/** The archive with its files changed. */
const files = (change: (pieces: [Piece, Piece, Piece]) => readonly Piece[]) => async (archive: Buffer) =>
  archiveOf(change(await piecesOf(archive)));
const sums = (change: (text: string) => string) =>
  files(([meta, state, list]) => [meta, state, { name: list.name, bytes: change(text(list)) }]);
const tar = (change: (tar: Buffer) => Uint8Array) => async (archive: Buffer) =>
  gzipSync(change(await tarOf(await piecesOf(archive))));
const followed = (tail: Uint8Array | string) => (archive: Buffer) => Buffer.concat([archive, Buffer.from(tail)]);

const good = { go: 'good', zlib: 'ok', our: 'good' } as const;
const trailing = 'ARCHIVE_TRAILING_BYTES';
const unexpected = 'ARCHIVE_UNEXPECTED_FILE';

const rows: readonly Row[] = [
  { row: 'good', ids: 'NS-01 NS-08', make: (archive) => archive, ...good },
  { row: 'entries re-ordered', ids: 'NS-17', make: files(([meta, state, list]) => [list, state, meta]), ...good },
  { row: 'sums without a final newline', ids: 'NS-16', make: sums((list) => list.trimEnd()), ...good },
  { row: 'sums with one space', ids: 'NS-16', make: sums((list) => list.replaceAll('  ', ' ')), ...good },
  {
    row: 'sums in upper-case hex',
    ids: 'NS-16',
    make: sums((list) => list.replaceAll(/^[0-9a-f]+/gm, (hex) => hex.toUpperCase())),
    ...good,
  },
  {
    row: 'sealed sums beside',
    ids: 'NS-17',
    make: files((pieces) => [...pieces, { name: 'SHA256SUMS.sealed', bytes: 'x' }]),
    ...good,
  },
  { row: 'a second, empty gzip member', ids: 'NS-09', make: followed(gzipSync('')), ...good, our: trailing },
  {
    row: 'a size in meta.json that is not the real one, hashes right',
    ids: 'NS-15 D19',
    make: files(([meta, state]) => {
      const wrong = { name: meta.name, bytes: text(meta).replace(/"Size":\d+/, '"Size":4999') };
      return [wrong, state, { name: 'SHA256SUMS', bytes: sumsText([wrong, state]) }];
    }),
    ...good,
    our: 'ARCHIVE_SIZE_MISMATCH',
  },
  ...[1, 2, 4, 8, 16, 200].map(
    (size): Row => ({
      row: `cut by ${size}`,
      ids: 'NS-10',
      make: (archive) => archive.subarray(0, -size),
      go: /unexpected EOF/,
      zlib: 'error',
      our: 'ARCHIVE_TRUNCATED',
    }),
  ),
  {
    row: 'the four bytes "nope"',
    ids: 'NS-10',
    make: () => Buffer.from('nope'),
    go: /unexpected EOF/,
    zlib: 'error',
    our: 'ARCHIVE_NOT_GZIP',
  },
  {
    row: 'a bad gzip CRC',
    ids: 'NS-09',
    make: (archive) => {
      const bytes = Buffer.from(archive);
      bytes[archive.length - 8] = (bytes[archive.length - 8] ?? 0) ^ 1;
      return bytes;
    },
    go: /invalid checksum/,
    zlib: 'error',
    our: 'ARCHIVE_GZIP_CORRUPT',
  },
  {
    row: 'zero bytes after the gzip end',
    ids: 'NS-09',
    make: followed(new Uint8Array(100)),
    go: /gzip: invalid header/,
    zlib: 'ok',
    our: trailing,
  },
  {
    row: 'garbage after the gzip end',
    ids: 'NS-09',
    make: followed('xyz'),
    go: /unexpected EOF/,
    zlib: 'error',
    our: trailing,
  },
  {
    row: 'a second gzip member with five bytes',
    ids: 'NS-09',
    make: followed(gzipSync('five!')),
    go: /5 unread uncompressed bytes remain/,
    zlib: 'ok',
    our: trailing,
  },
  {
    row: 'data after the tar end',
    ids: 'NS-09',
    make: tar((bytes) => Buffer.concat([bytes, Buffer.from('x')])),
    go: /1 unread uncompressed bytes remain/,
    zlib: 'ok',
    our: trailing,
  },
  {
    row: "zeros after the tar end, as GNU tar's padding",
    ids: 'NS-09',
    make: tar((bytes) => Buffer.concat([bytes, new Uint8Array(10_240 - bytes.length)])),
    go: /\d+ unread uncompressed bytes remain/,
    zlib: 'ok',
    our: trailing,
  },
  {
    row: 'an extra file',
    ids: 'NS-17',
    make: files((pieces) => [...pieces, { name: 'x', bytes: 'x' }]),
    go: /unexpected file "x" in snapshot/,
    zlib: 'ok',
    our: unexpected,
  },
  {
    row: 'names with ./',
    ids: 'NS-17',
    make: files((pieces) => pieces.map((piece) => ({ ...piece, name: `./${piece.name}` }))),
    go: /unexpected file ".\/meta.json" in snapshot/,
    zlib: 'ok',
    our: unexpected,
  },
  {
    row: 'state.bin twice',
    ids: 'NS-19',
    make: files((pieces) => [...pieces, pieces[1]]),
    go: /hash check failed for "state.bin"/,
    zlib: 'ok',
    our: 'ARCHIVE_DUPLICATE_FILE',
  },
  {
    row: 'a plain tar',
    ids: 'NS-01',
    make: async (archive) => tarOf(await piecesOf(archive)),
    go: /gzip: invalid header/,
    zlib: 'error',
    our: 'ARCHIVE_NOT_GZIP',
  },
  {
    row: 'an empty file',
    ids: 'NS-01',
    make: () => new Uint8Array(0),
    go: /EOF/,
    zlib: 'error',
    our: 'ARCHIVE_TRUNCATED',
  },
  {
    row: 'meta.json of 8191 bytes',
    ids: 'NS-18 NS-22',
    make: files(([meta, state]) => paddedMeta(meta, state, 8191)),
    ...good,
  },
  {
    row: 'meta.json of 8192 bytes',
    ids: 'NS-22 D19',
    make: files(([meta, state]) => paddedMeta(meta, state, 8192)),
    go: /read max specified bytes \(8192\) without EOF/,
    zlib: 'ok',
    our: 'ARCHIVE_FILE_TOO_LARGE',
  },
];

function paddedMeta(meta: Piece, state: Piece, size: number): Piece[] {
  const padded = { name: meta.name, bytes: text(meta).padEnd(size, ' ') };
  return [padded, state, { name: 'SHA256SUMS', bytes: sumsText([padded, state]) }];
}

async function judged(bytes: Uint8Array): Promise<string | undefined> {
  const path = join(folder, 'row.snap');
  await writeFile(path, bytes);
  return (await judge(oracle, [path]))[0]?.error;
}

function plainZlib(bytes: Uint8Array): 'ok' | 'error' {
  try {
    gunzipSync(bytes);
    return 'ok';
  } catch {
    return 'error';
  }
}

describe('the oracle matrix', () => {
  for (const { row, ids, make, go, zlib, our } of rows) {
    test(`${ids}: ${row}: ${go === 'good' ? 'good' : 'refused'} to Go, ${our} to us, whoever made it`, async () => {
      for (const from of ['ours', 'theirs'] as const) {
        const bytes = await make(archives[from]);
        const error = await judged(bytes);
        const agreed = go === 'good' ? error === undefined : error !== undefined && go.test(error);
        expect([from, agreed ? 'as expected' : error]).toEqual([from, 'as expected']);
        expect([from, plainZlib(bytes), await verdict(verify(bytes))]).toEqual([from, zlib, our]);
      }
    });
  }

  test('NS-09 NS-10: ours is never milder than theirs in any row', () => {
    expect(rows.filter(({ go, our }) => go !== 'good' && our === 'good').map(({ row }) => row)).toEqual([]);
    expect(rows.filter(({ go, our }) => go === 'good' && our !== 'good').map(({ row }) => row)).toEqual([
      'a second, empty gzip member',
      'a size in meta.json that is not the real one, hashes right',
    ]);
  });
});

/** HashiCorp keeps them as tars, some padded; what its reader of tars says of them is what both say of them zipped. */
const damaged: Readonly<Record<string, [ids: string, code: string, message: string]>> = {
  'corrupt-meta': ['NS-18 NS-19', 'ARCHIVE_HASH_MISMATCH', 'hash check failed for "meta.json"'],
  'corrupt-state': ['NS-19', 'ARCHIVE_HASH_MISMATCH', 'hash check failed for "state.bin"'],
  'corrupt-sha': ['NS-19', 'ARCHIVE_HASH_MISMATCH', 'list missing hash for "nope"'],
  empty: ['NS-19', 'ARCHIVE_FILE_MISSING', 'failed checking integrity of snapshot: file missing for'],
  extra: ['NS-17', 'ARCHIVE_UNEXPECTED_FILE', 'unexpected file "nope" in snapshot'],
  'missing-meta': ['NS-19', 'ARCHIVE_FILE_MISSING', 'hash check failed for "meta.json"'],
  'missing-state': ['NS-19', 'ARCHIVE_FILE_MISSING', 'hash check failed for "state.bin"'],
  'missing-sha': ['NS-19', 'ARCHIVE_FILE_MISSING', 'file missing for'],
};

describe("HashiCorp's own fixtures", () => {
  for (const [name, [ids, code, message]] of Object.entries(damaged)) {
    test(`${ids}: ${name}.tar is refused by both with: ${message}`, async () => {
      const bytes = gzipSync(unpadded(await readFile(join(await fixtures(), `${name}.tar`))));
      expect(await judged(bytes)).toContain(message);
      await expect(verify(bytes)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    });
  }

  test('NS-18: spaces-meta.tar is good to both without its padding: the hash covers the spaces after the JSON', async () => {
    const bytes = gzipSync(unpadded(await readFile(join(await fixtures(), 'spaces-meta.tar'))));
    expect(await judged(bytes)).toBeUndefined();
    expect(await verdict(verify(bytes))).toBe('good');
  });

  test('NS-09: spaces-meta.tar with its padding is refused by both for 1536 bytes that remain', async () => {
    const bytes = gzipSync(await readFile(join(await fixtures(), 'spaces-meta.tar')));
    expect(await judged(bytes)).toContain('1536 unread uncompressed bytes remain');
    await expect(verify(bytes)).rejects.toThrow('1536 unread uncompressed bytes remain');
  });
});

/** The tar without what a blocking factor has put after its end. */
function unpadded(tar: Buffer): Buffer {
  let end = tar.length;
  while (end > 0 && tar[end - 1] === 0) end -= 1;
  return tar.subarray(0, Math.min(tar.length, Math.ceil(end / 512) * 512 + 1024));
}
