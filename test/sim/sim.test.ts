import { execFile } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { mutants } from '../mutants/all.ts';
import { copyOf } from '../mutants/mutant.ts';

const flags = ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'sim.ts')];
const patienceMs = 15 * 60_000;

interface Ended {
  readonly code: number;
  readonly out: string;
}

async function sim(...args: string[]): Promise<Ended> {
  try {
    const running = promisify(execFile)(process.execPath, [...flags, ...args], { maxBuffer: 64 << 20 });
    // Beside it run tests that wait for processes to start: they come first.
    setPriority(running.child.pid!, constants.priority.PRIORITY_LOW);
    const { stdout } = await running;
    return { code: 0, out: stdout };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: `${stdout}${stderr}` };
  }
}

describe('whole clusters, simulated', () => {
  test(
    'RS-01 RS-03 RS-04 2000 seeds: all promises are kept through crashes, cuts, bad disks and changes of members',
    async () => {
      const { code, out } = await sim('--seeds', '2000', '--processes', '1');
      expect(out).toMatch(/^2000 runs, \d+ events, \d+ events per second/);
      expect(code).toBe(0);
      // The worlds are hostile, not hopeless: otherwise nothing was tried.
      const times = (what: string): number => Number(new RegExp(`\\b${what} (\\d+)`).exec(out)?.[1] ?? 0);
      expect(times('answered')).toBeGreaterThan(100_000);
      for (const what of ['elections', 'kill', 'losePower', 'installs', 'changes', 'stopped over the disk', 'retired'])
        expect({ what, often: times(what) > 500 }).toEqual({ what, often: true });
    },
    patienceMs,
  );

  test('the same seed tells the same story', async () => {
    const once = await sim('--seeds', '12', '--processes', '1', '--digest');
    const again = await sim('--seeds', '12', '--processes', '1', '--digest');
    const digests = (out: string): string[] => out.split('\n').filter((line) => /^seed \d+: [0-9a-f]+$/.test(line));
    expect(digests(once.out)).toHaveLength(12);
    expect(digests(again.out)).toEqual(digests(once.out));
    expect(new Set(digests(once.out)).size).toBe(12);
  });

  test('a rule that is switched off is seen, named with its seed, and told in the fewest deeds', async () => {
    const copy = copyOf(mutants.find(({ name }) => name === 'answered-before-the-disk')!, 'cluster');
    try {
      const { code, out } = await sim('--seeds', '50', '--processes', '1', '--source', join(copy.folder, 'src'));
      expect(code).toBe(1);
      expect(out).toMatch(/^seed \d+ after \d+ runs: .*which is not on its disk/);
      expect(out).toMatch(/\d+ of \d+ deeds do it/);
      expect(out).toMatch(/once more: make sim SEED=\d+/);
    } finally {
      copy.remove();
    }
  });
});
