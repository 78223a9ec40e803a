/**
 * From flags and a data directory to a member that can start: its log, its snapshots, its state. A data directory is
 * made aside and renamed, so that it is there whole or not at all.
 */
import { basename, dirname, join } from 'node:path';
import type { Log } from '../log.ts';
import { configurationOf, initialState } from '../raft/configuration.ts';
import type { Entry, HardState, MemberId, RestoredState, SnapshotMeta } from '../raft/types.ts';
import { type DataLock, type DataPaths, dataPaths, holdsMember, lockDataDir } from '../storage/data-dir.ts';
import { type Disk, realDisk } from '../storage/disk.ts';
import { recoverSnapshot } from '../storage/recover.ts';
import { type FolderSnapshotStore, openSnapshotFolder } from '../storage/snapshots.ts';
import type { Identity, OpenSnapshot, SnapshotMark } from '../storage/types.ts';
import { Wal, type WalInternals } from '../storage/wal.ts';
import type { Certificates } from './certificates.ts';
import { NodeError } from './errors.ts';
import { checkInitialCluster, type NodeOptions } from './flags.ts';
import { dial, RefusedError } from './hello.ts';
import { clusterIdOf, type Genesis, genesisFrom, identityOf, type MemberIdentity, memberIdOf } from './identity.ts';
import { joinCluster, lostMember, removedMember } from './join.ts';
import { KeyValues } from './kv.ts';
import { seedFromArchive } from './restore.ts';
import { metaOf } from './snapshot-header.ts';

/** The newest, and the one before it in case the newest is damaged. */
export const retainedSnapshots = 2;
const probeTimeoutMs = 1000;

/** What the data lies on; tests have disks that crash, and logs of small segments. */
export type Ground = Pick<WalInternals, 'disk' | 'segmentBytes' | 'allocationBytes' | 'pauseWhenFull'>;

export interface OpenedData {
  readonly identity: MemberIdentity;
  readonly wal: Wal;
  readonly store: FolderSnapshotStore;
  readonly keyValues: KeyValues;
  readonly restored: RestoredState;
}

export interface OpenedMember extends OpenedData {
  readonly paths: DataPaths;
  readonly lock: DataLock;
  /** The data directory was made just now. */
  readonly isNew: boolean;
}

export interface OpenOptions extends DataOptions {
  /** For connections with the other members. */
  readonly certificates: Certificates | undefined;
}

export interface DataOptions {
  readonly options: NodeOptions;
  readonly log: Log;
  readonly requestTimeoutMs: number;
  readonly onDiskFailure: (error: Error) => void;
  readonly onDiskWrite: (seconds: number, bytes: number) => void;
  readonly onDiskFull?: (error: Error) => void;
  readonly ground?: Ground;
  /** Of this process: see `KeyValuesOptions`. */
  readonly process?: number;
}

