import { createHash } from 'node:crypto';
import { gunzip } from './gzip.ts';
import { decodeMeta, metaLimit } from './meta.ts';
import { checkSums, sumsLimit } from './sums.ts';
import { type TarEntry, TarReader } from './tar.ts';
import { ArchiveError, type ArchiveMeta, type ArchiveSummary, type VerifyOptions } from './types.ts';
import { checksumOf } from './write.ts';

/** Written by HashiCorp's servers that seal their archives; of no use without their key, and no error (NS-17). */
const sealedSums = 'SHA256SUMS.sealed';

/** Reads a whole archive once and throws an ArchiveError for the first thing that is wrong with it. */
export async function verifyArchive(
  source: AsyncIterable<Uint8Array>,
  options: VerifyOptions = {},
): Promise<ArchiveSummary> {
  const { onState, ...rest } = options;
  const reading = readArchive(source, rest);
  try {
    for (;;) {
      const next = await reading.next();
      if (next.done === true) return next.value;
      await onState?.(next.value);
    }
  } finally {
    await reading.return(undefined as never);
  }
}

/**
 * Yields the bytes of `state.bin` and returns what the archive is. The bytes are tentative: hashes, sizes, the tar's end,
 * the gzip's end and anything after it (NS-08..NS-11) are checked by the time it returns. Holds one chunk at a time.
 */
export async function* readArchive(
  source: AsyncIterable<Uint8Array>,
  options: Omit<VerifyOptions, 'onState'> = {},
): AsyncGenerator<Uint8Array, ArchiveSummary, undefined> {
  const compressed = createHash('sha256');
  const seen = { bytes: 0, stateBytes: 0 };
  let meta: ArchiveMeta | undefined;
  let metaFailure: unknown;
  let sums: Uint8Array | undefined;
  const present = new Set<string>();
  const hashes = new Map<string, Uint8Array>();
  const empty = createHash('sha256').digest();
  for (const name of ['meta.json', 'state.bin']) hashes.set(name, empty);

  const report = () => options.onProgress?.({ ...seen, ...(meta === undefined ? {} : { stateTotal: meta.size }) });

  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of source) {
        options.signal?.throwIfAborted();
        compressed.update(chunk);
        seen.bytes += chunk.length;
        report();
        yield chunk;
      }
    } catch (cause) {
      options.signal?.throwIfAborted();
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new ArchiveError('ARCHIVE_READ_FAILED', `failed to read after ${seen.bytes}: ${reason}`, { cause });
    }
  }

  const tar = new TarReader(gunzip(counted()));
  try {
    for (;;) {
      const place = tar.place;
      const entry = await tar.next();
      if (entry === undefined) break;
      if (present.has(entry.name)) {
        throw new ArchiveError('ARCHIVE_DUPLICATE_FILE', `"${entry.name}" is twice in the snapshot`, { place });
      }
      switch (entry.name) {
        case 'meta.json': {
          const bytes = await small(tar, entry, metaLimit);
          hashes.set(entry.name, createHash('sha256').update(bytes).digest());
          try {
            meta = decodeMeta(bytes);
          } catch (error) {
            // A damaged file is called damaged: its hash is checked before its content is judged.
            metaFailure = error;
          }
          break;
        }
        case 'state.bin': {
          const hash = createHash('sha256');
          for await (const chunk of tar.contents(entry)) {
            hash.update(chunk);
            seen.stateBytes += chunk.length;
            yield chunk;
          }
          hashes.set(entry.name, hash.digest());
          break;
        }
        case 'SHA256SUMS':
          sums = await small(tar, entry, sumsLimit);
          break;
        case sealedSums:
          await small(tar, entry, sumsLimit);
          break;
        default:
          throw new ArchiveError('ARCHIVE_UNEXPECTED_FILE', `unexpected file "${entry.name}" in snapshot`, { place });
      }
      present.add(entry.name);
    }
    await tar.conclude();
  } finally {
    await tar.close();
  }
  checkSums(sums, hashes, present);
  if (metaFailure !== undefined) throw metaFailure;
  if (meta === undefined) throw new ArchiveError('ARCHIVE_FILE_MISSING', 'file missing for "meta.json"');
  if (meta.size !== seen.stateBytes) throw wrongSize(meta.size, seen.stateBytes);
  report();
  return { meta, sizeBytes: seen.bytes, checksum: checksumOf(compressed.digest()) };
}

/** A file that is kept in memory, hence capped (NS-22, D19). */
async function small(tar: TarReader, entry: TarEntry, limit: number): Promise<Uint8Array> {
  if (entry.size >= limit) {
    throw new ArchiveError(
      'ARCHIVE_FILE_TOO_LARGE',
      `"${entry.name}" has ${entry.size} bytes; a snapshot archive has fewer than ${limit} there`,
      { place: tar.place },
    );
  }
  const parts: Uint8Array[] = [];
  for await (const chunk of tar.contents(entry)) parts.push(Uint8Array.from(chunk));
  return Buffer.concat(parts);
}

function wrongSize(said: number, is: number): ArchiveError {
  return new ArchiveError('ARCHIVE_SIZE_MISMATCH', `state.bin has ${is} bytes, and meta.json says ${said}`);
}
