/**
 * A snapshot from one member to another, on a connection of its own: a header, chunks, an end; then the receiver says
 * whether it has it. The receiver spools it beside its own snapshots and checks size and checksum before it is kept.
 */
import type { Log } from '../log.ts';
import type { MemberId, SnapshotMessage, SnapshotMeta } from '../raft/types.ts';
import type { FolderSnapshotStore } from '../storage/snapshots.ts';
import type { SnapshotSink } from '../storage/types.ts';
import { type Channel, controlOf } from './channel.ts';
import { FrameError, frameHeaderBytes, newFrame, sealFrame } from './frames.ts';

const chunkType = 0x01;

interface Header {
  readonly message: SnapshotMessage;
  readonly size: number;
  readonly crc: string;
}

export interface TransferCounters {
  sentSnapshots: number;
  receivedSnapshots: number;
  sentBytes: number;
  receivedBytes: number;
}

/** Streams the newest stored snapshot that is at least the wanted one. Rejects on any failure, the receiver's included. */
export async function sendSnapshot(
  message: SnapshotMessage,
  store: FolderSnapshotStore,
  openChannel: (to: MemberId) => Promise<Channel>,
  counters: TransferCounters,
): Promise<SnapshotMeta> {
  const stored = (await store.list()).find((meta) => meta.index >= message.meta.index);
  if (!stored) throw new Error(`no stored snapshot reaches index ${message.meta.index}`);
  const { meta, chunks } = await store.open(stored.id);
  const sent = { ...message, meta: metaOf(meta) };
  const channel = await openChannel(message.to);
  const answer = new Promise<void>((resolve, reject) => {
    channel.handOver({
      onPayload: (payload) => {
        const control = controlOf(payload);
        if (control?.['stored'] === true) resolve();
        else reject(new Error(String(control?.['reason'] ?? 'the receiver gave no reason')));
      },
      onClose: (error) => reject(error ?? new Error('the receiver closed the connection')),
    });
  });
  // The receiver may say no while chunks still go out; then that is the reason.
  let refusal: Error | undefined;
  answer.catch((error: Error) => {
    refusal = error;
    channel.close();
  });
  try {
    channel.sendControl({ message: sent, size: meta.size, crc: meta.crc } satisfies Header);
    for await (const chunk of chunks) {
      const frame = newFrame(1 + chunk.length);
      frame[frameHeaderBytes] = chunkType;
      frame.set(chunk, frameHeaderBytes + 1);
      await channel.sendSlowly(sealFrame(frame));
      counters.sentBytes += chunk.length;
    }
    channel.sendControl({ end: true });
    await answer;
    counters.sentSnapshots++;
    return sent.meta;
  } catch (error) {
    throw refusal ?? error;
  } finally {
    channel.end();
  }
}

export type Verdict = { readonly wanted: true } | { readonly wanted: false; readonly reason: string };

export interface ReceiveOptions {
  readonly from: MemberId;
  readonly self: MemberId;
  readonly channel: Channel;
  readonly store: FolderSnapshotStore;
  readonly log: Log;
  readonly counters: TransferCounters;
  /** Asks Raft. */
  readonly offer: (message: SnapshotMessage) => Promise<Verdict>;
  /** Tells Raft that it is stored; resolves when Raft has decided what becomes of it. */
  readonly stored: (message: SnapshotMessage) => Promise<Verdict>;
}

export async function receiveSnapshot(options: ReceiveOptions): Promise<void> {
  const { channel, from, log, counters } = options;
  const frames = new Inbox(channel);
  let sink: SnapshotSink | undefined;
  try {
    const header = parseHeader(controlOf(await frames.next()), options);
    const verdict = await options.offer(header.message);
    if (!verdict.wanted) {
      // Refused is as good as stored: Raft here has no need of it.
      channel.sendControl({ stored: true, reason: verdict.reason });
      return;
    }
    log.info('receiving a snapshot', { from, index: header.message.meta.index, bytes: header.size });
    sink = await options.store.create({ version: 1, ...header.message.meta });
    let received = 0;
    for (let payload = await frames.next(); payload[0] === chunkType; payload = await frames.next()) {
      received += payload.length - 1;
      if (received > header.size) throw new FrameError(`more than the announced ${header.size} bytes`);
      await sink.write(payload.subarray(1));
      counters.receivedBytes += payload.length - 1;
    }
    if (received !== header.size) throw new FrameError(`${received} of ${header.size} bytes`);
    if (sink.checksum() !== header.crc) throw new FrameError('CRC mismatch');
    const meta = await sink.close();
    const outcome = await options.stored(header.message);
    if (!outcome.wanted) await options.store.remove(meta.id);
    counters.receivedSnapshots++;
    channel.sendControl({ stored: true });
    log.info('received a snapshot', { from, index: meta.index, bytes: meta.size });
  } catch (error) {
    await sink?.cancel();
    log.warn('could not receive a snapshot', { from, error });
    channel.sendControl({ stored: false, reason: error instanceof Error ? error.message : String(error) });
  } finally {
    channel.end();
  }
}

function parseHeader(control: Record<string, unknown> | undefined, { from, self }: ReceiveOptions): Header {
  const { message, size, crc } = (control ?? {}) as Partial<Header>;
  const meta = message?.meta;
  const sane =
    message?.type === 'snapshot' &&
    message.from === from &&
    message.to === self &&
    [message.term, meta?.index, meta?.term, meta?.configurationIndex, size].every(Number.isSafeInteger) &&
    Array.isArray(meta?.configuration?.voters);
  if (!sane || typeof crc !== 'string') throw new FrameError('the header of a snapshot makes no sense');
  return { message, size: size!, crc };
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

/** Frames in order, with the connection held back while they are worked on. */
class Inbox {
  readonly #channel: Channel;
  readonly #frames: Buffer[] = [];
  #wake: (() => void) | undefined;
  #ended: Error | undefined;

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.handOver({
      onPayload: (payload) => {
        this.#frames.push(payload);
        if (this.#frames.length > 4) channel.pause();
        this.#wake?.();
      },
      onClose: (error) => {
        this.#ended = error ?? new FrameError('the connection ended early');
        this.#wake?.();
      },
    });
  }

  async next(): Promise<Buffer> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      if (this.#ended) throw this.#ended;
      this.#channel.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
