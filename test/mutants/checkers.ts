/** Who may catch a mutant. Each is a process of its own that runs against the mutant's copy of the source and tells what it found. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type CheckerName, type Mutant, root } from './mutant.ts';

export interface Verdict {
  readonly caught: boolean;
  /** How much it took, or how much was in vain. */
  readonly after: string;
  /** What was seen to be wrong. */
  readonly what: string;
}

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly timedOut: boolean;
}

/** Far beyond what any of them takes: a mutant may run in circles. */
const patienceMs = 600_000;

const running = new Set<() => void>();

export function endAll(): void {
  for (const end of running) end();
}

function run(args: readonly string[], cwd: string): Promise<Ended> {
  const flags = ['--disable-warning=ExperimentalWarning', '--experimental-vm-modules'];
  // A group of its own, so that all that it starts ends with it.
  const child = spawn(process.execPath, [...flags, ...args], {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const end = (): void => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // Gone already.
    }
  };
  running.add(end);
  let out = '';
  let timedOut = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
  }
  const timer = setTimeout(() => {
    timedOut = true;
    end();
  }, patienceMs);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      running.delete(end);
      resolve({ code, out, timedOut });
    });
  });
}

/** What no checker says of itself is not taken for a catch: a program that does not even start proves nothing. */
function failed(name: CheckerName, { code, out, timedOut }: Ended): Error {
  const why = timedOut ? `did not end in ${patienceMs / 1000} s` : `ended with ${code}`;
  return new Error(`the checker ${name} ${why}:\n${out.slice(-3000)}`);
}

/** A program that looks for a seed: ends with 1 and the line that names it, or with 0 and the line that counts the runs. */
async function seek(name: CheckerName, program: readonly string[], cwd: string): Promise<Found> {
  const ended = await run(program, cwd);
  const { code, out } = ended;
  const found = /^seed (\d+) after (\d+) runs?\b[^\n:]*:?\s*(.*)$/m.exec(out);
  // What cannot even be run is no build with one rule less.
  if (/ReferenceError|SyntaxError/.test(found?.[3] ?? '')) throw failed(name, ended);
  if (code === 1 && found !== null) return { seed: Number(found[1]), what: found[3]! };
  if (code !== 0) throw failed(name, ended);
  return { seed: undefined, what: '' };
}

interface Found {
  readonly seed: number | undefined;
  readonly what: string;
}

/** Seeds from 1 on. What a run without the rule leads to beside what the mutant is known by is passed over. */
async function seeds(
  name: CheckerName,
  count: number,
  shows: RegExp,
  program: (from: number, count: number) => Promise<Found>,
): Promise<Verdict> {
  for (let from = 1; from <= count; ) {
    const { seed, what } = await program(from, count - from + 1);
    if (seed === undefined) break;
    if (shows.test(what)) return { caught: true, after: runsOf(seed), what: `seed ${seed}: ${what}` };
    process.stderr.write(`${name} passes over seed ${seed}: ${what}\n`);
    from = seed + 1;
  }
  return { caught: false, after: runsOf(count), what: '' };
}

const runsOf = (count: number): string => (count === 1 ? '1 run' : `${count} runs`);

/** The project's own tests, from the copy's folder. A failing property says in which of its runs. */
async function tests(name: CheckerName, folder: string, files: readonly string[]): Promise<Verdict> {
  const jest = join(root, 'node_modules/jest/bin/jest.js');
  const flags = ['--config', join(folder, 'jest.config.js'), '--reporters', 'default', '--runInBand', '--bail'];
  const ended = await run([jest, ...files, ...flags], folder);
  const { code, out } = ended;
  const passed = /^Tests: .*?(\d+) passed/m.exec(out)?.[1];
  if (code === 0 && passed !== undefined) return { caught: false, after: `${passed} tests`, what: '' };
  const [, title] = /^ {2}● .* › (.*)$/m.exec(out) ?? [];
  if (code !== 1 || title === undefined) throw failed(name, ended);
  const runs = /Property failed after (\d+) tests?/.exec(out)?.[1];
  const why = /Cause:\s+(\S.*)/.exec(out)?.[1];
  return { caught: true, after: runs === undefined ? '1 test' : runsOf(Number(runs)), what: why ?? title };
}

export const checkers: Readonly<Record<CheckerName, (folder: string, mutant: Mutant) => Promise<Verdict>>> = {
  core: (folder) =>
    seeds('core', 1600, /./, (from, count) =>
      seek('core', ['test/raft/search.ts', '--from', `${from}`, '--seeds', `${count}`], folder),
    ),
  log: (folder) => tests('log', folder, ['wal-damage.test', 'wal-crash.test']),
  snapshots: (folder) => tests('snapshots', folder, ['snapshot-crash.test', 'snapshots-fuzz.test', 'recover.test']),
  cluster: (folder, { shows }) => {
    const program = ['test/sim/sim.ts', '--source', join(folder, 'src'), '--no-shrink', '--processes', '1'];
    return seeds('cluster', 1600, shows ?? /./, (from, count) =>
      seek('cluster', [...program, '--from', `${from}`, '--seeds', `${count}`], root),
    );
  },
};
