/** What a cluster needs to agree: how many of its members, and how near to the leader they must be to count. Pure. */

/** How many of so many voters it takes to agree. */
export function quorumOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/**
 * How many entries a member may be behind the leader, as we last heard of both, and count as one that keeps up. Members are
 * asked one after the other, so that one that keeps up is behind by what was written in between; one that has just started
 * on an old log is behind by far more.
 */
export const NEAR_ENTRIES = 1_000;
