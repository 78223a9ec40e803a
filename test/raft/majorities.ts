/** Who is many enough, in the plainest way: a mistake in the core's arithmetic must not be made twice. */
import type { Configuration, Entry } from '../../src/raft/types.ts';

export const isConfiguration = ({ kind }: Entry): boolean => kind === 'configuration';

/** More than half of both halves satisfy it. */
export function majorities({ voters, votersOutgoing }: Configuration, holds: (id: string) => boolean): boolean {
  return [voters, votersOutgoing].every((half) => half.length === 0 || 2 * half.filter(holds).length > half.length);
}
