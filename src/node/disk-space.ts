/**
 * Watches the room on the data directory's disk and raises this member's alarm while what it must still write fits (RS-24). The
 * alarm is lifted when there is room again. A write that finds the disk full all the same waits for room (ADR 10).
 */
import type { Log } from '../log.ts';
import { defaultMaxUncommittedBytes } from '../raft/settings.ts';
import type { DiskRoom } from '../storage/disk.ts';
import { defaultAllocationBytes, defaultSegmentBytes, type Wal } from '../storage/wal.ts';
import type { AlarmAction } from './alarms.ts';
import type { KeyValues } from './kv.ts';
import type { MemberDriver } from './membership.ts';
import { OnceLog } from './once.ts';

const checkEveryMs = 2000;
/** And after so much was written to the log: as often as it claims room on the disk. */
const checkEveryBytes = defaultAllocationBytes;
/**
 * What may come before the alarm stands (a leader's uncommitted entries), and what still may after it (deletes, compactions,
 * members): a segment, and the zeros ahead of it. Of a small disk no more than a quarter is kept back for that.
 */
export const logReserveBytes = defaultMaxUncommittedBytes + defaultSegmentBytes + defaultAllocationBytes;

export interface DiskSpaceOptions {
  readonly keyValues: Pick<KeyValues, 'alarms' | 'alarm' | 'sizeBytes'>;
  readonly driver: Pick<MemberDriver, 'memberId' | 'propose'>;
  readonly wal: Pick<Wal, 'isFull' | 'isStuck'>;
  readonly log: Log;
  /** Undefined where the file system does not tell. */
  readonly look: () => Promise<DiskRoom | undefined>;
}

export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  readonly #complaints: OnceLog;
  #timer: NodeJS.Timeout | undefined;
  #checking: Promise<void> | undefined;
  #unchecked = 0;
  #stopped = false;
  #room: DiskRoom | undefined;
  #saidStuck = false;

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
    this.#complaints = new OnceLog(options.log);
  }

  /** When it was last looked at; undefined where it is not known. */
  get freeBytes(): number | undefined {
    return this.#room?.free;
  }

  /** A write waits for room: what is proposed here is not applied here, and what is committed since cannot be read here. */
  get isStuck(): boolean {
    return this.#options.wal.isStuck;
  }

  /** Less room than this raises the alarm: the log's reserve, and a snapshot of the state, own or received. */
  get floorBytes(): number {
    const quarter = (this.#room?.total ?? Number.POSITIVE_INFINITY) / 4;
    return Math.floor(Math.min(logReserveBytes, quarter)) + this.#options.keyValues.sizeBytes;
  }

  /** More room than this lifts it again: apart from the floor, so that it does not come and go with every file. */
  get liftBytes(): number {
    return Math.ceil(this.floorBytes * 1.25);
  }

  start(): void {
    this.#timer = setInterval(() => void this.check(), checkEveryMs);
    void this.check();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  /** So much was written to the log. */
  onWritten(bytes: number): void {
    this.#unchecked += bytes;
    if (this.#unchecked < checkEveryBytes) return;
    this.#unchecked = 0;
    void this.check();
  }

  /** The log found the disk full. */
  onFull(error: Error): void {
    this.#tellStuck(error);
    void this.check();
  }

  /** Looks once; a look under way serves whoever comes meanwhile. Resolves when what it led to is done or has failed. */
  check(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  async #check(): Promise<void> {
    const { keyValues, driver, log, look } = this.#options;
    try {
      this.#tellStuck();
      this.#room = await look();
      const action = this.#due();
      if (action === undefined || this.#stopped) return;
      await keyValues.alarm(driver, action);
      log.warn(action.type === 'raise' ? 'the disk runs out of space' : 'the disk has space again', {
        freeBytes: this.freeBytes,
        floorBytes: this.floorBytes,
      });
    } catch (error) {
      // Without a leader there is nobody to tell; nothing is written then, either. The next look tries again.
      if (!this.#stopped)
        this.#complaints.warn('could not see to the disk’s space', { reason: (error as Error).message });
    }
  }

  #tellStuck(error?: Error): void {
    if (this.isStuck === this.#saidStuck) return;
    this.#saidStuck = this.isStuck;
    if (this.isStuck) this.#options.log.error('the disk is full: the log waits for room', { reason: error?.message });
    else this.#options.log.warn('the log goes on');
  }

  #due(): AlarmAction | undefined {
    const { keyValues, driver, wal } = this.#options;
    const { memberId } = driver;
    // A quota of the file system's may leave less than it tells; one that tells nothing has room until a write finds none.
    const free = wal.isFull ? 0 : (this.freeBytes ?? Number.POSITIVE_INFINITY);
    const isRaised = keyValues.alarms.has(memberId, 'disk');
    if (!isRaised && free < this.floorBytes) return { type: 'raise', memberId, cause: 'disk' };
    if (isRaised && free > this.liftBytes) return { type: 'lift', memberId };
    return undefined;
  }
}
