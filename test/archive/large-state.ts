import { randomFillSync } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { verifyArchiveFile, writeAll } from '../../src/archive/file.ts';
import { writeArchive } from '../../src/archive/write.ts';
import { memoryInUse } from './memory.ts';
import { modifiedAt, sampleMeta } from './samples.ts';

/**
 * Run as a process of its own, with --expose-gc: writes and verifies an archive of a large state, and prints the memory in
 * use at the start and at most.
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

let outcome = {};
const memory = await memoryInUse(async () => {
  const writing = writeArchive(sampleMeta(total), state(), { modifiedAt, level: 1 });
  const file = await open(path, 'w');
  for await (const chunk of writing.chunks) await writeAll(file, chunk);
  await file.close();
  const verified = await verifyArchiveFile(path);
  outcome = { size: verified.meta.size, same: verified.checksum === writing.summary().checksum };
});
await rm(path);
console.log(JSON.stringify({ ...outcome, ...memory }));
