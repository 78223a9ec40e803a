/**
 * From flags and a data directory to a member that can start: its log, its snapshots, its state. A data directory is
 * made aside and renamed, so that it is there whole or not at all.
 */
import { access, mkdir, open as openFile, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Log } from '../log.ts';
import { configurationOf, initialState } from '../raft/configuration.ts';
import type { Entry, HardState, MemberId, RestoredState, SnapshotMeta } from '../raft/types.ts';
import { type DataLock, type DataPaths, dataPaths, holdsMember, lockDataDir } from '../storage/data-dir.ts';
import { syncFolder } from '../storage/disk.ts';
import { recoverSnapshot } from '../storage/recover.ts';
import { type FolderSnapshotStore, openSnapshotFolder } from '../storage/snapshots.ts';
import type { Identity, OpenSnapshot, SnapshotMark } from '../storage/types.ts';
import { Wal } from '../storage/wal.ts';
import type { Certificates } from './certificates.ts';
import { NodeError } from './errors.ts';
import { checkInitialCluster, type NodeOptions } from './flags.ts';
import { dial, RefusedError } from './hello.ts';
import { clusterIdOf, type Genesis, genesisFrom, identityOf, type MemberIdentity } from './identity.ts';
import { joinCluster, lostMember, removedMember } from './join.ts';
import { KeyValues } from './kv.ts';
import { seedFromArchive } from './restore.ts';
import { metaOf } from './snapshot-header.ts';

/** The newest, and the one before it in case the newest is damaged. */
export const retainedSnapshots = 2;
const probeTimeoutMs = 1000;

