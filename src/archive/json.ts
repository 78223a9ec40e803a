/** JSON as Go programs write and read it: integers of 64 bits, and field names without regard to case. */

/**
 * A number that JSON.stringify writes with all its digits: ECMAScript's JSON.rawJSON, which TypeScript's es2024 library
 * does not know yet.
 */
export function exactJson(value: bigint): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
}

/** UTF-8 JSON, with integers as bigint that a double cannot hold. Throws a SyntaxError or TypeError. */
export function parseJson(bytes: Uint8Array): unknown {
  return JSON.parse(
    new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes),
    exactNumbers as () => unknown,
  );
}

function exactNumbers(_key: string, value: unknown, context: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  return context.source !== undefined && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

export const uint64Limit = 2n ** 64n;

/** Makes the error for a field that is not what it should be. */
export type Invalid = (problem: string) => Error;

/** The fields of one object. What is absent or null reads as Go's zero value. */
export class JsonFields {
  readonly #fields: ReadonlyMap<string, unknown>;
  readonly #invalid: Invalid;

  /** `what` names the object in the error. */
  constructor(value: unknown, what: string, invalid: Invalid) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${what} is not an object`);
    this.#fields = new Map(Object.entries(value).map(([key, field]) => [key.toLowerCase(), field]));
    this.#invalid = invalid;
  }

  /** Undefined when absent or null. */
  get(name: string): unknown {
    return this.#fields.get(name.toLowerCase()) ?? undefined;
  }

  /** Also when it is null. */
  has(name: string): boolean {
    return this.#fields.has(name.toLowerCase());
  }

  string(name: string): string {
    const value = this.get(name) ?? '';
    if (typeof value !== 'string') throw this.#invalid(`${name} is not a string`);
    return value;
  }

  list(name: string): readonly unknown[] {
    const value = this.get(name) ?? [];
    if (!Array.isArray(value)) throw this.#invalid(`${name} is not a list`);
    return value;
  }

  /** Padded, as Go writes bytes. Undefined when absent or null. */
  base64(name: string): Uint8Array | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
    if (bytes === undefined || bytes.toString('base64') !== value) throw this.#invalid(`${name} is not base64`);
    return new Uint8Array(bytes);
  }

  uint64(name: string): bigint {
    const value = this.get(name) ?? 0;
    const whole = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
    const exact = whole ? BigInt(value) : -1n;
    if (exact >= 0n && exact < uint64Limit) return exact;
    const said = typeof value === 'object' ? 'an object' : shortened(String(value));
    throw this.#invalid(`${name} is ${said}, not an unsigned 64-bit integer`);
  }

  /** A uint64 that a double holds. */
  safe(name: string): number {
    const value = this.uint64(name);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.#invalid(`${name} is ${value}, above 2^53 − 1`);
    return Number(value);
  }
}

/** What a file says goes into messages, and can be of any length. */
export function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
