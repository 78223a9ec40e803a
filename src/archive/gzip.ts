import { finished } from 'node:stream/promises';
import { constants, crc32, createInflateRaw, type InflateRaw } from 'node:zlib';
import { ByteReader } from './bytes.ts';
import { ArchiveError } from './types.ts';

const flags = { headerChecksum: 0x02, extra: 0x04, name: 0x08, comment: 0x10, reserved: 0xe0 } as const;
const deflate = 8;
/** A file name or comment in the header beyond this is no archive of ours, and is not looked through for its end. */
const headerTextLimit = 512;

/**
 * Decompresses one gzip member, and throws unless the source ends where the member ends.
 *
 * zlib's own gunzip goes on to a second member and passes over zero bytes after the end, where Go's reader refuses the
 * archive (NS-09). Hence only the deflate data is left to zlib, in its thread pool; header and trailer are read here.
 */
export async function* gunzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const input = new ByteReader(source, 'gzip');
  const inflate = createInflateRaw({ chunkSize: 64 * 1024 });
  let feeding: Promise<void> | undefined;
  let checksum = 0;
  let size = 0;
  try {
    await readHeader(input);
    feeding = feed(input, inflate);
    // The failure is met below, in order, by whoever awaits `feeding`; this keeps it from counting as unhandled.
    feeding.catch(() => {});
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      checksum = crc32(chunk, checksum);
      size += chunk.length;
      yield chunk;
    }
    await feeding;
    await readTrailer(input, checksum, size);
  } catch (error) {
    // The feeder knows where it stopped and why; the stream only knows that it was destroyed.
    if (feeding !== undefined) await feeding;
    throw error;
  } finally {
    inflate.destroy();
    await input.close();
  }
}

async function readHeader(input: ByteReader): Promise<void> {
  const magic = await input.upTo(2);
  if (magic.length === 0) {
    throw new ArchiveError('ARCHIVE_TRUNCATED', 'unexpected EOF: the archive is empty', { place: input.place });
  }
  if (magic[0] !== 0x1f || (magic.length === 2 && magic[1] !== 0x8b)) {
    throw new ArchiveError('ARCHIVE_NOT_GZIP', 'invalid header: not a gzip file, so not a snapshot archive', {
      place: { layer: 'gzip', offset: 0 },
    });
  }
  const what = 'the gzip header';
  let checksum = crc32(magic);
  const take = async (size: number) => {
    const bytes = await input.exactly(size, what);
    checksum = crc32(bytes, checksum);
    return bytes;
  };
  if (magic.length < 2) throw input.truncated(what);
  const [method = 0, flag = 0] = await take(8);
  if (method !== deflate || (flag & flags.reserved) !== 0) {
    throw new ArchiveError('ARCHIVE_GZIP_CORRUPT', 'invalid gzip header: unknown compression method or flags', {
      place: { layer: 'gzip', offset: 2 },
    });
  }
  if ((flag & flags.extra) !== 0) {
    const [low = 0, high = 0] = await take(2);
    await take(low | (high << 8));
  }
  for (const text of [flags.name, flags.comment]) {
    if ((flag & text) === 0) continue;
    let length = 0;
    while ((await take(1))[0] !== 0) {
      length += 1;
      if (length > headerTextLimit) {
        throw new ArchiveError('ARCHIVE_GZIP_CORRUPT', `invalid gzip header: a name above ${headerTextLimit} bytes`, {
          place: input.place,
        });
      }
    }
  }
  if ((flag & flags.headerChecksum) !== 0) {
    const place = input.place;
    const expected = checksum & 0xffff;
    const [low = 0, high = 0] = await input.exactly(2, what);
    if ((low | (high << 8)) !== expected) {
      throw new ArchiveError('ARCHIVE_GZIP_CORRUPT', 'invalid gzip header: its checksum differs', { place });
    }
  }
}

/** Moves compressed bytes into `inflate` until the deflate data ends; whatever was read beyond is put back. */
async function feed(input: ByteReader, inflate: InflateRaw): Promise<void> {
  const start = input.offset;
  let failure: Error | undefined;
  inflate.once('error', (error: Error) => {
    failure = error;
  });
  const consumed = () => inflate.bytesWritten;
  const corrupt = (error: Error) => {
    if ((error as { errno?: unknown }).errno === constants.Z_BUF_ERROR) return input.truncated('the compressed data');
    const offset = start + consumed();
    return new ArchiveError('ARCHIVE_GZIP_CORRUPT', `damaged gzip data near byte ${offset}: ${error.message}`, {
      place: { layer: 'gzip', offset },
      cause: error,
    });
  };
  try {
    for (;;) {
      const chunk = await input.some();
      if (chunk === undefined) break;
      await write(inflate, chunk).catch((error: Error) => {
        throw corrupt(failure ?? error);
      });
      if (failure !== undefined) throw corrupt(failure);
      const beyond = input.offset - start - consumed();
      if (beyond > 0) {
        input.unread(chunk.subarray(chunk.length - beyond));
        return;
      }
      if (inflate.destroyed) return;
    }
    // The source has ended: either exactly with the deflate data, or too early, which only the flush tells.
    inflate.end();
    await finished(inflate, { writable: false }).catch((error: Error) => {
      throw corrupt(failure ?? error);
    });
  } catch (error) {
    inflate.destroy(error as Error);
    throw error;
  }
}

/** Resolves when zlib has taken all it wants of the chunk, which waits for the reader of its output. */
function write(inflate: InflateRaw, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = () => resolve();
    inflate.once('close', closed);
    inflate.write(chunk, (error) => {
      inflate.off('close', closed);
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}

async function readTrailer(input: ByteReader, checksum: number, size: number): Promise<void> {
  const place = input.place;
  const trailer = await input.exactly(8, 'the gzip trailer');
  const view = new DataView(trailer.buffer, trailer.byteOffset, trailer.byteLength);
  if (view.getUint32(0, true) !== checksum) {
    throw new ArchiveError(
      'ARCHIVE_GZIP_CORRUPT',
      'invalid checksum: the gzip trailer has another CRC-32 than the data',
      {
        place,
      },
    );
  }
  if (view.getUint32(4, true) !== size % 2 ** 32) {
    throw new ArchiveError(
      'ARCHIVE_GZIP_CORRUPT',
      'invalid checksum: the gzip trailer has another length than the data',
      {
        place,
      },
    );
  }
  const end = input.place;
  if ((await input.some()) !== undefined) {
    throw new ArchiveError('ARCHIVE_TRAILING_BYTES', `bytes follow the end of the gzip stream at byte ${end.offset}`, {
      place: end,
    });
  }
}
