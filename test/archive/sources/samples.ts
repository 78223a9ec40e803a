import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Source } from '../../../src/archive/sources/source.ts';
import { collect } from '../samples.ts';

/** What goraft and hashicorp/raft write, made by hand from the statements; `test/compat` has what they wrote themselves. */

export interface GoraftJsonShape {
  readonly lastIndex?: unknown;
  readonly lastTerm?: unknown;
  readonly peers?: unknown;
  readonly state?: unknown;
  readonly path?: unknown;
}

export const goraftPeers = [
  { name: 'one', connectionString: 'http://127.0.0.1:7001' },
  { name: 'two', connectionString: 'http://127.0.0.1:7002' },
];

export function goraftJson(state: Uint8Array, change: GoraftJsonShape = {}): string {
  const base64 = Buffer.from(state).toString('base64');
  return JSON.stringify({
    lastIndex: 17,
    lastTerm: 2,
    peers: goraftPeers,
    state: base64,
    path: 'x/2_17.ss',
    ...change,
  });
}

/** GR-27: the checksum as eight hexadecimal digits, a newline, the JSON. */
export function goraftFile(json: string | Uint8Array): Buffer {
  const bytes = Buffer.from(json);
  return Buffer.concat([Buffer.from(`${crc32(bytes).toString(16).padStart(8, '0')}\n`), bytes]);
}

/** CRC-64 (ECMA, reflected) the slow way, as eight bytes. */
export function crc64(bytes: Uint8Array): Buffer {
  const mask = 2n ** 64n - 1n;
  let crc = mask;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0xc96c5795d7870f42n : crc >> 1n;
  }
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(crc ^ mask);
  return out;
}

export function storedMeta(id: string, state: Uint8Array, change: Readonly<Record<string, unknown>> = {}): string {
  const [term = 0, index = 0] = id.split('-').map(Number);
  const meta = {
    Version: 1,
    ID: id,
    Index: index,
    Term: term,
    Peers: 'ka4xMjcuMC4wLjE6ODMwMA==',
    Configuration: { Servers: [{ Suffrage: 0, ID: 'one', Address: '127.0.0.1:8300' }] },
    ConfigurationIndex: 1,
    Size: state.length,
    CRC: crc64(state).toString('base64'),
    ...change,
  };
  return `${JSON.stringify(meta)}\n`;
}

/** HR-33: one snapshot folder in the folder of a store. */
export async function storeSnapshot(
  store: string,
  id: string,
  state: Uint8Array,
  change: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const folder = join(store, id);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'meta.json'), storedMeta(id.replace('.tmp', ''), state, change));
  await writeFile(join(folder, 'state.bin'), state);
  return folder;
}

export const stateOf = (source: Source): Promise<Buffer> => collect(source.state());
