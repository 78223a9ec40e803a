/** The few file operations that durability rests on, in one place. */

import { constants, write } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';

/** The segment being written. Each operation is durable when it resolves. */
export interface AppendFile {
  /** One write and one data sync. */
  write(bytes: Uint8Array, at: number): Promise<void>;
  /** Fills `[from, to)` with zeros; all other zeros and the file's length are durable after it, too. */
  zero(from: number, to: number): Promise<void>;
  close(): Promise<void>;
}

/** A new file, written from its beginning to its end. Nothing of it is durable before `sync`. */
export interface NewFile {
  /** `bytes` may be used again when it has resolved. */
  append(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * What a member asks of its disk; tests have one that crashes wherever they like. Names (created, renamed, removed) are
 * durable only after `syncFolder`, and until then in no particular order.
 */
export interface Disk {
  list(folder: string): Promise<string[]>;
  /** Fails with path and offset. */
  read(path: string): Promise<Buffer>;
  /** A file's bytes from `offset` on. A chunk's memory is used again for the next one. */
  stream(path: string, offset: number): AsyncIterable<Uint8Array>;
  /** Fails where the folder above is not there: a disk that has gone must not be taken for an empty one. Nothing when it is there. */
  makeFolder(path: string): Promise<void>;
  /** Fails when it is there. */
  create(path: string): Promise<NewFile>;
  /** A new file with durable content. */
  writeNew(path: string, bytes: Uint8Array): Promise<void>;
  /** Fails with ENOTEMPTY or EEXIST when `to` is a folder with something in it: the kernel decides, in one step. */
  rename(from: string, to: string): Promise<void>;
  /** A file, or a folder with all in it; nothing when it is not there. */
  remove(path: string): Promise<void>;
  syncFolder(path: string): Promise<void>;
  openAppend(path: string): Promise<AppendFile>;
}

/** Makes creations, renames and removals in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** A folder whose sync failed under an earlier process passes for clean: it is written once more only when it has changed. */
export async function syncAnew(disk: Disk, folder: string): Promise<void> {
  const probe = `${folder}/probe.tmp`;
  try {
    await disk.makeFolder(probe);
    await disk.remove(probe);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
  }
  await disk.syncFolder(folder);
}

export interface DiskRoom {
  /** Bytes that may still be written. */
  readonly free: number;
  /** Bytes of the whole file system. */
  readonly total: number;
}

/** Of the file system that holds `path`; undefined where it does not say how large it is. */
export async function diskRoom(path: string): Promise<DiskRoom | undefined> {
  const { bavail, bsize, blocks } = await statfs(path);
  return blocks === 0 ? undefined : { free: bavail * bsize, total: blocks * bsize };
}

/**
 * The disk, or the owner's share of it, had no room for a write, and has lost nothing by it: all of the write's bytes may be
 * written again. A sync that fails for want of room is a failed sync like any other.
 */
export function isDiskFull(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return (code === 'ENOSPC' || code === 'EDQUOT') && syscall !== 'fsync' && syscall !== 'fdatasync';
}

const readBytes = 1 << 20;
/** Small enough that working on one stalls nothing: checksum and parse are some hundred microseconds. */
export const streamChunkBytes = 64 << 10;

async function read(path: string): Promise<Buffer> {
  let at = 0;
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const bytes = Buffer.allocUnsafe(size);
      while (at < size) {
        const { bytesRead } = await file.read(bytes, at, Math.min(readBytes, size - at), at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      return bytes.subarray(0, at);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new Error(`${path} cannot be read at offset ${at}: ${(error as Error).message}`, { cause: error });
  }
}

/** One buffer for all of it: fresh ones for every chunk would make the collector run, and stall everything (D17). */
async function* stream(path: string, offset: number): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const chunk = new Uint8Array(streamChunkBytes);
    for (let at = offset; ; ) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield chunk.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

async function create(path: string): Promise<NewFile> {
  const file = await open(path, 'wx', 0o600);
  let size = 0;
  return {
    append: async (bytes) => {
      await writeFully(file, bytes, size);
      size += bytes.length;
    },
    sync: () => file.sync(),
    close: () => file.close(),
  };
}

async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  const file = await create(path);
  try {
    await file.append(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

const zeros = Buffer.alloc(1 << 20);

/** Two descriptors: records go through one with O_DSYNC, so that a batch costs one system call; zeros through the other. */
async function openAppend(path: string): Promise<AppendFile> {
  const durable = await open(path, constants.O_WRONLY | constants.O_DSYNC);
  const plain = await open(path, constants.O_WRONLY);
  return {
    write: (bytes, at) => writeFully(durable, bytes, at),
    zero: async (from, to) => {
      for (let at = from; at < to; ) {
        at += (await plain.write(zeros, 0, Math.min(zeros.length, to - at), at)).bytesWritten;
      }
      await plain.datasync();
    },
    close: async () => {
      await Promise.all([durable.close(), plain.close()]);
    },
  };
}

/** By callback: a promise per system call costs more than the call. */
function writeFully(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const from = (done: number): void => {
      write(file.fd, bytes, done, bytes.length - done, at + done, (error, written) => {
        if (error) reject(error);
        else if (done + written === bytes.length) resolve();
        else if (written === 0) reject(new Error('the disk took no bytes'));
        else from(done + written);
      });
    };
    from(0);
  });
}

export const realDisk: Disk = {
  list: (folder) => readdir(folder),
  read,
  stream,
  create,
  makeFolder: async (path) => {
    await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  },
  writeNew,
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  syncFolder,
  openAppend,
};
