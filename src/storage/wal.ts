/**
 * The write-ahead log: what a member promised, in segments of records. A batch is written with one data sync and is
 * atomic: after a crash all of it is there or none of it. Appends that arrive during a write go together in the next
 * one. A failed write or sync is final (never retried: the kernel may have dropped the dirty pages and would report
 * success the second time). Only a full disk is waited for: no byte of the write was acknowledged, and all of them are
 * written again (docs/adr/0010-a-full-disk-is-a-slow-disk.md).
 */
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type AppendFile, type Disk, isDiskFull, realDisk, syncAnew } from './disk.ts';
import { StorageError } from './errors.ts';
import { encodeEntry, encodeHardState, encodeJson } from './payload.ts';
import { encodeBatch, headerBytes, maxPayloadBytes, type WalRecord } from './record.ts';
import { readLog, segmentName } from './replay.ts';
import type { Identity, SnapshotMark, StoredHardState, WalBatch, WalContents, WalOptions } from './types.ts';
import { writeSegment } from './write-segment.ts';

export interface Segment {
  readonly path: string;
  readonly number: number;
  readonly firstIndex: number;
}

interface Waiting {
  readonly batch: WalBatch;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface WalInternals extends WalOptions {
  /** Tests put faults here. */
  readonly disk?: Disk;
  /** Resolves when a full disk is to be asked for room again. */
  readonly pauseWhenFull?: () => Promise<void>;
}

/** Where writing goes on: what a reader of the log knows at its end. */
export interface WalPosition {
  readonly segments: readonly Segment[];
  readonly allocationBytes: number;
  readonly allocated: number;
  readonly end: number;
  readonly lastBatch: number;
  readonly lastIndex: number;
  readonly hardState: StoredHardState | undefined;
  readonly snapshots: readonly SnapshotMark[];
}

export const defaultSegmentBytes = 16 << 20;
export const defaultAllocationBytes = 1 << 20;
const fullPauseMs = 500;

export class Wal {
  readonly #folder: string;
  readonly #identity: Identity;
  readonly #segmentBytes: number;
  readonly #allocationBytes: number;
  readonly #disk: Disk;
  readonly #onFailure: (error: Error) => void;
  readonly #onWritten: (seconds: number, bytes: number) => void;
  readonly #onFull: (error: Error) => void;
  readonly #pauseWhenFull: () => Promise<void>;
  #segments: Segment[];
  #file: AppendFile;
  #allocated: number;
  #end: number;
  #lastBatch: number;
  #lastIndex: number;
  #hardState: StoredHardState | undefined;
  #snapshots: SnapshotMark[];
  #waiting: Waiting[] = [];
  /** The last hard state given to `append`, written or about to be. */
  #submitted: StoredHardState | undefined;
  /** A newer commit index that may wait for the next batch: it can be learnt again from the leader. */
  #unwrittenCommit: StoredHardState | undefined;
  #flushing: Promise<void> | undefined;
  #extending: Promise<void> | undefined;
  /** One release after the other. */
  #releasing: Promise<void> = Promise.resolve();
  /** The disk was full, and is not asked for room before this resolves. */
  #full: Promise<void> | undefined;
  #isStuck = false;
  /** Ends that pause. */
  #tryAgain: (() => void) | undefined;
  #isStopped = false;
  #failure: StorageError | undefined;
  #closed = false;

  private constructor(folder: string, identity: Identity, options: WalInternals, file: AppendFile, at: WalPosition) {
    this.#folder = folder;
    this.#identity = identity;
    this.#segmentBytes = options.segmentBytes ?? defaultSegmentBytes;
    this.#allocationBytes = at.allocationBytes;
    this.#disk = options.disk ?? realDisk;
    this.#onFailure = options.onFailure ?? (() => {});
    this.#onWritten = options.onWritten ?? (() => {});
    this.#onFull = options.onFull ?? (() => {});
    this.#pauseWhenFull = options.pauseWhenFull ?? (() => setTimeout(fullPauseMs, undefined, { ref: false }));
    this.#segments = [...at.segments];
    this.#file = file;
    this.#allocated = at.allocated;
    this.#end = at.end;
    this.#lastBatch = at.lastBatch;
    this.#lastIndex = at.lastIndex;
    this.#hardState = at.hardState;
    this.#submitted = at.hardState;
    this.#snapshots = [...at.snapshots];
  }

  /** A new, empty log in `folder`, which appears whole or not at all. Fails with WAL_EXISTS. */
  static async create(folder: string, identity: Identity, options: WalInternals = {}): Promise<Wal> {
    const disk = options.disk ?? realDisk;
    const aside = `${folder}.tmp`;
    await disk.remove(aside);
    await disk.makeFolder(aside);
    const allocationBytes = options.allocationBytes ?? defaultAllocationBytes;
    const position = {
      segments: [],
      allocationBytes,
      allocated: 0,
      end: -1,
      lastBatch: 0,
      lastIndex: 0,
      hardState: undefined,
      snapshots: [],
    };
    const made = await writeSegment(disk, aside, identity, position);
    try {
      await disk.rename(aside, folder);
    } catch (error) {
      await disk.remove(aside);
      throw new StorageError('WAL_EXISTS', `${folder} already holds a log`, error);
    }
    await disk.syncFolder(dirname(folder));
    const path = join(folder, segmentName(made.segment));
    const file = await disk.openAppend(path);
    return new Wal(folder, identity, options, file, { ...position, ...made, segments: [{ ...made.segment, path }] });
  }

