/** One plan, carried out from its beginning to its end. */
import { Calls } from './calls.ts';
import { Deeds } from './deeds.ts';
import { Ending } from './ending.ts';
import type { Plan } from './plan.ts';
import type { Product } from './product.ts';
import { Violation } from './violation.ts';
import { World } from './world.ts';

export interface Result {
  readonly seed: number;
  readonly violation: Violation | undefined;
  readonly events: number;
  /** Over all that happened: the same for the same plan. */
  readonly digest: number;
  readonly tally: Readonly<Record<string, number>>;
  /** Empty unless it was asked for. */
  readonly story: readonly string[];
  readonly virtualMs: number;
}

/** Of the clusters' time, when all faults are over. */
const endsWithinMs = 120_000;

let current: World | undefined;

process.on('unhandledRejection', (reason) => {
  const why = reason instanceof Error ? reason.stack : String(reason);
  if (!current) throw reason;
  current.violate(reason instanceof Violation ? reason : new Violation(`nobody handles ${why}`));
});

process.on('uncaughtException', (error) => {
  if (!current) throw error;
  current.violate(new Violation(`nobody catches ${error.stack}`));
});

export async function run(product: Product, plan: Plan, tells = false): Promise<Result> {
  const world = new World({ product, plan, tells });
  current = world;
  const calls = new Calls(world);
  const deeds = new Deeds(world, calls);
  for (const member of world.members) world.clock.after(50 * world.chance.next(), undefined, () => member.start());
  for (const deed of plan.deeds) world.clock.after(deed.at, undefined, () => deeds.do(deed));
  let ending: Ending | undefined;
  world.clock.after(plan.climate.lastsMs, undefined, () => {
    ending = new Ending(world, calls);
    ending.begin();
  });
  try {
    await world.clock.drive(() => {
      if (world.clock.now > plan.climate.lastsMs + endsWithinMs) world.violate(new Violation('the run does not end'));
      return world.violation !== undefined || ending?.isOver === true;
    });
    if (!world.violation && !ending?.isOver) world.violate(new Violation('nothing happens any more'));
  } catch (error) {
    world.violate(error instanceof Violation ? error : new Violation(`nobody catches ${(error as Error).stack}`));
  }
  current = undefined;
  const { clock, violation, story, invariants, network } = world;
  return {
    seed: plan.seed,
    violation,
    events: clock.events,
    digest: clock.digest >>> 0,
    tally: { ...world.tally, ...invariants.counts, messages: network.counts.sent },
    story,
    virtualMs: clock.now,
  };
}
