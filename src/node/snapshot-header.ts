/** What one member tells another of a snapshot before its bytes, and how much of it is there already. */
import type { MemberId, SnapshotMessage, SnapshotMeta } from '../raft/types.ts';
import { FrameError } from './frames.ts';

export const chunkType = 0x01;

export interface SnapshotHeader {
  readonly message: SnapshotMessage;
  /** Bytes. */
  readonly size: number;
  /** Of the whole; see `StoredSnapshotMeta.crc`. */
  readonly crc: string;
}

/**
 * The receiver's answers, each a control frame: first either that it is all well without the bytes, or from which byte on
 * they are wanted; after the end whether it is stored.
 */
export type SnapshotAnswer =
  | { readonly from: number }
  | { readonly stored: true; readonly reason?: string }
  | { readonly stored: false; readonly reason: string };

export interface TransferCounters {
  sentSnapshots: number;
  receivedSnapshots: number;
  /** Streams that went on where an earlier one broke off. */
  resumedSnapshots: number;
  /** Streams that held what no member sends. */
  badStreams: number;
  sentBytes: number;
  receivedBytes: number;
}

/** Throws a FrameError for what no member sends. */
export function parseSnapshotHeader(
  control: Record<string, unknown> | undefined,
  from: MemberId,
  to: MemberId,
): SnapshotHeader {
  const { message, size, crc } = (control ?? {}) as Partial<SnapshotHeader>;
  const meta = message?.meta;
  const whole = [message?.term, meta?.index, meta?.term, meta?.configurationIndex, size];
  const sane =
    message?.type === 'snapshot' &&
    message.from === from &&
    message.to === to &&
    whole.every((value) => Number.isSafeInteger(value) && (value as number) >= 0) &&
    Array.isArray(meta?.configuration?.voters);
  if (!sane || typeof crc !== 'string') throw new FrameError('the header of a snapshot makes no sense');
  return { message, size: size!, crc };
}

/** Throws a FrameError for what no member sends. `size` bounds where the receiver may want to go on. */
export function parseSnapshotAnswer(control: Record<string, unknown> | undefined, size: number): SnapshotAnswer {
  const { stored, from, reason } = control ?? {};
  if (stored === true) return { stored };
  if (stored === false) return { stored, reason: typeof reason === 'string' ? reason : 'the receiver gave no reason' };
  if (Number.isSafeInteger(from) && (from as number) >= 0 && (from as number) <= size) return { from: from as number };
  throw new FrameError('the answer to a snapshot makes no sense');
}

export function metaOf(stored: {
  index: number;
  term: number;
  configuration: unknown;
  configurationIndex: number;
}): SnapshotMeta {
  const { index, term, configuration, configurationIndex } = stored;
  return { index, term, configuration, configurationIndex } as SnapshotMeta;
}
