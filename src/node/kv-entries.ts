/**
 * What a log entry of the key-value state looks like: one byte for its kind, eight for who waits for it, and then the
 * request in the very bytes in which the client sent it, so that nothing is encoded twice.
 *
 *     kind       1
 *     process    4   little-endian, drawn at random by the process that proposed it
 *     sequence   4   little-endian, counted by that process
 *     payload        protobuf of the request, or JSON for attributes, peerUrls and alarm
 */
import { KvError } from './kv-errors.ts';

export const entryKinds = { put: 1, deleteRange: 2, txn: 3, compact: 4, attributes: 5, peerUrls: 6, alarm: 7 } as const;
export type EntryKind = keyof typeof entryKinds;

const headBytes = 9;

const kinds: readonly (EntryKind | undefined)[] = [
  undefined,
  'put',
  'deleteRange',
  'txn',
  'compact',
  'attributes',
  'peerUrls',
  'alarm',
];

export interface KvEntry {
  readonly kind: EntryKind;
  readonly process: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

export function encodeEntry(kind: EntryKind, process: number, sequence: number, payload: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(headBytes + payload.length);
  bytes[0] = entryKinds[kind];
  bytes.writeUInt32LE(process, 1);
  bytes.writeUInt32LE(sequence, 5);
  bytes.set(payload, headBytes);
  return bytes;
}

/** Fails with `KV_UNKNOWN_ENTRY`: a newer version wrote it, or the log is not ours. */
export function decodeEntry(index: number, data: Uint8Array): KvEntry {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const kind = kinds[bytes[0] ?? 0];
  if (kind === undefined || bytes.length < headBytes) {
    throw new KvError(
      'KV_UNKNOWN_ENTRY',
      `log entry ${index} is of a kind (${bytes[0]}) that this version does not know: run the version that wrote it`,
    );
  }
  return {
    kind,
    process: bytes.readUInt32LE(1),
    sequence: bytes.readUInt32LE(5),
    payload: bytes.subarray(headBytes),
  };
}
