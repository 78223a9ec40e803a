import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { convertToFile } from '../../../src/archive/convert.ts';
import { writeAll } from '../../../src/archive/file.ts';
import { openSource } from '../../../src/archive/sources/open.ts';
import { memoryInUse } from '../memory.ts';

/**
 * Run as a process of its own, with --expose-gc: converts a goraft file whose state, or whose path, has so many bytes, and
 * prints what came of it and the memory in use at the start and at most.
 */
const [field = 'state', path = '', size = '0'] = process.argv.slice(2);
const piece = Buffer.from(randomBytes(3 * 1024).toString('base64'));
const pieces = Math.ceil(Number(size) / (3 * 1024));

const [before, after] = [`{"lastIndex":5,"lastTerm":2,"peers":[],"${field}":"`, '"}'].map((text) => Buffer.from(text));
const file = await open(path, 'wx');
let checksum = 0;
const put = async (bytes: Uint8Array) => {
  checksum = crc32(bytes, checksum);
  await writeAll(file, bytes);
};
await writeAll(file, Buffer.from('00000000\n'));
await put(before ?? piece);
for (let count = 0; count < pieces; count++) await put(piece);
await put(after ?? piece);
await file.write(checksum.toString(16).padStart(8, '0'), 0);
await file.close();

let outcome: unknown;
const memory = await memoryInUse(async () => {
  try {
    const summary = await convertToFile(await openSource(path), `${path}.snap`, { now: new Date(0) });
    outcome = summary.meta.size === pieces * 3 * 1024;
  } catch (error) {
    outcome = (error as { code?: unknown }).code;
  }
});
await rm(path);
await rm(`${path}.snap`, { force: true });
console.log(JSON.stringify({ outcome, ...memory }));
