/** The engines that every story is told for. */
import { closeSync, existsSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineUnderTest } from './day.ts';

/** Writes over `length` bytes from `at`, a fraction of the file, in the file itself: that is how a disk rots. */
function overwrite(file: string, at: number, length: number): void {
  const { size } = statSync(file);
  const handle = openSync(file, 'r+');
  try {
    const begin = Math.floor(size * at);
    writeSync(handle, Buffer.alloc(Math.min(length, size - begin), 0xa5), 0, undefined, begin);
  } finally {
    closeSync(handle);
  }
}

/** All files below a folder. */
const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

function the(folder: string, ending: RegExp): string {
  const found = files(folder)
    .filter((file) => ending.test(file))
    .sort((a, b) => statSync(b).size - statSync(a).size)[0];
  if (found === undefined || !existsSync(found)) throw new Error(`no file ${ending} below ${folder}: ${files(folder)}`);
  return found;
}

export const embedded: EngineUnderTest = {
  type: 'Embedded',
  spec: { type: 'Embedded' },
  updates: [],
  flags: { 'log-level': 'warn' },
  damage: (folder) => overwrite(the(folder, /\.wal$/), 0.2, 256),
};

export const etcd: EngineUnderTest = {
  type: 'Etcd',
  spec: { type: 'Etcd', version: '3.5.35' },
  updates: ['3.6.5', '3.6.8'],
  flags: { 'max-request-bytes': '2097152' },
  // Both meta pages of its store: without them it does not know where anything is.
  damage: (folder) => overwrite(the(folder, /member\/snap\/db$/), 0, 8192),
};
