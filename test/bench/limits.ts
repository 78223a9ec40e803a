/** Whether what was measured is within what is allowed, and what a run says of all of it. Pure. */
import { median } from './table.ts';

/** A limit that could not be measured, in any round, does not hold either. */
export type Verdict = 'yes' | 'NO' | 'failed';

export const judged = (figure: number | undefined, atMost: number): Verdict => {
  if (figure === undefined) return 'failed';
  return figure <= atMost ? 'yes' : 'NO';
};

/** The median of all rounds; nothing when a round has no figure. */
export function medianOfAll(rounds: readonly (number | undefined)[]): number | undefined {
  const figures = rounds.filter((figure) => figure !== undefined);
  return rounds.length === 0 || figures.length < rounds.length ? undefined : median(figures);
}

export const holds = (verdicts: readonly Verdict[]): boolean => verdicts.every((verdict) => verdict === 'yes');

/** One line for people; nothing when nothing was judged. */
export function summary(verdicts: readonly Verdict[]): string | undefined {
  if (verdicts.length === 0) return undefined;
  const count = (wanted: Verdict) => verdicts.filter((verdict) => verdict === wanted).length;
  const [broken, failed] = [count('NO'), count('failed')];
  return `${broken + failed} of ${verdicts.length} limits did not hold (${broken} NO, ${failed} failed)`;
}