  /**
   * Opens an existing log, cuts a torn tail and reads everything. Fails with WAL_MISSING, WAL_UNREADABLE or WAL_CORRUPT,
   * or with WAL_FAILED when what was read cannot be made durable.
   */
  static async open(folder: string, options: WalInternals = {}): Promise<{ wal: Wal; contents: WalContents }> {
    const disk = options.disk ?? realDisk;
    const { contents, position, lastWrite } = await readLog(disk, folder);
    const { allocationBytes, allocated, end } = position;
    // Zeros that a full disk or a crash cut short hold no record, and are written again when they are needed.
    const whole = Math.floor(allocated / allocationBytes) * allocationBytes;
    try {
      const file = await disk.openAppend(position.segments.at(-1)!.path);
      // What a process wrote that died before it was durable can be read and still be lost: the last write and the zeros after
      // it are done again, and names are written again and synced, before anybody builds on them.
      await file.write(lastWrite.bytes, lastWrite.at);
      await file.zero(end, whole);
      for (const names of [folder, dirname(folder)]) await syncAnew(disk, names);
      const wal = new Wal(folder, contents.identity, options, file, { ...position, allocated: whole });
      return { wal, contents };
    } catch (error) {
      throw failed(folder, error);
    }
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get segmentCount(): number {
    return this.#segments.length;
  }

  /** The disk had no room when it was last asked for some. */
  get isFull(): boolean {
    return this.#full !== undefined || this.#isStuck;
  }

  /** A write waits for room, and all others behind it: nothing becomes durable. */
  get isStuck(): boolean {
    return this.#isStuck;
  }

  /** What waits for room fails from here on: the member stops. */
  stopWaiting(): void {
    this.#isStopped = true;
    this.#tryAgain?.();
  }

  /** Resolves when the batch is durable. A hard state that only moves `commit` resolves at once and is written later. */
  append(batch: WalBatch): Promise<void> {
    const refused = this.#failure ?? (this.#closed ? new StorageError('WAL_CLOSED', 'the log is closed') : undefined);
    if (refused) return Promise.reject(refused);
    if (this.#isCommitOnly(batch)) {
      this.#unwrittenCommit = batch.hardState ?? this.#unwrittenCommit;
      return Promise.resolve();
    }
    if (batch.hardState) {
      this.#submitted = batch.hardState;
      this.#unwrittenCommit = undefined;
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ batch, resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }

  #isCommitOnly({ hardState, entries, snapshot }: WalBatch): boolean {
    if (snapshot !== undefined || (entries !== undefined && entries.length > 0)) return false;
    if (hardState === undefined) return true;
    return hardState.term === this.#submitted?.term && hardState.vote === this.#submitted.vote;
  }

  /** Removes segments whose entries all lie at or below `through`, and forgets snapshot marks below it. */
  release(through: number): Promise<void> {
    const released = this.#releasing.then(() => this.#remove(through));
    this.#releasing = released.catch(() => {});
    return released;
  }

  async #remove(through: number): Promise<void> {
    this.#snapshots = this.#snapshots.filter((mark) => mark.index >= through);
    while (this.#segments.length > 1 && this.#segments[1]!.firstIndex <= through + 1) {
      // Oldest first and one by one, each durably: neither a crash nor a failure in between leaves a hole.
      await this.#disk.remove(this.#segments[0]!.path);
      await this.#disk.syncFolder(this.#folder);
      this.#segments.shift();
    }
  }

