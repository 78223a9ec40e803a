import { join } from 'node:path';
import { buildProgram, go, perform } from '../go-program.ts';

const sources = import.meta.dirname;

/** HashiCorp's code as a program. */
export async function buildOracle(): Promise<string> {
  return buildProgram(sources);
}

/** The folder of the archives that HashiCorp tests its own code with. */
export async function fixtures(): Promise<string> {
  await go(sources, 'mod', 'download', 'github.com/hashicorp/raft-snapshot');
  const folder = await go(sources, 'list', '-m', '-f', '{{.Dir}}', 'github.com/hashicorp/raft-snapshot');
  return join(folder.trim(), 'testdata');
}

export interface Judgement {
  readonly file: string;
  readonly error?: string;
  readonly meta?: Readonly<Record<string, unknown>>;
}

export async function judge(oracle: string, files: readonly string[]): Promise<Judgement[]> {
  return (await perform(oracle, 'verify', ...files))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Judgement);
}
