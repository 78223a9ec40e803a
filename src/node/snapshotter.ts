/**
 * Own snapshots, taken beside everything else (HR-10): off a frozen view of the state, made durable, recorded in the log,
 * and only then is the log let go (HR-25). One at a time (HR-16), when one is due or when somebody asks.
 */
import type { Log } from '../log.ts';
import type { Snapshot } from '../mvcc/types.ts';
import { snapshotDelay, snapshotDue, snapshotDueByApplied } from '../raft/compaction.ts';
import { type Index, RaftError, type SnapshotMeta } from '../raft/types.ts';
import type { SnapshotStore, StoredSnapshotMeta } from '../storage/types.ts';

/** RA-23: this much applied since the last snapshot makes one due whatever the count says. */
export const dueBytes = 64 << 20;
const pauseAfterFailureMs = 30_000;

export type SnapshotStep = 'take' | 'create' | 'persist' | 'compact';

export interface Positions {
  readonly applied: Index;
  /** The log's last entry. */
  readonly last: Index;
  /** Last entry in the newest snapshot. */
  readonly snapshot: Index;
}

export interface SnapshotterOptions {
  readonly store: Pick<SnapshotStore, 'create'>;
  readonly log: Log;
  /** Entries: at least this many in the log by the timer (HR-12), more than this many applied without (RA-02). */
  readonly threshold: number;
  /** 0: looks after every applied batch, as etcd does (RA-03). Else from one to two periods apart (HR-11). */
  readonly periodMs: number;
  readonly random: () => number;
  readonly positions: () => Positions;
  /** Throws a RaftError when there can be no snapshot now (HR-18, HR-20). */
  readonly metaAt: (applied: Index) => SnapshotMeta;
  readonly freeze: () => Snapshot;
  /** Writes the log's record of the snapshot. */
  readonly record: (meta: SnapshotMeta) => Promise<void>;
  /** Tells Raft and lets the log go. */
  readonly compact: (meta: SnapshotMeta) => Promise<void>;
}

export interface SnapshotterCounters {
  taken: number;
  failed: number;
  lastSeconds: number;
}

export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  readonly code:
    | 'SNAPSHOT_NOT_STARTED'
    | 'SNAPSHOT_NOT_CREATED'
    | 'SNAPSHOT_NOT_PERSISTED'
    | 'SNAPSHOT_NOT_CLOSED'
    /** The snapshot is there and counts; the log behind it stays for now. */
    | 'SNAPSHOT_LOG_NOT_COMPACTED'
    | 'SNAPSHOT_STOPPED';

  constructor(code: SnapshotError['code'], what: string, cause?: unknown) {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    super(`${what}${why}`, { cause });
    this.code = code;
  }
}

const stopped = (): SnapshotError => new SnapshotError('SNAPSHOT_STOPPED', 'the member stops');

export class Snapshotter {
  readonly counters: SnapshotterCounters = { taken: 0, failed: 0, lastSeconds: 0 };
  /** Told how long each step took (HR-31). */
  onStep: (step: SnapshotStep, seconds: number) => void = () => {};
  readonly #options: SnapshotterOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<StoredSnapshotMeta> | undefined;
  #next: Promise<StoredSnapshotMeta> | undefined;
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

