/** A few of those that `make mutants` runs, so that a simulation that has become blind is noticed early. */
import { describe, expect, test } from '@jest/globals';
import { mutants } from './all.ts';
import { checkers } from './checkers.ts';
import { copyOf } from './mutant.ts';

describe('what the simulation of the core catches within seconds', () => {
  test.each([
    'acknowledged-before-sync',
    'count-self-before-sync',
    'old-term-commit',
    'double-vote',
    'read-from-a-follower',
    'two-configurations',
    'snapshot-forgets-configuration',
  ])('%s', async (name) => {
    const mutant = mutants.find((one) => one.name === name)!;
    const copy = copyOf(mutant, 'core');
    try {
      expect(await checkers.core(copy.folder, mutant)).toMatchObject({ caught: true });
    } finally {
      copy.remove();
    }
  });
});
