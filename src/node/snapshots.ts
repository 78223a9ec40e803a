/**
 * All that a member does with snapshots: takes its own, sends what Raft wants sent, takes in what others offer, installs,
 * and lets go of the log behind them. The driver hands Raft's commands here; what comes of them goes back as events.
 */
import type { Log } from '../log.ts';
import {
  asIndex,
  type HardState,
  type Index,
  type MemberId,
  type RaftEvent,
  type SnapshotMessage,
  type SnapshotMeta,
} from '../raft/types.ts';
import type { FolderSnapshotStore } from '../storage/snapshots.ts';
import type { Wal } from '../storage/wal.ts';
import type { Channel } from './channel.ts';
import type { KeyValues } from './kv.ts';
import { receiveSnapshot, sendSnapshot, type TransferCounters, type Verdict } from './snapshot-transfer.ts';
import { Snapshotter } from './snapshotter.ts';

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
  readonly positions: () => { readonly applied: Index; readonly last: Index };
  readonly metaAt: (applied: Index) => SnapshotMeta;
  /** What goes with a mark in the log, which counts only up to the commit index: `commit` is known to be committed. */
  readonly hardState: (commit: Index) => HardState;
  readonly step: (event: RaftEvent) => void;
}

export interface SnapshotCounters extends TransferCounters {
  failedSnapshotSends: number;
}

export class Snapshots {
  readonly snapshotter: Snapshotter;
  readonly counters: SnapshotCounters = {
    failedSnapshotSends: 0,
    sentSnapshots: 0,
    receivedSnapshots: 0,
    sentBytes: 0,
    receivedBytes: 0,
  };
  readonly #options: SnapshotsOptions;
  /** Last entry in the newest snapshot. */
  #index: Index;
  #openChannel: ((to: MemberId) => Promise<Channel>) | undefined;
  /** Snapshots that wait for Raft's word, by sender. */
  readonly #offers = new Map<string, (verdict: Verdict) => void>();

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#index = options.index;
    const { store, log, threshold, periodMs, random, positions, metaAt, keyValues } = options;
    this.snapshotter = new Snapshotter({
      store,
      log,
      threshold,
      periodMs,
      random,
      positions: () => ({ ...positions(), snapshot: this.#index }),
      metaAt,
      freeze: () => keyValues.snapshot(),
      record: (meta) => this.#mark(meta, false),
      taken: (meta) => {
        this.#index = asIndex(Math.max(this.#index, meta.index));
        options.step({ type: 'snapshotTaken', meta });
      },
    });
  }

  start(openChannel: (to: MemberId) => Promise<Channel>): void {
    this.#openChannel = openChannel;
  }

  /** Resolves when no own snapshot is being written any more. */
  stop(): Promise<void> {
    return this.snapshotter.stop();
  }

  onApplied(bytes: number): void {
    this.snapshotter.onApplied(bytes);
  }

  /** `sendSnapshot`: ends with `snapshotSent`. */
  async send(message: SnapshotMessage): Promise<void> {
    const { log, store, step } = this.#options;
    let ok = false;
    try {
      const meta = await sendSnapshot(message, store, this.#openChannel!, this.counters);
      log.info('sent a snapshot', { to: message.to, index: meta.index });
      ok = true;
    } catch (error) {
      this.counters.failedSnapshotSends++;
      log.warn('could not send a snapshot', { to: message.to, error });
    }
    step({ type: 'snapshotSent', to: message.to, ok });
  }

  /** A member wants to send one on this channel. */
  receive(from: MemberId, channel: Channel): void {
    const { self, store, log, step } = this.#options;
    const ask = (message: SnapshotMessage, type: 'snapshotOffered' | 'snapshotReceived'): Promise<Verdict> =>
      new Promise((resolve) => {
        this.#offers.get(from)?.({ wanted: false, reason: 'another snapshot was offered since' });
        this.#offers.set(from, resolve);
        step({ type, message });
      });
    const offer = (message: SnapshotMessage): Promise<Verdict> => ask(message, 'snapshotOffered');
    const stored = (message: SnapshotMessage): Promise<Verdict> => ask(message, 'snapshotReceived');
    void receiveSnapshot({ from, self, channel, store, log, counters: this.counters, offer, stored });
  }

  /** `receiveSnapshot`. */
  onWanted(from: MemberId): void {
    this.#answerOffers({ wanted: true }, from);
  }

  /** `refuseSnapshot`. */
  onRefused({ from, meta }: SnapshotMessage, reason: string): void {
    this.#options.log.info('refused a snapshot', { index: meta.index, reason });
    this.#answerOffers({ wanted: false, reason }, from);
  }

  /** `installSnapshot`, the disk's part: settles when the log's record of it is durable. */
  beginInstall(meta: SnapshotMeta): Promise<void> {
    this.#answerOffers({ wanted: true });
    return this.#mark(meta, true);
  }

  /** `installSnapshot`, the state machine's part. */
  async install(meta: SnapshotMeta, durable: Promise<void>): Promise<void> {
    await durable;
    const { store, keyValues, log } = this.#options;
    const stored = (await store.list()).find(({ index, term }) => index === meta.index && term === meta.term);
    if (!stored) throw new Error(`the snapshot at ${meta.index} that was just stored is gone`);
    await keyValues.restore((await store.open(stored.id)).chunks);
    log.info('replaced the state by a snapshot', { index: meta.index, term: meta.term, revision: keyValues.revision });
    await this.release(meta.index);
  }

  onInstalled(meta: SnapshotMeta): void {
    this.#index = meta.index;
    this.snapshotter.onInstalled();
  }

  /**
   * `compact`. Lets go what neither Raft nor the oldest kept snapshot needs: the next newest is there in case the newest
   * is damaged.
   */
  async release(through: number): Promise<void> {
    const { store, wal, log } = this.#options;
    try {
      const oldest = (await store.list()).at(-1);
      await wal.release(Math.min(through, oldest?.index ?? 0));
    } catch (error) {
      log.warn('could not remove old log segments', { error });
    }
  }

  /** The log's record of a snapshot, with a commit index that makes it count (RA-07). */
  #mark(meta: SnapshotMeta, replacesLog: boolean): Promise<void> {
    const { wal, hardState } = this.#options;
    return wal.append({ hardState: hardState(meta.index), snapshot: { ...meta, replacesLog } });
  }

  /** Raft's word on the snapshot that this sender (or, once it is installed, whoever) offered. */
  #answerOffers(verdict: Verdict, from?: string): void {
    for (const [sender, answer] of [...this.#offers]) {
      if (from !== undefined && sender !== from) continue;
      this.#offers.delete(sender);
      answer(verdict);
    }
  }
}
