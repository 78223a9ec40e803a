/**
 * How soon a learner on an empty disk serves. etcd keeps its whole log in memory for its first hundred entries only; after
 * that a newcomer gets a snapshot first, and may wait seven seconds for an announcement of its own that is in it.
 */
import { type Kind, withBoth } from './members.ts';
import { median, type Pair, row, title } from './table.ts';

/** In each round, of each kind, before there are a hundred entries and after. */
const joins = 4;
const puts = 150;
/** etcd's requests time out after five seconds and two election timeouts. */
const lateMs = 5_000;

export async function benchJoin(kinds: readonly [ours: Kind, theirs: Kind], rounds: number): Promise<void> {
  const short: Pair<number>[] = [];
  const long: Pair<number>[] = [];
  for (let round = 0; round < rounds; round++) {
    await withBoth(kinds, async (ours, theirs) => {
      const join = async (pairs: Pair<number>[]) => {
        for (let n = 0; n < joins; n++) pairs.push({ ours: await ours.joinMs(), theirs: await theirs.joinMs() });
      };
      await join(short);
      await ours.put(puts);
      await theirs.put(puts);
      await join(long);
    });
  }
  title(
    `ms from the start of a learner until it serves, ${rounds * joins} joins of each kind in turn: median, worst, late`,
  );
  row('', 'ours', 'worst', '> 5 s', 'etcd', 'worst', '> 5 s');
  row('short log', ...told(short, 'ours'), ...told(short, 'theirs'));
  row(`${puts} puts`, ...told(long, 'ours'), ...told(long, 'theirs'));
}

function told(pairs: readonly Pair<number>[], side: keyof Pair<number>): number[] {
  const times = pairs.map((pair) => pair[side]);
  return [Math.round(median(times)), Math.round(Math.max(...times)), times.filter((ms) => ms > lateMs).length];
}
