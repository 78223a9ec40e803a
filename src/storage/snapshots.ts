/**
 * Snapshots on disk (HR-33, HR-34): `<folder>/<term>-<index>-<unix ms>/{meta.json,state.bin}`, built under the suffix
 * `.tmp` and renamed when durable, so that a snapshot is there whole or not at all (ES-20, ES-21).
 */
import { join } from 'node:path';
import { Crc64 } from '../crc64.ts';
import { type Disk, isDiskFull, type NewFile, realDisk } from './disk.ts';
import { StorageError } from './errors.ts';
import type { NewSnapshot, OpenSnapshot, SnapshotSink, SnapshotStore, StoredSnapshotMeta } from './types.ts';

const aside = '.tmp';
const namePattern = /^\d+-\d+-\d+$/;

/** HashiCorp's field names (HR-01); Peers is deprecated and still there (HR-04). */
interface MetaFile {
  readonly Version: number;
  readonly ID: string;
  readonly Index: number;
  readonly Term: number;
  readonly Peers: null;
  readonly Configuration: unknown;
  readonly ConfigurationIndex: number;
  readonly Size: number;
  readonly CRC: string;
  /** Ours: CRC-64 of the JSON of everything above. Not there in what earlier versions wrote. */
  readonly MetaCRC?: string;
}

export interface SnapshotFolderOptions {
  readonly folder: string;
  /** Complete snapshots kept; at least one. */
  readonly retain: number;
  readonly now: () => number;
  /** What List skips: one message per folder and reason. */
  readonly warn?: (message: string, pairs: Record<string, unknown>) => void;
  /** Tests put faults here. */
  readonly disk?: Disk;
}

/** Opens the folder, removes what was never finished, and proves that it can be written (HR-34). */
export async function openSnapshotFolder(options: SnapshotFolderOptions): Promise<FolderSnapshotStore> {
  if (options.retain < 1) throw new StorageError('SNAPSHOT_UNUSABLE', 'must retain at least one snapshot');
  const { folder, disk = realDisk } = options;
  try {
    await disk.makeFolder(folder);
    for (const name of await disk.list(folder)) if (name.endsWith(aside)) await disk.remove(join(folder, name));
    const probe = join(folder, `probe${aside}`);
    // A full disk is not refused: the member can read, and whatever lets go of space needs it to run.
    await disk.makeFolder(probe).catch((error: unknown) => {
      if (!isDiskFull(error)) throw error;
    });
    await disk.remove(probe);
  } catch (error) {
    throw new StorageError(
      'DATA_DIR_UNUSABLE',
      `the snapshot folder ${folder} cannot be written: ${String(error)}`,
      error,
    );
  }
  return new FolderSnapshotStore(options);
}

export class FolderSnapshotStore implements SnapshotStore {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #retain: number;
  readonly #now: () => number;
  readonly #warn: NonNullable<SnapshotFolderOptions['warn']>;
  /** Snapshots being read, by id: kept beyond the retained number until given back. */
  readonly #inUse = new Map<string, number>();
  #held: Pick<StoredSnapshotMeta, 'index' | 'term'> | undefined;
  #lastMilliseconds = 0;

  constructor(options: SnapshotFolderOptions) {
    this.#folder = options.folder;
    this.#disk = options.disk ?? realDisk;
    this.#retain = options.retain;
    this.#now = options.now;
    this.#warn = options.warn ?? (() => {});
  }

