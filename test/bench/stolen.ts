/** Processor time that a virtual machine's host keeps for others: what it slows down looks like ours. */
import { readFileSync } from 'node:fs';

/** Gives a function that says which share of the processors' time was taken since, from 0 to 1. */
export function watchStolen(): () => number {
  const begun = ticks();
  return () => {
    const ended = ticks();
    const all = ended.all - begun.all;
    return all === 0 ? 0 : (ended.stolen - begun.stolen) / all;
  };
}

/** proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; what guests use is within user and nice. */
function ticks(): { readonly all: number; readonly stolen: number } {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const fields = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { all: fields.reduce((sum, field) => sum + field, 0), stolen: fields[7] ?? 0 };
}
