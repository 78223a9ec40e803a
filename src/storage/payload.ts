/** What the records of the log say: payloads to bytes and back. Integers are u64 little-endian, exact to 2^53. */
import type { EntryKind, Identity, LogEntry, SnapshotMark, StoredHardState } from './types.ts';

const kinds: readonly EntryKind[] = ['normal', 'noop', 'configuration'];
const entryHeaderBytes = 17;

/** The first record of every segment: it repeats what the released segments before it said. */
export interface SegmentHead extends Identity {
  readonly format: 1;
  readonly segment: number;
  readonly allocationBytes: number;
  /** One more than the last index of the log when the segment was begun. */
  readonly firstIndex: number;
  /** Where the segment before this one ended, so that a shortened one is noticed; -1 for the very first. */
  readonly previousEnd: number;
  readonly hardState: StoredHardState | undefined;
  readonly snapshots: readonly SnapshotMark[];
}

function writeU64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32LE(value % 0x1_0000_0000, at);
  buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

function readU64(buffer: Buffer, at: number): number {
  const value = buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 0x1_0000_0000;
  if (!Number.isSafeInteger(value)) throw new RangeError('an integer beyond 2^53');
  return value;
}

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function encodeEntry(entry: LogEntry): Buffer {
  const payload = Buffer.allocUnsafe(entryHeaderBytes + entry.data.length);
  payload[0] = kinds.indexOf(entry.kind);
  writeU64(payload, entry.term, 1);
  writeU64(payload, entry.index, 9);
  payload.set(entry.data, entryHeaderBytes);
  return payload;
}

/** The data is copied: an entry that lives on must not keep its whole segment in memory. */
export function decodeEntry(payload: Uint8Array): LogEntry {
  const bytes = view(payload);
  const kind = kinds[bytes[0] ?? -1];
  if (kind === undefined || bytes.length < entryHeaderBytes) throw new RangeError('not an entry');
  return {
    kind,
    term: readU64(bytes, 1),
    index: readU64(bytes, 9),
    data: Uint8Array.from(bytes.subarray(entryHeaderBytes)),
  };
}

export function encodeHardState(state: StoredHardState): Buffer {
  const vote = state.vote ?? '';
  const payload = Buffer.allocUnsafe(16 + vote.length);
  writeU64(payload, state.term, 0);
  writeU64(payload, state.commit, 8);
  payload.write(vote, 16, 'latin1');
  return payload;
}

export function decodeHardState(payload: Uint8Array): StoredHardState {
  const bytes = view(payload);
  if (bytes.length < 16) throw new RangeError('not a hard state');
  const vote = bytes.toString('latin1', 16);
  return { term: readU64(bytes, 0), commit: readU64(bytes, 8), vote: vote === '' ? null : vote };
}

export const encodeJson = (value: SegmentHead | SnapshotMark): Buffer => Buffer.from(JSON.stringify(value));

export const decodeSnapshotMark = (payload: Uint8Array): SnapshotMark => markFrom(JSON.parse(view(payload).toString()));

function markFrom(value: unknown): SnapshotMark {
  const mark = (value ?? {}) as SnapshotMark;
  const numbers = [mark.index, mark.term, mark.configurationIndex];
  if (!numbers.every(isNatural) || typeof mark.replacesLog !== 'boolean') throw new RangeError('not a snapshot mark');
  return mark;
}

export function decodeHead(payload: Uint8Array): SegmentHead {
  const head = (JSON.parse(view(payload).toString()) ?? {}) as SegmentHead;
  if (head.format !== 1) throw new RangeError(`log format ${String(head.format)}, this version reads format 1`);
  const numbers = [head.segment, head.allocationBytes, head.firstIndex, head.previousEnd + 1];
  const names = [head.clusterId, head.memberId];
  const sane = numbers.every(isNatural) && head.allocationBytes > 0 && names.every((name) => typeof name === 'string');
  const { hardState } = head;
  if (!sane || (hardState !== undefined && !(isNatural(hardState.term) && isNatural(hardState.commit))))
    throw new RangeError('not the head of a segment');
  for (const mark of head.snapshots) markFrom(mark);
  return head;
}

const isNatural = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
