import { randomFillSync } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { verifyArchiveFile, writeAll } from '../../src/archive/file.ts';
import { writeArchive } from '../../src/archive/write.ts';
import { modifiedAt, sampleMeta } from './samples.ts';

/**
 * Run as a process of its own, with --expose-gc: writes and verifies an archive of a large state, and prints the memory
 * in use at the start and at most. Memory in use is what is left after a collection: how much garbage lies about before
 * one is up to the machine.
 */
const [path = '', size = '0'] = process.argv.slice(2);
const total = Number(size);

async function* state(): AsyncGenerator<Uint8Array> {
  for (let left = total; left > 0; left -= 64 * 1024) {
    // New memory each time, half of it incompressible, as a member's slices are.
    const slice = new Uint8Array(Math.min(left, 64 * 1024));
    randomFillSync(slice, 0, slice.length >> 1);
    yield slice;
  }
}

function inUse(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const start = inUse();
let most = start;
let samples = 0;
const sampling = setInterval(() => {
  most = Math.max(most, inUse());
  samples += 1;
}, 100);
const writing = writeArchive(sampleMeta(total), state(), { modifiedAt, level: 1 });
const file = await open(path, 'w');
for await (const chunk of writing.chunks) await writeAll(file, chunk);
await file.close();
const verified = await verifyArchiveFile(path);
await rm(path);
clearInterval(sampling);
console.log(
  JSON.stringify({
    size: verified.meta.size,
    same: verified.checksum === writing.summary().checksum,
    start,
    most,
    samples,
  }),
);
