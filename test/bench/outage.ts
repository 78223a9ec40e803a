/** How long writes stand still when the leader is killed, and when leadership is moved on purpose. */
import { hexId } from '../../src/etcd/ids.ts';
import { type Kind, type Members, withBoth } from './members.ts';
import { output } from './owned.ts';
import { median, type Pair, row, title } from './table.ts';
import { now, Writer } from './writer.ts';

export interface OutageOptions {
  readonly etcdctl: string;
  readonly ours: Kind;
  readonly theirs: Kind;
  readonly rounds: number;
}

/** Before each round, and after it in case writes stop once more, they go through without a pause of `withinMs` for so long. */
const steady = { beforeMs: 300, afterMs: 500, withinMs: 200, atMostMs: 30_000 } as const;

/** Disturbs the cluster; gives the longest time without an acknowledged write, in milliseconds. */
type Round = (members: Members) => Promise<number>;

async function gapOf(members: Members, disturb: (leader: number) => Promise<void>): Promise<number> {
  const writer = new Writer(members.endpoints);
  try {
    await writer.steady(steady.beforeMs, steady.withinMs, steady.atMostMs);
    const leader = await members.leader();
    const from = now();
    await disturb(leader);
    await writer.steady(steady.afterMs, steady.withinMs, steady.atMostMs);
    return await writer.longestGapMs(from);
  } finally {
    await writer.stop();
  }
}

const killLeader: Round = async (members) => {
  let victim = 0;
  const gap = await gapOf(members, (leader) => {
    victim = leader;
    return members.kill(leader);
  });
  await members.restart(victim);
  return gap;
};

/** Asked of either kind by etcd's own command line. */
const moveLeader =
  (etcdctl: string): Round =>
  (members) =>
    gapOf(members, async (leader) => {
      const target = hexId(await members.memberId((leader + 1) % members.endpoints.length));
      await output(etcdctl, [`--endpoints=${members.endpoints[leader]!}`, 'move-leader', target], 30_000);
    });

async function compare(what: string, count: number, members: Pair<Members>, round: Round): Promise<void> {
  const pairs: Pair<number>[] = [];
  for (let n = 0; n < count; n++) {
    pairs.push({ ours: await round(members.ours), theirs: await round(members.theirs) });
  }
  const figures = ([median, (gaps) => Math.max(...gaps)] satisfies ((gaps: number[]) => number)[]).flatMap((of) => {
    const [ours, theirs] = [of(pairs.map((pair) => pair.ours)), of(pairs.map((pair) => pair.theirs))];
    return [Math.round(ours), Math.round(theirs), (ours / theirs).toFixed(2)];
  });
  row(what, ...figures);
}

export async function benchOutage({ etcdctl, ours, theirs, rounds }: OutageOptions): Promise<void> {
  // A round is one draw of an election timeout: few of them say little.
  const count = rounds * 2;
  title(
    `longest time without an acknowledged write in ms, heartbeats of 100 and elections of 1000 ms, ${count} rounds in turn`,
  );
  row('', 'median ours', 'etcd', 'ratio', 'worst ours', 'etcd', 'ratio');
  await withBoth([ours, theirs], async (...both) => {
    const members = { ours: both[0], theirs: both[1] };
    await compare('kill -9', count, members, killLeader);
    await compare('move-leader', count, members, moveLeader(etcdctl));
  });
}
