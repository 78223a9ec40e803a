import { exactJson } from './json.ts';
import type { ArchiveSummary } from './types.ts';

/** What an archive is, as JSON for people and scripts; numbers above 2^53 with all their digits. */
export function describeArchive({ meta, sizeBytes, checksum }: ArchiveSummary): string {
  return JSON.stringify(
    {
      id: meta.id,
      version: meta.version,
      index: exactJson(meta.index),
      term: exactJson(meta.term),
      configurationIndex: exactJson(meta.configurationIndex),
      servers: meta.configuration.servers,
      stateBytes: meta.size,
      sizeBytes,
      checksum,
      ...meta.raftsman,
    },
    null,
    2,
  );
}