export async function openMember(open: OpenOptions): Promise<OpenedMember> {
  const paths = dataPaths(open.options.dataDir);
  const lock = await lockDataDir(paths);
  try {
    const isNew = !(await holdsMember(paths));
    if (isNew) await makeDataDir(paths, await newIdentity(open), open);
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

/** Who a member without data is, by its flags or by the word of others. */
async function newIdentity({ options, certificates, log }: OpenOptions): Promise<MemberIdentity> {
  checkInitialCluster(options);
  if (options.initialClusterState === 'existing') return joinCluster(options, certificates, log);
  const identity = identityOf(options);
  await refuseWhenKnown(identity, options, certificates);
  return identity;
}

export async function makeDataDir(
  paths: DataPaths,
  identity: MemberIdentity,
  { options, log, ground = {} }: Pick<DataOptions, 'options' | 'log' | 'ground'>,
): Promise<void> {
  const { disk = realDisk } = ground;
  const aside = `${paths.member}.tmp`;
  await disk.remove(aside);
  const folders = { wal: join(aside, 'wal'), snapshots: join(aside, 'snap') };
  await disk.makeFolder(aside);
  await disk.makeFolder(folders.snapshots);
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
  const { clusterId, memberId } = identity;
  const wal = await Wal.create(folders.wal, { clusterId, memberId }, ground);
  await wal.append({ hardState: seed.hardState, snapshot: { ...seed.snapshot, replacesLog: true } });
  await wal.close();
  const { name, initialClusterToken: token } = options;
  const file: GenesisFile = { version: 1, name, token, genesis: identity.genesis };
  const text = `${JSON.stringify(file, undefined, 2)}\n`;
  await disk.writeNew(join(aside, basename(paths.genesis)), Buffer.from(text));
  await disk.syncFolder(aside);
  await disk.rename(aside, paths.member);
  await disk.syncFolder(paths.root);
  log.info('made a data directory', {
    dataDir: options.dataDir,
    clusterId,
    memberId,
    index: seed.snapshot.index,
  });
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
  disk: Disk,
): Promise<MemberIdentity> {
  const foreign = (flags: string): NodeError =>
    new NodeError(
      'NODE_DATA_FOREIGN',
      `the data directory ${options.dataDir} belongs to member ${memberId} of cluster ${clusterId}, but the flags name ${flags}: ` +
        'check --data-dir, --name, --initial-cluster and --initial-cluster-token',
    );
  if (!(await holds(disk, paths.genesis))) {
    checkInitialCluster(options);
    const named = identityOf(options);
    if (named.clusterId !== clusterId || named.memberId !== memberId)
      throw foreign(`member ${named.memberId} of cluster ${named.clusterId}`);
    return named;
  }
  const { name, token, genesis: found } = parsed((await disk.read(paths.genesis)).toString());
  const genesis = genesisFrom(found);
  // Addresses are part of the replicated state: of a damaged file they would make this member's another one.
  const isWhole = genesis?.members.every(({ id, peerUrls }) => id === memberIdOf(peerUrls, genesis.token));
  if (!genesis || !isWhole || clusterIdOf(genesis.members.map(({ id }) => id)) !== clusterId)
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

export async function readDataDir(paths: DataPaths, open: DataOptions): Promise<OpenedData> {
  const { options, log, requestTimeoutMs, onDiskFailure: onFailure, onDiskWrite: onWritten, ground = {} } = open;
  const { disk = realDisk } = ground;
  const onFull = open.onDiskFull ?? (() => {});
  const { wal, contents } = await Wal.open(paths.wal, { ...ground, onFailure, onWritten, onFull });
  try {
    const identity = await readIdentity(paths, contents.identity, options, disk);
    if (await holds(disk, paths.removed)) throw removedMember(identity.memberId, options.dataDir);
    if (contents.tornBytes > 0) log.warn('cut an unfinished write off the log', { bytes: contents.tornBytes });
    const warn = (message: string, pairs: Record<string, unknown>): void => log.warn(message, pairs);
    const folder = paths.snapshots;
    const store = await openSnapshotFolder({ folder, retain: retainedSnapshots, now: Date.now, warn, disk });
    // Proposals give up first, and know why.
    const keyValues = new KeyValues({
      requestTimeoutMs: requestTimeoutMs + 1000,
      genesis: identity.genesis.members,
      process: open.process,
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

const holds = async (disk: Disk, path: string): Promise<boolean> =>
  (await disk.list(dirname(path))).includes(basename(path));

/** So that the next start knows it at once. */
export async function markRemoved(paths: DataPaths, disk = realDisk): Promise<void> {
  await disk.writeNew(paths.removed, new Uint8Array(0));
  await disk.syncFolder(paths.member);
}

function restoredState(mark: SnapshotMark, contents: Awaited<ReturnType<typeof Wal.open>>['contents']): RestoredState {
  const snapshot: SnapshotMeta = metaOf(mark);
  return {
    hardState: (contents.hardState ?? { term: mark.term, vote: null, commit: mark.index }) as HardState,
    snapshot,
    entries: contents.entries as readonly Entry[],
  };
}
