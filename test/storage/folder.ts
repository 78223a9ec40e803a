import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';

const made: string[] = [];
afterAll(async () => {
  await Promise.all(made.splice(0).map((path) => rm(path, { recursive: true, force: true })));
});

/** A folder of its own that is gone when the file's tests are over. */
export async function newFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'raftsman-storage-'));
  made.push(path);
  return path;
}
