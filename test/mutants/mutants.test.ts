import { describe, expect, test } from '@jest/globals';
import swc from '@swc/core';
import { mutants } from './all.ts';
import { changedFiles, changedText } from './mutant.ts';

/** Issue by issue what must be switched off at least once. */
const rules = [
  'acknowledged-before-sync',
  'count-self-before-sync',
  'old-term-commit',
  'double-vote',
  'forgotten-term',
  'read-without-a-round',
  'compacted-before-the-snapshot',
  'snapshot-behind-configuration',
  'two-configurations',
  'learner-counted',
  'truncates-committed',
  'lost-tail-taken-for-clean',
];

describe('mutants', () => {
  test.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
    '%s: what it replaces is in the source exactly once, and what it leaves can be read',
    (_, mutant) => {
      const files = [...changedFiles(mutant)];
      expect(files.length).toBeGreaterThan(0);
      for (const [, text] of files) swc.parseSync(text, { syntax: 'typescript', target: 'es2024' });
    },
  );

  test('each has a name of its own, and a rule with its source', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
    for (const { rule, source } of mutants) expect([rule, source]).not.toContain('');
  });

  test('the twelve rules without which nothing is promised are among them', () => {
    const names = mutants.map(({ name }) => name);
    expect(rules.filter((rule) => !names.includes(rule))).toEqual([]);
  });

  test('a text that is not there, or there twice, is an error that names the file', () => {
    const change = { file: 'raft/raft.ts', from: 'b', to: 'x' };
    expect(() => changedText('a', change)).toThrow('src/raft/raft.ts holds this 0 times instead of once:\nb');
    expect(() => changedText('abcb', change)).toThrow('2 times');
    expect(changedText('abc', { ...change, to: '$&$1' })).toBe('a$&$1c');
  });
});
