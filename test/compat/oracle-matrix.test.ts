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

/** The row's name, how it is made of a good archive, and the verdicts. */
type Row = readonly [
  title: string,
  make: (archive: Buffer) => Uint8Array | Promise<Uint8Array>,
  /** What Go says: good, or words of its error. */
  go: 'good' | RegExp,
  /** Whether plain zlib.gunzip takes it; where it does and Go does not, the check is our own. */
  zlib: 'ok' | 'error',
  our: string,
];

/** The archive with its files changed. */
const files = (change: (pieces: [Piece, Piece, Piece]) => readonly Piece[]) => async (archive: Buffer) =>
  archiveOf(change(await piecesOf(archive)));
const sums = (change: (text: string) => string) =>
  files(([meta, state, list]) => [meta, state, { name: list.name, bytes: change(text(list)) }]);
const tar = (change: (tar: Buffer) => Uint8Array) => async (archive: Buffer) =>
  gzipSync(change(await tarOf(await piecesOf(archive))));
const followed = (tail: Uint8Array | string) => (archive: Buffer) => Buffer.concat([archive, Buffer.from(tail)]);

const upper = (hex: string): string => hex.toUpperCase();
const sealed: Piece = { name: 'SHA256SUMS.sealed', bytes: 'x' };

function withMeta(meta: string, state: Piece): Piece[] {
  const changed = { name: 'meta.json', bytes: meta };
  return [changed, state, { name: 'SHA256SUMS', bytes: sumsText([changed, state]) }];
}

function paddedMeta([meta, state]: [Piece, Piece, Piece], size: number): Piece[] {
  return withMeta(text(meta).padEnd(size, ' '), state);
}

function wrongSize([meta, state]: [Piece, Piece, Piece]): Piece[] {
  return withMeta(text(meta).replace(/"Size":\d+/, '"Size":4999'), state);
}

