import { ArchiveError, type ArchiveFacts, type ArchiveSummary } from './types.ts';

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
  const engine = meta.raftsman?.engine;
  if (expected.engine !== undefined && expected.engine !== engine) {
    const made = engine === undefined ? 'was not made by Raftsman' : `holds the state of the engine ${engine}`;
    throw new ArchiveError(
      'ARCHIVE_FOREIGN',
      `the archive is whole, but it ${made}: the engine ${expected.engine} cannot use it`,
    );
  }
  return meta.raftsman;
}
