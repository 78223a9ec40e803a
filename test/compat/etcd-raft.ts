/**
 * The Go module of etcd's Raft as it publishes its test cases: read where Go keeps its modules, in the version that
 * test/kubernetes/build pins, and never copied.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { compileSettings } from '../kubernetes/go-build.ts';

const run = promisify(execFile);
const module = 'go.etcd.io/raft/v3';

async function go(...argv: string[]): Promise<string> {
  const { sources: cwd, environment: env } = compileSettings();
  try {
    return (await run('go', argv, { cwd, env })).stdout;
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
    throw new Error('Go is not on PATH: install it, these tests read a Go module', { cause: error });
  }
}

/** The module's folder, fetched first if this machine does not have it. */
export async function moduleFolder(): Promise<string> {
  await go('mod', 'download', module);
  return (await go('list', '-m', '-f', '{{.Dir}}', module)).trim();
}

/** The files of one folder of cases, by name, in order. */
export async function casesIn(...folder: string[]): Promise<Map<string, Case[]>> {
  const path = join(await moduleFolder(), ...folder);
  const files = new Map<string, Case[]>();
  for (const name of (await readdir(path)).sort()) files.set(name, casesOf(await readFile(join(path, name), 'utf8')));
  return files;
}

/** One case: a command with `key=value` or `key=(value,value)`, lines of input, and the lines that are to come of it. */
export interface Case {
  readonly line: number;
  readonly command: string;
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly input: string;
  readonly outcome: readonly string[];
}

/** Comments and empty lines between cases; a case is its command, input up to `----`, and the outcome up to an empty line. */
export function casesOf(text: string): Case[] {
  const lines = text.split('\n');
  const cases: Case[] = [];
  for (let at = 0; at < lines.length; at++) {
    const head = lines[at]!;
    if (head.trim() === '' || head.startsWith('#')) continue;
    const line = at + 1;
    const input: string[] = [];
    while (++at < lines.length && lines[at] !== '----') input.push(lines[at]!);
    const outcome: string[] = [];
    while (++at < lines.length && lines[at] !== '') outcome.push(lines[at]!);
    cases.push({ line, command: head.split(' ')[0]!, values: valuesOf(head), input: input.join(' ').trim(), outcome });
  }
  return cases;
}

function valuesOf(head: string): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (const [, key, list, single] of head.matchAll(/(\w+)=(?:\(([^)]*)\)|(\S+))/g)) {
    values.set(key!, single === undefined ? list!.split(',').map((value) => value.trim()) : [single]);
  }
  return values;
}