export interface OpenedMember {
  readonly identity: MemberIdentity;
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
  /** For connections with the other members. */
  readonly certificates: Certificates | undefined;
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

/** Written with the data directory and never again. A data directory of version 0.1 has none: the flags say it then. */
interface GenesisFile {
  readonly version: 1;
  /** This member's, and the token of its flags: a disk that came to another member's or cluster's process is noticed. */
  readonly name: string;
  readonly token: string;
  readonly genesis: Genesis;
}

async function makeDataDir(paths: DataPaths, { options, certificates, log }: OpenOptions): Promise<void> {
  checkInitialCluster(options);
  const identity =
    options.initialClusterState === 'new' ? identityOf(options) : await joinCluster(options, certificates, log);
  if (options.initialClusterState === 'new') await refuseWhenKnown(identity, options, certificates);
  const aside = `${paths.member}.tmp`;
  await rm(aside, { recursive: true, force: true });
  const folders = { wal: join(aside, 'wal'), snapshots: join(aside, 'snap') };
  await mkdir(folders.snapshots, { recursive: true, mode: 0o700 });
  const configuration = configurationOf(identity.genesis.members.map(({ id }) => id));
  const seed =
    options.restoreArchive === undefined || options.initialClusterState === 'existing'
      ? initialState(configuration)
      : await seedFromArchive({
          archive: options.restoreArchive,
          aside,
          snapshots: folders.snapshots,
          configuration,
          genesis: identity.genesis,
          log,
        });
  const wal = await Wal.create(folders.wal, { clusterId: identity.clusterId, memberId: identity.memberId });
  await wal.append({ hardState: seed.hardState, snapshot: { ...seed.snapshot, replacesLog: true } });
  await wal.close();
  const { name, initialClusterToken: token } = options;
  await writeDurably(join(aside, basename(paths.genesis)), { version: 1, name, token, genesis: identity.genesis });
  await syncFolder(aside);
  await rename(aside, paths.member);
  await syncFolder(paths.root);
  log.info('made a data directory', {
    dataDir: options.dataDir,
    clusterId: identity.clusterId,
    memberId: identity.memberId,
    index: seed.snapshot.index,
  });
}

async function writeDurably(path: string, content: GenesisFile): Promise<void> {
  const file = await openFile(path, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(content, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Asks those members that can be reached right now whether this one has taken part before. */
async function refuseWhenKnown(
  { clusterId, memberId: from, genesis }: MemberIdentity,
  { name: self, dataDir, initialAdvertisePeerUrls: peerUrls }: NodeOptions,
  certificates: Certificates | undefined,
): Promise<void> {
  const others = genesis.members.filter(({ id }) => id !== from);
  const answers = await Promise.all(
    others.map(async ({ id: to, name, peerUrls: [url] }) => {
      try {
        const meeting = { purpose: 'probe', clusterId, from, to, peerUrls } as const;
        const { channel, welcome } = await dial(url!, meeting, probeTimeoutMs, certificates);
        channel.close();
        return welcome.knowsYou ? name : undefined;
      } catch (error) {
        if (error instanceof RefusedError && error.why === 'removed') throw removedMember(from, dataDir);
        // Not there, or not there yet: members of a new cluster start together.
        return undefined;
      }
    }),
  );
  const witness = answers.find((name) => name !== undefined);
  if (witness !== undefined)
    throw lostMember(`member ${witness} says that ${self} has taken part in this cluster`, dataDir);
}

/** Who the data belongs to, when the flags do not speak of somebody else. */
async function readIdentity(
  paths: DataPaths,
  { clusterId, memberId }: Identity,
  options: NodeOptions,
): Promise<MemberIdentity> {
  const foreign = (flags: string): NodeError =>
    new NodeError(
      'NODE_DATA_FOREIGN',
      `the data directory ${options.dataDir} belongs to member ${memberId} of cluster ${clusterId}, but the flags name ${flags}: ` +
        'check --data-dir, --name, --initial-cluster and --initial-cluster-token',
    );
  const text = await readFile(paths.genesis, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) {
    checkInitialCluster(options);
    const named = identityOf(options);
    if (named.clusterId !== clusterId || named.memberId !== memberId)
      throw foreign(`member ${named.memberId} of cluster ${named.clusterId}`);
    return named;
  }
  const { name, token, genesis: found } = parsed(text);
  const genesis = genesisFrom(found);
  if (!genesis || clusterIdOf(genesis.members.map(({ id }) => id)) !== clusterId)
    throw new NodeError('NODE_DATA_UNUSABLE', `${paths.genesis} does not say how cluster ${clusterId} began`);
  if (name !== options.name) throw foreign(`member ${options.name}, not ${name}`);
  if (token !== options.initialClusterToken)
    throw foreign(`a cluster with the token ${options.initialClusterToken}, not ${token}`);
  return { clusterId, memberId: memberId as MemberId, genesis };
}

function parsed(text: string): Partial<GenesisFile> {
  try {
    return JSON.parse(text) as Partial<GenesisFile>;
  } catch {
    return {};
  }
}

async function readDataDir(paths: DataPaths, open: OpenOptions) {
  const { options, log, requestTimeoutMs, onDiskFailure: onFailure, onDiskWrite: onWritten } = open;
  const { wal, contents } = await Wal.open(paths.wal, { onFailure, onWritten });
  try {
    const identity = await readIdentity(paths, contents.identity, options);
    if (await exists(paths.removed)) throw removedMember(identity.memberId, options.dataDir);
    if (contents.tornBytes > 0) log.warn('cut an unfinished write off the log', { bytes: contents.tornBytes });
    const warn = (message: string, pairs: Record<string, unknown>): void => log.warn(message, pairs);
    const store = await openSnapshotFolder({ folder: paths.snapshots, retain: retainedSnapshots, now: Date.now, warn });
    // Proposals give up first, and know why.
    const keyValues = new KeyValues({
      requestTimeoutMs: requestTimeoutMs + 1000,
      genesis: identity.genesis.members,
    });
    const load = async ({ meta, read }: OpenSnapshot): Promise<void> => {
      await keyValues.restore(read());
      if (keyValues.appliedIndex !== meta.index)
        throw new Error(`it holds the state at index ${keyValues.appliedIndex}`);
    };
    const mark = await recoverSnapshot(store, contents, { load, warn });
    if (!mark)
      throw new NodeError('NODE_DATA_UNUSABLE', `${paths.wal} does not say how the cluster began; replace this member`);
    return { identity, wal, store, keyValues, restored: restoredState(mark, contents) };
  } catch (error) {
    await wal.close();
    throw error;
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** So that the next start knows it at once. */
export async function markRemoved(paths: DataPaths): Promise<void> {
  await writeFile(paths.removed, '', { mode: 0o600 });
  await syncFolder(paths.member);
}

function restoredState(mark: SnapshotMark, contents: Awaited<ReturnType<typeof Wal.open>>['contents']): RestoredState {
  const snapshot: SnapshotMeta = metaOf(mark);
  return {
    hardState: (contents.hardState ?? { term: mark.term, vote: null, commit: mark.index }) as HardState,
    snapshot,
    entries: contents.entries as readonly Entry[],
  };
}