  /** Writes what still waits, unless the disk is full, then closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.stopWaiting();
    if (this.#unwrittenCommit && !this.#failure) this.#flushing ??= this.#flush();
    await this.#flushing?.catch(() => {});
    await this.#extending?.catch(() => {});
    await this.#releasing;
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    // Let the rest of this turn's appends join.
    await Promise.resolve();
    while ((this.#waiting.length > 0 || (this.#closed && this.#unwrittenCommit)) && !this.#failure) {
      const taken = this.#waiting;
      const commit = this.#unwrittenCommit;
      this.#waiting = [];
      this.#unwrittenCommit = undefined;
      try {
        await this.#write(
          taken.map(({ batch }) => batch),
          commit,
        );
        for (const { resolve } of taken) resolve();
      } catch (error) {
        const failure = this.#fail(error);
        for (const { reject } of taken) reject(failure);
      }
    }
    if (this.#failure) for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
    this.#flushing = undefined;
  }

  /** `commit` is newer than what the batches say, and covers no entry that is not in them or before. */
  async #write(batches: readonly WalBatch[], commit: StoredHardState | undefined): Promise<void> {
    // On a full disk the segment grows on as long as it has room: its size is no promise.
    if (this.#end > this.#segmentBytes && this.#full === undefined) await this.#cut();
    const records: WalRecord[] = [];
    const add = (type: WalRecord['type'], payload: Uint8Array): void => {
      if (payload.length > maxPayloadBytes) {
        throw new StorageError(
          'RECORD_TOO_LARGE',
          `a record of ${payload.length} bytes; the limit is ${maxPayloadBytes}`,
        );
      }
      records.push({ type, payload });
    };
    const hardState = commit ?? batches.findLast((batch) => batch.hardState)?.hardState;
    if (hardState) {
      this.#hardState = hardState;
      add('hardState', encodeHardState(hardState));
    }
    for (const { entries, snapshot } of batches) {
      for (const entry of entries ?? []) {
        add('entry', encodeEntry(entry));
        this.#lastIndex = entry.index;
      }
      if (snapshot) {
        add('snapshot', encodeJson(snapshot));
        this.#snapshots.push(snapshot);
        if (snapshot.replacesLog) this.#lastIndex = snapshot.index;
      }
    }
    const number = this.#segments.at(-1)!.number;
    const bytes = encodeBatch(records, number, this.#end, this.#lastBatch + 1);
    await this.#allocate(this.#end + bytes.length + headerBytes);
    await this.#untilThereIsRoom(async () => {
      const began = performance.now();
      await this.#file.write(bytes, this.#end);
      this.#goOn();
      this.#onWritten((performance.now() - began) / 1000, bytes.length);
    });
    this.#end += bytes.length;
    this.#lastBatch = (this.#lastBatch + 1) >>> 0;
    this.#extendAhead();
  }

  /** Zeros are durable before records go there, so that the file's length proves that nothing was cut off. */
  async #allocate(upTo: number): Promise<void> {
    await this.#extending;
    this.#goOn();
    if (upTo <= this.#allocated) return;
    const to = Math.ceil(upTo / this.#allocationBytes) * this.#allocationBytes;
    await this.#untilThereIsRoom(() => this.#file.zero(this.#allocated, to));
    this.#allocated = to;
  }

  /** Each time all of its bytes are written: what the kernel made of the last time does not matter. */
  async #untilThereIsRoom(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await write();
        this.#isStuck = false;
        return;
      } catch (error) {
        this.#isStuck = !this.#isStopped && isDiskFull(error);
        if (!this.#isStuck) throw error;
        await this.#foundFull(error as Error);
        this.#goOn();
      }
    }
  }

  /** Resolves when it is worth another try. Nobody need be waiting: zeros ahead are tried again by themselves. */
  #foundFull(error: Error): Promise<void> {
    this.#full ??= new Promise<void>((resolve) => {
      this.#tryAgain = resolve;
      void this.#pauseWhenFull().then(resolve);
    }).then(() => {
      this.#full = undefined;
      if (!this.#flushing && !this.#isStopped) this.#extendAhead();
    });
    this.#onFull(error);
    return this.#full;
  }

  #extendAhead(): void {
    if (this.#extending || this.#full || this.#allocated > this.#segmentBytes) return;
    if (this.#allocated - this.#end > this.#allocationBytes / 2) return;
    const to = this.#allocated + this.#allocationBytes;
    this.#extending = this.#file.zero(this.#allocated, to).then(
      () => {
        this.#allocated = to;
        this.#extending = undefined;
      },
      (error: unknown) => {
        this.#extending = undefined;
        if (isDiskFull(error)) void this.#foundFull(error as Error);
        else this.#fail(error);
      },
    );
  }

  async #cut(): Promise<void> {
    await this.#extending;
    this.#goOn();
    const made = await this.#newSegment();
    if (made === undefined) return;
    const before = this.#file;
    this.#file = await this.#disk.openAppend(made.segment.path);
    await before.close();
    this.#segments.push(made.segment);
    this.#allocated = made.allocated;
    this.#end = made.end;
    this.#lastBatch = made.lastBatch;
  }

  /** Undefined when the disk has no room for it. */
  async #newSegment(): Promise<Awaited<ReturnType<typeof writeSegment>> | undefined> {
    const at: WalPosition = {
      segments: this.#segments,
      allocationBytes: this.#allocationBytes,
      allocated: this.#allocated,
      end: this.#end,
      lastBatch: this.#lastBatch,
      lastIndex: this.#lastIndex,
      hardState: this.#hardState,
      snapshots: this.#snapshots,
    };
    try {
      return await writeSegment(this.#disk, this.#folder, this.#identity, at);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      void this.#foundFull(error as Error);
      return undefined;
    }
  }

  /** Nothing is written or acknowledged after a failure, not even what had nothing to do with it. */
  #goOn(): void {
    if (this.#failure) throw this.#failure;
  }

  #fail(error: unknown): StorageError {
    if (this.#failure) return this.#failure;
    this.#failure = failed(this.#folder, error);
    this.#onFailure(this.#failure);
    return this.#failure;
  }
}

function failed(folder: string, error: unknown): StorageError {
  const why = error instanceof Error ? error.message : String(error);
  return new StorageError('WAL_FAILED', `cannot write the log in ${folder}: ${why}; the member must stop`, error);
}
