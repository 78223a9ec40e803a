/**
 * The connection on which this member sends to one other. It is redialled for as long as the member exists; while it is
 * down, messages are dropped (Raft expects loss), so a dead peer costs no memory.
 */
import type { Log } from '../log.ts';
import type { Certificates } from './certificates.ts';
import type { Channel } from './channel.ts';
import { dial, type Meeting, RefusedError, type Welcome } from './hello.ts';
import { InsecureError, type Seen } from './secure.ts';

/** Short, since whether the process of a leader has ended is worth knowing soon: until then nobody stands in its place. */
const firstPauseMs = 10;
const longestPauseMs = 1000;
const answerWithinMs = 2000;
/** More than this waits only for a peer that does not read. */
const maxWaitingBytes = 32 << 20;

export interface LinkOptions {
  readonly meeting: Meeting;
  readonly urls: readonly string[];
  readonly certificates: Certificates | undefined;
  readonly log: Log;
  /** The address from which the peer was last heard. */
  readonly seen: Seen;
  readonly onUp: (welcome: Welcome) => void;
  readonly onDown: () => void;
  /** The machines of all its URLs refuse connections: no process listens there. */
  readonly onEnded: () => void;
  /** It was reached and does not want this member. */
  readonly onRefused: (error: RefusedError) => void;
}

export class Link {
  readonly #options: LinkOptions;
  #channel: Channel | undefined;
  #timer: NodeJS.Timeout | undefined;
  #attempts = 0;
  /** In a row, by machines that are there. */
  #nobodyListens = 0;
  #closed = false;
  #lastComplaint = '';

  constructor(options: LinkOptions) {
    this.#options = options;
    void this.#dial();
  }

  /** Whether what is sent now has a chance to arrive. */
  get takes(): boolean {
    return this.#channel !== undefined && this.#channel.waitingBytes <= maxWaitingBytes;
  }

  send(frame: Uint8Array): void {
    this.#channel?.send(frame);
  }

  flush(): void {
    this.#channel?.flush();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#channel?.close();
  }

  /** Closes after these last words have gone out. */
  closeWith(words: object): void {
    this.#channel?.sendControl(words);
    this.#channel?.end();
    this.#channel = undefined;
    this.close();
  }

  async #dial(): Promise<void> {
    const { meeting, urls, certificates, seen, onRefused } = this.#options;
    try {
      const url = urls[this.#attempts % urls.length]!;
      const { channel, welcome } = await dial(url, meeting, answerWithinMs, certificates, seen);
      if (this.#closed) {
        channel.close();
        return;
      }
      this.#up(channel, welcome);
    } catch (error) {
      this.#complain(error as Error);
      this.#nobodyListens = nobodyListens(error) ? this.#nobodyListens + 1 : 0;
      if (this.#nobodyListens >= urls.length && !this.#closed) this.#options.onEnded();
      if (error instanceof RefusedError && !this.#closed) onRefused(error);
      this.#again();
    }
  }

  #up(channel: Channel, welcome: Welcome): void {
    const { log, onUp, onDown } = this.#options;
    const peer = this.#options.meeting.to;
    const since = performance.now();
    channel.handOver({
      onPayload: () => {},
      onClose: (error) => {
        this.#channel = undefined;
        if (this.#closed) return;
        log.info('lost the connection to a member', { peer, error });
        onDown();
        // One that is closed whenever it is there must not be made again and again.
        if (performance.now() - since > longestPauseMs) this.#attempts = 0;
        this.#again();
      },
    });
    this.#channel = channel;
    this.#nobodyListens = 0;
    this.#lastComplaint = '';
    log.info('connected to a member', { peer });
    onUp(welcome);
  }

  #again(): void {
    if (this.#closed) return;
    const pause = Math.min(firstPauseMs * 1.5 ** this.#attempts, longestPauseMs);
    this.#attempts++;
    this.#timer = setTimeout(() => void this.#dial(), pause);
  }

  /** Once per reason: peers that are not there yet are normal while a cluster starts. */
  #complain(error: Error): void {
    const { log, urls } = this.#options;
    const peer = this.#options.meeting.to;
    const isInsecure = error instanceof InsecureError;
    const complaint = isInsecure ? error.message : String((error as NodeJS.ErrnoException).code ?? error.message);
    if (complaint === this.#lastComplaint || this.#closed) return;
    this.#lastComplaint = complaint;
    if (error instanceof RefusedError) log.error('a member refuses the connection', { peer, urls, error });
    else if (isInsecure) log.warn('no secure connection to a member', { peer, urls, error });
    else log.info('cannot reach a member yet', { peer, urls, error });
  }
}

/** A name may stand for several addresses. */
function nobodyListens(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(nobodyListens);
  return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
}
