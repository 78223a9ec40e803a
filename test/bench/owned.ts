/**
 * What a benchmark started and made on disk, taken back whatever way it ends: done, failed, or told to stop. Processes and
 * folders go synchronously, since an exiting process waits for nothing.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const children = new Set<ChildProcess>();
const folders = new Set<string>();

const farewells = new Set<() => Promise<unknown>>();

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) remove(folder);
});
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
] as const) {
  process.once(signal, () => {
    const said = [...farewells].map((farewell) => farewell());
    void Promise.allSettled(said).then(() => process.exit(128 + number));
  });
}

/** Runs `work`; when a signal ends this process meanwhile, `farewell` comes first. */
export async function withFarewell<T>(farewell: () => Promise<unknown>, work: () => Promise<T>): Promise<T> {
  farewells.add(farewell);
  try {
    return await work();
  } finally {
    farewells.delete(farewell);
  }
}

/** A process that was just killed may still make a file. */
const remove = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });

function own(child: ChildProcess): ChildProcess {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** A process that does not outlive this one. */
export const start = (command: string, args: readonly string[], options: SpawnOptions): ChildProcess =>
  own(spawn(command, args, options));

/** Kills without warning and waits for the end. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** Runs a command to its end, for at most `timeoutMs`; what it printed on stdout. */
export function output(command: string, args: readonly string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, stdout: string, stderr: string): void => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${command} ${args.join(' ')}: ${error.message}\n${stderr.slice(-2000)}`));
    };
    own(execFile(command, args, { timeout: timeoutMs, maxBuffer: 1 << 24, encoding: 'utf8' }, done));
  });
}

/** A folder that goes with this process, or before. */
export function temporaryFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  folders.add(folder);
  return folder;
}

export function removeFolder(folder: string): void {
  remove(folder);
  folders.delete(folder);
}
