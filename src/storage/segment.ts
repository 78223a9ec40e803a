/**
 * Reading one segment of the log. A segment that others follow must be whole. The last one may end in a batch that was
 * being written when the member died: nobody was told of it, so it is cut. Everything else that does not check is damage,
 * and damage is refused: cutting it could forget what this member once acknowledged.
 */
import { WalCorruptError } from './errors.ts';
import { decodeHead, type SegmentHead } from './payload.ts';
import {
  type Decoded,
  decodeRecord,
  headerBytes,
  isFilledWith,
  isPartlyUnwritten,
  recordAlignment,
  type WalRecord,
} from './record.ts';

export interface PlacedRecord extends WalRecord {
  readonly offset: number;
}

export interface ReadSegment {
  readonly head: SegmentHead;
  /** The records of complete batches, without the head. */
  readonly records: readonly PlacedRecord[];
  /** Number of the last complete batch. */
  readonly lastBatch: number;
  /** Where the last complete batch begins; the head's, when there is no other. */
  readonly lastStart: number;
  /** Where the last complete batch ends. */
  readonly end: number;
  /** Bytes after `end` that belong to an unfinished batch and must be zeroed before anything is written there. */
  readonly tornBytes: number;
}

export function readSegment(path: string, file: Buffer, segment: number, isLast: boolean): ReadSegment {
  const first = decodeRecord(file, 0, segment);
  if (first.is !== 'record' || first.record.type !== 'head' || !first.endsBatch) {
    throw new WalCorruptError(path, 0, 'the segment does not begin with its head');
  }
  const head = understand(path, 0, () => decodeHead(first.record.payload));
  const records: PlacedRecord[] = [];
  let unfinished: PlacedRecord[] = [];
  let lastBatch = first.batch;
  let lastStart = 0;
  let end = first.end;
  let at = first.end;
  let found = decodeRecord(file, at, segment);
  for (; found.is === 'record'; found = decodeRecord(file, at, segment)) {
    if (found.batch !== (lastBatch + 1) >>> 0) {
      throw new WalCorruptError(path, at, `batch ${found.batch} where batch ${(lastBatch + 1) >>> 0} must follow`);
    }
    unfinished.push({ ...found.record, offset: at });
    at = found.end;
    if (found.endsBatch) {
      for (const record of unfinished) records.push(record);
      unfinished = [];
      lastBatch = found.batch;
      lastStart = end;
      end = at;
    }
  }
  if (!isLast) {
    if (found.is !== 'empty' || at !== end)
      throw new WalCorruptError(path, at, `${whatIs(found)}, and later segments follow`);
    return { head, records, lastBatch, lastStart, end, tornBytes: 0 };
  }
  checkLength(path, file, head, at);
  const tornBytes = judgeTail({ path, file, segment, end, at, found, nextBatch: (lastBatch + 1) >>> 0 });
  return { head, records, lastBatch, lastStart, end, tornBytes };
}

/**
 * A segment is extended by whole allocations, durably, before anything is written there, and never filled to its end.
 * So data in a partial allocation, or up to the very end, shows that the file was shortened after the fact.
 */
function checkLength(path: string, file: Buffer, head: SegmentHead, at: number): void {
  const whole = Math.floor(file.length / head.allocationBytes) * head.allocationBytes;
  if (!isFilledWith(file, Math.max(whole, 0), file.length, 0) || at + headerBytes > file.length) {
    throw new WalCorruptError(path, file.length, 'the file was cut short');
  }
}

interface Tail {
  readonly path: string;
  readonly file: Buffer;
  readonly segment: number;
  /** End of the last complete batch. */
  readonly end: number;
  /** The first place that holds no good record. */
  readonly at: number;
  readonly found: Decoded;
  readonly nextBatch: number;
}

/** How many bytes of an unfinished batch follow `end`; throws when it is damage instead. */
function judgeTail({ path, file, segment, end, at, found, nextBatch }: Tail): number {
  let used = file.length;
  while (used > end && file[used - 1] === 0) used--;
  if (used === end) return 0;
  for (let o = at + recordAlignment; o < used; o += recordAlignment) {
    const later = decodeRecord(file, o, segment);
    // A batch is written only after the one before it is durable: its presence proves that this place once was good.
    if (later.is === 'record' && later.batch !== nextBatch) {
      throw new WalCorruptError(path, at, `${whatIs(found)}, and batch ${later.batch} follows at offset ${o}`);
    }
  }
  const torn =
    found.is === 'empty' ||
    (found.is === 'bad-header' && used <= at + headerBytes) ||
    (found.is === 'bad-payload' && isPartlyUnwritten(file, at, found.payloadEnd, found.end));
  if (!torn)
    throw new WalCorruptError(path, at, `${whatIs(found)}, and no part of it is unwritten, so it is not a torn write`);
  return used - end;
}

function whatIs(found: Decoded): string {
  switch (found.is) {
    case 'record':
      return 'a record';
    case 'empty':
      return 'a record is missing';
    case 'bad-header':
      return 'a record header does not match its checksum';
    case 'cut':
      return 'the file ends within a record';
    case 'bad-payload':
      return 'a record does not match its checksum';
  }
}

/** Runs a decoder; bytes that pass their checksum and make no sense are damage too. */
export function understand<T>(path: string, offset: number, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw new WalCorruptError(
      path,
      offset,
      `a record makes no sense: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
