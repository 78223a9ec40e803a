/** Beginning a segment of the log. */
import { join } from 'node:path';
import { type Disk, isDiskFull } from './disk.ts';
import { encodeJson, type SegmentHead } from './payload.ts';
import { encodeBatch, headerBytes } from './record.ts';
import { segmentName } from './replay.ts';
import type { Identity } from './types.ts';
import type { Segment, WalPosition } from './wal.ts';

/** A new segment with its head, complete under its name or not there. */
export async function writeSegment(disk: Disk, folder: string, identity: Identity, at: WalPosition) {
  const number = (at.segments.at(-1)?.number ?? -1) + 1;
  const firstIndex = at.lastIndex + 1;
  const segment: Segment = { number, firstIndex, path: join(folder, segmentName({ number, firstIndex })) };
  const head: SegmentHead = {
    format: 1,
    segment: number,
    allocationBytes: at.allocationBytes,
    firstIndex,
    previousEnd: at.end,
    clusterId: identity.clusterId,
    memberId: identity.memberId,
    hardState: at.hardState,
    snapshots: at.snapshots,
  };
  const lastBatch = (at.lastBatch + 1) >>> 0;
  const bytes = encodeBatch([{ type: 'head', payload: encodeJson(head) }], number, 0, lastBatch);
  const allocated = Math.ceil((bytes.length + headerBytes) / at.allocationBytes) * at.allocationBytes;
  const whole = Buffer.alloc(allocated);
  whole.set(bytes);
  const aside = `${segment.path}.tmp`;
  await disk.remove(aside);
  try {
    await disk.writeNew(aside, whole);
    await disk.rename(aside, segment.path);
  } catch (error) {
    // What there was room for is of use elsewhere.
    if (isDiskFull(error)) await disk.remove(aside);
    throw error;
  }
  await disk.syncFolder(folder);
  return { segment, allocated, end: bytes.length, lastBatch };
}
