/**
 * All that a member does with snapshots: takes its own, sends what Raft wants sent, takes in what others offer, installs,
 * and lets go of the log behind them. The driver hands Raft's commands here; what comes of them goes back as events.
 */
import type { Log } from '../log.ts';
import type { Raft } from '../raft/raft.ts';
import {
  type HardState,
  type Index,
  type MemberId,
  RaftError,
  type RaftEvent,
  type SnapshotMessage,
  type SnapshotMeta,
} from '../raft/types.ts';
import type { FolderSnapshotStore } from '../storage/snapshots.ts';
import type { OpenSnapshot } from '../storage/types.ts';
import type { Wal } from '../storage/wal.ts';
import type { Channel } from './channel.ts';
import type { KeyValues } from './kv.ts';
import type { TransferCounters } from './snapshot-header.ts';
import { realClock, SnapshotOutbox } from './snapshot-outbox.ts';
import { SnapshotReceiver, type Verdict } from './snapshot-receiver.ts';
import { pause, sendSnapshot } from './snapshot-sender.ts';
import { Snapshotter } from './snapshotter.ts';

const stops = { wanted: false, reason: 'the member stops' } as const satisfies Verdict;
/** How long connections to a follower may break without it getting any further. Then somebody else may be served. */
const giveUpAfterMs = 5000;
/** After the receiver said no, or gave no sign: it has a full disk, say, and each attempt costs both sides a whole snapshot. */
const sendAgainAfterMs = 1000;

export interface SnapshotsOptions {
  readonly self: MemberId;
  readonly store: FolderSnapshotStore;
  readonly wal: Wal;
  readonly keyValues: KeyValues;
  readonly log: Log;
  /** Of the snapshot that the state began with. */
  readonly index: Index;
  readonly threshold: number;
  readonly periodMs: number;
  readonly random: () => number;
  readonly raft: Pick<Raft, 'snapshotMeta' | 'lastIndex' | 'status'>;
  readonly applied: () => Index;
  /** What goes with a mark in the log, which counts only up to the commit index: `commit` is known to be committed. */
  readonly hardState: (commit: Index) => HardState;
  readonly step: (event: RaftEvent) => void;
  /** How long Raft does not hear of a snapshot that could not be sent, in milliseconds: then it asks again. 1000 unless told. */
  readonly sendAgainAfterMs?: number;
}

export interface SnapshotCounters extends TransferCounters {
  failedSnapshotSends: number;
  /** Asked for while none was ready, or while another follower was being sent to. */
  unavailableSnapshots: number;
}

export class Snapshots {
  readonly snapshotter: Snapshotter;
  readonly counters: SnapshotCounters = {
    failedSnapshotSends: 0,
    unavailableSnapshots: 0,
    resumedSnapshots: 0,
    badStreams: 0,
    sentSnapshots: 0,
    receivedSnapshots: 0,
    sentBytes: 0,
    receivedBytes: 0,
  };
  readonly #options: SnapshotsOptions;
  /** Last entry in the newest snapshot. */
  #index: Index;
  #compacted = 0;
  #compaction = Promise.resolve();
  readonly #outbox: SnapshotOutbox;
  readonly #receiver: SnapshotReceiver;
  readonly #stopping = new AbortController();
  #openChannel: ((to: MemberId) => Promise<Channel>) | undefined;
  /** Snapshots that wait for Raft's word: it passes back the very meta that it was asked about. */
  readonly #asked = new Map<SnapshotMeta, (verdict: Verdict) => void>();

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#index = options.index;
    const { self, store, log, threshold, periodMs, random, raft, applied, keyValues } = options;
    this.snapshotter = new Snapshotter({
      store,
      log,
      threshold,
      periodMs,
      random,
      positions: () => ({ applied: applied(), last: raft.lastIndex, snapshot: this.#index }),
      metaAt: (index) => {
        if (raft.status().snapshotIndex <= index) return raft.snapshotMeta(index);
        throw new RaftError(
          'RAFT_SNAPSHOT_REFUSED',
          'a snapshot of the leader is being installed: ask again after that',
        );
      },
      freeze: () => keyValues.snapshot(),
      record: async (meta) => {
        await this.#mark(meta, false);
        if (meta.index > this.#index) this.#index = meta.index;
      },
      compact: (meta) => {
        options.step({ type: 'snapshotTaken', meta });
        return this.compact(raft.status().firstIndex - 1);
      },
    });
    this.#outbox = new SnapshotOutbox({ prepare: (atLeast) => this.#prepare(atLeast), clock: realClock, log });
    this.#receiver = new SnapshotReceiver({
      self,
      store,
      log,
      counters: this.counters,
      offer: (message) => this.#ask(message, 'snapshotOffered'),
      stored: (message) => this.#ask(message, 'snapshotReceived'),
    });
  }

  start(openChannel: (to: MemberId) => Promise<Channel>): void {
    this.#openChannel = openChannel;
  }

