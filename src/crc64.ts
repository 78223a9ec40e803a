/**
 * CRC-64 with the ECMA-182 polynomial, reflected, as Go's `crc64.ECMA` and XZ take it: the checksum that a stored
 * snapshot's description carries (HR-34). Eight bytes a step, in two 32-bit halves.
 */
const polynomialLow = 0xd7870f42;
const polynomialHigh = 0xc96c5795;

/** Eight tables of 256 entries, low half at even places, high half at odd ones. */
const table = new Uint32Array(8 * 512);
for (let byte = 0; byte < 256; byte++) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const carry = low & 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (carry) {
      low ^= polynomialLow;
      high ^= polynomialHigh;
    }
  }
  table[byte * 2] = low;
  table[byte * 2 + 1] = high;
}
for (let i = 512; i < table.length; i += 2) {
  const low = table[i - 512]!;
  const high = table[i - 511]!;
  const next = (low & 0xff) * 2;
  table[i] = ((low >>> 8) | (high << 24)) ^ table[next]!;
  table[i + 1] = (high >>> 8) ^ table[next + 1]!;
}

export class Crc64 {
  #low = 0xffffffff;
  #high = 0xffffffff;

  update(bytes: Uint8Array): this {
    let low = this.#low | 0;
    let high = this.#high | 0;
    let i = 0;
    for (const end = bytes.length - 7; i < end; i += 8) {
      low ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      high ^= bytes[i + 4]! | (bytes[i + 5]! << 8) | (bytes[i + 6]! << 16) | (bytes[i + 7]! << 24);
      const a = 3584 + (low & 0xff) * 2;
      const b = 3072 + ((low >>> 8) & 0xff) * 2;
      const c = 2560 + ((low >>> 16) & 0xff) * 2;
      const d = 2048 + (low >>> 24) * 2;
      const e = 1536 + (high & 0xff) * 2;
      const f = 1024 + ((high >>> 8) & 0xff) * 2;
      const g = 512 + ((high >>> 16) & 0xff) * 2;
      const h = (high >>> 24) * 2;
      low = table[a]! ^ table[b]! ^ table[c]! ^ table[d]! ^ table[e]! ^ table[f]! ^ table[g]! ^ table[h]!;
      high =
        table[a + 1]! ^
        table[b + 1]! ^
        table[c + 1]! ^
        table[d + 1]! ^
        table[e + 1]! ^
        table[f + 1]! ^
        table[g + 1]! ^
        table[h + 1]!;
    }
    for (; i < bytes.length; i++) {
      const at = ((low ^ bytes[i]!) & 0xff) * 2;
      low = ((low >>> 8) | (high << 24)) ^ table[at]!;
      high = (high >>> 8) ^ table[at + 1]!;
    }
    this.#low = low;
    this.#high = high;
    return this;
  }

  /** 16 lowercase hex digits. */
  digest(): string {
    const half = (value: number): string => (~value >>> 0).toString(16).padStart(8, '0');
    return half(this.#high) + half(this.#low);
  }
}
