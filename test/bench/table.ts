export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** One line of right-aligned columns. */
export function row(...cells: readonly (string | number)[]): void {
  console.log(cells.map((cell) => String(cell).padStart(13)).join(''));
}
