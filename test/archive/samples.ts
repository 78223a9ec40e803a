import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import tarStream from 'tar-stream';
import type { ArchiveMeta, ArchiveSummary, VerifyOptions } from '../../src/archive/types.ts';
import { verifyArchive } from '../../src/archive/verify.ts';
import { writeArchive } from '../../src/archive/write.ts';

/** Archives made without our own writer (tar-stream and zlib), so that reader and writer do not share a mistake. */

export interface Piece {
  readonly name: string;
  readonly bytes: Uint8Array | string;
  readonly type?: 'file' | 'directory' | 'symlink';
}

export const modifiedAt = new Date('2026-02-03T04:05:06Z');

export function sampleState(size: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(size);
  // A global is slow to reach from a test's context.
  const { imul } = Math;
  let x = seed;
  for (let at = 0; at < size; at++) {
    x = (imul(x, 1664525) + 1013904223) >>> 0;
    bytes[at] = x >>> 24;
  }
  return bytes;
}

export function sampleMeta(size: number, change: Partial<ArchiveMeta> = {}): ArchiveMeta {
  return {
    version: 1,
    id: '2-17-1770091506000',
    index: 17n,
    term: 2n,
    configuration: { servers: [{ suffrage: 'voter', id: '8e9e05c52164694d', address: 'http://127.0.0.1:2380' }] },
    configurationIndex: 1n,
    size,
    raftsman: {
      engine: 'Embedded',
      engineVersion: '0.1.0',
      clusterId: 'cdf818194e3a8c32',
      cluster: 'sample',
      revision: 12,
      keys: 9,
      hash: '00c0ffee',
      createdAt: '2026-02-03T04:05:06.000Z',
    },
    ...change,
  };
}

export function metaText(size: number): string {
  return `${JSON.stringify({
    Version: 1,
    ID: '2-17-1',
    Index: 17,
    Term: 2,
    Peers: null,
    Configuration: { Servers: [{ Suffrage: 0, ID: 'a', Address: '127.0.0.1:1' }] },
    ConfigurationIndex: 1,
    Size: size,
  })}\n`;
}

export function hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function sumsText(pieces: readonly Piece[]): string {
  return pieces.map((piece) => `${hex(piece.bytes)}  ${piece.name}\n`).join('');
}

/** The three files of a good archive, to be re-ordered, damaged or left out. */
export function goodPieces(state: Uint8Array | string = 'the state'): [Piece, Piece, Piece] {
  const meta: Piece = { name: 'meta.json', bytes: metaText(Buffer.from(state).length) };
  const data: Piece = { name: 'state.bin', bytes: state };
  return [meta, data, { name: 'SHA256SUMS', bytes: sumsText([meta, data]) }];
}

export async function tarOf(pieces: readonly Piece[]): Promise<Buffer> {
  const pack = tarStream.pack();
  for (const piece of pieces) {
    const { name, type = 'file' } = piece;
    pack.entry(
      { name, type, mode: 0o600, mtime: modifiedAt, ...(type === 'symlink' ? { linkname: 'x' } : {}) },
      Buffer.from(piece.bytes),
    );
  }
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export async function archiveOf(pieces: readonly Piece[]): Promise<Buffer> {
  return gzipSync(await tarOf(pieces));
}

/** `bytes` in chunks of `size`. */
export async function* stream(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(Uint8Array.from(chunk));
  return Buffer.concat(chunks);
}

export async function written(state: Uint8Array, change: Partial<ArchiveMeta> = {}): Promise<Buffer> {
  return collect(writeArchive(sampleMeta(state.length, change), stream(state), { modifiedAt }).chunks);
}

export function verify(bytes: Uint8Array, options: VerifyOptions = {}, chunk?: number): Promise<ArchiveSummary> {
  return verifyArchive(stream(bytes, chunk), options);
}

/** The code of the error that a promise ends with, or `good`. */
export async function verdict(result: Promise<unknown>): Promise<string> {
  try {
    await result;
    return 'good';
  } catch (error) {
    const { code } = error as { code?: unknown };
    return typeof code === 'string' ? code : `no code: ${String(error)}`;
  }
}
