import { ArchiveError, type ArchiveMeta } from '../types.ts';

/** What other programs wrote, and how it is read: verified whole once, then its state streamed. */

export type SourceKind = 'goraft' | 'hashicorp' | 'snap';

export const sourceKinds: readonly SourceKind[] = ['goraft', 'hashicorp', 'snap'];

/** One snapshot of another program, found good. */
export interface Source {
  /** The file or folder that was taken, of those that the user's path offers. */
  readonly path: string;
  /** As the source has it; `id` is empty where it gives none. */
  readonly meta: Omit<ArchiveMeta, 'raftsman'>;
  /** As ConvertedFacts. */
  readonly engine: string;
  readonly convertedFrom: string;
  /** SHA-256 of the state, lower-case hexadecimal. */
  readonly stateHash: string;
  /** What the user should know: what was passed over, what else is there. */
  readonly notes: readonly string[];
  /** Reads the source anew, checking it as it goes; any number of times. */
  state(): AsyncIterable<Uint8Array>;
}

export interface SourceOptions {
  readonly signal?: AbortSignal;
}

/** Every error about a source names it. */
export async function inSource<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw named(path, error);
  }
}

export function named(path: string, error: unknown): unknown {
  if (!(error instanceof ArchiveError)) return error;
  const { code, message, place } = error;
  return new ArchiveError(code, `${path}: ${message}`, { cause: error, ...(place === undefined ? {} : { place }) });
}

export function unreadable(problem: string): ArchiveError {
  return new ArchiveError('ARCHIVE_SOURCE_INVALID', problem);
}

/** Newest first: by term, then by index, as numbers (HR-06, D4). */
export function newestFirst(a: { term: bigint; index: bigint }, b: { term: bigint; index: bigint }): number {
  if (a.term !== b.term) return a.term > b.term ? -1 : 1;
  if (a.index !== b.index) return a.index > b.index ? -1 : 1;
  return 0;
}