function wrongCrc(archive: Buffer): Buffer {
  const bytes = Buffer.from(archive);
  bytes[archive.length - 8] = (bytes[archive.length - 8] ?? 0) ^ 1;
  return bytes;
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

const cutBy = (size: number) => (archive: Buffer) => archive.subarray(0, -size);
const cut = [/unexpected EOF/, 'error', 'ARCHIVE_TRUNCATED'] as const;
const good = ['good', 'ok', 'good'] as const;
const trailing = 'ARCHIVE_TRAILING_BYTES';
const unexpected = 'ARCHIVE_UNEXPECTED_FILE';

describe('the oracle matrix', () => {
  test.each<Row>([
    ['NS-01 NS-08: good: good to both', (archive) => archive, ...good],
    ['NS-17: entries re-ordered: good to both', files(([meta, state, list]) => [list, state, meta]), ...good],
    ['NS-16: sums without a final newline: good to both', sums((list) => list.trimEnd()), ...good],
    ['NS-16: sums with one space: good to both', sums((list) => list.replaceAll('  ', ' ')), ...good],
    ['NS-16: sums in upper-case hex: good to both', sums((list) => list.replaceAll(/^[0-9a-f]+/gm, upper)), ...good],
    ['NS-17: sealed sums beside: good to both', files((pieces) => [...pieces, sealed]), ...good],
    ['NS-18 NS-22: meta.json of 8191 bytes: good to both', files((pieces) => paddedMeta(pieces, 8191)), ...good],
    ['NS-09: a second, empty gzip member: good to Go, refused here', followed(gzipSync('')), 'good', 'ok', trailing],
    [
      'NS-15 D19: a Size that is not the real one, hashes right: good to Go, refused here',
      files(wrongSize),
      'good',
      'ok',
      'ARCHIVE_SIZE_MISMATCH',
    ],
    ['NS-10: cut by 1: refused by both', cutBy(1), ...cut],
    ['NS-10: cut by 2: refused by both', cutBy(2), ...cut],
    ['NS-10: cut by 4: refused by both', cutBy(4), ...cut],
    ['NS-10: cut by 8: refused by both', cutBy(8), ...cut],
    ['NS-10: cut by 16: refused by both', cutBy(16), ...cut],
    ['NS-10: cut by 200: refused by both', cutBy(200), ...cut],
    [
      'NS-10: the four bytes "nope": refused by both',
      () => Buffer.from('nope'),
      /unexpected EOF/,
      'error',
      'ARCHIVE_NOT_GZIP',
    ],
    ['NS-09: a bad gzip CRC: refused by both', wrongCrc, /invalid checksum/, 'error', 'ARCHIVE_GZIP_CORRUPT'],
    [
      'NS-09: zero bytes after the gzip end: refused by both, passed over by zlib',
      followed(new Uint8Array(100)),
      /gzip: invalid header/,
      'ok',
      trailing,
    ],
    ['NS-09: garbage after the gzip end: refused by both', followed('xyz'), /unexpected EOF/, 'error', trailing],
    [
      'NS-09: a second gzip member with five bytes: refused by both, read by zlib',
      followed(gzipSync('five!')),
      /5 unread uncompressed bytes remain/,
      'ok',
      trailing,
    ],
    [
      'NS-09: data after the tar end: refused by both',
      tar((bytes) => Buffer.concat([bytes, Buffer.from('x')])),
      /1 unread uncompressed bytes remain/,
      'ok',
      trailing,
    ],
    [
      "NS-09: zeros after the tar end, as GNU tar's padding: refused by both",
      tar((bytes) => Buffer.concat([bytes, new Uint8Array(10_240 - bytes.length)])),
      /\d+ unread uncompressed bytes remain/,
      'ok',
      trailing,
    ],
    [
      'NS-17: an extra file: refused by both',
      files((pieces) => [...pieces, { name: 'x', bytes: 'x' }]),
      /unexpected file "x" in snapshot/,
      'ok',
      unexpected,
    ],
    [
      'NS-17: names with ./: refused by both',
      files((pieces) => pieces.map((piece) => ({ ...piece, name: `./${piece.name}` }))),
      /unexpected file ".\/meta.json" in snapshot/,
      'ok',
      unexpected,
    ],
    [
      'NS-19: state.bin twice: refused by both',
      files((pieces) => [...pieces, pieces[1]]),
      /hash check failed for "state.bin"/,
      'ok',
      'ARCHIVE_DUPLICATE_FILE',
    ],
    [
      'NS-01: a plain tar: refused by both',
      async (archive) => tarOf(await piecesOf(archive)),
      /gzip: invalid header/,
      'error',
      'ARCHIVE_NOT_GZIP',
    ],
    ['NS-01: an empty file: refused by both', () => new Uint8Array(0), /EOF/, 'error', 'ARCHIVE_TRUNCATED'],
    [
      'NS-22 D19: meta.json of 8192 bytes: refused by both',
      files((pieces) => paddedMeta(pieces, 8192)),
      /read max specified bytes \(8192\) without EOF/,
      'ok',
      'ARCHIVE_FILE_TOO_LARGE',
    ],
  ])('%s', async (_title, make, go, zlib, our) => {
    // Of an archive that we wrote, and of one that a real Raft wrote by HashiCorp's code.
    for (const from of ['ours', 'theirs'] as const) {
      const bytes = await make(archives[from]);
      const error = await judged(bytes);
      const agreed = go === 'good' ? error === undefined : error !== undefined && go.test(error);
      expect([from, agreed ? 'as expected' : error]).toEqual([from, 'as expected']);
      expect([from, plainZlib(bytes), await verdict(verify(bytes))]).toEqual([from, zlib, our]);
    }
  });
});

/** HashiCorp keeps them as tars, some padded; what its reader of tars says of them is what both say of them zipped. */
describe("HashiCorp's own fixtures", () => {
  test.each([
    ['NS-18 NS-19: corrupt-meta.tar', 'ARCHIVE_HASH_MISMATCH', 'hash check failed for "meta.json"'],
    ['NS-19: corrupt-state.tar', 'ARCHIVE_HASH_MISMATCH', 'hash check failed for "state.bin"'],
    ['NS-19: corrupt-sha.tar', 'ARCHIVE_HASH_MISMATCH', 'list missing hash for "nope"'],
    ['NS-19: empty.tar', 'ARCHIVE_FILE_MISSING', 'failed checking integrity of snapshot: file missing for'],
    ['NS-17: extra.tar', 'ARCHIVE_UNEXPECTED_FILE', 'unexpected file "nope" in snapshot'],
    ['NS-19: missing-meta.tar', 'ARCHIVE_FILE_MISSING', 'hash check failed for "meta.json"'],
    ['NS-19: missing-state.tar', 'ARCHIVE_FILE_MISSING', 'hash check failed for "state.bin"'],
    ['NS-19: missing-sha.tar', 'ARCHIVE_FILE_MISSING', 'file missing for'],
  ])('%s is refused by both for the reason that it was made for', async (title, code, message) => {
    const name = title.slice(title.indexOf(': ') + 2);
    const bytes = gzipSync(unpadded(await readFile(join(await fixtures(), name))));
    expect(await judged(bytes)).toContain(message);
    await expect(verify(bytes)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

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
