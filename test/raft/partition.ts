/** A cluster in peace, some of whose links are cut and stay so. */
import type { Member } from './member.ts';
import { Simulation } from './simulation.ts';

/** Who hears whom: `pairs[k]` says whether the k-th pair of members is cut. */
function partition(simulation: Simulation, pairs: readonly boolean[]): (one: Member) => number {
  const { members } = simulation;
  const heard = new Map(members.map(({ id }) => [id, members.length]));
  let at = 0;
  for (const [k, one] of members.entries()) {
    for (const other of members.slice(k + 1)) {
      if (!pairs[at++]) continue;
      simulation.links.cut(one, other);
      for (const { id } of [one, other]) heard.set(id, heard.get(id)! - 1);
    }
  }
  return ({ id }) => heard.get(id)!;
}

export const leading = (simulation: Simulation): Member[] =>
  simulation.members.filter(({ raft }) => raft.role === 'leader');

/**
 * Throws unless somebody who hears a majority leads, alone, and stays, also when all is mended; nobody may lead when nobody hears a
 * majority.
 */
export function leaderStays(size: number, pairs: readonly boolean[], seed: number): void {
  const simulation = new Simulation({ members: size, seed });
  simulation.pass(30);
  const hears = partition(simulation, pairs);
  const majority = Math.floor(size / 2) + 1;
  simulation.pass(80);
  const leaders = leading(simulation);
  const [leader] = leaders;
  if (!simulation.members.some((one) => hears(one) >= majority)) {
    if (leader !== undefined) throw new Error(`${leader.id} leads, and nobody hears a majority`);
    return;
  }
  if (leader === undefined || leaders.length > 1) throw new Error(`${leaders.length} leaders instead of one`);
  if (hears(leader) < majority) throw new Error(`${leader.id} leads, and does not hear a majority`);
  const { term } = leader.raft;
  const stays = (when: string): void => {
    const [now] = leading(simulation);
    if (now === leader && leader.raft.term === term) return;
    throw new Error(`${leader.id} led term ${term} and did not stay ${when}: ${now?.id ?? 'nobody'} leads`);
  };
  simulation.pass(60);
  stays('while links were cut');
  // Whoever was cut off has lost patience meanwhile, and has disturbed nobody when it is back.
  simulation.links.mend();
  simulation.pass(60);
  stays('when they were mended');
}
