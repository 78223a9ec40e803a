/**
 * Runs before a member whose engine would start on an empty disk as if it were new: under its old id, with none of what
 * it has acknowledged and of how it has voted, it could undo both.
 */
import type { Dirent } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder } from '../archive/folder.ts';

export interface Preparation {
  /** The folder that the member keeps its data in. */
  readonly dataFolder: string;
  /** A restored data folder that takes its name, if there are no data. It must be there until the cluster has formed. */
  readonly adopt?: string;
  /** A file that is of no use once there are data. */
  readonly remove?: string;
  readonly clusterState: 'new' | 'existing';
  /** Of the member. */
  readonly name: string;
  /** The names of the members that may start on an empty disk although the cluster has formed. */
  readonly joining: readonly string[];
}

export class PrepareError extends Error {
  override readonly name = 'PrepareError';
  /** ETCD_DATA_LOST: the member has taken part, and its disk is empty. ETCD_RESTORE_MISSING: nothing was restored. */
  readonly code: 'ETCD_DATA_LOST' | 'ETCD_RESTORE_MISSING';
  constructor(code: PrepareError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** What was found or done, for the log. */
export type Prepared = 'has data' | 'adopted' | 'starts empty' | 'left alone';

export async function prepare(preparation: Preparation): Promise<Prepared> {
  const { dataFolder, adopt, remove, clusterState, name, joining } = preparation;
  const hasData = await holdsData(dataFolder);
  if (adopt === undefined) {
    if (hasData) return 'has data';
    if (clusterState === 'new' || joining.includes(name)) return 'starts empty';
    throw new PrepareError(
      'ETCD_DATA_LOST',
      `the disk of ${name} holds no data in ${dataFolder}, although its cluster has formed: it must not start as if nothing had happened; the operator replaces it by a new member`,
    );
  }
  const left = [...(remove === undefined ? [] : [remove]), adopt];
  if (!hasData && clusterState === 'existing') return 'left alone';
  if (!hasData) {
    if (!(await holdsData(adopt)))
      throw new PrepareError(
        'ETCD_RESTORE_MISSING',
        `${adopt} holds no restored data for ${name}: nothing was started`,
      );
    await syncTree(adopt);
    // What etcd leaves when it ends before it has a log holds nothing.
    await rm(dataFolder, { recursive: true, force: true });
    await rename(adopt, dataFolder);
    await syncFolder(dirname(dataFolder));
  }
  for (const path of left) await rm(path, { recursive: true, force: true });
  return hasData ? 'has data' : 'adopted';
}

/** etcd has data once it has a log: it takes a folder without one for new. */
async function holdsData(folder: string): Promise<boolean> {
  return (await entries(join(folder, 'member', 'wal'))).some(({ name }) => name.endsWith('.wal'));
}

async function entries(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** The tool that restores does not see to it that its files survive a power loss. */
async function syncTree(folder: string): Promise<void> {
  for (const entry of await entries(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncFile(path);
  }
  await syncFolder(folder);
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
