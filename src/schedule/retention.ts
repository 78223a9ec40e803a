/** Which snapshots of a policy have had their time. Pure. */

export interface Kept {
  readonly name: string;
  /** `succeeded`: good. `ended`: failed or rejected. `active`: neither yet. */
  readonly outcome: 'succeeded' | 'ended' | 'active';
  /** When it was complete or, failing that, created: orders them. */
  readonly at: Date;
  /** Whether its deletion has begun: it counts no more, and need not be deleted again. */
  readonly deleting: boolean;
}

export interface Retention {
  /** How many good snapshots to keep. Less than one counts as one. */
  readonly last: number;
  /** How many failed or rejected ones to keep for people to look at. */
  readonly failed: number;
}

/**
 * The snapshots to delete, oldest first. Never the last good one, whatever is asked; never one that is running. Failed
 * ones take no good one's place.
 */
export function expired<T extends Kept>(snapshots: readonly T[], { last, failed }: Retention): readonly T[] {
  const newestFirst = (outcome: Kept['outcome']) =>
    snapshots
      .filter((snapshot) => snapshot.outcome === outcome && !snapshot.deleting)
      .sort((a, b) => b.at.getTime() - a.at.getTime() || (a.name < b.name ? 1 : a.name > b.name ? -1 : 0));
  const good = newestFirst('succeeded').slice(Math.max(1, Math.floor(last) || 1));
  const bad = newestFirst('ended').slice(Math.max(0, Math.floor(failed) || 0));
  return [...good, ...bad].sort((a, b) => a.at.getTime() - b.at.getTime() || (a.name < b.name ? -1 : 1));
}
