/**
 * One record of the write-ahead log, as bytes:
 *
 *     length u32 | crc u32 | batch u32 | type+flags u8 | mask u8 | header check u16 | payload … | filler 0xA5 …
 *
 * Little-endian; records begin at multiples of 16, so that no header straddles a disk sector. The checks are seeded with
 * the segment's number and the record's offset: stale or misplaced bytes never pass as a record. The filler is not
 * under the checksum: it only shows, by not being zeros, that the record was written to its end. A payload that would hold a whole
 * sector of zeros is masked, so that "a sector of zeros" always means "never written": this is what tells a torn write
 * from damage (see `segment.ts`).
 */
import { crc32 } from 'node:zlib';

export const recordAlignment = 16;
export const headerBytes = 16;
export const sectorBytes = 512;
const fillerBytes = 8;
const filler = 0xa5;
const endOfBatch = 0x80;

/** Above this a length field is damage: nothing is allocated on its word. */
export const maxPayloadBytes = 64 << 20;

export type RecordType = 'head' | 'hardState' | 'entry' | 'snapshot';
const typeNumbers: Record<RecordType, number> = { head: 1, hardState: 2, entry: 3, snapshot: 4 };
const typeNames: readonly (RecordType | undefined)[] = [undefined, 'head', 'hardState', 'entry', 'snapshot'];

export interface WalRecord {
  readonly type: RecordType;
  readonly payload: Uint8Array;
}

export const recordBytes = (payloadBytes: number): number =>
  Math.ceil((headerBytes + payloadBytes + fillerBytes) / recordAlignment) * recordAlignment;

const seedOf = (segment: number, offset: number): number => (Math.imul(segment + 1, 0x9e3779b1) ^ offset) >>> 0;

/** Never zero, so that a header is never all zeros. */
const headerCheck = (header: Uint8Array, seed: number): number => (crc32(header, seed) & 0xffff) | 1;

/** Offsets, within `bytes` that start at `at` in the file, of the sectors which lie wholly inside. */
function* wholeSectors(at: number, length: number): Generator<number> {
  for (let s = Math.ceil(at / sectorBytes) * sectorBytes; s + sectorBytes <= at + length; s += sectorBytes)
    yield s - at;
}

export function isFilledWith(bytes: Uint8Array, from: number, to: number, value: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== value) return false;
  return true;
}

/** A mask under which no whole sector of the payload is zero; 0, which changes nothing, in nearly every case. */
function maskFor(payload: Uint8Array, at: number): number {
  if (payload.length < sectorBytes) return 0;
  const taken = new Set<number>();
  for (const s of wholeSectors(at, payload.length)) {
    const first = payload[s]!;
    if (!taken.has(first) && isFilledWith(payload, s, s + sectorBytes, first)) taken.add(first);
  }
  for (let mask = 0; mask < 256; mask++) if (!taken.has(mask)) return mask;
  return 0;
}

/** The bytes of one batch, to be written at `offset` of segment `segment`. The last record is flagged as its end. */
export function encodeBatch(records: readonly WalRecord[], segment: number, offset: number, batch: number): Buffer {
  let total = 0;
  for (const record of records) total += recordBytes(record.payload.length);
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  records.forEach((record, i) => {
    const { payload } = record;
    const size = recordBytes(payload.length);
    const seed = seedOf(segment, offset + at);
    const body = at + headerBytes;
    bytes.set(payload, body);
    bytes.fill(filler, body + payload.length, at + size);
    const stored = bytes.subarray(body, body + payload.length);
    const mask = maskFor(payload, offset + body);
    if (mask !== 0) for (let b = 0; b < payload.length; b++) stored[b]! ^= mask;
    bytes.writeUInt32LE(payload.length, at);
    bytes.writeUInt32LE(crc32(stored, seed), at + 4);
    bytes.writeUInt32LE(batch >>> 0, at + 8);
    bytes[at + 12] = typeNumbers[record.type] | (i === records.length - 1 ? endOfBatch : 0);
    bytes[at + 13] = mask;
    bytes.writeUInt16LE(headerCheck(bytes.subarray(at, at + 14), seed), at + 14);
    at += size;
  });
  return bytes;
}

export type Decoded =
  | {
      readonly is: 'record';
      readonly record: WalRecord;
      readonly batch: number;
      readonly endsBatch: boolean;
      readonly end: number;
    }
  /** The header is all zeros: nothing was written here. */
  | { readonly is: 'empty' }
  /** The header does not check, so nothing it says can be believed. */
  | { readonly is: 'bad-header' }
  /** The header checks, but the file ends before the record does. */
  | { readonly is: 'cut'; readonly end: number }
  /** The header checks, the payload does not. */
  | { readonly is: 'bad-payload'; readonly payloadEnd: number; readonly end: number };

export function decodeRecord(file: Buffer, offset: number, segment: number): Decoded {
  const body = offset + headerBytes;
  if (isFilledWith(file, offset, Math.min(body, file.length), 0)) return { is: 'empty' };
  if (body > file.length) return { is: 'bad-header' };
  const seed = seedOf(segment, offset);
  const flags = file[offset + 12]!;
  const type = typeNames[flags & ~endOfBatch];
  const check = headerCheck(file.subarray(offset, offset + 14), seed);
  if (type === undefined || file.readUInt16LE(offset + 14) !== check) return { is: 'bad-header' };
  const length = file.readUInt32LE(offset);
  if (length > maxPayloadBytes) return { is: 'bad-header' };
  const end = offset + recordBytes(length);
  if (end > file.length) return { is: 'cut', end };
  const batch = file.readUInt32LE(offset + 8);
  const stored = file.subarray(body, body + length);
  if (crc32(stored, seed) !== file.readUInt32LE(offset + 4))
    return { is: 'bad-payload', payloadEnd: body + length, end };
  const mask = file[offset + 13]!;
  const payload = mask === 0 ? stored : stored.map((byte) => byte ^ mask);
  return { is: 'record', record: { type, payload }, batch, endsBatch: (flags & endOfBatch) !== 0, end };
}

/** Whether a record that does not check was left so by a write that never finished: part of it is still unwritten. */
export function isPartlyUnwritten(file: Buffer, offset: number, payloadEnd: number, end: number): boolean {
  if (isFilledWith(file, payloadEnd, end, 0)) return true;
  for (const s of wholeSectors(offset, end - offset)) {
    if (isFilledWith(file, offset + s, offset + s + sectorBytes, 0)) return true;
  }
  return false;
}
