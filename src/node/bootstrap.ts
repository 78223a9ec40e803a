/**
 * From flags and a data directory to a member that can start: its log, its snapshots, its state. A data directory is
 * made aside and renamed, so that it is there whole or not at all.
 */
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../log.ts';
import { configurationOf, initialState } from '../raft/configuration.ts';
import type { Entry, HardState, RestoredState, SnapshotMeta } from '../raft/types.ts';
import { type DataLock, type DataPaths, dataPaths, holdsMember, lockDataDir } from '../storage/data-dir.ts';
import { syncFolder } from '../storage/disk.ts';
import { recoverSnapshot } from '../storage/recover.ts';
import { type FolderSnapshotStore, openSnapshotFolder } from '../storage/snapshots.ts';
import type { OpenSnapshot, SnapshotMark } from '../storage/types.ts';
import { Wal } from '../storage/wal.ts';
import { NodeError, type NodeOptions } from './flags.ts';
import { dial } from './hello.ts';
import type { ClusterIdentity } from './identity.ts';
import { KeyValues } from './kv.ts';
import { seedFromArchive } from './restore.ts';
import { metaOf } from './snapshot-header.ts';

/** The newest, and the one before it in case the newest is damaged. */
export const retainedSnapshots = 2;
const probeTimeoutMs = 1000;

export interface OpenedMember {
  readonly paths: DataPaths;
  readonly lock: DataLock;
  readonly wal: Wal;
  readonly store: FolderSnapshotStore;
  readonly keyValues: KeyValues;
  readonly restored: RestoredState;
  /** The data directory was made just now. */
  readonly isNew: boolean;
}

export interface OpenOptions {
  readonly options: NodeOptions;
  readonly identity: ClusterIdentity;
  readonly log: Log;
  readonly requestTimeoutMs: number;
  readonly onDiskFailure: (error: Error) => void;
  readonly onDiskWrite: (seconds: number, bytes: number) => void;
}

export async function openMember(open: OpenOptions): Promise<OpenedMember> {
  const paths = dataPaths(open.options.dataDir);
  const lock = await lockDataDir(paths);
  try {
    const isNew = !(await holdsMember(paths));
    if (isNew) await makeDataDir(paths, open);
    return { ...(await readDataDir(paths, open)), paths, lock, isNew };
  } catch (error) {
    lock.release();
    throw error;
  }
}

const lostMember = (why: string, dataDir: string): NodeError =>
  new NodeError(
    'NODE_DATA_LOST',
    `${why}, but ${dataDir} holds no data: this member's data is gone. Starting empty could forget acknowledged writes; replace it by a new member`,
  );

async function makeDataDir(paths: DataPaths, { options, identity, log }: OpenOptions): Promise<void> {
  if (options.initialClusterState === 'existing') throw lostMember('the cluster exists', options.dataDir);
  await refuseWhenKnown(identity, options.dataDir);
  const aside = `${paths.member}.tmp`;
  await rm(aside, { recursive: true, force: true });
  const folders = { wal: join(aside, 'wal'), snapshots: join(aside, 'snap') };
  await mkdir(folders.snapshots, { recursive: true, mode: 0o700 });
  const configuration = configurationOf(identity.members.map(({ id }) => id));
  const seed =
    options.restoreArchive === undefined
      ? initialState(configuration)
      : await seedFromArchive({
          archive: options.restoreArchive,
          aside,
          snapshots: folders.snapshots,
          configuration,
          log,
        });
  const wal = await Wal.create(folders.wal, { clusterId: identity.clusterId, memberId: identity.self.id });
  await wal.append({ hardState: seed.hardState, snapshot: { ...seed.snapshot, replacesLog: true } });
  await wal.close();
  await syncFolder(aside);
  await rename(aside, paths.member);
  await syncFolder(paths.root);
  log.info('made a data directory', {
    dataDir: options.dataDir,
    clusterId: identity.clusterId,
    index: seed.snapshot.index,
  });
}

/** Asks those members that can be reached right now whether this one has taken part before. */
async function refuseWhenKnown({ clusterId, self, members }: ClusterIdentity, dataDir: string): Promise<void> {
  const others = members.filter(({ id }) => id !== self.id);
  const answers = await Promise.all(
    others.map(async ({ id, name, peerUrls }) => {
      try {
        const { channel, welcome } = await dial(
          peerUrls[0]!,
          { clusterId, from: self.id, to: id, purpose: 'probe' },
          probeTimeoutMs,
        );
        channel.close();
        return welcome.knowsYou ? name : undefined;
      } catch {
        // Not there, or not there yet: members of a new cluster start together.
        return undefined;
      }
    }),
  );
  const witness = answers.find((name) => name !== undefined);
  if (witness !== undefined)
    throw lostMember(`member ${witness} says that ${self.name} has taken part in this cluster`, dataDir);
}

async function readDataDir(paths: DataPaths, open: OpenOptions) {
  const { options, identity, log, requestTimeoutMs, onDiskFailure: onFailure, onDiskWrite: onWritten } = open;
  const { wal, contents } = await Wal.open(paths.wal, { onFailure, onWritten });
  try {
    const { clusterId, memberId } = contents.identity;
    if (clusterId !== identity.clusterId || memberId !== identity.self.id) {
      throw new NodeError(
        'NODE_DATA_FOREIGN',
        `the data directory ${options.dataDir} belongs to member ${memberId} of cluster ${clusterId}, but the flags name member ` +
          `${identity.self.id} of cluster ${identity.clusterId}: check --data-dir, --initial-cluster and --initial-cluster-token`,
      );
    }
    if (contents.tornBytes > 0) log.warn('cut an unfinished write off the log', { bytes: contents.tornBytes });
    const warn = (message: string, pairs: Record<string, unknown>): void => log.warn(message, pairs);
    const store = await openSnapshotFolder({ folder: paths.snapshots, retain: retainedSnapshots, now: Date.now, warn });
    // Proposals give up first, and know why.
    const keyValues = new KeyValues({ requestTimeoutMs: requestTimeoutMs + 1000 });
    const load = async ({ meta, read }: OpenSnapshot): Promise<void> => {
      await keyValues.restore(read());
      if (keyValues.appliedIndex !== meta.index)
        throw new Error(`it holds the state at index ${keyValues.appliedIndex}`);
    };
    const mark = await recoverSnapshot(store, contents, { load, warn });
    if (!mark)
      throw new NodeError('NODE_DATA_UNUSABLE', `${paths.wal} does not say how the cluster began; replace this member`);
    return { wal, store, keyValues, restored: restoredState(mark, contents) };
  } catch (error) {
    await wal.close();
    throw error;
  }
}

function restoredState(mark: SnapshotMark, contents: Awaited<ReturnType<typeof Wal.open>>['contents']): RestoredState {
  const snapshot: SnapshotMeta = metaOf(mark);
  return {
    hardState: (contents.hardState ?? { term: mark.term, vote: null, commit: mark.index }) as HardState,
    snapshot,
    entries: contents.entries as readonly Entry[],
  };
}
