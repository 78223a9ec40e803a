/** Reads a snapshot's bytes back, in pieces of any size, and hands out a store only when every one of them is right. */
import { crc32c } from './crc32c.ts';
import { recordMarker, trailerBytes, trailerMarker } from './encoding.ts';
import { formatVersion, magic, maxHeaderBytes, preambleBytes } from './snapshot.ts';
import { MvccStore } from './store.ts';
import { MvccError, type SnapshotHeader } from './types.ts';

export interface Restored {
  readonly store: MvccStore;
  readonly header: SnapshotHeader;
}

/** Zeros that may follow the trailer: `Maintenance.Snapshot` fills up to a multiple of 512. */
const maxPadding = 511;

/** Not enough bytes yet for what is being read. */
const incomplete = Symbol('incomplete');

function corrupt(offset: number, what: string): MvccError {
  return new MvccError(
    'MVCC_SNAPSHOT_CORRUPT',
    `snapshot is corrupt at byte ${offset}: ${what}; use another snapshot or archive`,
  );
}

function isCount(value: unknown, least: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= least;
}

function keyOf(bytes: Uint8Array): string {
  let key = '';
  // In bounded pieces: the arguments of a call have a limit.
  for (let i = 0; i < bytes.length; i += 4_096) {
    key += String.fromCharCode.apply(undefined, bytes.subarray(i, i + 4_096) as unknown as number[]);
  }
  return key;
}

export class Restorer {
  readonly #store = new MvccStore();
  /**
   * Holds what is received and not yet understood. One for all of it: fresh ones for every piece would make the collector
   * run, and stall everything (D17).
   */
  #room = new Uint8Array(131_072);
  /** Bytes received and not yet understood, at the beginning of `#room`; `#at` is the next to be read. */
  #bytes: Uint8Array = this.#room.subarray(0, 0);
  #at = 0;
  /** Offset of `#bytes[0]` in the snapshot. */
  #base = 0;
  /** Checksum of everything before `#bytes[0]`. */
  #crc = 0;
  #phase: 'header' | 'records' | 'padding' = 'header';
  #header: SnapshotHeader | undefined;
  #size = 0;
  #records = 0;
  #padding = 0;
  #lastMain = 0;
  #lastSub = -1;

  /** Fails with `MVCC_SNAPSHOT_CORRUPT` or `MVCC_SNAPSHOT_VERSION`; then the restorer is of no more use. */
  write(chunk: Uint8Array): void {
    if (this.#phase !== 'padding') {
      this.#append(chunk);
      this.#parse();
      this.#drop();
      return;
    }
    this.#pad(chunk);
  }

