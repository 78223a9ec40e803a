/**
 * What a leader knows of one other member's log, and how it sends to it.
 *
 *  - `probe`: where the logs meet is unknown; one append at a time, backing off at each rejection.
 *  - `replicate`: they meet at `match`; appends stream optimistically, bounded by the window of unanswered messages.
 *  - `snapshot`: the log no longer reaches that far back; nothing is sent until the snapshot's fate is known.
 */
import { asIndex, type Index } from './types.ts';

/** The last index and the size of each unanswered append message, oldest first, in a ring. */
class Window {
  readonly #ends: Float64Array;
  readonly #sizes: Float64Array;
  readonly #maxBytes: number;
  #head = 0;
  #size = 0;
  #bytes = 0;

  constructor({ maxInflightMessages, maxInflightBytes }: WindowLimits) {
    this.#ends = new Float64Array(maxInflightMessages);
    this.#sizes = new Float64Array(maxInflightMessages);
    this.#maxBytes = maxInflightBytes;
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size === this.#ends.length || this.#bytes >= this.#maxBytes;
  }

  add(lastIndex: Index, bytes: number): void {
    const at = (this.#head + this.#size) % this.#ends.length;
    this.#ends[at] = lastIndex;
    this.#sizes[at] = bytes;
    this.#size++;
    this.#bytes += bytes;
  }

  releaseThrough(index: Index): void {
    while (this.#size > 0 && this.#ends[this.#head]! <= index) {
      this.#bytes -= this.#sizes[this.#head]!;
      this.#head = (this.#head + 1) % this.#ends.length;
      this.#size--;
    }
  }

  clear(): void {
    this.#size = 0;
    this.#bytes = 0;
  }
}

export interface WindowLimits {
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
}

export class Progress {
  state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  match: Index = asIndex(0);
  next: Index;
  /** Probing: the one message is out; a heartbeat's answer allows the next one. */
  probeSent = false;
  /** The snapshot on its way or just delivered; 0 when there is none. The log after it is kept for this member. */
  snapshotIndex: Index = asIndex(0);
  recentlyActive = false;
  /** The highest commit index told to it, as far as we know. */
  commitSent: Index = asIndex(0);
  /** It answered a heartbeat while entries are unanswered: ask, with an append that may be empty, whether it has them. */
  nudge = false;
  readonly window: Window;

  constructor(next: Index, limits: WindowLimits) {
    this.next = next;
    this.window = new Window(limits);
  }

  becomeProbe(): void {
    this.#become('probe');
    this.next = asIndex(this.match + 1);
  }

  becomeReplicate(): void {
    this.#become('replicate');
    this.snapshotIndex = asIndex(0);
    this.next = asIndex(this.match + 1);
  }

  becomeSnapshot(index: Index): void {
    this.#become('snapshot');
    this.snapshotIndex = index;
  }

  #become(state: Progress['state']): void {
    this.state = state;
    this.probeSent = false;
    this.nudge = false;
    this.commitSent = asIndex(0);
    this.window.clear();
  }

  /** The member acknowledged everything through `index`. */
  accepted(index: Index): void {
    if (index > this.match) this.match = index;
    if (this.next <= this.match) this.next = asIndex(this.match + 1);
    switch (this.state) {
      case 'probe':
        this.becomeReplicate();
        break;
      case 'replicate':
        this.window.releaseThrough(this.match);
        break;
      case 'snapshot':
        // The leader decides, since it knows where its log begins.
        break;
    }
  }

  /** It did not have `prevIndex`; `meeting` is the best position to try. False: an old answer that says nothing new. */
  rejected(prevIndex: Index, meeting: Index): boolean {
    switch (this.state) {
      case 'snapshot':
        return false;
      case 'replicate':
        if (prevIndex <= this.match) return false;
        this.becomeProbe();
        return true;
      case 'probe':
        if (this.next - 1 !== prevIndex) return false;
        this.next = asIndex(Math.max(Math.min(prevIndex, meeting + 1), this.match + 1));
        this.probeSent = false;
        this.snapshotIndex = asIndex(0);
        return true;
    }
  }

  /** Delivered: probe right after the snapshot, once something answers. Failed: start over when it shows up again. */
  snapshotDone(ok: boolean): void {
    const delivered = this.snapshotIndex;
    this.becomeProbe();
    this.probeSent = true;
    if (ok) this.next = asIndex(Math.max(this.match, delivered) + 1);
    else this.snapshotIndex = asIndex(0);
  }
}
