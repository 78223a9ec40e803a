import { ByteReader } from './bytes.ts';
import { ArchiveError } from './types.ts';

/** As much of tar as a snapshot archive has: regular files by short names, pax only for what an octal field cannot hold. */

export const blockSize = 512;
const paxLimit = 64 * 1024;
/** How far trailing bytes are counted before they are called "at least". */
const trailingLimit = 1024 * 1024;

/** Eleven octal digits hold sizes up to 8 GiB − 1. */
const octalLimit = 8 ** 11;

export interface TarEntry {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

/** POSIX ustar, or GNU's binary size for 8 GiB and more, which every reader of note knows. Mode 0600 (NS-14). */
export function encodeHeader(entry: TarEntry, modifiedAt: Date): Uint8Array {
  const block = Buffer.alloc(blockSize);
  const big = entry.size >= octalLimit;
  block.write(entry.name, 0, 100, 'utf8');
  block.write('0000600\0', 100, 'latin1');
  block.write('0000000\0', 108, 'latin1');
  block.write('0000000\0', 116, 'latin1');
  if (big) {
    block.writeUInt8(0x80, 124);
    block.writeBigUInt64BE(BigInt(entry.size), 128);
  } else {
    block.write(`${entry.size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  }
  const seconds = Math.max(0, Math.floor(modifiedAt.getTime() / 1000));
  block.write(`${seconds.toString(8).padStart(11, '0')}\0`, 136, 'latin1');
  block.write('0', 156, 'latin1');
  block.write(big ? 'ustar  \0' : 'ustar\u000000', 257, 'latin1');
  block.write(`${checksum(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Zero bytes from the end of an entry to the next block. */
export function padding(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

/** Two zero blocks. */
export const tarEnd = new Uint8Array(2 * blockSize);

export class TarReader {
  readonly #input: ByteReader;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#input = new ByteReader(source, 'tar');
  }

  get place() {
    return this.#input.place;
  }

  /** The next regular file; undefined at the tar's end. The entry before must have been read whole. */
  async next(): Promise<TarEntry | undefined> {
    let extended: { path?: string; size?: number } = {};
    for (;;) {
      const place = this.#input.place;
      const block = await this.#input.exactly(blockSize, 'a tar header');
      if (block.every((byte) => byte === 0)) {
        const second = await this.#input.exactly(blockSize, "the tar's end");
        if (second.every((byte) => byte === 0)) return undefined;
        throw new ArchiveError('ARCHIVE_TAR_CORRUPT', `a lone zero block at byte ${place.offset} of the tar`, {
          place,
        });
      }
      const header = decodeHeader(block, place.offset);
      if (header.type === 'x') {
        extended = await this.#pax(header.size);
        continue;
      }
      const name = extended.path ?? header.name;
      if (header.type !== '0' && header.type !== '\0') {
        const kind = header.type === '5' ? 'a folder' : `of type "${header.type}"`;
        throw new ArchiveError('ARCHIVE_UNEXPECTED_FILE', `unexpected file "${name}" in snapshot: it is ${kind}`, {
          place,
        });
      }
      return { name, size: extended.size ?? header.size };
    }
  }

  /** The bytes of the entry that `next` has returned, and past its padding. Chunks are valid until the next one. */
  async *contents(entry: TarEntry): AsyncGenerator<Uint8Array, void, undefined> {
    let left = entry.size;
    while (left > 0) {
      const chunk = await this.#input.some(left);
      if (chunk === undefined) throw this.#input.truncated(entry.name);
      left -= chunk.length;
      yield chunk;
    }
    await this.#input.exactly(padding(entry.size), `the padding after ${entry.name}`);
  }

  /** Reads on to the end of the source, which makes the layer below check its own end (NS-09). */
  async conclude(): Promise<void> {
    const place = this.#input.place;
    let extra = 0;
    while (extra < trailingLimit) {
      const chunk = await this.#input.some();
      if (chunk === undefined) break;
      extra += chunk.length;
    }
    if (extra === 0) return;
    const count = extra < trailingLimit ? `${extra}` : `at least ${extra}`;
    throw new ArchiveError(
      'ARCHIVE_TRAILING_BYTES',
      `${count} unread uncompressed bytes remain after the tar's end at byte ${place.offset} of the tar`,
      { place },
    );
  }

  async close(): Promise<void> {
    await this.#input.close();
  }

  async #pax(size: number): Promise<{ path?: string; size?: number }> {
    const place = this.#input.place;
    if (size > paxLimit) {
      throw new ArchiveError('ARCHIVE_TAR_CORRUPT', `a pax header of ${size} bytes, above ${paxLimit}`, { place });
    }
    const bytes = Buffer.from(await this.#input.exactly(size, 'a pax header'));
    await this.#input.exactly(padding(size), 'the padding after a pax header');
    const found: { path?: string; size?: number } = {};
    let at = 0;
    while (at < bytes.length) {
      const space = bytes.indexOf(0x20, at);
      const length = Number(bytes.toString('latin1', at, space < 0 ? at : space) || 'none');
      const record = Number.isSafeInteger(length) ? bytes.toString('utf8', space + 1, at + length) : '';
      const equals = record.indexOf('=');
      if (equals < 1 || !record.endsWith('\n') || at + length > bytes.length) {
        throw new ArchiveError('ARCHIVE_TAR_CORRUPT', `a damaged pax header at byte ${place.offset} of the tar`, {
          place,
        });
      }
      const value = record.slice(equals + 1, -1);
      switch (record.slice(0, equals)) {
        case 'path':
          found.path = value;
          break;
        case 'size':
          if (!/^\d{1,15}$/.test(value)) {
            throw new ArchiveError('ARCHIVE_TAR_CORRUPT', `a pax header with the size "${value}"`, { place });
          }
          found.size = Number(value);
          break;
        default:
          // Times, owners and the like change nothing here.
          break;
      }
      at += length;
    }
    return found;
  }
}

function checksum(block: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < blockSize; at++) sum += at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
  return sum;
}

function decodeHeader(bytes: Uint8Array, offset: number): TarEntry & { type: string } {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const place = { layer: 'tar', offset } as const;
  const number = (start: number, length: number, what: string): number => {
    const field = block.subarray(start, start + length);
    let value: number;
    if (((field[0] ?? 0) & 0x80) !== 0) {
      // Base 256, most significant byte first; the marker bit is not part of the number.
      value = field.reduce((sum, byte, at) => sum * 256 + (at === 0 ? byte & 0x7f : byte), 0);
    } else {
      const text = field
        .toString('latin1')
        .replace(/[\0 ]+$/, '')
        .replace(/^ +/, '');
      value = /^[0-7]*$/.test(text) ? Number.parseInt(text || '0', 8) : Number.NaN;
    }
    if (Number.isSafeInteger(value)) return value;
    throw new ArchiveError('ARCHIVE_TAR_CORRUPT', `a tar header with a damaged ${what} at byte ${offset} of the tar`, {
      place,
    });
  };
  const text = (start: number, length: number): string => {
    const field = block.subarray(start, start + length);
    const end = field.indexOf(0);
    return field.toString('utf8', 0, end < 0 ? length : end);
  };
  const expected = checksum(block);
  const given = block
    .subarray(148, 156)
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim();
  if (!/^[0-7]+$/.test(given) || Number.parseInt(given, 8) !== expected) {
    if (offset === 0) {
      throw new ArchiveError('ARCHIVE_NOT_TAR', 'a gzip file without a tar inside, so not a snapshot archive', {
        place,
      });
    }
    throw new ArchiveError('ARCHIVE_TAR_CORRUPT', `a damaged tar header at byte ${offset} of the tar`, { place });
  }
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? text(345, 155) : '';
  const name = text(0, 100);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    size: number(124, 12, 'size'),
    type: block.toString('latin1', 156, 157),
  };
}
