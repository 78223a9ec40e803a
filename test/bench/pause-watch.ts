/**
 * `node --import pause-watch.ts`: notes when a process's event loop stood still, without a hook in the product. A line for
 * each pause of more than 5 ms goes to RAFTSMAN_BENCH_PAUSES/<pid>: the wall clock's milliseconds at its end, how long it
 * was, and how much of it this very thread was at work; the rest is other processes' and threads' doing.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';

const everyMs = 2;
const worthNotingMs = 5;

if (isMainThread) {
  const file = join(process.env['RAFTSMAN_BENCH_PAUSES']!, String(process.pid));
  let last = performance.now();
  let cpu = process.threadCpuUsage();
  let lines = '';
  setInterval(() => {
    const paused = performance.now() - last - everyMs;
    const spent = process.threadCpuUsage(cpu);
    if (paused > worthNotingMs) lines += `${Date.now()} ${paused} ${(spent.user + spent.system) / 1000}\n`;
    last = performance.now();
    cpu = process.threadCpuUsage();
  }, everyMs).unref();
  setInterval(() => {
    if (lines !== '') appendFileSync(file, lines);
    lines = '';
  }, 200).unref();
}
