/**
 * The receiving side (ES-16..22): a stream is spooled beside the member's own snapshots, checked whole by size and
 * checksum, and is there durably or not at all. What had come when a connection breaks is kept for a while: the next stream
 * of the same snapshot goes on there.
 */
import type { Log } from '../log.ts';
import type { MemberId, SnapshotMessage } from '../raft/types.ts';
import type { SnapshotSink, StoredSnapshotMeta } from '../storage/types.ts';
import { type Channel, controlOf } from './channel.ts';
import { ChannelEndedError, FrameInbox } from './frame-inbox.ts';
import { FrameError } from './frames.ts';
import { OnceLog } from './once.ts';
import {
  chunkType,
  parseSnapshotHeader,
  type SnapshotAnswer,
  type SnapshotHeader,
  type TransferCounters,
} from './snapshot-header.ts';
import { type Clock, realClock } from './snapshot-outbox.ts';

/** How long a broken stream's beginning is kept, in milliseconds. */
export const keepSpoolMs = 60_000;

export type Verdict = { readonly wanted: true } | { readonly wanted: false; readonly reason: string };

export interface ReceiverOptions {
  readonly self: MemberId;
  readonly store: {
    create(snapshot: SpooledSnapshot): Promise<SnapshotSink>;
    remove(id: string): Promise<void>;
  };
  readonly log: Log;
  readonly counters: TransferCounters;
  /** Asks Raft. */
  readonly offer: (message: SnapshotMessage) => Promise<Verdict>;
  /** Tells Raft that it is stored; resolves when Raft has decided what becomes of it. */
  readonly stored: (message: SnapshotMessage) => Promise<Verdict>;
  readonly clock?: Clock;
}

type SpooledSnapshot = Pick<StoredSnapshotMeta, 'version' | 'index' | 'term' | 'configuration' | 'configurationIndex'>;

interface Spool {
  /** Of which snapshot: equal names mean equal bytes. */
  readonly name: string;
  readonly sink: SnapshotSink;
}

const nameOf = ({ message, size, crc }: SnapshotHeader): string =>
  [message.meta.term, message.meta.index, size, crc].join('-');

const stops = (): Error => new Error('the member stops');

export class SnapshotReceiver {
  readonly #options: ReceiverOptions;
  /** The one stream that is taken in. */
  #active: { readonly channel: Channel; readonly done: Promise<void> } | undefined;
  #kept: Spool | undefined;
  #forget = (): void => {};
  #stopped = false;
  readonly #complaints: OnceLog;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#complaints = new OnceLog(options.log);
  }

  /** Never rejects: what goes wrong is told to the sender and logged. */
  async receive(from: MemberId, channel: Channel): Promise<void> {
    const { log, self } = this.#options;
    const inbox = new FrameInbox(channel);
    let answer: SnapshotAnswer;
    try {
      const header = parseSnapshotHeader(controlOf(await inbox.next()), from, self);
      answer = await this.#take(from, header, inbox, channel);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (error instanceof FrameError) {
        this.#options.counters.badStreams++;
        this.#complaints.warn('a snapshot holds what no member sends', { from, reason });
      } else {
        log.warn('could not receive a snapshot', { from, error });
      }
      answer = { stored: false, reason };
    }
    channel.sendControl(answer);
    inbox.drain();
  }

  /** Ends the stream under way and removes what is spooled. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#active?.channel.close();
    await this.#active?.done;
    await this.#drop();
  }

  async #take(from: MemberId, header: SnapshotHeader, inbox: FrameInbox, channel: Channel): Promise<SnapshotAnswer> {
    const { offer } = this.#options;
    let verdict = await offer(header.message);
    const before = this.#active;
    if (verdict.wanted && before) {
      // The connection before may be dead without our knowing, or its sender no longer lead. What came of it is kept.
      before.channel.close();
      await before.done;
      verdict = await offer(header.message);
    }
    if (this.#stopped) throw stops();
    // Refused is as good as stored: Raft here has no need of it.
    if (!verdict.wanted) return { stored: true, reason: verdict.reason };
    if (this.#active) throw new Error('another snapshot is being received');
    const done = Promise.withResolvers<void>();
    const mine = { channel, done: done.promise };
    this.#active = mine;
    try {
      return await this.#spool(from, header, inbox, channel);
    } finally {
      this.#active = undefined;
      done.resolve();
    }
  }

  async #spool(from: MemberId, header: SnapshotHeader, inbox: FrameInbox, channel: Channel): Promise<SnapshotAnswer> {
    const { log, store, stored, counters } = this.#options;
    const { message, size } = header;
    const spool = (await this.#resume(header)) ?? { name: nameOf(header), sink: await store.create(about(message)) };
    const { sink } = spool;
    try {
      log.info('receiving a snapshot', { from, index: message.meta.index, bytes: size, after: sink.size });
      if (sink.size > 0) counters.resumedSnapshots++;
      channel.sendControl({ from: sink.size } satisfies SnapshotAnswer);
      await this.#fill(sink, header, inbox);
    } catch (error) {
      // Every frame has a checksum of its own, so what is there when a connection breaks is right.
      if (error instanceof ChannelEndedError && sink.size > 0) await this.#keep(spool);
      else await sink.cancel();
      throw error;
    }
    const meta = await sink.close();
    const outcome = await stored(message);
    if (!outcome.wanted) await store.remove(meta.id);
    // Nobody knows what Raft would have said.
    if (this.#stopped) throw stops();
    counters.receivedSnapshots++;
    log.info('received a snapshot', { from, index: meta.index, bytes: meta.size });
    return { stored: true };
  }

  async #fill(sink: SnapshotSink, { size, crc }: SnapshotHeader, inbox: FrameInbox): Promise<void> {
    for (let payload = await inbox.next(); payload[0] === chunkType; payload = await inbox.next()) {
      const chunk = payload.subarray(1);
      if (sink.size + chunk.length > size) throw new FrameError(`more than the announced ${size} bytes`);
      await sink.write(chunk);
      this.#options.counters.receivedBytes += chunk.length;
    }
    if (sink.size !== size) throw new FrameError(`${sink.size} of ${size} bytes`);
    if (sink.checksum() !== crc) throw new FrameError('CRC mismatch');
  }

  /** The spool that this stream goes on with. What there is of any other snapshot goes. */
  async #resume(header: SnapshotHeader): Promise<Spool | undefined> {
    const kept = this.#kept;
    if (kept?.name !== nameOf(header)) {
      await this.#drop();
      return undefined;
    }
    this.#forget();
    this.#kept = undefined;
    return kept;
  }

  async #keep(spool: Spool): Promise<void> {
    if (this.#stopped) {
      await spool.sink.cancel();
      return;
    }
    this.#kept = spool;
    this.#forget = (this.#options.clock ?? realClock).after(keepSpoolMs, () => void this.#drop());
  }

  async #drop(): Promise<void> {
    this.#forget();
    const kept = this.#kept;
    this.#kept = undefined;
    await kept?.sink.cancel();
  }
}

const about = ({ meta }: SnapshotMessage): SpooledSnapshot => ({ version: 1, ...meta });
