/** The engines that every story is told for. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { rot } from '../storage/rot.ts';
import type { EngineUnderTest } from './day.ts';

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
  damage: (folder) => rot(the(folder, /\.wal$/), 0.2, 256),
};

export const etcd: EngineUnderTest = {
  type: 'Etcd',
  spec: { type: 'Etcd', version: '3.5.35' },
  updates: ['3.6.5', '3.6.8'],
  flags: { 'max-request-bytes': '2097152' },
  // Both meta pages of its store: without them it does not know where anything is.
  damage: (folder) => rot(the(folder, /member\/snap\/db$/), 0, 8192),
};
