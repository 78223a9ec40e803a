import { unreadable } from './source.ts';

/** All of the JSON but the state; goraft puts names and addresses of peers there, and the path. Bytes. */
const restLimit = 1024 * 1024;
/** Longer names are no fields of goraft. Bytes. */
const nameLimit = 64;

const quote = 0x22;
const backslash = 0x5c;

/**
 * Takes goraft's one JSON object apart as it streams by (GR-27): `state` is decoded, the rest is kept. The rest with an
 * empty state in it is JSON when the whole is, which is left to JSON.parse.
 */
export class GoraftJson {
  readonly #rest: Uint8Array[] = [];
  #restSize = 0;
  #within: 'json' | 'state' | 'end' = 'json';
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** The last string of the outermost object, as written. */
  #text = '';
  /** The name whose value comes next. */
  #name: string | undefined;
  #states = 0;
  #carry = '';
  #padded = false;
  #offset = 0;
  #end: number | undefined;
  #trailing = false;
  #failure: Error | undefined;

  /** Bytes of the object, once it has ended. */
  get end(): number | undefined {
    return this.#end;
  }

  /** Whether anything but white space follows the object. */
  get trailing(): boolean {
    return this.#trailing;
  }

  /** What is wrong with the content. Not thrown at once: a file with a wrong checksum is called damaged, not nonsense. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Where it is, for a file that ends there. */
  get part(): string {
    return this.#within === 'state' ? 'its state' : 'its JSON';
  }

  /** The object without the state's content. */
  rest(): Uint8Array {
    return Buffer.concat(this.#rest);
  }

  /** The bytes of the state that have become known. */
  feed(chunk: Uint8Array): Uint8Array[] {
    const decoded: Uint8Array[] = [];
    let at = 0;
    while (at < chunk.length && this.#failure === undefined) {
      switch (this.#within) {
        case 'json':
          at = this.#json(chunk, at);
          break;
        case 'state':
          at = this.#state(chunk, at, decoded);
          break;
        case 'end':
          this.#trailing ||= chunk.subarray(at).some((byte) => !isSpace(byte));
          at = chunk.length;
      }
    }
    this.#offset += chunk.length;
    return decoded;
  }

  /** Returns where it stopped: the first byte of the state, the byte after the object, or the chunk's end. */
  #json(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length && this.#within === 'json' && this.#failure === undefined) {
      const byte = chunk[at] ?? 0;
      at += 1;
      if (this.#inString) this.#character(byte);
      else this.#structure(byte, at);
    }
    this.#restSize += at - from;
    if (this.#restSize > restLimit) {
      this.#failure ??= unreadable(
        `its JSON has more than ${restLimit} bytes beside the state, so it is none of goraft's`,
      );
    } else {
      this.#rest.push(Uint8Array.from(chunk.subarray(from, at)));
    }
    return at;
  }

  #character(byte: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (byte === backslash) this.#escaped = true;
    else if (byte === quote) {
      this.#inString = false;
      return;
    }
    if (this.#depth === 1 && this.#text.length <= nameLimit) this.#text += String.fromCharCode(byte);
  }

  #structure(byte: number, next: number): void {
    switch (String.fromCharCode(byte)) {
      case '"':
        if (this.#name === 'state') {
          this.#name = undefined;
          this.#within = 'state';
          this.#states += 1;
          if (this.#states > 1) this.#failure = unreadable('its JSON has "state" twice');
          return;
        }
        this.#inString = true;
        this.#text = '';
        return;
      case ':':
        if (this.#depth === 1) this.#name = nameOf(this.#text);
        return;
      case ',':
        this.#name = undefined;
        return;
      case '{':
      case '[':
        this.#name = undefined;
        this.#depth += 1;
        return;
      case '}':
      case ']':
        this.#depth -= 1;
        if (this.#depth > 0) return;
        this.#within = 'end';
        this.#end = this.#offset + next;
        return;
      default:
        if (this.#depth === 0 && !isSpace(byte))
          this.#failure = unreadable('what follows its checksum is no JSON object');
    }
  }

  #state(chunk: Uint8Array, from: number, decoded: Uint8Array[]): number {
    const close = chunk.indexOf(quote, from);
    const to = close < 0 ? chunk.length : close;
    const text = this.#carry + Buffer.from(chunk.buffer, chunk.byteOffset + from, to - from).toString('latin1');
    const whole = text.slice(0, text.length - (text.length % 4));
    this.#carry = text.slice(whole.length);
    if (whole !== '') {
      const bytes = Buffer.from(whole, 'base64');
      // Node's decoder passes over what it does not know; only what it would write itself is base64 (RFC 4648, strict).
      if (this.#padded || bytes.toString('base64') !== whole) {
        this.#failure = unreadable(`its state is not base64, somewhere before byte ${this.#offset + to} of the JSON`);
        return chunk.length;
      }
      this.#padded = whole.endsWith('=');
      decoded.push(bytes);
    }
    if (close < 0) return to;
    if (this.#carry !== '') this.#failure = unreadable('its state is not base64: it ends within a group of four');
    // The quote belongs to the rest.
    this.#within = 'json';
    this.#rest.push(Uint8Array.of(quote));
    return close + 1;
  }
}

/** Go reads names without regard to case. */
function nameOf(text: string): string | undefined {
  try {
    return String(JSON.parse(`"${text}"`)).toLowerCase();
  } catch {
    return undefined;
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
