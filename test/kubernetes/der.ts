/** The little of ASN.1's distinguished encoding (X.690) that X.509 certificates need. */

const concat = (parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.concat(parts));

export function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const body = concat(parts);
  const length: number[] = [];
  if (body.length < 0x80) length.push(body.length);
  else {
    for (let rest = body.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256);
    length.unshift(0x80 | length.length);
  }
  return concat([Uint8Array.of(tag, ...length), body]);
}

export const sequence = (...parts: readonly Uint8Array[]): Uint8Array => tagged(0x30, ...parts);
export const set = (...parts: readonly Uint8Array[]): Uint8Array => tagged(0x31, ...parts);
/** Context-specific, constructed: `[number] EXPLICIT`. */
export const explicit = (number: number, ...parts: readonly Uint8Array[]): Uint8Array =>
  tagged(0xa0 + number, ...parts);
/** Context-specific, primitive: `[number] IMPLICIT`. */
export const implicit = (number: number, bytes: Uint8Array): Uint8Array => tagged(0x80 + number, bytes);
export const octets = (bytes: Uint8Array): Uint8Array => tagged(0x04, bytes);
/** A bit string whose last byte has `unused` bits that do not count. */
export const bits = (bytes: Uint8Array, unused = 0): Uint8Array => tagged(0x03, Uint8Array.of(unused), bytes);
export const utf8 = (text: string): Uint8Array => tagged(0x0c, Buffer.from(text, 'utf8'));
export const boolean = (value: boolean): Uint8Array => tagged(0x01, Uint8Array.of(value ? 0xff : 0));

/** A non-negative integer given as big-endian bytes. */
export function integer(bytes: Uint8Array): Uint8Array {
  return tagged(0x02, (bytes[0] ?? 0) >= 0x80 ? concat([Uint8Array.of(0), bytes]) : bytes);
}

export function objectId(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift(0x80 | (left % 128));
    bytes.push(...digits);
  }
  return tagged(0x06, Uint8Array.from(bytes));
}

/** GeneralizedTime, whole seconds, UTC. */
export const time = (date: Date): Uint8Array =>
  tagged(0x18, Buffer.from(`${date.toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`, 'ascii'));
