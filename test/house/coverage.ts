/** Which statements a run of Jest has proven: the titles of what passed, and nothing else, count. */
import { idsIn, isKnown } from './conformance.ts';
import { type StatementId, statements } from './statements.ts';

/** The part of Jest's results that counts here. */
export interface Run {
  readonly testResults: readonly {
    readonly testFilePath: string;
    readonly testResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

/** The statements that no passed test of the run names. A skipped test proves nothing, a failed one neither. */
export function unproven({ testResults }: Run): readonly StatementId[] {
  const passed = testResults.flatMap((file) => file.testResults).filter(({ status }) => status === 'passed');
  const proven = new Set(passed.flatMap(({ fullName }) => idsIn(fullName)).filter(isKnown));
  return (Object.keys(statements) as StatementId[]).filter((id) => !proven.has(id));
}

/** Whether every one of these files ran, and none of its tests was left out by name: only then has coverage a meaning. */
export function isWhole(run: Run, files: readonly string[], namePattern: string | undefined): boolean {
  const ran = new Set(run.testResults.map(({ testFilePath }) => testFilePath));
  return !namePattern && files.every((file) => ran.has(file));
}
