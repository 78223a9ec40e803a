/** What happens in a simulated world: moves as small numbers, and where they come from. */

/** What to do and two numbers that say to whom; both are taken modulo what there is. From 1000 on what changes members. */
export type Move = readonly [what: number, whom: number, which: number];

export interface World {
  readonly members: number;
  readonly seed: number;
  readonly settings?: Record<string, number | boolean>;
  /**
   * Every running member's clock ticks once in a round, whenever in it: two clocks are never more than a tick apart, and who
   * stood still is told so. Otherwise time passes as it likes for each.
   */
  readonly steadyClocks?: boolean;
}

/** mulberry32: small, fast and the same everywhere. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** For steady clocks: mostly traffic, so that an election fits into the time that a lease lasts, and reads everywhere in it. */
const steady: readonly (readonly [what: number, weight: number])[] = [
  [0, 50], // deliver
  [420, 20], // persist
  [620, 5], // apply
  [700, 10], // tick
  [800, 4], // propose
  [870, 1], // read
  [1095, 6], // read from a leader
  [890, 0.5], // lose
  [965, 0.15], // crash
  [970, 2], // restart
  [990, 0.1], // cut off
  [992, 0.3], // mend
  [994, 0.04], // stand still
  [1000, 0.2], // change
  [1060, 0.3], // transfer
  [1075, 0.1], // cut a link one way
  [1080, 0.6], // besiege a leader
  [1092, 0.3], // campaign
  [1093, 0.6], // hear, rightly or not, that a member has ended
  [1085, 0.05], // join
];
const steadyWeight = steady.reduce((sum, [, weight]) => sum + weight, 0);

export function someMove({ steadyClocks }: World, random: () => number): Move {
  let what = Math.floor(random() * 1100);
  if (steadyClocks === true) {
    let at = random() * steadyWeight;
    what = steady.find(([, weight]) => {
      at -= weight;
      return at < 0;
    })![0];
  }
  return [what, Math.floor(random() * 1000), Math.floor(random() * 1000)];
}
