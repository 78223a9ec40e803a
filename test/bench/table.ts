export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** What both kinds did in one round. */
export interface Pair<T> {
  readonly ours: T;
  readonly theirs: T;
}

export const medianOf = <T>(pairs: readonly Pair<T>[], side: 'ours' | 'theirs', figure: (of: T) => number): number =>
  median(pairs.map((pair) => figure(pair[side])));

/** The median of the rounds' ratios, ours to theirs: what disturbs a round mostly disturbs both of its halves. */
export const ratioOf = <T>(pairs: readonly Pair<T>[], figure: (of: T) => number): number =>
  median(pairs.map(({ ours, theirs }) => figure(ours) / figure(theirs)));

export function title(text: string): void {
  console.log(`\n${text}\n`);
}

/** One line of right-aligned columns. */
export function row(...cells: readonly (string | number)[]): void {
  console.log(cells.map((cell) => String(cell).padStart(14)).join(''));
}