  /** Resolves when nothing is written any more. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error(stops.reason));
    this.#outbox.stop();
    for (const meta of [...this.#asked.keys()]) this.#answer(meta, stops);
    await Promise.all([this.snapshotter.stop(), this.#receiver.stop()]);
    await this.#compaction.catch(() => {});
  }

  onApplied(bytes: number): void {
    this.snapshotter.onApplied(bytes);
  }

  /**
   * `sendSnapshot`: ends with `snapshotSent`, at once when another follower is being sent to; Raft then asks again. While one
   * is prepared the wish stands: until its outcome is known Raft keeps the log behind it, so that a snapshot that is long in
   * coming still meets it, however fast newer ones are taken (etcd issue 5317).
   */
  async send(message: SnapshotMessage): Promise<void> {
    const { log, step } = this.#options;
    const { to } = message;
    const { index } = message.meta;
    let snapshot = this.#outbox.get(index);
    if (!snapshot) {
      this.counters.unavailableSnapshots++;
      await this.#outbox.ready();
      snapshot = this.#outbox.get(index);
    }
    if (!snapshot) {
      step({ type: 'snapshotSent', to, ok: false });
      return;
    }
    let ok = false;
    try {
      const { counters } = this;
      const { signal } = this.#stopping;
      await sendSnapshot({ message, snapshot, openChannel: this.#openChannel!, counters, giveUpAfterMs, signal });
      log.info('sent a snapshot', { to, index: snapshot.meta.index });
      ok = true;
    } catch (error) {
      this.counters.failedSnapshotSends++;
      log.warn('could not send a snapshot', { to, error });
    }
    this.#outbox.clearUsed();
    // Not when the member stops.
    if (!ok) await pause(this.#options.sendAgainAfterMs ?? sendAgainAfterMs, this.#stopping.signal).catch(() => {});
    step({ type: 'snapshotSent', to, ok });
  }

  /** A member wants to send one on this channel. */
  receive(from: MemberId, channel: Channel): void {
    void this.#receiver.receive(from, channel);
  }

  /** `receiveSnapshot`. */
  onWanted({ meta }: SnapshotMessage): void {
    this.#answer(meta, { wanted: true });
  }

  /** `refuseSnapshot`. */
  onRefused({ meta }: SnapshotMessage, reason: string): void {
    this.#options.log.info('refused a snapshot', { index: meta.index, reason });
    this.#answer(meta, { wanted: false, reason });
  }

  /** `installSnapshot`, the disk's part: settles when the log's record of it is durable. */
  beginInstall(meta: SnapshotMeta): Promise<void> {
    this.#answer(meta, { wanted: true });
    return this.#mark(meta, true);
  }

  /** `installSnapshot`, the state machine's part. Its failure is the member's (D18). */
  async install(meta: SnapshotMeta, durable: Promise<void>): Promise<void> {
    await durable;
    const { store, keyValues, log } = this.#options;
    const stored = (await store.list()).find(({ index, term }) => index === meta.index && term === meta.term);
    if (!stored) throw new Error(`the snapshot at ${meta.index} that was just stored is gone`);
    const snapshot = await store.open(stored.id);
    try {
      await keyValues.restore(until(this.#stopping.signal, snapshot.read()));
    } finally {
      await snapshot.close();
    }
    log.info('replaced the state by a snapshot', { index: meta.index, term: meta.term, revision: keyValues.revision });
    // A failure is logged; the next compaction does it.
    await this.compact(meta.index).catch(() => {});
  }

  onInstalled(meta: SnapshotMeta): void {
    this.#index = meta.index;
    this.snapshotter.onInstalled();
  }

  /**
   * `compact`: removes from the disk what neither Raft nor the oldest kept snapshot needs; the next newest is there in case
   * the newest is damaged. Asked for by Raft's command and by who waits for a snapshot to be complete, done once.
   */
  compact(through: number): Promise<void> {
    if (through > this.#compacted) {
      const { log } = this.#options;
      log.info('compacting the log', { from: this.#compacted + 1, through });
      this.#compacted = through;
      this.#outbox.closeBefore(through);
      this.#compaction = this.#release(through);
      this.#compaction.catch((error: unknown) => {
        this.#compacted = 0;
        log.warn('could not remove old log segments', { error });
      });
    }
    return this.#compaction;
  }

  async #release(through: number): Promise<void> {
    const { store, wal } = this.#options;
    const oldest = (await store.list()).at(-1);
    await wal.release(Math.min(through, oldest?.index ?? 0));
  }

  /** The newest that is stored, or if that does not reach or is damaged one taken now. */
  async #prepare(atLeast: number): Promise<OpenSnapshot> {
    const { store, log } = this.#options;
    for (const { id, index } of await store.list()) {
      if (index < atLeast) continue;
      try {
        return await store.open(id);
      } catch (error) {
        log.error('a stored snapshot cannot be sent', { id, error });
      }
    }
    return store.open((await this.snapshotter.take()).id);
  }

  #ask(message: SnapshotMessage, type: 'snapshotOffered' | 'snapshotReceived'): Promise<Verdict> {
    if (this.#stopping.signal.aborted) return Promise.resolve(stops);
    return new Promise((resolve) => {
      this.#asked.set(message.meta, resolve);
      this.#options.step({ type, message });
    });
  }

  /**
   * The log's record of a snapshot, with a commit index that makes it count (RA-07). The promise is the log's own: writes must be
   * reported to Raft in their order, and one more step in between would let the next write of the same batch overtake it.
   */
  #mark(meta: SnapshotMeta, replacesLog: boolean): Promise<void> {
    const { wal, store, hardState } = this.#options;
    const durable = wal.append({ hardState: hardState(meta.index), snapshot: { ...meta, replacesLog } });
    durable.then(
      () => store.hold(meta),
      // Whoever waits for the record is told.
      () => {},
    );
    return durable;
  }

  #answer(meta: SnapshotMeta, verdict: Verdict): void {
    this.#asked.get(meta)?.(verdict);
    this.#asked.delete(meta);
  }
}

/** Loading a large one would outlast the patience of who stops the member. */
async function* until(signal: AbortSignal, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    yield chunk;
  }
}
