import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheRoot } from '../../kubernetes/places.ts';

const run = promisify(execFile);
const sources = import.meta.dirname;

async function go(...argv: string[]): Promise<string> {
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false -mod=readonly', GOWORK: 'off' };
  try {
    return (await run('go', argv, { cwd: sources, env })).stdout;
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
    throw new Error('Go is not on PATH: install it, these tests run against a Go module', { cause: error });
  }
}

/** HashiCorp's code as a program, built once into the cache. */
export async function buildOracle(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of ['main.go', 'go.mod', 'go.sum']) hash.update(await readFile(join(sources, name)));
  const folder = join(cacheRoot(), 'compat');
  const path = join(folder, `raft-snapshot-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const aside = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    await go('build', '-trimpath', '-ldflags=-s -w', '-o', aside, '.');
    await rename(aside, path);
  } finally {
    await rm(aside, { force: true });
  }
  return path;
}

/** The folder of the archives that HashiCorp tests its own code with. */
export async function fixtures(): Promise<string> {
  await go('mod', 'download', 'github.com/hashicorp/raft-snapshot');
  const folder = await go('list', '-m', '-f', '{{.Dir}}', 'github.com/hashicorp/raft-snapshot');
  return join(folder.trim(), 'testdata');
}

export interface Judgement {
  readonly file: string;
  readonly error?: string;
  readonly meta?: Readonly<Record<string, unknown>>;
}

export async function judge(oracle: string, files: readonly string[]): Promise<Judgement[]> {
  const { stdout } = await run(oracle, ['verify', ...files]);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Judgement);
}

export async function perform(oracle: string, ...argv: string[]): Promise<string> {
  return (await run(oracle, argv)).stdout;
}
