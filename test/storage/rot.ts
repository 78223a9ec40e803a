/** How a disk rots: bytes change within a file, and nobody is told. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

/**
 * Writes over up to `length` bytes, from `at`, a fraction of what is written in the file: a log is longer than that, its end is
 * zeros until something is written there, and what rots where nothing is harms nobody.
 */
export function rot(file: string, at: number, length: number): void {
  const bytes = readFileSync(file);
  const written = bytes.findLastIndex((byte) => byte !== 0) + 1;
  if (written === 0) throw new Error(`nothing is written in ${file}, so nothing can rot there`);
  const begin = Math.floor(written * at);
  const handle = openSync(file, 'r+');
  try {
    writeSync(handle, Buffer.alloc(Math.min(length, written - begin), 0xa5), 0, undefined, begin);
  } finally {
    closeSync(handle);
  }
}
