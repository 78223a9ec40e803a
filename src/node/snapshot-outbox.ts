/**
 * The one snapshot that is ready to be sent (ES-01..13). Whoever asks never waits: it is there, or it is temporarily
 * unavailable, because it is still being prepared (then `ready` tells when that has ended) or because another follower is
 * being sent to (then Raft asks again with the next heartbeat's answer).
 */
import type { Log } from '../log.ts';
import type { OpenSnapshot } from '../storage/types.ts';

/** ES-01: etcd's upper limit of a heartbeat interval, within which Raft asks again. */
export const clearUnusedAfterMs = 5000;

/** ES-23. */
export interface Clock {
  /** Runs `action` once after so many milliseconds, unless the returned function is called before. */
  after(ms: number, action: () => void): () => void;
}

export const realClock: Clock = {
  after: (ms, action) => {
    const timer = setTimeout(action, ms).unref();
    return () => clearTimeout(timer);
  },
};

export interface SnapshotOutboxOptions {
  /** Opens a verified snapshot of at least this index, and takes one if there is none. */
  readonly prepare: (atLeast: number) => Promise<OpenSnapshot>;
  readonly clock: Clock;
  readonly log: Log;
}

export class SnapshotOutbox {
  readonly #options: SnapshotOutboxOptions;
  #held: OpenSnapshot | undefined;
  #inUse = false;
  /** From the start of a preparation to its end, or to when another attempt makes sense. */
  #preparing = false;
  #prepared = Promise.resolve();
  #cancelTimer = (): void => {};
  #stopped = false;

  constructor(options: SnapshotOutboxOptions) {
    this.#options = options;
  }

  /**
   * The snapshot, now in use until `clearUsed`; undefined: temporarily unavailable (ES-03, ES-04). One older than
   * `atLeast` is of no use any more.
   */
  get(atLeast: number): OpenSnapshot | undefined {
    if (this.#inUse || this.#stopped) return undefined;
    if (this.#held && this.#held.meta.index < atLeast) this.#clear();
    if (!this.#held) {
      this.#prepare(atLeast);
      return undefined;
    }
    this.#cancelTimer();
    this.#inUse = true;
    return this.#held;
  }

  /** Settles when the preparation under way has ended, well or not; at once when there is none. */
  ready(): Promise<void> {
    return this.#prepared;
  }

  /** ES-10: the snapshot was sent, or will not be. */
  clearUsed(): void {
    if (!this.#inUse) throw new Error('a snapshot was given back that is not in use');
    this.#clear();
  }

  /**
   * ES-11: forgets a snapshot that is no newer than `index`, and says whether it did. D15: it is never handed out again.
   * One in use is left to who uses it.
   */
  closeBefore(index: number): boolean {
    if (!this.#held || this.#inUse || this.#held.meta.index > index) return false;
    this.#clear();
    return true;
  }

  /** Nothing is handed out from here on. What is in use stays open until `clearUsed`. */
  stop(): void {
    this.#stopped = true;
    if (this.#held && !this.#inUse) this.#clear();
  }

  #prepare(atLeast: number): void {
    if (this.#preparing) return;
    this.#preparing = true;
    this.#prepared = this.#options.prepare(atLeast).then(
      (snapshot) => this.#hold(snapshot),
      (error: unknown) => {
        const { log, clock } = this.#options;
        if (!this.#stopped) log.warn('could not prepare a snapshot for sending', { index: atLeast, error });
        // Asked for with every heartbeat's answer, and each attempt reads a whole snapshot.
        clock.after(clearUnusedAfterMs, () => {
          this.#preparing = false;
        });
      },
    );
  }

  #hold(snapshot: OpenSnapshot): void {
    this.#preparing = false;
    this.#held = snapshot;
    if (this.#stopped) {
      this.#clear();
      return;
    }
    // ES-08, ES-09: cancelled when it is put to use or cleared, so it concerns this snapshot and only while unused.
    this.#cancelTimer = this.#options.clock.after(clearUnusedAfterMs, () => this.#clear());
  }

  /** ES-13. */
  #clear(): void {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    const held = this.#held!;
    this.#held = undefined;
    this.#inUse = false;
    // ES-12.
    held.close().catch((error: unknown) => {
      this.#options.log.warn('could not close a snapshot', { id: held.meta.id, error });
    });
  }
}
