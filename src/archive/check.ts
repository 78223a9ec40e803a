import { ArchiveError, type ArchiveFacts, type ArchiveMeta, type ArchiveSummary, type TakenFacts } from './types.ts';

/** What somebody who is going to use an archive expects of it, beyond its being whole. */
export interface Expectation {
  /** As RaftSnapshot.status.checksum. */
  readonly checksum?: string;
  /** The engine whose state it must hold. */
  readonly engine?: string;
}

/** `ARCHIVE_CHANGED` or `ARCHIVE_FOREIGN` when the archive is another one. */
export function expectArchive({ meta, checksum }: ArchiveSummary, expected: Expectation): ArchiveFacts | undefined {
  if (expected.checksum !== undefined && expected.checksum !== checksum) {
    throw new ArchiveError(
      'ARCHIVE_CHANGED',
      `this is another archive than the one asked for: its checksum is ${checksum}, not ${expected.checksum}`,
    );
  }
  return expected.engine === undefined ? meta.raftsman : expectEngine(meta, expected.engine);
}

/** `ARCHIVE_FOREIGN` unless the archive's state was taken from that engine, so that it can be restored into it. */
export function expectEngine({ raftsman: facts }: ArchiveMeta, engine: string): TakenFacts {
  if (facts !== undefined && isTaken(facts) && facts.engine === engine) return facts;
  throw new ArchiveError(
    'ARCHIVE_FOREIGN',
    `the archive is whole, but ${whose(facts)}: the engine ${engine} cannot use it`,
  );
}

export function isTaken(facts: ArchiveFacts): facts is TakenFacts {
  return !('convertedFrom' in facts);
}

function whose(facts: ArchiveFacts | undefined): string {
  if (facts === undefined) return 'it was not made by Raftsman';
  if (isTaken(facts)) return `it holds the state of the engine ${facts.engine}`;
  return `its state.bin is the state of ${facts.engine}, converted from a ${facts.convertedFrom}, and no key-values`;
}
