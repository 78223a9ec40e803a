/**
 * Runs a round in mount, network and process namespaces of its own: disks, links and members are the namespaces', and go with
 * their first process, however that ends. The machine keeps nothing of them, and other clusters on it notice nothing.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { which } from '../kubernetes/command.ts';

const needed = ['unshare', 'nsenter', 'ip', 'tc', 'mount', 'fallocate'] as const;

/** Why no round can be run on this machine, or undefined. */
export function complaint(): string | undefined {
  if (process.platform !== 'linux') return `network namespaces need Linux, and this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'network namespaces need root: run it as root';
  const missing = needed.filter((command) => which(command) === undefined);
  return missing.length === 0
    ? undefined
    : `missing on PATH: ${missing.join(', ')}: install the packages util-linux, mount and iproute2`;
}

/** Resolves with the status; `signal` ends it early, and everything in it. */
export async function runApart(argument: string, signal: AbortSignal): Promise<number | null> {
  const apart = ['--mount', '--propagation', 'private', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'round.ts')];
  // In a process group of its own, so that a Ctrl-C comes to us alone.
  const child = spawn('unshare', [...apart, ...node, argument], {
    detached: true,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  child.stdin!.on('error', () => {});
  const stop = (): void => void child.stdin!.end();
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', resolve);
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
