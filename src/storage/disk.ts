/** The few file operations that durability rests on, in one place. */

import { constants, write } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes creations, renames and removals in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** A file that is complete under `path` or not there at all. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const aside = `${path}.tmp`;
  await rm(aside, { force: true });
  const file = await open(aside, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncFolder(dirname(path));
}

const zeros = Buffer.alloc(1 << 20);

/** The segment being written. Each operation is durable when it resolves. */
export interface AppendFile {
  /** One write and one data sync. */
  write(bytes: Uint8Array, at: number): Promise<void>;
  /** Fills `[from, to)` with zeros. */
  zero(from: number, to: number): Promise<void>;
  close(): Promise<void>;
}

export type OpenAppendFile = (path: string) => Promise<AppendFile>;

/** Two descriptors: records go through one with O_DSYNC, so that a batch costs one system call; zeros through the other. */
export const openAppendFile: OpenAppendFile = async (path) => {
  const durable = await open(path, constants.O_WRONLY | constants.O_DSYNC);
  const plain = await open(path, constants.O_WRONLY);
  return {
    write: (bytes, at) => writeFully(durable, bytes, at),
    zero: async (from, to) => {
      for (let at = from; at < to; at += zeros.length) {
        await plain.write(zeros, 0, Math.min(zeros.length, to - at), at);
      }
      await plain.datasync();
    },
    close: async () => {
      await Promise.all([durable.close(), plain.close()]);
    },
  };
};

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
