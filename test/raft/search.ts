/**
 * `node test/raft/search.ts --seeds 400` looks for a run of the core that breaks a promise. Ends with 1 and the first seed that does,
 * or with 0 when there is none. `--seed N` runs that one alone, `--from N` begins there.
 */
import { parseArgs } from 'node:util';
import { turn } from './long-runs.ts';

const { values } = parseArgs({
  options: {
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '400' },
    seed: { type: 'string' },
  },
});
const first = Number(values.seed ?? values.from);
const last = values.seed === undefined ? first + Number(values.seeds) - 1 : first;

for (let number = first; number <= last; number++) {
  const { kind, run } = turn(number);
  try {
    run();
  } catch (error) {
    // No broken promise: the source itself makes no sense.
    if (error instanceof ReferenceError || error instanceof SyntaxError) throw error;
    const { message, stack } = error as Error;
    process.stdout.write(`seed ${number} after ${number - first + 1} runs (${kind}): ${message}\n`);
    if (values.seed !== undefined) process.stdout.write(`${stack}\n`);
    process.exit(1);
  }
}
process.stdout.write(`${last - first + 1} runs, nothing found\n`);
