/** Porcupine (a Go module), which says whether histories are linearizable. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildProgram } from '../compat/go-program.ts';

export const buildChecker = (): Promise<string> => buildProgram(join(import.meta.dirname, 'porcupine'));

/** A history that is not linearizable (`Illegal`), or not decided in time (`Unknown`). */
export interface Doubt {
  readonly name: string;
  readonly verdict: 'Illegal' | 'Unknown';
  readonly picture?: string;
  readonly tail?: readonly string[];
}

export interface Checked {
  readonly histories: number;
  readonly operations: number;
  readonly doubts: readonly Doubt[];
}

export interface Ordered {
  readonly answers: number;
  readonly changes: number;
  readonly wrong: readonly string[];
}

async function lines(program: string, argv: readonly string[]): Promise<string[]> {
  const environment = { ...process.env, GOMAXPROCS: '1' };
  const { stdout } = await promisify(execFile)(program, argv, { maxBuffer: 1 << 26, env: environment });
  return stdout.trimEnd().split('\n');
}

/** With a picture of each doubt in the folder `show`. */
export async function check(program: string, file: string, show: string): Promise<Checked> {
  const said = await lines(program, ['check', '-show', show, file]);
  const { histories, operations } = JSON.parse(said.pop()!) as { histories: number; operations: number };
  return { histories, operations, doubts: said.map((line) => JSON.parse(line) as Doubt) };
}

/** Whether revisions agree with the clock, over all histories. */
export async function checkOrder(program: string, file: string): Promise<Ordered> {
  const said = await lines(program, ['order', file]);
  const { answers, changes } = JSON.parse(said.pop()!) as { answers: number; changes: number };
  return { answers, changes, wrong: said };
}
