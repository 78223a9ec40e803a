/** What operators do to a cluster that serves, whatever state it is in: it may be refused, and that is all right. */
import type { Chance } from '../soak/random.ts';
import type { Cluster } from './cluster.ts';

export interface Operation {
  readonly name: string;
  readonly weight: number;
  readonly run: (cluster: Cluster, chance: Chance) => Promise<unknown>;
}

const withinMs = 5000;

/** Somebody else takes its place: with its address, or with one of their own, and then before it leaves or after. */
async function replace(cluster: Cluster, chance: Chance): Promise<void> {
  const leaving = chance.pick(cluster.serving);
  const spare = cluster.all.find(({ phase }) => phase === 'none')!;
  const as = chance.pick(['learner', 'voter'] as const);
  switch (chance.below(3)) {
    case 0:
      await cluster.remove(leaving, chance);
      await cluster.add(leaving, as, chance);
      break;
    case 1:
      await cluster.remove(leaving, chance);
      await cluster.add(spare, as, chance);
      break;
    default:
      await cluster.add(spare, as, chance);
      await cluster.remove(leaving, chance);
  }
}

async function takeSnapshot(cluster: Cluster, chance: Chance): Promise<void> {
  const { httpUrl } = chance.pick(cluster.serving);
  const response = await fetch(`${httpUrl}/snapshot`, { method: 'POST', signal: AbortSignal.timeout(withinMs) });
  if (!response.ok) throw new Error(await response.text());
}

/** As a backup does. */
async function streamSnapshot(cluster: Cluster, chance: Chance): Promise<void> {
  const signal = AbortSignal.timeout(withinMs);
  const { chunks, close } = await chance.pick(cluster.serving).admin.snapshot({ signal });
  try {
    for await (const _ of chunks);
  } finally {
    close();
  }
}

async function moveLeader(cluster: Cluster, chance: Chance): Promise<void> {
  const leader = await cluster.leader();
  if (leader === undefined) throw new Error('nobody leads');
  const { header } = await leader.admin.status();
  const others = (await leader.admin.memberList()).members.filter(({ ID }) => ID !== header!.memberId);
  await leader.admin.moveLeader(chance.pick(others).ID, { deadlineMs: withinMs });
}

async function compact(cluster: Cluster, chance: Chance): Promise<void> {
  const { admin } = chance.pick(cluster.serving);
  const { header } = await admin.status();
  const revision = Math.max(1, header!.revision - chance.pick([0, 50, 500]));
  await admin.compact(revision, chance.below(3) === 0, { deadlineMs: withinMs });
}

/** Never two at once, and never given up half way. */
export const replacement: Operation = { name: 'member replaced', weight: 3, run: replace };

export const operations: readonly Operation[] = [
  { name: 'snapshot on demand', weight: 4, run: takeSnapshot },
  { name: 'snapshot streamed', weight: 2, run: streamSnapshot },
  { name: 'leader moved', weight: 5, run: moveLeader },
  { name: 'compaction', weight: 5, run: compact },
  {
    name: 'defragmentation',
    weight: 1,
    run: (cluster, chance) => chance.pick(cluster.serving).admin.defragment({ deadlineMs: withinMs }),
  },
];
