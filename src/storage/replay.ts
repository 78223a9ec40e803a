/** Reading a whole log: its segments in order, what supersedes what, and where writing goes on. */
import { join } from 'node:path';
import type { Disk } from './disk.ts';
import { StorageError, WalCorruptError } from './errors.ts';
import { decodeEntry, decodeHardState, decodeSnapshotMark } from './payload.ts';
import { type ReadSegment, readSegment, understand } from './segment.ts';
import type { LogEntry, SnapshotMark, StoredHardState, WalContents } from './types.ts';
import type { WalPosition } from './wal.ts';

const namePattern = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;
const hex = (value: number): string => value.toString(16).padStart(16, '0');

export const segmentName = (segment: { number: number; firstIndex: number }): string =>
  `${hex(segment.number)}-${hex(segment.firstIndex)}.wal`;

async function listSegments(disk: Disk, folder: string) {
  let names: string[];
  try {
    names = await disk.list(folder);
  } catch (error) {
    throw new StorageError('WAL_MISSING', `cannot read the log folder ${folder}`, error);
  }
  const segments = [];
  for (const name of names.sort()) {
    const match = namePattern.exec(name);
    if (match) {
      segments.push({
        number: Number.parseInt(match[1]!, 16),
        firstIndex: Number.parseInt(match[2]!, 16),
        path: join(folder, name),
      });
    } else if (name.endsWith('.tmp')) {
      // A segment that was never begun.
      await disk.remove(join(folder, name));
    }
  }
  if (segments.length === 0) throw new StorageError('WAL_MISSING', `the log folder ${folder} holds no segment`);
  return segments;
}

async function readFile(disk: Disk, path: string): Promise<Buffer> {
  try {
    return await disk.read(path);
  } catch (error) {
    throw new StorageError(
      'WAL_UNREADABLE',
      `${(error as Error).message}; this member does not start without it: mend the disk or replace the member`,
      error,
    );
  }
}

/** The state that the records leave behind, in the order in which they were written. */
class Replayed {
  hardState: StoredHardState | undefined;
  snapshots: SnapshotMark[];
  entries: LogEntry[] = [];
  /** Index of the last entry, or of the mark that replaced the log. */
  lastIndex: number;

  constructor(head: ReadSegment['head']) {
    this.hardState = head.hardState;
    this.snapshots = [...head.snapshots];
    this.lastIndex = head.firstIndex - 1;
  }

  takeEntry(entry: LogEntry): void {
    // Released segments may have held what a later entry superseded; within what is left the log has no gaps.
    if (entry.index > this.lastIndex + 1) {
      throw new RangeError(`entry ${entry.index} where entry ${this.lastIndex + 1} must follow`);
    }
    const first = this.entries[0];
    if (first === undefined || entry.index <= first.index) this.entries = [];
    else this.entries.length = entry.index - first.index;
    this.entries.push(entry);
    this.lastIndex = entry.index;
  }

  takeMark(mark: SnapshotMark): void {
    this.snapshots.push(mark);
    if (!mark.replacesLog) return;
    this.entries = [];
    this.lastIndex = mark.index;
  }
}

export interface ReadLog {
  readonly contents: WalContents;
  readonly position: WalPosition;
  /** The last batch, head included, as it is in the last segment. */
  readonly lastWrite: { readonly at: number; readonly bytes: Uint8Array };
}

export async function readLog(disk: Disk, folder: string): Promise<ReadLog> {
  const segments = await listSegments(disk, folder);
  let replayed: Replayed | undefined;
  let before: ReadSegment | undefined;
  let file: Buffer = Buffer.alloc(0);
  for (const [i, segment] of segments.entries()) {
    const { path, number } = segment;
    file = await readFile(disk, path);
    const read = readSegment(path, file, number, i === segments.length - 1);
    replayed ??= new Replayed(read.head);
    if (before) checkFollows(path, before, read);
    if (read.head.firstIndex !== segment.firstIndex || segment.firstIndex !== replayed.lastIndex + 1) {
      throw new WalCorruptError(
        path,
        0,
        `it begins at index ${read.head.firstIndex}, where the log and its name say ${replayed.lastIndex + 1} and ${segment.firstIndex}`,
      );
    }
    for (const { type, payload, offset } of read.records) {
      understand(path, offset, () => {
        if (type === 'entry') replayed!.takeEntry(decodeEntry(payload));
        else if (type === 'hardState') replayed!.hardState = decodeHardState(payload);
        else if (type === 'snapshot') replayed!.takeMark(decodeSnapshotMark(payload));
        else throw new RangeError('a second head');
      });
    }
    before = read;
  }
  const { head, lastStart, end, lastBatch, tornBytes } = before!;
  const { hardState, entries, snapshots, lastIndex } = replayed!;
  const commit = hardState?.commit ?? 0;
  const contents: WalContents = {
    identity: { clusterId: head.clusterId, memberId: head.memberId },
    hardState,
    entries,
    snapshots: snapshots.filter((mark) => mark.index <= commit),
    tornBytes,
  };
  const { allocationBytes } = head;
  const allocated = file.length;
  return {
    contents,
    position: { segments, allocationBytes, allocated, end, lastBatch, lastIndex, hardState, snapshots },
    // A copy: the rest of the segment is not to be kept in memory.
    lastWrite: { at: lastStart, bytes: Uint8Array.from(file.subarray(lastStart, end)) },
  };
}

function checkFollows(path: string, before: ReadSegment, read: ReadSegment): void {
  const { head } = read;
  if (head.segment !== before.head.segment + 1) {
    throw new WalCorruptError(
      path,
      0,
      `segment ${head.segment} follows segment ${before.head.segment}: one is missing`,
    );
  }
  if (head.previousEnd !== before.end) {
    throw new WalCorruptError(
      path,
      0,
      `the segment before it ends at ${before.end}, not at ${head.previousEnd}: records are missing there`,
    );
  }
  if (head.clusterId !== before.head.clusterId || head.memberId !== before.head.memberId) {
    throw new WalCorruptError(path, 0, 'the segment belongs to another member');
  }
}
