/**
 * `make mutants`: builds with one rule switched off, each given to the checkers that have to catch it. Prints who caught what, after how
 * much and how long. Ends with 1 when one of them does not: then it is too weak; or when one catches the source as it is.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { mutants } from './all.ts';
import { checkers, endAll, type Verdict } from './checkers.ts';
import { type CheckerName, type Copy, copyOf, type Mutant, unchanged } from './mutant.ts';

const usage = `usage: main.ts [--only NAME]... [--checker NAME]

  --only NAME     this mutant (again for more); control is the source as it is
  --checker NAME  only core, log, snapshots or cluster, also where it need not catch the mutant
`;

interface Row {
  readonly mutant: Mutant;
  readonly checker: CheckerName;
  /** None when it could not be asked. */
  readonly verdict: Verdict | undefined;
  readonly seconds: number;
}

interface Options {
  readonly chosen: readonly Mutant[];
  readonly checker: CheckerName | undefined;
}

function parse(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: { only: { type: 'string', multiple: true }, checker: { type: 'string' } },
  });
  const known = [unchanged, ...mutants];
  const { only, checker } = values;
  const strangers = only?.filter((name) => !known.some((mutant) => mutant.name === name)) ?? [];
  if (strangers.length > 0) throw new Error(`there is no mutant ${strangers.join(', ')}`);
  if (checker !== undefined && !(checker in checkers)) throw new Error(`there is no checker ${checker}`);
  return {
    chosen: only === undefined ? known : known.filter(({ name }) => only.includes(name)),
    checker: checker as CheckerName | undefined,
  };
}

const copies = new Set<Copy>();

/** What a checker says of a copy of the source that nothing else runs against. */
async function ask(mutant: Mutant, checker: CheckerName): Promise<Row> {
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  let copy: Copy | undefined;
  try {
    copy = copyOf(mutant, checker);
    copies.add(copy);
    const verdict = await checkers[checker](copy.folder, mutant);
    const said = verdict.caught ? `caught by ${checker}` : `not caught by ${checker}`;
    process.stderr.write(`${mutant.name}: ${said}, ${verdict.after}, ${seconds().toFixed(1)} s. ${verdict.what}\n`);
    return { mutant, checker, verdict, seconds: seconds() };
  } catch (error) {
    process.stderr.write(`${mutant.name}: ${(error as Error).message}\n`);
    return { mutant, checker, verdict: undefined, seconds: seconds() };
  } finally {
    copy?.remove();
    if (copy) copies.delete(copy);
  }
}

/** As many at once as there are processors, in order; the results in the same order. */
async function inLanes<T, R>(work: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < work.length) {
      const at = next++;
      results[at] = await act(work[at]!);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
  return results;
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}

function cells({ mutant, checker, verdict, seconds }: Row): string[] {
  const by = verdict?.caught ? checker : `not by ${checker}`;
  return [mutant.name, mutant.rule, by, verdict?.after ?? 'failed', seconds.toFixed(1)];
}

const isGood = ({ mutant, verdict }: Row): boolean => verdict?.caught === (mutant !== unchanged);

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`mutants: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  const began = performance.now();
  const { chosen, checker } = options;
  const questions = chosen.flatMap((mutant) =>
    (checker === undefined ? mutant.checkers : [checker]).map((one) => ({ mutant, checker: one })),
  );
  const rows = await inLanes(questions, ({ mutant, checker: one }) => ask(mutant, one));
  process.stdout.write(table([['mutant', 'rule', 'caught by', 'after', 'seconds'], ...rows.map(cells)]));
  const caught = new Set(rows.filter((row) => row.verdict?.caught).map(({ mutant }) => mutant));
  const seconds = Math.round((performance.now() - began) / 1000);
  const count = chosen.filter((mutant) => mutant !== unchanged).length;
  process.stdout.write(
    `\n${chosen.filter((one) => one !== unchanged && caught.has(one)).length} of ${count} mutants caught, ${seconds} s\n`,
  );
  const wrong = rows.filter((row) => !isGood(row));
  for (const row of wrong) {
    const { mutant, checker: one, verdict } = row;
    const what = verdict === undefined ? 'failed over' : verdict.caught ? 'caught' : 'did not catch';
    process.stdout.write(`${one} ${what} ${mutant.name}\n`);
  }
  return wrong.length === 0 ? 0 : 1;
}

function cleanUp(): void {
  endAll();
  for (const copy of copies) copy.remove();
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    cleanUp();
    process.exit(130);
  });
}

try {
  process.exitCode = await main();
} finally {
  cleanUp();
}
