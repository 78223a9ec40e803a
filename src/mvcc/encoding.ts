/** How a change is written into a snapshot: marker, then varints and bytes. Unsigned LEB128, as protobuf has it. */
import type { Change } from './history.ts';
import { noLease } from './types.ts';

export const recordMarker = 1;
export const trailerMarker = 2;
/** Marker, count of records (8 bytes, little-endian), CRC-32C of everything before it (4 bytes, little-endian). */
export const trailerBytes = 13;
/** Bytes of a record beside its key and value, at most. */
export const recordOverhead = 1 + 7 * 10;

export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Leases are signed 64-bit numbers in decimal; written as their two's complement. */
function leaseBits(lease: string): bigint {
  return BigInt.asUintN(64, BigInt(lease));
}

function leaseSize(lease: string): number {
  if (lease === noLease) return 1;
  let size = 1;
  for (let rest = leaseBits(lease) >> 7n; rest > 0n; rest >>= 7n) size++;
  return size;
}

export function encodedSize(change: Change): number {
  const keyLength = change.key.length;
  const head =
    1 +
    varintSize(change.modRevision) +
    varintSize(change.sub) +
    varintSize(keyLength) +
    keyLength +
    varintSize(change.version);
  if (change.version === 0) return head;
  return head + varintSize(change.createRevision) + leaseSize(change.lease) + varintSize(change.size) + change.size;
}

export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  // Bit operations hold 32 bits only.
  while (rest > 0x7fffffff) {
    bytes[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  while (rest > 127) {
    bytes[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

export function writeLease(bytes: Uint8Array, at: number, lease: string): number {
  if (lease === noLease) {
    bytes[at++] = 0;
    return at;
  }
  let rest = leaseBits(lease);
  while (rest > 127n) {
    bytes[at++] = Number(rest & 127n) | 128;
    rest >>= 7n;
  }
  bytes[at++] = Number(rest);
  return at;
}

export function writeKey(bytes: Uint8Array, at: number, key: string): number {
  for (let i = 0; i < key.length; i++) bytes[at + i] = key.charCodeAt(i);
  return at + key.length;
}

/** Everything of a record up to its value; the value's bytes follow. `bytes` has room for overhead and key. */
export function writeRecordHead(bytes: Uint8Array, at: number, change: Change): number {
  bytes[at++] = recordMarker;
  at = writeVarint(bytes, at, change.modRevision);
  at = writeVarint(bytes, at, change.sub);
  at = writeVarint(bytes, at, change.key.length);
  at = writeKey(bytes, at, change.key);
  at = writeVarint(bytes, at, change.version);
  if (change.version === 0) return at;
  at = writeVarint(bytes, at, change.createRevision);
  at = writeLease(bytes, at, change.lease);
  return writeVarint(bytes, at, change.size);
}
