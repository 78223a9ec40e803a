/** etcd's own load generator against three members, and what they spent on it. */
import type { Members } from './members.ts';
import { output } from './owned.ts';
import type { Pair } from './table.ts';

export interface Load {
  readonly clients: number;
  readonly total: number;
}

export interface LoadFigures {
  readonly perSecond: number;
  /** Milliseconds from a put to its answer. */
  readonly p99: number;
  readonly average: number;
  /** Processor time per put, user and system, in microseconds; undefined when the leader changed meanwhile. */
  readonly cpu: { readonly leader: number; readonly follower: number } | undefined;
}

const runWithinMs = 180_000;
/** The most connections; as in etcd's published figures, clients share them. */
const maxConnections = 16;

/** One bounded run of `benchmark put`: values of 256 bytes, keys of 16, as in those figures. */
export async function put(benchmark: string, members: Members, { clients, total }: Load): Promise<LoadFigures> {
  const leader = await members.leader();
  const before = members.cpuMicroseconds();
  const printed = await output(
    benchmark,
    [
      `--endpoints=${(await members.leaderFirst()).join(',')}`,
      `--conns=${Math.min(clients, maxConnections)}`,
      `--clients=${clients}`,
      'put',
      '--key-size=16',
      '--key-space-size=100000',
      '--val-size=256',
      `--total=${total}`,
    ],
    runWithinMs,
  );
  const spent = members.cpuMicroseconds().map((after, n) => (after - before[n]!) / total);
  const [perSecond, p99, average] = [
    /Requests\/sec:\s+([\d.]+)/,
    /99% in ([\d.]+) secs/,
    /Average:\s+([\d.]+) secs/,
  ].map((figure) => Number(figure.exec(printed)?.[1])) as [number, number, number];
  if (![perSecond, p99, average].every(Number.isFinite) || /Error distribution/.test(printed))
    throw new Error(`benchmark against ${members.name} printed no figures:\n${printed.slice(-2000)}`);
  const followers = spent.filter((_, n) => n !== leader);
  const stayed = leader === (await members.leader());
  return {
    perSecond,
    p99: p99 * 1000,
    average: average * 1000,
    cpu: stayed
      ? { leader: spent[leader]!, follower: followers.reduce((a, b) => a + b) / followers.length }
      : undefined,
  };
}

/** The same load on both kinds in turn, the first of each pair alternating. */
export async function pairs(
  benchmark: string,
  [ours, theirs]: readonly [Members, Members],
  load: Load,
  rounds: number,
): Promise<Pair<LoadFigures>[]> {
  const found: Pair<LoadFigures>[] = [];
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await put(benchmark, ours, load);
      found.push({ ours: first, theirs: await put(benchmark, theirs, load) });
    } else {
      const first = await put(benchmark, theirs, load);
      found.push({ ours: await put(benchmark, ours, load), theirs: first });
    }
  }
  return found;
}
