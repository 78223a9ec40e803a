/** The figures of all rounds, for people. */
import type { RoundResult } from './result.ts';

const number = (value: number): string => value.toLocaleString('en').padStart(9);

/** Sums, by name, of the numbers that each has under it. */
function sums<K extends string>(of: readonly Readonly<Record<string, Readonly<Record<K, number>>>>[]) {
  const total = new Map<string, Record<K, number>>();
  for (const [name, counts] of of.flatMap((one) => Object.entries(one) as [string, Record<K, number>][])) {
    const before = total.get(name);
    const keys = Object.keys(counts) as K[];
    const added = Object.fromEntries(keys.map((key) => [key, counts[key] + (before?.[key] ?? 0)])) as Record<K, number>;
    total.set(name, added);
  }
  return [...total].sort(([a], [b]) => a.localeCompare(b));
}

export function roundLines({
  seed,
  members,
  seconds,
  flags,
  outageSeconds,
  outageAt,
  outageDuring,
  comebacks,
}: RoundResult): string[] {
  const during = outageDuring.length > 0 ? ` (at ${outageAt.toFixed(0)} s, during ${outageDuring.join(', ')})` : '';
  return [
    `seed ${seed}, ${members} members, ${Math.round(seconds)} s, ${flags.join(' ')}`,
    `  longest outage ${outageSeconds.toFixed(1)} s${during}`,
    ...comebacks.map(
      (one) =>
        `  ${one.name} was back ${one.seconds.toFixed(1)} s after the faults, its process number ${one.lives}; ` +
        `snapshots taken ${one.snapshotsTaken}, installed ${one.snapshotsInstalled}, torn tails cut ${one.tornTails}`,
    ),
  ];
}

export function totals(results: readonly RoundResult[]): string[] {
  const sum = (of: (result: RoundResult) => number): number => results.reduce((all, one) => all + of(one), 0);
  return [
    '',
    ' answered   refused   unknown  operations',
    ...sums(results.map(({ operations }) => operations)).map(
      ([name, { answered, refused, unknown }]) => `${number(answered)} ${number(refused)} ${number(unknown)}  ${name}`,
    ),
    '',
    '     done   refused  faults and what operators did',
    ...sums(results.map(({ faults }) => faults)).map(
      ([name, { done, refused }]) => `${number(done)} ${number(refused)}  ${name}`,
    ),
    '',
    `${sum(({ acknowledged }) => acknowledged).toLocaleString('en')} acknowledged writes in ` +
      `${sum(({ settled, unsettled }) => settled + unsettled).toLocaleString('en')} histories, ` +
      `${sum(({ unsettled }) => unsettled).toLocaleString('en')} of them with outcomes that nobody was told`,
    `longest outage ${Math.max(0, ...results.map(({ outageSeconds }) => outageSeconds)).toFixed(1)} s`,
  ];
}
