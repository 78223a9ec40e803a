/**
 * Frames on a connection between members: `length u32 | crc u32 | payload`, little-endian, the CRC-32 over the payload.
 * The length is bounded before anything is allocated on its word.
 */
import { crc32 } from 'node:zlib';

export const frameHeaderBytes = 8;
/** An append message holds at least one entry, and one entry at most a request; snapshots go in small chunks. */
export const maxFrameBytes = 64 << 20;

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

/** Cuts a byte stream into payloads. Throws a FrameError for what no correct peer sends. */
export class FrameReader {
  readonly #onPayload: (payload: Buffer) => void;
  /** The beginning of a frame that is not complete: a buffer of the frame's whole size once that is known. */
  #partial: Buffer | undefined;
  #filled = 0;

  constructor(onPayload: (payload: Buffer) => void) {
    this.#onPayload = onPayload;
  }

  push(chunk: Buffer): void {
    let at = 0;
    if (this.#partial) {
      at = this.#fill(chunk);
      if (this.#partial) return;
    }
    while (chunk.length - at >= frameHeaderBytes) {
      const size = frameHeaderBytes + lengthOf(chunk, at);
      if (chunk.length - at < size) break;
      this.#deliver(chunk.subarray(at, at + size));
      at += size;
    }
    if (at < chunk.length) this.#keep(chunk.subarray(at));
  }

  /** Completes the partial frame from `chunk`; returns how much of it was used. */
  #fill(chunk: Buffer): number {
    let used = 0;
    if (this.#filled < frameHeaderBytes) {
      const partial = this.#partial!;
      used = chunk.copy(partial, this.#filled, 0, frameHeaderBytes - this.#filled);
      this.#filled += used;
      if (this.#filled < frameHeaderBytes) return used;
      const whole = Buffer.allocUnsafe(frameHeaderBytes + lengthOf(partial, 0));
      partial.copy(whole);
      this.#partial = whole;
    }
    const frame = this.#partial!;
    const taken = chunk.copy(frame, this.#filled, used);
    this.#filled += taken;
    if (this.#filled === frame.length) {
      this.#partial = undefined;
      this.#deliver(frame);
    }
    return used + taken;
  }

  #keep(rest: Buffer): void {
    const size = rest.length < frameHeaderBytes ? frameHeaderBytes : frameHeaderBytes + lengthOf(rest, 0);
    this.#partial = Buffer.allocUnsafe(size);
    this.#filled = rest.copy(this.#partial);
  }

  #deliver(frame: Buffer): void {
    const payload = frame.subarray(frameHeaderBytes);
    if (crc32(payload) !== frame.readUInt32LE(4)) throw new FrameError('a frame does not match its checksum');
    this.#onPayload(payload);
  }
}

function lengthOf(buffer: Buffer, at: number): number {
  const length = buffer.readUInt32LE(at);
  if (length === 0 || length > maxFrameBytes)
    throw new FrameError(`a frame of ${length} bytes; the limit is ${maxFrameBytes}`);
  return length;
}