  async create(snapshot: NewSnapshot): Promise<SnapshotSink> {
    if (snapshot.version !== 1)
      throw new StorageError('SNAPSHOT_VERSION', `unsupported snapshot version ${snapshot.version}`);
    // Ids stay distinct when two snapshots of one index fall into one millisecond, or the clock steps back.
    this.#lastMilliseconds = Math.max(this.#now(), this.#lastMilliseconds + 1);
    const id = `${snapshot.term}-${snapshot.index}-${this.#lastMilliseconds}`;
    const folder = join(this.#folder, id + aside);
    await this.#disk.makeFolder(folder);
    const state = await this.#disk.create(join(folder, 'state.bin'));
    return new FolderSink(this, this.#disk, { ...snapshot, version: 1, id }, folder, state);
  }

  async list(): Promise<StoredSnapshotMeta[]> {
    return (await this.all()).slice(0, this.#retain);
  }

  /**
   * The log has a record of this one and goes on from it. It is kept, whatever is stored after it, until the log has a record
   * of a newer one: what was stored and never recorded, as a crash leaves it, counts as newer and is no ground to stand on. An
   * older one's record may come after that of one that was installed, which alone the log goes on from.
   */
  hold({ index, term }: Pick<StoredSnapshotMeta, 'index' | 'term'>): void {
    if (this.#held === undefined || index > this.#held.index) this.#held = { index, term };
  }

  async open(id: string): Promise<OpenSnapshot> {
    const { meta, path } = await this.#check(id);
    this.#inUse.set(id, (this.#inUse.get(id) ?? 0) + 1);
    let closed = false;
    const close = async (): Promise<void> => {
      if (closed) return;
      closed = true;
      const left = (this.#inUse.get(id) ?? 1) - 1;
      if (left > 0) this.#inUse.set(id, left);
      else this.#inUse.delete(id);
      await this.reap();
    };
    return { meta, close, read: (offset = 0) => this.#disk.stream(path, offset) };
  }

  /** The path of a finished snapshot after its folder was renamed into place. */
  async finish(id: string, temporary: string): Promise<void> {
    try {
      await this.#disk.rename(temporary, join(this.#folder, id));
    } catch (error) {
      // The kernel decides, in one step: a check beforehand would leave a gap (D16).
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
      throw new StorageError('SNAPSHOT_EXISTS', `snapshot to save has existed: ${id} in ${this.#folder}`, error);
    }
    try {
      await this.#disk.syncFolder(this.#folder);
    } catch (error) {
      // It is there and may be lost: nobody is to find it.
      await this.remove(id).catch(() => {});
      throw error;
    }
    await this.reap().catch((error: unknown) => this.#warn('could not remove an old snapshot', { error }));
  }

  /** Removes a snapshot that is not wanted after all. */
  async remove(id: string): Promise<void> {
    if (!namePattern.test(id)) throw new StorageError('SNAPSHOT_MISSING', `${JSON.stringify(id)} is no snapshot id`);
    const path = join(this.#folder, id);
    // Renamed first: a crash while its files go leaves something that the next start clears away.
    await this.#disk.rename(path, path + aside).catch(ignoreMissing);
    await this.#disk.remove(path + aside);
    await this.#disk.syncFolder(this.#folder);
  }

  /** Keeps the newest and the one that is held; what is being read stays until it was read. */
  async reap(): Promise<void> {
    for (const { id, index, term } of (await this.all()).slice(this.#retain)) {
      const isHeld = index === this.#held?.index && term === this.#held.term;
      if (!isHeld && !this.#inUse.has(id)) await this.remove(id);
    }
  }

  /** All that are complete, those beyond the retained number too; newest first. */
  async all(): Promise<StoredSnapshotMeta[]> {
    const found: StoredSnapshotMeta[] = [];
    for (const name of await this.#disk.list(this.#folder)) {
      if (!namePattern.test(name)) continue;
      try {
        found.push(parseMeta(name, await this.#meta(name)));
      } catch (error) {
        this.#warn('skipped a snapshot that cannot be read', { id: name, error });
      }
    }
    return found.sort((a, b) => b.term - a.term || b.index - a.index || (a.id < b.id ? 1 : -1));
  }

  async #meta(id: string): Promise<string> {
    return (await this.#disk.read(join(this.#folder, id, 'meta.json'))).toString('utf8');
  }

  async #check(id: string): Promise<{ meta: StoredSnapshotMeta; path: string }> {
    const folder = join(this.#folder, id);
    let text: string;
    try {
      if (!namePattern.test(id)) throw new Error('no such id');
      text = await this.#meta(id);
    } catch (error) {
      if (namePattern.test(id) && (await this.#disk.list(this.#folder)).includes(id))
        throw new StorageError('SNAPSHOT_CORRUPT', `snapshot ${id}: ${(error as Error).message}`, error);
      throw new StorageError('SNAPSHOT_MISSING', `snapshot ${id} does not exist in ${this.#folder}`, error);
    }
    const meta = parseMeta(id, text);
    const path = join(folder, 'state.bin');
    const crc = new Crc64();
    let size = 0;
    try {
      for await (const chunk of this.#disk.stream(path, 0)) {
        crc.update(chunk);
        size += chunk.length;
      }
    } catch (error) {
      throw new StorageError('SNAPSHOT_CORRUPT', `${path} cannot be read`, error);
    }
    if (size !== meta.size)
      throw new StorageError('SNAPSHOT_CORRUPT', `${path} has ${size} bytes, its meta.json says ${meta.size}`);
    if (crc.digest() !== meta.crc) throw new StorageError('SNAPSHOT_CORRUPT', `${path}: CRC mismatch`);
    return { meta, path };
  }
}

class FolderSink implements SnapshotSink {
  readonly id: string;
  readonly #store: FolderSnapshotStore;
  readonly #disk: Disk;
  readonly #snapshot: NewSnapshot;
  readonly #folder: string;
  readonly #state: NewFile;
  readonly #crc = new Crc64();
  #size = 0;
  #outcome: 'open' | 'closed' | 'cancelled' = 'open';
  #meta: StoredSnapshotMeta | undefined;

  constructor(
    store: FolderSnapshotStore,
    disk: Disk,
    snapshot: NewSnapshot & { id: string },
    folder: string,
    state: NewFile,
  ) {
    this.id = snapshot.id;
    this.#store = store;
    this.#disk = disk;
    this.#snapshot = snapshot;
    this.#folder = folder;
    this.#state = state;
  }

  get size(): number {
    return this.#size;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#outcome !== 'open')
      throw new StorageError('SNAPSHOT_UNUSABLE', `snapshot ${this.id} is no longer being written`);
    await this.#state.append(chunk);
    this.#crc.update(chunk);
    this.#size += chunk.length;
  }

  checksum(): string {
    return this.#crc.digest();
  }

  async close(): Promise<StoredSnapshotMeta> {
    if (this.#meta) return this.#meta;
    if (this.#outcome !== 'open') throw new StorageError('SNAPSHOT_UNUSABLE', `snapshot ${this.id} was cancelled`);
    const { index, term, configuration, configurationIndex } = this.#snapshot;
    const about = { version: 1, index, term, configuration, configurationIndex } as const;
    const meta: StoredSnapshotMeta = { ...about, id: this.id, size: this.#size, crc: this.#crc.digest() };
    try {
      await this.#state.sync();
      await this.#state.close();
      await this.#disk.writeNew(join(this.#folder, 'meta.json'), Buffer.from(formatMeta(meta)));
      await this.#disk.syncFolder(this.#folder);
      await this.#store.finish(this.id, this.#folder);
    } catch (error) {
      await this.cancel();
      throw error;
    }
    this.#outcome = 'closed';
    this.#meta = meta;
    return meta;
  }

  async cancel(): Promise<void> {
    if (this.#outcome !== 'open') return;
    this.#outcome = 'cancelled';
    await this.#state.close().catch(() => {});
    await this.#disk.remove(this.#folder);
  }
}

function formatMeta(meta: StoredSnapshotMeta): string {
  const file: MetaFile = {
    Version: meta.version,
    ID: meta.id,
    Index: meta.index,
    Term: meta.term,
    Peers: null,
    Configuration: meta.configuration,
    ConfigurationIndex: meta.configurationIndex,
    Size: meta.size,
    CRC: meta.crc,
  };
  return `${JSON.stringify({ ...file, MetaCRC: checksumOf(file) } satisfies MetaFile)}\n`;
}

const checksumOf = (file: MetaFile): string => new Crc64().update(Buffer.from(JSON.stringify(file))).digest();

function parseMeta(id: string, text: string): StoredSnapshotMeta {
  let file: MetaFile;
  let checksum: string | undefined;
  try {
    ({ MetaCRC: checksum, ...file } = (JSON.parse(text) ?? {}) as MetaFile);
  } catch (error) {
    throw new StorageError('SNAPSHOT_CORRUPT', `meta.json of snapshot ${id} is not JSON`, error);
  }
  if (file.Version !== 1)
    throw new StorageError('SNAPSHOT_VERSION', `unsupported snapshot version ${String(file.Version)}`);
  const whole = [file.Index, file.Term, file.ConfigurationIndex, file.Size].every(
    (n) => Number.isSafeInteger(n) && n >= 0,
  );
  if (!whole || file.ID !== id || typeof file.CRC !== 'string') {
    throw new StorageError('SNAPSHOT_CORRUPT', `meta.json of snapshot ${id} makes no sense`);
  }
  if (checksum !== undefined && checksum !== checksumOf(file))
    throw new StorageError('SNAPSHOT_CORRUPT', `meta.json of snapshot ${id} does not match its checksum`);
  return {
    version: 1,
    id,
    index: file.Index,
    term: file.Term,
    configuration: file.Configuration,
    configurationIndex: file.ConfigurationIndex,
    size: file.Size,
    crc: file.CRC,
  };
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
