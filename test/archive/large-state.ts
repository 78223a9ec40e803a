import { randomFillSync } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { verifyArchiveFile, writeAll } from '../../src/archive/file.ts';
import { writeArchive } from '../../src/archive/write.ts';
import { modifiedAt, sampleMeta } from './samples.ts';

/** Run as a process of its own: writes and verifies an archive of a large state, and prints the memory that it took. */
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

const start = process.memoryUsage.rss();
const writing = writeArchive(sampleMeta(total), state(), { modifiedAt, level: 1 });
const file = await open(path, 'w');
for await (const chunk of writing.chunks) await writeAll(file, chunk);
await file.close();
const verified = await verifyArchiveFile(path);
await rm(path);
const most = process.resourceUsage().maxRSS * 1024;
console.log(
  JSON.stringify({ size: verified.meta.size, same: verified.checksum === writing.summary().checksum, start, most }),
);
