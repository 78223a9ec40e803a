import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from './folder.ts';
import { ArchiveError, type ArchiveSummary, type VerifyOptions } from './types.ts';
import { verifyArchive } from './verify.ts';

/** Archives in files. System errors (`ENOENT` and the like) pass unchanged. */

export async function verifyArchiveFile(path: string, options: VerifyOptions = {}): Promise<ArchiveSummary> {
  // Opened here so that a file that cannot be opened is not called an archive that cannot be read.
  const file = await open(path, 'r');
  try {
    return await verifyArchive(createReadStream(path, { fd: file, autoClose: false }), options);
  } finally {
    await file.close();
  }
}

/**
 * The second pass over an archive that `verifyArchiveFile` has found good: writes its `state.bin` to `target`, which
 * is there whole and durable or not at all. Everything is checked again on the way, and a file that is no longer the
 * one that was verified fails with `ARCHIVE_CHANGED`.
 */
export async function extractState(
  path: string,
  verified: ArchiveSummary,
  target: string,
  options: Pick<VerifyOptions, 'onProgress' | 'signal'> = {},
): Promise<void> {
  await writeAside(target, async (file) => {
    const again = await verifyArchiveFile(path, {
      ...options,
      onState: async (chunk) => {
        await writeAll(file, chunk);
      },
    });
    if (again.checksum !== verified.checksum) {
      throw new ArchiveError(
        'ARCHIVE_CHANGED',
        `${path} has changed since it was verified: ${again.checksum} is not ${verified.checksum}`,
      );
    }
  });
}

export interface AsideOptions {
  /** False: fails with `EEXIST` when the target is there by the time it is done. Default true. */
  readonly overwrite?: boolean;
}

/** Ending of files that are being written; one that stays behind after a crash is of no use to anybody. */
export const partialSuffix = '.partial';

/**
 * Writes a file under a temporary name beside `target`, which takes the name only once its bytes are on the disk. The
 * temporary name is drawn, so that two writers never share one.
 */
export async function writeAside<T>(
  target: string,
  fill: (file: FileHandle) => Promise<T>,
  options: AsideOptions = {},
): Promise<T> {
  const aside = `${target}.${randomBytes(6).toString('hex')}${partialSuffix}`;
  const file = await open(aside, 'wx+', 0o600);
  try {
    let result: T;
    try {
      result = await fill(file);
      await file.sync();
    } finally {
      await file.close();
    }
    // A link fails where a rename would replace.
    if (options.overwrite === false) await link(aside, target);
    else await rename(aside, target);
    await syncFolder(dirname(target));
    return result;
  } finally {
    await rm(aside, { force: true });
  }
}

export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await file.write(bytes, written, bytes.length - written)).bytesWritten;
  }
}
