/**
 * The configurations that the log holds: one counts as soon as its entry is appended (thesis §4.1), and the one before it
 * counts again when that entry is truncated (D9).
 */
import { isVoter } from './configuration.ts';
import type { Configuration, Index, MemberId, SnapshotMeta } from './types.ts';

export interface Placed {
  readonly configuration: Configuration;
  /** The position of the entry that brought it; 0 for the one that the cluster was made with. */
  readonly index: Index;
}

export class Configurations {
  /** Oldest first: the newest committed one, then those that are not committed. Never empty. */
  #placed: Placed[];

  constructor(snapshot: SnapshotMeta) {
    this.#placed = [placedBy(snapshot)];
  }

  get latest(): Placed {
    return this.#placed[this.#placed.length - 1]!;
  }

  get committed(): Placed {
    return this.#placed[0]!;
  }

  /**
   * Whether this member may have to lead: a voter of the newest configuration or, while that may not be committed, of the one
   * before. Else a leader that crashes while it removes itself can leave a cluster in which nobody can be elected, since it
   * alone has the longest log (thesis §4.2.2, figure 4.6).
   */
  mayLead(id: MemberId): boolean {
    return this.#placed.slice(-2).some(({ configuration }) => isVoter(configuration, id));
  }

  append(index: Index, configuration: Configuration): void {
    this.#placed.push({ index, configuration });
  }

  commit(index: Index): void {
    while (this.#placed.length > 1 && this.#placed[1]!.index <= index) this.#placed.shift();
  }

  /** The log lost everything at and after `index`, which was not committed. */
  truncate(index: Index): void {
    while (this.#placed.length > 1 && this.latest.index >= index) this.#placed.pop();
  }

  reset(snapshot: SnapshotMeta): void {
    this.#placed = [placedBy(snapshot)];
  }
}

const placedBy = ({ configuration, configurationIndex }: SnapshotMeta): Placed => ({
  configuration,
  index: configurationIndex,
});
