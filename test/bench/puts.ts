/** Puts per second and p99 under etcd's own load generator: three embedded members beside three of etcd, in turn. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Members, startMembers } from './members.ts';
import { median, row } from './table.ts';

const run = promisify(execFile);

export interface PutFigures {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p99: number;
}

/** One bounded run of `benchmark put`. Values of 256 bytes, keys of 16, as in etcd's own published figures. */
async function put(benchmark: string, members: Members, clients: number, total: number): Promise<PutFigures> {
  const { stdout } = await run(
    benchmark,
    [
      `--endpoints=${members.endpoints.join(',')}`,
      `--conns=${Math.min(clients, 16)}`,
      `--clients=${clients}`,
      'put',
      '--key-size=16',
      '--key-space-size=100000',
      '--val-size=256',
      `--total=${total}`,
    ],
    { timeout: 180_000, maxBuffer: 1 << 24 },
  );
  const perSecond = /Requests\/sec:\s+([\d.]+)/.exec(stdout);
  const p99 = /99% in ([\d.]+) secs/.exec(stdout);
  if (!perSecond || !p99 || /Error distribution/.test(stdout))
    throw new Error(`benchmark against ${members.name} printed no figures:\n${stdout.slice(-2000)}`);
  return { perSecond: Number(perSecond[1]), p99: Number(p99[1]) * 1000 };
}

export interface PutOptions {
  readonly etcd: string;
  readonly benchmark: string;
  readonly raftsman: readonly string[];
  readonly rounds: number;
}

export async function benchPuts({ etcd, benchmark, raftsman, rounds }: PutOptions): Promise<void> {
  console.log(`\nputs: 3 members and the load generator on one machine, 256-byte values, ${rounds} rounds in turn\n`);
  row('clients', 'puts/s ours', 'etcd', 'ratio', 'p99 ms ours', 'etcd', 'ratio');
  const ours = await startMembers('raftsman', raftsman);
  try {
    const theirs = await startMembers('etcd', [etcd]);
    try {
      for (const [clients, total] of [
        [1, 4000],
        [16, 20_000],
        [64, 40_000],
        [256, 60_000],
      ] as const) {
        const pairs: { ours: PutFigures; theirs: PutFigures }[] = [];
        for (let round = 0; round <= rounds; round++) {
          const pair = {
            ours: await put(benchmark, ours, clients, total),
            theirs: await put(benchmark, theirs, clients, total),
          };
          if (round > 0) pairs.push(pair); // the first one warms up
        }
        row(
          clients,
          Math.round(median(pairs.map((pair) => pair.ours.perSecond))),
          Math.round(median(pairs.map((pair) => pair.theirs.perSecond))),
          median(pairs.map((pair) => pair.ours.perSecond / pair.theirs.perSecond)).toFixed(2),
          median(pairs.map((pair) => pair.ours.p99)).toFixed(1),
          median(pairs.map((pair) => pair.theirs.p99)).toFixed(1),
          median(pairs.map((pair) => pair.ours.p99 / pair.theirs.p99)).toFixed(2),
        );
      }
      const mib = (members: Members) => Math.round(members.residentBytes() / 1048576);
      console.log(`\nresident memory of three members after the load: ours ${mib(ours)} MiB, etcd ${mib(theirs)} MiB`);
    } finally {
      await theirs.stop();
    }
  } finally {
    await ours.stop();
  }
}
