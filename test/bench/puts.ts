/** Puts per second, p99 and processor time under etcd's own load generator: three embedded members beside three of etcd. */
import type { Verdict } from './limits.ts';
import { type Load, type LoadFigures, pairs } from './load.ts';
import { type Kind, type Members, withBoth } from './members.ts';
import { median, medianOf, type Pair, ratioOf, row, title } from './table.ts';

export interface PutOptions {
  readonly benchmark: string;
  /** A member of each kind whose every fsync takes so many milliseconds longer; 0 is the disk as it is. */
  readonly ours: (delayMs: number) => Kind;
  readonly theirs: (delayMs: number) => Kind;
  readonly rounds: number;
}

/** Puts per run: some three seconds each on two cores, fewer where each takes longer. */
const loads: readonly { readonly delayMs: number; readonly loads: readonly Load[] }[] = [
  { delayMs: 0, loads: loadsOf(3000, 10_000, 20_000, 30_000) },
  { delayMs: 1, loads: loadsOf(800, 6000, 12_000, 20_000) },
  { delayMs: 10, loads: loadsOf(150, 1500, 5000, 15_000) },
];
const warmUp: Load = { clients: 64, total: 20_000 };
/** Where the disk decides, figures vary less. */
const slowDiskRounds = 3;
/** Of etcd's puts per second at so many clients. */
const floor = { clients: 64, ratio: 0.5 } as const;

function loadsOf(one: number, few: number, some: number, many: number): readonly Load[] {
  const clients = [1, 16, 64, 256] as const;
  return [one, few, some, many].map((total, n) => ({ clients: clients[n]!, total }));
}

interface Measured {
  readonly clients: number;
  readonly pairs: readonly Pair<LoadFigures>[];
}

export async function benchPuts(options: PutOptions): Promise<readonly Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const { delayMs, loads: some } of loads) {
    const rounds = delayMs === 0 ? options.rounds : Math.min(options.rounds, slowDiskRounds);
    const disk = delayMs === 0 ? 'the disk as it is' : `${delayMs} ms added to each fsync`;
    title(`puts, ${disk}: 3 members and the load generator on one machine, 256-byte values, ${rounds} rounds in turn`);
    row('clients', 'puts/s ours', 'etcd', 'ratio', 'p99 ms ours', 'etcd', 'ratio');
    await withBoth([options.ours(delayMs), options.theirs(delayMs)], async (ours, theirs) => {
      const measured: Measured[] = [];
      await pairs(options.benchmark, [ours, theirs], warmUp, 1);
      for (const load of some) {
        const found = { clients: load.clients, pairs: await pairs(options.benchmark, [ours, theirs], load, rounds) };
        if (load.clients === 1) checkDelay(found, delayMs);
        printSpeed(found);
        measured.push(found);
      }
      if (delayMs > 0) return;
      verdicts.push(printFloor(measured));
      printCpu(measured);
      printMemory(ours, theirs);
    });
  }
  return verdicts;
}

/** Processor time alone, in longer runs: it says something on a busy machine, too. */
export async function benchCpu(options: PutOptions): Promise<void> {
  title(`processor time at 64 clients, ${options.rounds} rounds of 40,000 puts in turn`);
  await withBoth([options.ours(0), options.theirs(0)], async (ours, theirs) => {
    await pairs(options.benchmark, [ours, theirs], warmUp, 1);
    const load: Load = { clients: 64, total: 40_000 };
    printCpu([{ clients: 64, pairs: await pairs(options.benchmark, [ours, theirs], load, options.rounds) }]);
  });
}

/** A lone client waits for at least one fsync of a majority: proves that the delay is there, on either side. */
function checkDelay({ pairs: found }: Measured, delayMs: number): void {
  for (const side of ['ours', 'theirs'] as const) {
    const average = median(found.map((pair) => pair[side].average));
    if (average < delayMs) throw new Error(`${side}: a put took ${average} ms, with ${delayMs} ms added to each fsync`);
  }
}

function printSpeed({ clients, pairs: found }: Measured): void {
  row(
    clients,
    Math.round(medianOf(found, 'ours', ({ perSecond }) => perSecond)),
    Math.round(medianOf(found, 'theirs', ({ perSecond }) => perSecond)),
    ratioOf(found, ({ perSecond }) => perSecond).toFixed(2),
    medianOf(found, 'ours', ({ p99 }) => p99).toFixed(1),
    medianOf(found, 'theirs', ({ p99 }) => p99).toFixed(1),
    ratioOf(found, ({ p99 }) => p99).toFixed(2),
  );
}

function printFloor(measured: readonly Measured[]): Verdict {
  const at = measured.find(({ clients }) => clients === floor.clients)!;
  const ratio = ratioOf(at.pairs, ({ perSecond }) => perSecond);
  const holds = ratio >= floor.ratio;
  console.log(
    `\nfloor: at least ${floor.ratio.toFixed(2)} of etcd's puts at ${floor.clients} clients; measured ${ratio.toFixed(2)}: ${holds ? 'holds' : 'DOES NOT HOLD'}`,
  );
  return holds ? 'yes' : 'NO';
}

function printCpu(measured: readonly Measured[]): void {
  title('processor time per put in µs, user and system');
  row('clients', 'leader ours', 'etcd', 'ratio', 'follower ours', 'etcd', 'ratio');
  for (const { clients, pairs: found } of measured) {
    const settled = found.flatMap(({ ours, theirs }) =>
      ours.cpu && theirs.cpu ? [{ ours: ours.cpu, theirs: theirs.cpu }] : [],
    );
    if (settled.length === 0) {
      row(clients, 'the leader changed in every round');
      continue;
    }
    const cells = (['leader', 'follower'] as const).flatMap((role) => [
      Math.round(medianOf(settled, 'ours', (cpu) => cpu[role])),
      Math.round(medianOf(settled, 'theirs', (cpu) => cpu[role])),
      ratioOf(settled, (cpu) => cpu[role]).toFixed(2),
    ]);
    row(clients, ...cells);
  }
}

function printMemory(ours: Members, theirs: Members): void {
  const mib = (members: Members): number => Math.round(members.residentBytes() / 1048576);
  console.log(`\nresident memory of three members after this load: ours ${mib(ours)} MiB, etcd ${mib(theirs)} MiB`);
}
