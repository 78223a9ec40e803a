/**
 * A snapshot's bytes:
 *
 *     magic "RAFTSMAN"   8
 *     format version     1    = 1
 *     length of all      8    little-endian, header and trailer included
 *     length of header   4    little-endian
 *     header                  JSON
 *     records                 every change kept, in the order of revisions (encoding.ts)
 *     trailer            13   marker, number of records, CRC-32C of everything before
 */
import { crc32c } from './crc32c.ts';
import { recordOverhead, trailerBytes, trailerMarker, writeRecordHead } from './encoding.ts';
import { changesOf, type HistoryView } from './history.ts';
import { MvccError, type Snapshot, type SnapshotHeader } from './types.ts';

export const magic = new Uint8Array([0x52, 0x41, 0x46, 0x54, 0x53, 0x4d, 0x41, 0x4e]);
export const formatVersion = 1;
export const preambleBytes = 21;
/** Longest header that a restore accepts. */
export const maxHeaderBytes = 1_048_576;
const sliceBytes = 65_536;

export interface SnapshotOptions {
  /** Log index and term of the last entry in the state. */
  readonly index: number;
  readonly term: number;
  /** JSON to keep beside the keys, at most 512 KiB. */
  readonly attachment: unknown;
}

export function takeSnapshot(
  state: { readonly revision: number; readonly compactRevision: number; readonly keys: number },
  view: HistoryView,
  options: SnapshotOptions,
): Snapshot {
  const { index, term, attachment } = options;
  const described = { index, term, ...state, records: view.count, attachment };
  const json = new TextEncoder().encode(JSON.stringify(described));
  const sizeBytes = preambleBytes + json.length + view.bytes + trailerBytes;
  const header: SnapshotHeader = { ...described, sizeBytes };
  let kept: HistoryView | undefined = view;
  const held = (): HistoryView => {
    if (kept === undefined) throw new MvccError('MVCC_SNAPSHOT_RELEASED', `the snapshot at ${index} was released`);
    return kept;
  };
  return {
    header,
    slices: () => slices(header, json, held()),
    release: () => {
      held();
      kept = undefined;
    },
  };
}

function* slices(header: SnapshotHeader, json: Uint8Array, view: HistoryView): Generator<Uint8Array> {
  let slice = new Uint8Array(sliceBytes);
  let used = 0;
  let crc = 0;

  /** What is filled, ready to go out; a new slice takes its place. */
  const seal = (): Uint8Array => {
    const full = slice.subarray(0, used);
    crc = crc32c(crc, full);
    slice = new Uint8Array(sliceBytes);
    used = 0;
    return full;
  };

  /** Copies bytes of any length, over as many slices as it takes. */
  function* copy(bytes: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; ) {
      if (used === sliceBytes) yield seal();
      const length = Math.min(sliceBytes - used, bytes.length - at);
      slice.set(bytes.subarray(at, at + length), used);
      used += length;
      at += length;
    }
  }

  const preamble = new Uint8Array(preambleBytes);
  preamble.set(magic);
  const fields = new DataView(preamble.buffer);
  fields.setUint8(8, formatVersion);
  fields.setBigUint64(9, BigInt(header.sizeBytes), true);
  fields.setUint32(17, json.length, true);
  yield* copy(preamble);
  yield* copy(json);

  for (const change of changesOf(view)) {
    const room = recordOverhead + change.key.length;
    if (room + change.size <= sliceBytes) {
      if (used + room + change.size > sliceBytes) yield seal();
      used = writeRecordHead(slice, used, change);
      if (change.size > 0) {
        slice.set(change.slab.bytes.subarray(change.at, change.at + change.size), used);
        used += change.size;
      }
    } else {
      const head = new Uint8Array(room);
      yield* copy(head.subarray(0, writeRecordHead(head, 0, change)));
      yield* copy(change.value);
    }
  }

  if (used + trailerBytes > sliceBytes) yield seal();
  const trailer = new DataView(slice.buffer, used, trailerBytes);
  trailer.setUint8(0, trailerMarker);
  trailer.setBigUint64(1, BigInt(header.records), true);
  trailer.setUint32(9, crc32c(crc, slice, 0, used + 9), true);
  used += trailerBytes;
  yield slice.subarray(0, used);
}
