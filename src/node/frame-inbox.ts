/** Frames of one channel in order, with the connection held back while they are worked on. */
import type { Channel } from './channel.ts';

/** Frames taken in before the connection is held back. */
const mostWaiting = 4;

/** The connection ended before what was expected of it came. What came before was whole. */
export class ChannelEndedError extends Error {
  override readonly name = 'ChannelEndedError';
  readonly code = 'PEER_CHANNEL_ENDED';
}

export class FrameInbox {
  readonly #channel: Channel;
  readonly #frames: Buffer[] = [];
  #wake: (() => void) | undefined;
  #ended: ChannelEndedError | undefined;
  #draining = false;

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.redirect({
      onPayload: (payload) => {
        if (this.#draining) return;
        this.#frames.push(payload);
        if (this.#frames.length > mostWaiting) channel.pause();
        this.#wake?.();
      },
      onClose: (error) => {
        const why = error === undefined ? 'the connection ended early' : error.message;
        this.#ended = new ChannelEndedError(why, { cause: error });
        this.#wake?.();
      },
    });
  }

  /** Rejects with a ChannelEndedError once there is none left and there will be no more. */
  async next(): Promise<Buffer> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      if (this.#ended) throw this.#ended;
      this.#channel.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  /**
   * Ends this side after what was sent has gone out, and takes in whatever still comes: a peer that is cut off in the
   * middle of its stream would lose the answer to it.
   */
  drain(): void {
    this.#frames.length = 0;
    this.#draining = true;
    if (this.#ended) return;
    this.#channel.resume();
    this.#channel.end();
  }

  /** Whether something was said that was not asked for yet. */
  get waiting(): boolean {
    return this.#frames.length > 0 || this.#ended !== undefined;
  }
}
