import { spawn } from 'node:child_process';
import { lockFile } from './places.ts';

/** Thrown inside only: another process holds the lock and the caller did not want to wait. */
export const HELD = Symbol('held');

/**
 * Runs `work` while holding a lock between processes. The kernel holds it through a `flock` child that lives as long as
 * its stdin: whatever way this process ends, the lock ends with it and leaves nothing stale.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const result = await locked(name, [], work);
  if (result === HELD) throw new Error(`lock ${name} could not be taken`);
  return result;
}

/** As `withLock`, but gives HELD at once when another process has the lock. */
export const ifUnlocked = <T>(name: string, work: () => Promise<T>): Promise<T | typeof HELD> =>
  locked(name, ['--nonblock'], work);

async function locked<T>(name: string, flags: readonly string[], work: () => Promise<T>): Promise<T | typeof HELD> {
  const child = spawn('flock', [...flags, lockFile(name), 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  child.stdin.on('error', () => {});
  const got = await new Promise<boolean>((resolve, reject) => {
    child.on('error', reject);
    child.stdout.once('data', () => resolve(true));
    child.on('close', () => resolve(false));
  });
  if (!got) return HELD;
  try {
    return await work();
  } finally {
    child.stdin.end();
    await ended;
  }
}
