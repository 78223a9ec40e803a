/** The log as a member's core has it, durable or not, told by its commands. */
import type { Entry, RestoredState, SnapshotMeta } from '../../src/raft/types.ts';

export class CoreLog {
  /** Where it begins: the position before its first entry. */
  base: number;
  baseConfiguration: number;
  /** Positions of configurations in it, oldest first. */
  configurations: number[] = [];
  /** The entry before, of a batch that is looked at. */
  pending: { readonly index: number; readonly term: number } | undefined;
  #terms: (number | undefined)[] = [];

  constructor({ snapshot, entries }: RestoredState) {
    this.base = snapshot.index;
    this.baseConfiguration = snapshot.configurationIndex;
    this.#terms[snapshot.index] = snapshot.term;
    this.append(entries.filter(({ index }) => index > snapshot.index));
  }

  term(index: number): number | undefined {
    return this.#terms[index];
  }

  /** Whether that changed which configuration counts. */
  append(entries: readonly Entry[]): boolean {
    const [first] = entries;
    this.pending = undefined;
    if (!first) return false;
    const before = this.configurations.length;
    this.configurations = this.configurations.filter((index) => index < first.index);
    const isCut = this.configurations.length < before;
    this.#terms.length = Math.min(this.#terms.length, first.index);
    for (const { index, term, kind } of entries) {
      this.#terms[index] = term;
      if (kind === 'configuration') this.configurations.push(index);
    }
    return isCut || entries.some(({ kind }) => kind === 'configuration');
  }

  reset({ index, term, configurationIndex }: SnapshotMeta): void {
    this.#terms = [];
    this.#terms[index] = term;
    this.base = index;
    this.baseConfiguration = configurationIndex;
    this.configurations = [];
  }
}