  /** The verified state. Fails with `MVCC_SNAPSHOT_TRUNCATED` when bytes are missing. */
  finish(): Restored {
    if (this.#phase !== 'padding' || this.#header === undefined) {
      throw new MvccError(
        'MVCC_SNAPSHOT_TRUNCATED',
        `snapshot ends after ${this.#base + this.#bytes.length} bytes${
          this.#size > 0 ? ` of ${this.#size}` : ', within its header'
        }: use another snapshot or archive`,
      );
    }
    return { store: this.#store, header: this.#header };
  }

  /** A copy: whoever gave the chunk may use its memory again. */
  #append(chunk: Uint8Array): void {
    const before = this.#bytes.length;
    const length = before + chunk.length;
    if (length > this.#room.length) {
      const room = new Uint8Array(Math.max(length, this.#room.length * 2));
      room.set(this.#bytes);
      this.#room = room;
    }
    this.#room.set(chunk, before);
    this.#bytes = this.#room.subarray(0, length);
  }

  /** Forgets what has been read, so that memory stays that of one record. */
  #drop(): void {
    if (this.#at === 0) return;
    this.#crc = crc32c(this.#crc, this.#bytes, 0, this.#at);
    this.#base += this.#at;
    this.#room.copyWithin(0, this.#at, this.#bytes.length);
    this.#bytes = this.#room.subarray(0, this.#bytes.length - this.#at);
    this.#at = 0;
  }

  #fail(what: string): never {
    throw corrupt(this.#base + this.#at, what);
  }

  #parse(): void {
    if (this.#phase === 'header' && !this.#parseHeader()) return;
    while (this.#phase === 'records') {
      const begin = this.#at;
      try {
        this.#parseRecord();
      } catch (error) {
        if (error !== incomplete) throw error;
        this.#at = begin;
        return;
      }
    }
    const rest = this.#bytes.subarray(this.#at);
    this.#at = this.#bytes.length;
    this.#pad(rest);
  }

  #parseHeader(): boolean {
    const bytes = this.#bytes;
    for (let i = 0; i < magic.length && i < bytes.length; i++) {
      if (bytes[i] !== magic[i]) throw corrupt(i, 'this is no snapshot of Raftsman (its first bytes are wrong)');
    }
    if (bytes.length < preambleBytes) return false;
    const fields = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const version = fields.getUint8(8);
    if (version !== formatVersion) {
      throw new MvccError(
        'MVCC_SNAPSHOT_VERSION',
        `snapshot has format ${version}, this version reads format ${formatVersion}`,
      );
    }
    const size = fields.getBigUint64(9, true);
    const length = fields.getUint32(17, true);
    if (length > maxHeaderBytes) throw corrupt(17, `header of ${length} bytes, at most ${maxHeaderBytes} can be`);
    if (size > BigInt(Number.MAX_SAFE_INTEGER) || Number(size) < preambleBytes + length + trailerBytes) {
      throw corrupt(9, `impossible length ${size}`);
    }
    this.#size = Number(size);
    if (bytes.length < preambleBytes + length) return false;
    this.#header = this.#readHeader(bytes.subarray(preambleBytes, preambleBytes + length));
    this.#at = preambleBytes + length;
    this.#phase = 'records';
    return true;
  }

  #readHeader(json: Uint8Array): SnapshotHeader {
    let parsed: unknown;
    try {
      parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
    } catch {
      throw corrupt(preambleBytes, 'the header is not JSON');
    }
    const fields = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>;
    const { index, term, revision, compactRevision, records, keys, attachment } = fields;
    if (
      !isCount(index, 0) ||
      !isCount(term, 0) ||
      !isCount(revision, 1) ||
      !isCount(compactRevision, -1) ||
      !isCount(records, 0) ||
      !isCount(keys, 0) ||
      compactRevision > revision
    ) {
      throw corrupt(preambleBytes, 'a field of the header is missing or impossible');
    }
    return { index, term, revision, compactRevision, records, keys, sizeBytes: this.#size, attachment };
  }

  #byte(): number {
    if (this.#at >= this.#bytes.length) throw incomplete;
    return this.#bytes[this.#at++]!;
  }

  #varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) this.#fail('a number above 2^53');
        return value;
      }
      scale *= 128;
    }
    return this.#fail('a number above 2^53');
  }

  #lease(): string {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value).toString();
    }
    return this.#fail('a lease above 64 bits');
  }

  /** Bytes of a length that the snapshot can still hold. */
  #take(what: string): Uint8Array {
    const length = this.#varint();
    if (this.#base + this.#at + length > this.#size) this.#fail(`${what} of ${length} bytes goes beyond the end`);
    if (this.#at + length > this.#bytes.length) throw incomplete;
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  #parseRecord(): void {
    const marker = this.#byte();
    if (marker === trailerMarker) {
      this.#parseTrailer();
      return;
    }
    if (marker !== recordMarker) this.#fail(`marker ${marker} is neither a record nor the end`);
    const main = this.#varint();
    const sub = this.#varint();
    const keyBytes = this.#take('a key');
    const version = this.#varint();
    const create = version === 0 ? 0 : this.#varint();
    const lease = version === 0 ? '0' : this.#lease();
    const value = version === 0 ? keyBytes.subarray(0, 0) : this.#take('a value');
    if (main < this.#lastMain || (main === this.#lastMain && sub <= this.#lastSub) || main > this.#header!.revision) {
      this.#fail(`revision ${main}.${sub} is out of order`);
    }
    if (keyBytes.length === 0 || create > main || (version !== 0 && create === 0)) this.#fail('an impossible record');
    const key = keyOf(keyBytes);
    this.#lastMain = main;
    this.#lastSub = sub;
    this.#records++;
    this.#store.restoreChange(key, main, sub, create, version, lease, value);
  }

  #parseTrailer(): void {
    if (this.#at - 1 + trailerBytes > this.#bytes.length) throw incomplete;
    const fields = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, trailerBytes - 1);
    const covered = this.#at + 8;
    const crc = crc32c(this.#crc, this.#bytes, 0, covered);
    if (fields.getUint32(8, true) !== crc) this.#fail('the checksum is not that of the bytes');
    const { records, keys, revision, compactRevision } = this.#header!;
    if (fields.getBigUint64(0, true) !== BigInt(this.#records) || this.#records !== records) {
      this.#fail(`${this.#records} records instead of ${records}`);
    }
    this.#at += trailerBytes - 1;
    if (this.#base + this.#at !== this.#size) this.#fail(`ends here instead of at byte ${this.#size}`);
    if (this.#store.keys !== keys) this.#fail(`${this.#store.keys} keys instead of ${keys}`);
    this.#store.restoreRevisions(revision, compactRevision);
    this.#phase = 'padding';
  }

  #pad(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte !== 0 || ++this.#padding > maxPadding) {
        throw corrupt(this.#size + this.#padding, 'bytes after the end');
      }
    }
  }
}

/** Reads a whole snapshot. Fails as `Restorer` does. */
export async function restoreStore(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Restored> {
  const restorer = new Restorer();
  for await (const chunk of chunks) restorer.write(chunk);
  return restorer.finish();
}
