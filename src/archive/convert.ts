import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { writeAll, writeAside } from './file.ts';
import { named, type Source } from './sources/source.ts';
import { ArchiveError, type ArchiveSummary, type ArchiveWriting } from './types.ts';
import { verifyArchive } from './verify.ts';
import { writeArchive } from './write.ts';

export interface ConvertOptions {
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/**
 * The archive of a snapshot that another program took: its index, term, configuration and every byte of its state as they
 * were, and whose state it is. It is of version 1, as all that we write.
 */
export function convertSource(source: Source, { now, signal }: ConvertOptions): ArchiveWriting {
  const { meta, engine, convertedFrom } = source;
  return writeArchive(
    {
      ...meta,
      version: 1,
      id: meta.id === '' ? `${meta.term}-${meta.index}-${now.getTime()}` : meta.id,
      raftsman: { engine, convertedFrom, convertedAt: now.toISOString() },
    },
    unchanged(source),
    { modifiedAt: now, ...(signal === undefined ? {} : { signal }) },
  );
}

/** The state, which must be the one that was found good. */
async function* unchanged(source: Source): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const chunk of source.state()) {
      hash.update(chunk);
      size += chunk.length;
      if (size > source.meta.size) break;
      yield chunk;
    }
  } catch (error) {
    throw named(source.path, error);
  }
  if (hash.digest('hex') === source.stateHash) return;
  throw new ArchiveError(
    'ARCHIVE_CHANGED',
    `${source.path} has changed while it was being converted: convert it again`,
  );
}

/** `EEXIST` when the target is there; whatever fails, nothing is there that was not there before. */
export async function convertToFile(source: Source, target: string, options: ConvertOptions): Promise<ArchiveSummary> {
  return writeAside(
    target,
    async (file) => {
      const writing = convertSource(source, options);
      for await (const chunk of writing.chunks) await writeAll(file, chunk);
      const written = createReadStream(target, { fd: file, start: 0, autoClose: false });
      return proven(source, writing.summary(), written, options);
    },
    { overwrite: false },
  );
}

/** Reads back what was written: it must be whole, and its state that of the source. */
export async function proven(
  { stateHash }: Source,
  summary: ArchiveSummary,
  written: AsyncIterable<Uint8Array>,
  { signal }: ConvertOptions,
): Promise<ArchiveSummary> {
  const hash = createHash('sha256');
  const onState = (chunk: Uint8Array) => void hash.update(chunk);
  const verified = await verifyArchive(written, { onState, ...(signal === undefined ? {} : { signal }) });
  if (verified.checksum === summary.checksum && hash.digest('hex') === stateHash) return verified;
  throw new ArchiveError(
    'ARCHIVE_CHANGED',
    'the archive reads back as another than was written: its disk is not to be trusted',
  );
}
