/**
 * One connection between two members: frames in both directions, writes gathered per turn, and a sign of life every
 * second, so that a connection to a host that vanished without a word is noticed.
 */
import type { Socket } from 'node:net';
import { FrameError, FrameReader, frameOf, maxFrameBytes } from './frames.ts';

const signOfLife = frameOf(Uint8Array.of(0));
const signOfLifeEveryMs = 1000;
const silenceMs = 5000;
/** Until it is known who is there, nobody can make this member hold more than a greeting. */
const maxFirstFrameBytes = 64 << 10;

export interface ChannelHandlers {
  /** A control frame (JSON object) or a message. Throwing a FrameError closes the channel. */
  readonly onPayload: (payload: Buffer) => void;
  /** Once. `error` is undefined when either side closed it in good order. */
  readonly onClose: (error: Error | undefined) => void;
}

export class Channel {
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  #handlers: ChannelHandlers;
  #heardAt: number;
  #corked = false;
  #closed = false;
  #error: Error | undefined;

  constructor(socket: Socket, handlers: ChannelHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.#heardAt = performance.now();
    const reader = new FrameReader((payload) => {
      if (payload[0] === 0 || this.#closed) return;
      this.#handlers.onPayload(payload);
      reader.limit = maxFrameBytes;
    }, maxFirstFrameBytes);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#heardAt = performance.now();
      try {
        reader.push(chunk);
      } catch (error) {
        // Only what the peer sent is the peer's fault.
        if (!(error instanceof FrameError)) throw error;
        this.close(error);
      }
    });
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.on('close', () => {
      clearInterval(this.#timer);
      this.#closed = true;
      this.#handlers.onClose(this.#error);
    });
    this.#timer = setInterval(() => this.#watch(), signOfLifeEveryMs);
  }

  /** Bytes accepted by `send` that the kernel has not taken yet. */
  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Who handles frames from here on. */
  handOver(handlers: ChannelHandlers): void {
    this.#handlers = handlers;
  }

  /** Frames go elsewhere from here on; who handled them before still hears of the end. */
  redirect(handlers: ChannelHandlers): void {
    const { onClose } = this.#handlers;
    this.#handlers = {
      onPayload: handlers.onPayload,
      onClose: (error) => {
        onClose(error);
        handlers.onClose(error);
      },
    };
  }

  /** Goes out with the next `flush`. */
  send(frame: Uint8Array): void {
    if (this.#closed) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
    }
    this.#socket.write(frame);
  }

  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  sendControl(value: object): void {
    this.send(frameOf(Buffer.from(JSON.stringify(value))));
    this.flush();
  }

  /**
   * Sends and waits until the kernel took all of it: for streams. `frame` may be used again then. Rejects when the channel
   * closes.
   */
  sendSlowly(frame: Uint8Array): Promise<void> {
    this.flush();
    return new Promise((resolve, reject) => {
      this.#socket.write(frame, (error) => {
        if (error) reject(this.#error ?? error);
        else resolve();
      });
    });
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#heardAt = performance.now();
    this.#socket.resume();
  }

  close(error?: Error): void {
    if (this.#closed) return;
    this.#error ??= error;
    this.#socket.destroy();
  }

  /** Closes after what was sent has gone out. */
  end(): void {
    this.flush();
    this.#socket.end();
  }

  #watch(): void {
    if (this.#socket.isPaused()) return;
    const silent = performance.now() - this.#heardAt;
    if (silent > silenceMs) this.close(new Error(`nothing was heard for ${Math.round(silent)} ms`));
    else if (this.#socket.writableLength === 0) this.#socket.write(signOfLife);
  }
}

/** A control frame's content; undefined when the payload is a message. */
export function controlOf(payload: Buffer): Record<string, unknown> | undefined {
  if (payload[0] !== 0x7b) return undefined;
  try {
    return JSON.parse(payload.toString()) as Record<string, unknown>;
  } catch (error) {
    throw new FrameError('a control frame is not JSON', { cause: error });
  }
}
