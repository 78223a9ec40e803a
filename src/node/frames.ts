/**
 * Frames on a connection between members: `length u32 | crc u32 | payload`, little-endian, the CRC-32 over the payload.
 * The length is bounded before anything is allocated on its word.
 */
import { crc32 } from 'node:zlib';

export const frameHeaderBytes = 8;
/** An append message holds at least one entry, and one entry at most a request; snapshots go in small chunks. */
export const maxFrameBytes = 64 << 20;

/** Bytes that no member sends. The message is constant for its kind, so that each kind can be logged once. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
  readonly code = 'PEER_FRAME_BAD';
}

/** A frame to be filled in from `frameHeaderBytes` on, then sealed. */
export const newFrame = (payloadBytes: number): Buffer => Buffer.allocUnsafe(frameHeaderBytes + payloadBytes);

export function sealFrame(frame: Buffer): Buffer {
  frame.writeUInt32LE(frame.length - frameHeaderBytes, 0);
  frame.writeUInt32LE(crc32(frame.subarray(frameHeaderBytes)), 4);
  return frame;
}

export function frameOf(payload: Uint8Array): Buffer {
  const frame = newFrame(payload.length);
  frame.set(payload, frameHeaderBytes);
  return sealFrame(frame);
}

/** Memory that a length alone may claim; a longer frame's memory grows with the bytes that have come. */
const eagerBytes = 2 << 20;

/** Cuts a byte stream into payloads. Throws a FrameError for what no correct peer sends, and is of no use after that. */
export class FrameReader {
  readonly #onPayload: (payload: Buffer) => void;
  /** The longest payload taken. */
  limit: number;
  /** The beginning of a frame that is not complete, `#filled` bytes of it. */
  #partial = Buffer.alloc(0);
  #filled = 0;
  /** The whole frame's bytes; 0 until its header is complete. */
  #size = 0;

  constructor(onPayload: (payload: Buffer) => void, limit = maxFrameBytes) {
    this.#onPayload = onPayload;
    this.limit = limit;
  }

  push(chunk: Buffer): void {
    let at = 0;
    if (this.#filled > 0) {
      at = this.#fill(chunk);
      if (this.#filled > 0) return;
    }
    while (chunk.length - at >= frameHeaderBytes) {
      const size = this.#sizeOf(chunk, at);
      if (chunk.length - at < size) break;
      this.#deliver(chunk.subarray(at, at + size));
      at += size;
    }
    if (at < chunk.length) this.#fill(chunk.subarray(at));
  }

  /** Goes on with the partial frame; returns how much of `chunk` was used. */
  #fill(chunk: Buffer): number {
    let used = 0;
    if (this.#size === 0) {
      used = this.#take(chunk, frameHeaderBytes);
      if (this.#filled < frameHeaderBytes) return used;
      this.#size = this.#sizeOf(this.#partial, 0);
    }
    used += this.#take(chunk.subarray(used), this.#size);
    if (this.#filled === this.#size) {
      const frame = this.#partial.subarray(0, this.#size);
      this.#partial = Buffer.alloc(0);
      this.#filled = 0;
      this.#size = 0;
      this.#deliver(frame);
    }
    return used;
  }

  /** Takes from `chunk` until the partial frame has `upTo` bytes. */
  #take(chunk: Buffer, upTo: number): number {
    const filled = Math.min(upTo, this.#filled + chunk.length);
    if (this.#partial.length < filled) {
      const grown = Buffer.allocUnsafe(Math.min(upTo, Math.max(eagerBytes, filled, 2 * this.#partial.length)));
      this.#partial.copy(grown, 0, 0, this.#filled);
      this.#partial = grown;
    }
    const taken = chunk.copy(this.#partial, this.#filled, 0, filled - this.#filled);
    this.#filled = filled;
    return taken;
  }

  /** Of the whole frame whose header is at `at`. */
  #sizeOf(buffer: Buffer, at: number): number {
    const length = buffer.readUInt32LE(at);
    if (length === 0) throw new FrameError('an empty frame');
    if (length > this.limit) throw new FrameError(`a frame of more than ${this.limit} bytes`);
    return frameHeaderBytes + length;
  }

  #deliver(frame: Buffer): void {
    const payload = frame.subarray(frameHeaderBytes);
    if (crc32(payload) !== frame.readUInt32LE(4)) throw new FrameError('a frame does not match its checksum');
    this.#onPayload(payload);
  }
}
