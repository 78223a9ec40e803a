/**
 * How soon a learner on an empty disk serves. etcd keeps its whole log in memory for its first hundred entries only; after
 * that a newcomer gets a snapshot first, and may wait seven seconds for an announcement of its own that is in it.
 */
import { type Kind, type Members, withBoth } from './members.ts';
import { median, row, title } from './table.ts';

/** In each round, of each kind, before there are a hundred entries and after. */
const joins = 4;
const puts = 150;
/** etcd's requests time out after five seconds and two election timeouts. */
const lateMs = 5_000;

export async function benchJoin(kinds: readonly [ours: Kind, theirs: Kind], rounds: number): Promise<void> {
  const short = { ours: [] as number[], theirs: [] as number[] };
  const long = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    await withBoth(kinds, async (ours, theirs) => {
      const join = async ({ ours: first, theirs: second }: typeof short) => {
        for (let n = 0; n < joins; n++) {
          first.push(await ours.joinMs());
          second.push(await theirs.joinMs());
        }
      };
      await join(short);
      for (const members of [ours, theirs] satisfies Members[]) await members.put(puts);
      await join(long);
    });
  }
  title(
    `ms from the start of a learner until it serves, ${rounds * joins} joins of each kind in turn: median, worst, late`,
  );
  row('', 'ours', 'worst', '> 5 s', 'etcd', 'worst', '> 5 s');
  for (const [what, { ours, theirs }] of [
    ['short log', short],
    [`${puts} puts`, long],
  ] as const)
    row(what, ...told(ours), ...told(theirs));
}

const told = (times: readonly number[]): number[] => [
  Math.round(median(times)),
  Math.round(Math.max(...times)),
  times.filter((ms) => ms > lateMs).length,
];
