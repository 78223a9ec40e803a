/** A build with one rule switched off: what its source says otherwise, and a copy of the source that says so. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');
/** Beside src, so that whatever is imported is found from there as well. */
const copies = join(root, '.mutants');

/**
 * Who may catch it, in `checkers.ts`: the simulation of the core alone, the crash tests of the log or those of the snapshots, or the
 * simulation of whole clusters.
 */
export type CheckerName = 'core' | 'log' | 'snapshots' | 'cluster';

export interface Change {
  /** Below src. */
  readonly file: string;
  /** Must be there exactly once. */
  readonly from: string;
  readonly to: string;
}

export interface Mutant {
  readonly name: string;
  /** The rule that it breaks. */
  readonly rule: string;
  /** Where the rule stands: the thesis, or an id of docs/conformance.md. */
  readonly source: string;
  readonly changes: readonly Change[];
  /** In a whole cluster, where anything may come of it: what it is known by. Anything, unless told. */
  readonly shows?: RegExp;
  /** All of them must catch it. */
  readonly checkers: readonly CheckerName[];
}

/** The source as it is: whoever catches this is wrong. */
export const unchanged: Mutant = {
  name: 'control',
  rule: 'none: the source as it is',
  source: '',
  changes: [],
  checkers: ['core', 'log', 'snapshots', 'cluster'],
};

/** Throws when the text to replace is not there exactly once: a mutant that changes nothing would prove nothing. */
export function changedText(text: string, { file, from, to }: Change): string {
  const found = text.split(from).length - 1;
  if (found !== 1) throw new Error(`src/${file} holds this ${found} times instead of once:\n${from}`);
  // A function, since a replacement text may hold dollar signs.
  return text.replace(from, () => to);
}

/** The changed files, by their path below src. */
export function changedFiles({ changes }: Mutant): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const change of changes) {
    const text = files.get(change.file) ?? readFileSync(join(root, 'src', change.file), 'utf8');
    files.set(change.file, changedText(text, change));
  }
  return files;
}

/** As the unit tests of the project, but from the copy's own folder. */
const jestConfig = `import config from '../../jest.config.js';
export default { ...config.projects[0], testTimeout: config.testTimeout, rootDir: import.meta.dirname };
`;

export interface Copy {
  /** Holds `src`, and of `test` what runs against it from there. */
  readonly folder: string;
  remove(): void;
}

export function copyOf(mutant: Mutant, checker: CheckerName): Copy {
  const folder = join(copies, `${mutant.name}-${checker}-${process.pid}`);
  const files = changedFiles(mutant);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const part of ['src', 'test/raft', 'test/storage']) {
    cpSync(join(root, part), join(folder, part), { recursive: true });
  }
  writeFileSync(join(folder, 'jest.config.js'), jestConfig);
  // Without the name, which is taken.
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ version, type: 'module' }));
  for (const [file, text] of files) writeFileSync(join(folder, 'src', file), text);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
