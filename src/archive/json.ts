/**
 * A number that JSON.stringify writes with all its digits: ECMAScript's JSON.rawJSON, which TypeScript's es2024 library
 * does not know yet.
 */
export function exactJson(value: bigint): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
}
