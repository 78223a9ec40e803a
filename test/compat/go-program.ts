import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheRoot } from '../kubernetes/places.ts';

/** Go programs of ours around the code of other projects, whose modules are fetched when a test first needs them. */

const run = promisify(execFile);

export async function go(sources: string, ...argv: string[]): Promise<string> {
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false -mod=readonly', GOWORK: 'off' };
  try {
    return (await run('go', argv, { cwd: sources, env })).stdout;
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
    throw new Error('Go is not on PATH: install it, these tests run against a Go module', { cause: error });
  }
}

/** The program in the folder `sources`, built once into the cache. */
export async function buildProgram(sources: string): Promise<string> {
  const hash = createHash('sha256');
  const code = (await readdir(sources)).filter((name) => name.endsWith('.go')).sort();
  for (const name of [...code, 'go.mod', 'go.sum']) hash.update(await readFile(join(sources, name)));
  const folder = join(cacheRoot(), 'compat');
  const path = join(folder, `${basename(sources)}-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const aside = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    await go(sources, 'build', '-trimpath', '-ldflags=-s -w', '-o', aside, '.');
    await rename(aside, path);
  } finally {
    await rm(aside, { force: true });
  }
  return path;
}

/** Standard output of one run. */
export async function perform(program: string, ...argv: string[]): Promise<string> {
  return (await run(program, argv)).stdout;
}