  /**
   * HR-15: takes one whatever threshold and timer say. While one runs, waits its turn; who asks while another waits shares
   * what that one gets, which is taken after both asked. Rejects with a `SnapshotError`, or with the `RaftError` that says
   * why there can be none now; every failure is logged too.
   */
  take(): Promise<StoredSnapshotMeta> {
    if (!this.#running) return this.#run();
    this.#next ??= this.#afterRunning();
    return this.#next;
  }

  /** HR-17: ends the one under way and those that wait. Resolves when nothing is being written any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running?.catch(() => {});
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
    const { positions, threshold, periodMs, log } = this.#options;
    let due: boolean;
    try {
      const { applied, last, snapshot } = positions();
      due =
        periodMs === 0 ? snapshotDueByApplied(applied, snapshot, threshold) : snapshotDue(last, snapshot, threshold);
    } catch (error) {
      // HR-13.
      log.error('could not tell whether a snapshot is due', { error });
      return;
    }
    if (due) this.#start();
  }

  /** HR-14: an automatic one that fails is logged, and the member goes on. */
  #start(): void {
    if (this.#running || this.#stopped || performance.now() < this.#notBefore) return;
    const { applied, snapshot } = this.#options.positions();
    if (applied <= snapshot) return;
    this.#run().catch(() => {});
  }

  async #afterRunning(): Promise<StoredSnapshotMeta> {
    // An automatic one may come in between.
    while (this.#running) await this.#running.catch(() => {});
    this.#next = undefined;
    return this.#run();
  }

  #run(): Promise<StoredSnapshotMeta> {
    this.#running = this.#measured('take', () => this.#take())
      .catch((error: unknown) => {
        this.#failed(error);
        throw error;
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  #failed(error: unknown): void {
    const { log } = this.#options;
    if (this.#stopped) return;
    if (error instanceof RaftError && error.code === 'RAFT_SNAPSHOT_REFUSED') {
      log.info('no snapshot now', { reason: error.message });
      return;
    }
    this.counters.failed++;
    this.#notBefore = performance.now() + pauseAfterFailureMs;
    log.error('could not take a snapshot', { error });
  }

  async #take(): Promise<StoredSnapshotMeta> {
    if (this.#stopped) throw stopped();
    const { metaAt, positions, log, record, compact } = this.#options;
    const began = performance.now();
    const meta = metaAt(positions().applied);
    const frozen = this.#freeze(meta);
    try {
      log.info('taking a snapshot', { index: meta.index, term: meta.term, bytes: frozen.header.sizeBytes });
      const bytesBefore = this.#appliedBytes;
      const stored = await this.#store(meta, frozen);
      await record(meta);
      this.#appliedBytes -= bytesBefore;
      this.counters.taken++;
      this.counters.lastSeconds = (performance.now() - began) / 1000;
      log.info('took a snapshot', { index: meta.index, term: meta.term, seconds: this.counters.lastSeconds });
      await this.#measured('compact', () => compact(meta)).catch((error: unknown) => {
        throw new SnapshotError('SNAPSHOT_LOG_NOT_COMPACTED', 'log compaction failed', error);
      });
      return stored;
    } finally {
      frozen.release();
    }
  }

  /** ES-14: the state is that of the very index that the snapshot is told to be of. */
  #freeze(meta: SnapshotMeta): Snapshot {
    let frozen: Snapshot;
    try {
      frozen = this.#options.freeze();
    } catch (error) {
      throw new SnapshotError('SNAPSHOT_NOT_STARTED', 'failed to start snapshot', error);
    }
    const { index } = frozen.header;
    if (index === meta.index) return frozen;
    frozen.release();
    throw new SnapshotError(
      'SNAPSHOT_NOT_STARTED',
      `failed to start snapshot: the state is at index ${index}, not at ${meta.index}`,
    );
  }

  async #store(meta: SnapshotMeta, frozen: Snapshot): Promise<StoredSnapshotMeta> {
    const sink = await this.#measured('create', () => this.#options.store.create({ version: 1, ...meta })).catch(
      (error: unknown) => {
        throw new SnapshotError('SNAPSHOT_NOT_CREATED', 'failed to create snapshot', error);
      },
    );
    try {
      await this.#measured('persist', async () => {
        for (const slice of frozen.slices()) {
          if (this.#stopped) throw stopped();
          await sink.write(slice);
        }
      });
    } catch (error) {
      await sink.cancel();
      if (error instanceof SnapshotError) throw error;
      throw new SnapshotError('SNAPSHOT_NOT_PERSISTED', 'failed to persist snapshot', error);
    }
    try {
      return await sink.close();
    } catch (error) {
      await sink.cancel();
      throw new SnapshotError('SNAPSHOT_NOT_CLOSED', 'failed to close snapshot', error);
    }
  }

  async #measured<T>(step: SnapshotStep, action: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await action();
    } finally {
      this.onStep(step, (performance.now() - began) / 1000);
    }
  }
}
