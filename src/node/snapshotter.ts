/**
 * Own snapshots: when one is due it is written off a frozen view of the state while the member goes on, made durable,
 * recorded in the log, and only then told to Raft, which lets the log go (HR-25).
 */
import type { Log } from '../log.ts';
import type { Snapshot } from '../mvcc/types.ts';
import { snapshotDelay, snapshotDue } from '../raft/compaction.ts';
import { asIndex, type Index, RaftError, type SnapshotMeta } from '../raft/types.ts';
import type { FolderSnapshotStore } from '../storage/snapshots.ts';

/** RA-23: this much applied since the last snapshot makes one due whatever the count says. */
const dueBytes = 64 << 20;
const pauseAfterFailureMs = 30_000;

export interface SnapshotterOptions {
  readonly store: FolderSnapshotStore;
  readonly log: Log;
  readonly threshold: number;
  /** 0: looks after every applied batch, as etcd does. Else HR-11. */
  readonly periodMs: number;
  readonly random: () => number;
  readonly positions: () => { readonly applied: Index; readonly last: Index; readonly snapshot: Index };
  readonly metaAt: (applied: Index) => SnapshotMeta;
  readonly freeze: () => Snapshot;
  /** Writes the log's record of the snapshot. */
  readonly record: (meta: SnapshotMeta) => Promise<void>;
  readonly taken: (meta: SnapshotMeta) => void;
}

export interface SnapshotterCounters {
  taken: number;
  failed: number;
  lastSeconds: number;
}

export class Snapshotter {
  readonly counters: SnapshotterCounters = { taken: 0, failed: 0, lastSeconds: 0 };
  readonly #options: SnapshotterOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #appliedBytes = 0;
  #notBefore = 0;
  #stopped = false;

  constructor(options: SnapshotterOptions) {
    this.#options = options;
    this.#schedule();
  }

  onApplied(bytes: number): void {
    this.#appliedBytes += bytes;
    if (this.#appliedBytes >= dueBytes) this.#start();
    else if (this.#options.periodMs === 0) this.#check();
  }

  /** A snapshot from the leader has taken the place of one of our own. */
  onInstalled(): void {
    this.#appliedBytes = 0;
  }

  /** Resolves when no snapshot is being written any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(): void {
    const delay = snapshotDelay(this.#options.periodMs, this.#options.random);
    if (delay === null || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#check();
      this.#schedule();
    }, delay);
  }

  #check(): void {
    const { last, snapshot } = this.#options.positions();
    if (snapshotDue(last, snapshot, this.#options.threshold)) this.#start();
  }

  /** HR-16: one at a time. HR-14: a failure is logged and the member goes on. */
  #start(): void {
    const { applied, snapshot } = this.#options.positions();
    if (this.#running || this.#stopped || applied <= snapshot || performance.now() < this.#notBefore) return;
    this.#running = this.#take(applied)
      .catch((error: unknown) => {
        if (error instanceof RaftError && error.code === 'RAFT_SNAPSHOT_REFUSED') return;
        this.counters.failed++;
        this.#notBefore = performance.now() + pauseAfterFailureMs;
        this.#options.log.error('could not take a snapshot', { error });
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #take(applied: Index): Promise<void> {
    const { store, log, metaAt, freeze, record, taken } = this.#options;
    const began = performance.now();
    const meta = metaAt(applied);
    const frozen = freeze();
    if (asIndex(frozen.header.index) !== meta.index) return;
    log.info('taking a snapshot', { index: meta.index, term: meta.term, bytes: frozen.header.sizeBytes });
    this.#appliedBytes = 0;
    const sink = await store.create({ version: 1, ...meta });
    try {
      for (const slice of frozen.slices()) {
        if (this.#stopped) throw new Error('the member stops');
        await sink.write(slice);
      }
    } catch (error) {
      await sink.cancel();
      throw error;
    }
    await sink.close();
    await record(meta);
    taken(meta);
    this.counters.taken++;
    this.counters.lastSeconds = (performance.now() - began) / 1000;
    log.info('took a snapshot', { index: meta.index, term: meta.term, seconds: this.counters.lastSeconds });
  }
}
