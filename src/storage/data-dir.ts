/** The layout of a member's data folder, and the lock that keeps two processes out of one. */
import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { realDisk, syncAnew, syncFolder } from './disk.ts';
import { StorageError } from './errors.ts';

export interface DataPaths {
  readonly root: string;
  readonly member: string;
  readonly wal: string;
  readonly snapshots: string;
  readonly lock: string;
  /** How the cluster began and under which name this member was started. */
  readonly genesis: string;
  /** There when the member was removed from its cluster. */
  readonly removed: string;
}

export function dataPaths(root: string): DataPaths {
  const member = join(root, 'member');
  return {
    root,
    member,
    wal: join(member, 'wal'),
    snapshots: join(member, 'snap'),
    lock: join(root, 'lock'),
    genesis: join(member, 'genesis.json'),
    removed: join(member, 'removed'),
  };
}

export interface DataLock {
  release(): void;
}

/**
 * Locks the folder for this process. The kernel holds the lock and drops it when the process dies, in whatever container
 * it ran: no lock file with a process id to go stale. Node has no `flock`; SQLite, which is built in, locks its file.
 */
export async function lockDataDir(paths: DataPaths): Promise<DataLock> {
  try {
    const root = resolve(paths.root);
    const made = await mkdir(root, { recursive: true, mode: 0o700 });
    await settleRoot(paths);
    for (let at = root; made !== undefined && at.length >= made.length; at = dirname(at)) await syncFolder(dirname(at));
  } catch (error) {
    throw new StorageError(
      'DATA_DIR_UNUSABLE',
      `cannot create the data directory ${paths.root}: ${(error as Error).message}`,
      error,
    );
  }
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(paths.lock);
    database.exec('PRAGMA journal_mode=MEMORY; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    database?.close();
    if ((error as { errcode?: number }).errcode === 5) {
      throw new StorageError('DATA_DIR_LOCKED', `the data directory ${paths.root} is in use by another process`, error);
    }
    throw new StorageError(
      'DATA_DIR_UNUSABLE',
      `cannot lock the data directory ${paths.root}: ${(error as Error).message}`,
      error,
    );
  }
  const held = database;
  return { release: () => held.close() };
}

/** Whatever was made here, or renamed by a process that died before it was durable, is durable from here on. */
export const settleRoot = (paths: DataPaths, disk = realDisk): Promise<void> => syncAnew(disk, resolve(paths.root));

/** Whether a member ever lived here. */
export async function holdsMember(paths: DataPaths, disk = realDisk): Promise<boolean> {
  try {
    return (await disk.list(paths.member)).includes('wal');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new StorageError('DATA_DIR_UNUSABLE', `cannot read ${paths.member}: ${(error as Error).message}`, error);
  }
}
