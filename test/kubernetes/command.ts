import { type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, type FailureCode } from './failure.ts';

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  input?: string;
  /** Both stdout and stderr go here as they come, besides being collected. */
  onOutput?: (text: string) => void;
  failure?: FailureCode;
}

/** Runs a command to its end and gives its stdout. Fails with the end of its stderr. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const spawnOptions: SpawnOptions = { stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] };
  if (options.cwd !== undefined) spawnOptions.cwd = options.cwd;
  if (options.env !== undefined) spawnOptions.env = options.env;
  const child = spawn(command, args, spawnOptions);
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    options.onOutput?.(text);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    options.onOutput?.(text);
  });
  const ended = new Promise<number | string>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
  if (options.input !== undefined) child.stdin?.on('error', () => {}).end(options.input);
  const result = await ended.catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT'
      ? new Failure('MISSING_COMMAND', `the command \`${command}\` is missing: install it (see the README)`)
      : error;
  });
  if (result !== 0) {
    const said = lastLines(stderr.trim() || stdout.trim(), 12);
    throw new Failure(
      options.failure ?? 'COMMAND_FAILED',
      `\`${command} ${args.join(' ')}\` ended with ${result}: ${said}`,
    );
  }
  return stdout;
}

export const lastLines = (text: string, count: number): string => text.split('\n').slice(-count).join('\n');

/** The end of a log file, for a message about a part that failed. */
export function tail(file: string, lines = 15): string {
  try {
    const size = statSync(file).size;
    const fd = openSync(file, 'r');
    try {
      const buffer = Buffer.alloc(Math.min(size, 16_384));
      readSync(fd, buffer, 0, buffer.length, size - buffer.length);
      return lastLines(buffer.toString('utf8').trim(), lines);
    } finally {
      closeSync(fd);
    }
  } catch {
    return '(no log)';
  }
}

/** The full path of a command on PATH, or undefined. */
export function which(command: string, path: string = process.env['PATH'] ?? ''): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, command))
    .find((file) => existsSync(file));
}

/** Polls until `condition` holds. `check` runs at each turn and throws when waiting has become pointless. */
export async function until(
  what: string,
  condition: () => Promise<boolean> | boolean,
  options: { timeoutMs: number; everyMs?: number; check?: () => void; detail?: () => string },
): Promise<void> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    options.check?.();
    if (await condition()) return;
    if (performance.now() > deadline) {
      const detail = options.detail?.() ?? '';
      throw new Failure('TIMED_OUT', `${what}: not within ${options.timeoutMs / 1000} s${detail && `\n${detail}`}`);
    }
    await sleep(options.everyMs ?? 50);
  }
}

/**
 * A process's start time in clock ticks since boot, which together with its id names it for good: an id alone is given out
 * again. Undefined when there is no such process or it is only a zombie.
 */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
