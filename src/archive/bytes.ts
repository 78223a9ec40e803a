import { ArchiveError, type ArchivePlace } from './types.ts';

/**
 * Reads a stream of chunks byte-exactly: the layer below hands out chunks of any size, the formats above ask for
 * headers and counted runs. Holds one chunk at a time.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #layer: ArchivePlace['layer'];
  #chunk: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>, layer: ArchivePlace['layer']) {
    this.#source = source[Symbol.asyncIterator]();
    this.#layer = layer;
  }

  /** Bytes handed out so far. */
  get offset(): number {
    return this.#offset;
  }

  get place(): ArchivePlace {
    return { layer: this.#layer, offset: this.#offset };
  }

  /** At least one byte and at most `limit`; undefined at the end. The bytes are valid until the next call. */
  async some(limit = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
    while (this.#chunk.length === 0) {
      if (this.#ended) return undefined;
      const next = await this.#source.next();
      if (next.done === true) {
        this.#ended = true;
        return undefined;
      }
      this.#chunk = next.value;
    }
    const taken = this.#chunk.subarray(0, Math.min(limit, this.#chunk.length));
    this.#chunk = this.#chunk.subarray(taken.length);
    this.#offset += taken.length;
    return taken;
  }

  /** Up to `size` bytes: fewer only where the stream ends. */
  async upTo(size: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      const part = await this.some(size - filled);
      if (part === undefined) break;
      bytes.set(part, filled);
      filled += part.length;
    }
    return bytes.subarray(0, filled);
  }

  /** `what` names the part for the error `ARCHIVE_TRUNCATED`. */
  async exactly(size: number, what: string): Promise<Uint8Array> {
    const bytes = await this.upTo(size);
    if (bytes.length < size) throw this.truncated(what);
    return bytes;
  }

  /** Puts bytes back that were taken last. */
  unread(bytes: Uint8Array): void {
    this.#offset -= bytes.length;
    this.#chunk = this.#chunk.length === 0 ? bytes : Buffer.concat([bytes, this.#chunk]);
  }

  truncated(what: string): ArchiveError {
    const unit = this.#layer === 'gzip' ? 'archive' : 'tar inside the archive';
    return new ArchiveError(
      'ARCHIVE_TRUNCATED',
      `unexpected EOF: the ${unit} ends after ${this.#offset} bytes, inside ${what}`,
      {
        place: this.place,
      },
    );
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#chunk = new Uint8Array(0);
    await this.#source.return?.();
  }
}
