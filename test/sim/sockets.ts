/** A pair of sockets in a simulated network, for the product's own `Channel`: bytes in pieces, late, and cut off anywhere. */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Clock, Life } from './clock.ts';

/** The longest piece in which bytes arrive. */
const pieceBytes = 1500;

export interface Line {
  readonly clock: Clock;
  readonly latency: (from: string, to: string) => number;
  readonly passes: (from: string, to: string) => boolean;
}

class SimulatedSocket extends Duplex {
  readonly life: Life;
  readonly #line: Line;
  readonly #name: string;
  other: SimulatedSocket | undefined;
  /** Ends the write that is under way. */
  #done: (() => void) | undefined;

  constructor(line: Line, name: string, life: Life) {
    super({ allowHalfOpen: false });
    this.#line = line;
    this.#name = name;
    this.life = life;
    // It may break before anybody holds it.
    this.on('error', () => {});
  }

  setNoDelay(): this {
    return this;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error) => void): void {
    this.#done = done;
    this.#carry(chunk, 0, done);
  }

  override _final(done: (error?: Error) => void): void {
    this.#later(() => this.other?.ends());
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#later(() => this.other?.breaks('ECONNRESET'));
    done(error);
    // The kernel gives back what it did not send.
    this.#done?.();
    this.#done = undefined;
  }

  /** The other side has sent its last. */
  ends(): void {
    if (!this.destroyed) this.push(null);
  }

  breaks(code: string): void {
    if (!this.destroyed) this.destroy(Object.assign(new Error(`the connection broke: ${code}`), { code }));
  }

  #carry(chunk: Buffer, at: number, done: (error?: Error) => void): void {
    const { clock, latency, passes } = this.#line;
    const other = this.other!;
    const piece = chunk.subarray(at, at + pieceBytes);
    // The kernel sends again what got lost, for as long as the connection lives.
    const ms = passes(this.#name, other.#name) ? latency(this.#name, other.#name) : 200;
    clock.after(ms, undefined, () => {
      if (this.destroyed || this.life.ended) return;
      if (!passes(this.#name, other.#name)) {
        this.#carry(chunk, at, done);
        return;
      }
      const arrived = Buffer.from(piece);
      clock.within(other.life, () => {
        if (!other.destroyed) other.push(arrived);
      });
      clock.after(0.01, undefined, () =>
        clock.within(this.life, () => {
          if (this.destroyed) return;
          if (at + piece.length < chunk.length) this.#carry(chunk, at + piece.length, done);
          else {
            this.#done = undefined;
            done();
          }
        }),
      );
    });
  }

  #later(what: () => void): void {
    const { clock, latency, passes } = this.#line;
    const other = this.other;
    if (!other) return;
    clock.after(latency(this.#name, other.#name), undefined, () => {
      if (passes(this.#name, other.#name)) clock.within(other.life, what);
    });
  }
}

export interface Pair {
  readonly here: Socket;
  readonly there: Socket;
  /** The connection ends in the middle of whatever it carries; both sides notice. */
  break(): void;
  /** The process on one side has ended, its machine has not. */
  reset(ended: Life): void;
}

export function socketPair(
  line: Line,
  from: { readonly name: string; readonly life: Life },
  to: { readonly name: string; readonly life: Life },
): Pair {
  const here = new SimulatedSocket(line, from.name, from.life);
  const there = new SimulatedSocket(line, to.name, to.life);
  here.other = there;
  there.other = here;
  const { clock } = line;
  const breakOne = (socket: SimulatedSocket): void => {
    clock.after(0.1, undefined, () => clock.within(socket.life, () => socket.breaks('ECONNRESET')));
  };
  return {
    here: here as unknown as Socket,
    there: there as unknown as Socket,
    break: () => [here, there].forEach(breakOne),
    reset: (ended) => {
      if (here.life === ended) breakOne(there);
      else if (there.life === ended) breakOne(here);
    },
  };
}
