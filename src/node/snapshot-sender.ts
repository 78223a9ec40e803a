/**
 * A snapshot to one member, on connections of its own: a header, an answer from which byte on, chunks, an end, and the
 * receiver's word that it has it. A connection that breaks is followed by another, which goes on where the receiver got to.
 */
import type { MemberId, SnapshotMessage } from '../raft/types.ts';
import { streamChunkBytes } from '../storage/disk.ts';
import type { OpenSnapshot } from '../storage/types.ts';
import { type Channel, controlOf } from './channel.ts';
import { ChannelEndedError, FrameInbox } from './frame-inbox.ts';
import { FrameError, frameHeaderBytes, newFrame, sealFrame } from './frames.ts';
import { RefusedError } from './hello.ts';
import {
  chunkType,
  metaOf,
  parseSnapshotAnswer,
  type SnapshotAnswer,
  type SnapshotHeader,
  type TransferCounters,
} from './snapshot-header.ts';

const pauseMs = 250;

export interface SendOptions {
  /** What Raft asks to be sent; the snapshot may be newer. */
  readonly message: SnapshotMessage;
  readonly snapshot: OpenSnapshot;
  readonly openChannel: (to: MemberId) => Promise<Channel>;
  readonly counters: TransferCounters;
  /** How long connections may break without the receiver getting any further, in milliseconds. */
  readonly giveUpAfterMs: number;
  readonly signal: AbortSignal;
}

/** Resolves when the receiver has the snapshot, or has said that it needs none. */
export async function sendSnapshot(options: SendOptions): Promise<void> {
  const { giveUpAfterMs, signal, counters, message, snapshot } = options;
  // It would tell the receiver of a term in which this member does not lead, which no member does.
  if (snapshot.meta.term > message.term) {
    throw new Error(`the snapshot is of term ${snapshot.meta.term}, and this member led term ${message.term}`);
  }
  let reached = -1;
  let movedAt = performance.now();
  for (;;) {
    try {
      await stream(options, (from) => {
        if (from > 0) counters.resumedSnapshots++;
        if (from <= reached) return;
        reached = from;
        movedAt = performance.now();
      });
      counters.sentSnapshots++;
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof BrokenError) || performance.now() - movedAt > giveUpAfterMs) throw error;
    }
    await pause(pauseMs, signal);
  }
}

/** In milliseconds. Rejects with the signal's reason when it is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** The network's doing, not the receiver's word nor our disk's: another attempt may do better. */
class BrokenError extends Error {
  override readonly name = 'BrokenError';
  readonly code = 'SNAPSHOT_STREAM_BROKEN';
}

async function open({ message: { to }, openChannel }: SendOptions): Promise<Channel> {
  try {
    return await openChannel(to);
  } catch (error) {
    if (error instanceof RefusedError) throw error;
    throw new BrokenError((error as Error).message, { cause: error });
  }
}

async function stream(options: SendOptions, onBegin: (from: number) => void): Promise<void> {
  const { message, snapshot, counters, signal } = options;
  const { meta } = snapshot;
  const channel = await open(options);
  const inbox = new FrameInbox(channel);
  const abort = (): void => channel.close();
  signal.addEventListener('abort', abort);
  const answer = async (): Promise<SnapshotAnswer> => parseSnapshotAnswer(controlOf(await inbox.next()), meta.size);
  try {
    signal.throwIfAborted();
    const header: SnapshotHeader = { message: { ...message, meta: metaOf(meta) }, size: meta.size, crc: meta.crc };
    channel.sendControl(header);
    const first = await answer();
    if (!('from' in first)) return settle(first);
    onBegin(first.from);
    const frame = newFrame(1 + streamChunkBytes);
    for await (const chunk of snapshot.read(first.from)) {
      frame[frameHeaderBytes] = chunkType;
      frame.set(chunk, frameHeaderBytes + 1);
      const sent = channel.sendSlowly(sealFrame(frame.subarray(0, frameHeaderBytes + 1 + chunk.length)));
      // The receiver may say no, or be gone, while chunks still go out: its last word is the reason.
      await sent.catch(() => {});
      if (inbox.waiting || channel.isClosed) break;
      counters.sentBytes += chunk.length;
    }
    channel.sendControl({ end: true });
    settle(await answer());
  } catch (error) {
    if (error instanceof ChannelEndedError) throw new BrokenError(error.message, { cause: error });
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    inbox.drain();
  }
}

function settle(answer: SnapshotAnswer): void {
  if ('from' in answer) throw new FrameError('the answer to a snapshot makes no sense');
  if (!answer.stored) throw new Error(answer.reason);
}
