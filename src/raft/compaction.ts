/**
 * When a snapshot is due and how much of the log it lets go: hashicorp's arithmetic (HR-11, HR-12, HR-27..30, HR-36) with
 * raftexample's rule (RA-02, RA-09) beside it, as pure functions of plain positions.
 */
import { asIndex, type Index } from './types.ts';

/** HR-32. */
export const defaultSnapshotThreshold = 8192;
export const defaultTrailingLogs = 10240;
export const defaultSnapshotIntervalMilliseconds = 120_000;

/** HR-12: at the threshold exactly. HR-36: a log that ends before the snapshot never asks for one (D12). */
export function snapshotDue(lastIndex: Index, snapshotIndex: Index, threshold: number): boolean {
  return lastIndex > snapshotIndex && lastIndex - snapshotIndex >= threshold;
}

/** RA-02: past the count, measured on what is applied. */
export function snapshotDueByApplied(appliedIndex: Index, snapshotIndex: Index, count: number): boolean {
  return appliedIndex - snapshotIndex > count;
}

/** HR-11: the pause before the next automatic check, from [interval, 2 * interval); null when the interval is 0: never. */
export function snapshotDelay(intervalMilliseconds: number, random: () => number): number | null {
  return intervalMilliseconds <= 0 ? null : intervalMilliseconds + random() * intervalMilliseconds;
}

/**
 * HR-27, HR-28, HR-30: the last position that may go, or null when nothing may.
 * HR-29: at least `trailing` entries stay, and nothing after the snapshot is ever removed.
 */
export function compactThrough(first: Index, last: Index, snapshot: Index, trailing: number): Index | null {
  if (last <= trailing) return null;
  const through = Math.min(snapshot, last - trailing);
  return through < first ? null : asIndex(through);
}

/** RA-09: raftexample's position to compact to: `keep` entries behind what is applied, or 1. */
export function compactIndexByApplied(applied: Index, keep: number): Index {
  return asIndex(applied > keep ? applied - keep : 1);
}
