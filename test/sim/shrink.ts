/** The shortest list of deeds that still breaks the same promise. */
import type { Deed, Plan } from './plan.ts';
import type { Product } from './product.ts';
import { type Result, run } from './run.ts';

const runsAtMost = 400;

/** Drops runs of deeds, half of them at first, then ever fewer, for as long as what is left fails in the same way. */
export async function shrink(product: Product, plan: Plan, failed: Result): Promise<{ plan: Plan; runs: number }> {
  const kind = failed.violation!.kind;
  let runs = 0;
  const fails = async (deeds: readonly Deed[]): Promise<boolean> => {
    runs++;
    return (await run(product, { ...plan, deeds })).violation?.kind === kind;
  };
  let { deeds } = plan;
  let size = Math.ceil(deeds.length / 2);
  while (size >= 1 && runs < runsAtMost) {
    let isShorter = false;
    for (let at = 0; at < deeds.length && runs < runsAtMost; ) {
      const left = [...deeds.slice(0, at), ...deeds.slice(at + size)];
      if (await fails(left)) {
        deeds = left;
        isShorter = true;
      } else at += size;
    }
    if (size === 1 && !isShorter) break;
    if (size > 1) size = Math.ceil(size / 2);
  }
  return { plan: { ...plan, deeds }, runs };
}
