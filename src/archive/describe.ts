import type { ArchiveSummary } from './types.ts';

/** Emits the digits as they stand: ECMAScript's JSON.rawJSON, which TypeScript's es2024 library does not know yet. */
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** What an archive is, as JSON for people and scripts; numbers above 2^53 with all their digits. */
export function describeArchive({ meta, sizeBytes, checksum }: ArchiveSummary): string {
  const digits = (value: bigint) => rawJson(value.toString());
  return JSON.stringify(
    {
      id: meta.id,
      version: meta.version,
      index: digits(meta.index),
      term: digits(meta.term),
      configurationIndex: digits(meta.configurationIndex),
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
