import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { encodeMeta } from './meta.ts';
import { encodeSums } from './sums.ts';
import { encodeHeader, padding, tarEnd } from './tar.ts';
import {
  ArchiveError,
  type ArchiveMeta,
  type ArchiveSummary,
  type ArchiveWriting,
  type WriteOptions,
} from './types.ts';

/**
 * Writes an archive around `state`, a chunk at a time, compressing in zlib's thread pool. `state` must yield exactly
 * `meta.size` bytes (NS-15), else the writing fails with `ARCHIVE_SIZE_MISMATCH` before the archive is complete: what
 * has been handed out until then does not verify.
 */
export function writeArchive(
  meta: ArchiveMeta,
  state: AsyncIterable<Uint8Array>,
  options: WriteOptions,
): ArchiveWriting {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  let stateBytes = 0;
  let summary: ArchiveSummary | undefined;

  async function* tar(): AsyncGenerator<Uint8Array, void, undefined> {
    const metaBytes = encodeMeta(meta);
    const hashes = new Map<string, Uint8Array>([['meta.json', createHash('sha256').update(metaBytes).digest()]]);
    const whole = (name: string, bytes: Uint8Array) =>
      Buffer.concat([
        encodeHeader({ name, size: bytes.length }, options.modifiedAt),
        bytes,
        new Uint8Array(padding(bytes.length)),
      ]);
    yield whole('meta.json', metaBytes);
    yield encodeHeader({ name: 'state.bin', size: meta.size }, options.modifiedAt);
    const stateHash = createHash('sha256');
    for await (const chunk of state) {
      stateBytes += chunk.length;
      // Bytes beyond the size would shift what follows: stop before them.
      if (stateBytes > meta.size) throw wrongSize(`more bytes than the ${meta.size} announced`);
      stateHash.update(chunk);
      yield chunk;
    }
    if (stateBytes < meta.size) throw wrongSize(`${stateBytes} bytes instead of the ${meta.size} announced`);
    hashes.set('state.bin', stateHash.digest());
    yield new Uint8Array(padding(meta.size));
    yield whole('SHA256SUMS', encodeSums(hashes));
    yield tarEnd;
  }

  async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const gzip = createGzip({ level: options.level ?? 6, chunkSize: 64 * 1024 });
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    const feeding = pipeline(Readable.from(tar(), { objectMode: true, highWaterMark: 2 }), gzip, signal);
    feeding.catch(() => {});
    try {
      for await (const chunk of gzip as AsyncIterable<Buffer>) {
        hash.update(chunk);
        sizeBytes += chunk.length;
        options.onProgress?.({ bytes: sizeBytes, stateBytes, stateTotal: meta.size });
        yield chunk;
      }
      await feeding;
      summary = { meta, sizeBytes, checksum: checksumOf(hash.digest()) };
    } finally {
      // Ends the source as well when the reader stops early.
      gzip.destroy();
      await feeding.catch(() => {});
    }
  }

  return {
    chunks: chunks(),
    summary() {
      if (summary === undefined) throw new Error('the archive has not been read to its end');
      return summary;
    },
  };
}

/** NS-05. */
export function checksumOf(sha256: Uint8Array): string {
  return `sha-256=${Buffer.from(sha256).toString('base64')}`;
}

function wrongSize(got: string): ArchiveError {
  return new ArchiveError('ARCHIVE_SIZE_MISMATCH', `the state has ${got}`);
}
