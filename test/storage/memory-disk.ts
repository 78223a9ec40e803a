/**
 * A disk in memory that lies as disks do: it loses what was not synced, tears it and reorders it, fails, fills up, flips bits
 * and is slow. `kill` and `losePower` end the process that uses it, here and now, and give the disk that the next one finds.
 * It can also keep a journal of every operation, so that a test asks afterwards what a crash before any of them had left.
 */
import { basename, dirname } from 'node:path';
import { type AppendFile, type Disk, type DiskRoom, type NewFile, streamChunkBytes } from '../../src/storage/disk.ts';
import {
  type Change,
  type Fate,
  failure,
  Image,
  left,
  missing,
  type Node,
  uncovered,
  type Write,
} from './disk-image.ts';
import { type Asked, despite, type Failure, isUnsynced, type Operation } from './disk-operations.ts';

export { type Fate, sector } from './disk-image.ts';
export { type Asked, type Failure, type Operation, once } from './disk-operations.ts';

export interface MemoryDiskOptions {
  /**
   * Called before an operation has any effect, and again before its end is told, so that others may come in between, for as
   * long as it likes.
   */
  readonly pause?: (asked: Asked, when: 'before' | 'after') => Promise<void>;
  /** `false`: no journal, so nothing grows; `killed`, `powerLost` and `syncFailed` cannot be asked then. */
  readonly journal?: boolean;
}

interface Unsynced {
  readonly place: number;
  readonly operation: Write | Change;
}

/** What outlives the process. */
interface Inside {
  /** As the kernel shows it. */
  readonly now: Image;
  /** As it is without power. */
  readonly platter: Image;
  unsynced: Unsynced[];
  /** Operations so far: the place of the next one. */
  places: number;
  nodes: number;
  /** What the journal began with. */
  readonly base: Image | undefined;
  readonly journal: Operation[];
}

function insideOf(platter: Image, journal: boolean, nodes = 1): Inside {
  const base = journal ? platter.copy() : undefined;
  return { now: platter.copy(), platter, unsynced: [], places: 0, nodes, base, journal: [] };
}

export class MemoryDisk implements Disk {
  /**
   * Asked when an operation is about to take effect; what it returns is how it fails. A failed sync dooms what it was to make
   * durable: the kernel shows it, takes it for clean, and only `losePower` says what became of it.
   */
  fails: ((asked: Asked) => Failure | undefined) | undefined;
  /** May change what one read (or one chunk of a stream) gets. */
  onRead: ((path: string, bytes: Uint8Array, offset: number) => void) | undefined;
  /** Bytes of all files together; the write that does not fit takes what does, and fails with ENOSPC. */
  capacity = Number.POSITIVE_INFINITY;
  readonly #options: MemoryDiskOptions;
  readonly #inside: Inside;
  /** What is asked for and has had no effect yet; whoever died asked in vain, or nearly so. */
  readonly #underWay = new Set<() => Operation | undefined>();
  #dead = false;

  constructor(options: MemoryDiskOptions = {}, inside?: Inside) {
    this.#options = options;
    this.#inside = inside ?? insideOf(new Image(), options.journal ?? true);
  }

  /** All operations since the disk was new, or lost its power. */
  get journal(): readonly Operation[] {
    return this.#inside.journal;
  }

  note(what: string): void {
    this.#do({ type: 'note', what });
  }

  /**
   * The process dies now: whatever it still asks of this disk has no effect and never ends. `underWay` decides about each write,
   * sync or change of names that was asked for and has had no effect yet. All else that was written can be read.
   */
  kill(underWay: (operation: Operation) => Fate = () => 'lost'): MemoryDisk {
    for (const operation of this.#die()) {
      const fate = underWay(operation);
      const pieces = isUnsynced(operation) ? left(operation, fate) : fate === 'lost' ? [] : [operation];
      for (const piece of pieces) this.#do(piece);
    }
    return this.#next(this.#inside);
  }

  /** The power fails now, and the process with it. `fate` decides about all that was not synced, one by one. */
  losePower(fate: (operation: Write | Change, isLast: boolean) => Fate): MemoryDisk {
    for (const operation of this.#die()) if (isUnsynced(operation)) this.#do(operation);
    const { platter, unsynced, places, nodes, base } = this.#inside;
    for (const { operation, place } of unsynced)
      for (const piece of left(operation, fate(operation, place === places - 1))) apply(platter, piece);
    return this.#next(insideOf(platter.copy(), base !== undefined, nodes));
  }

  /** As if the process had died after `count` operations, the last of which, if it is a write, got only so far. */
  killed(count: number, lastBytes = Number.POSITIVE_INFINITY): MemoryDisk {
    return this.#replayed(count, (last) =>
      last.type === 'write' ? { ...last, bytes: last.bytes.subarray(0, lastBytes) } : last,
    );
  }

  /** As if the process had stopped over the failure to sync its last operation, a write. */
  syncFailed(count: number): MemoryDisk {
    return this.#replayed(count, (last) => (last.type === 'write' ? { ...last, doomed: true } : last));
  }

  /** As if the power had failed after `count` operations. */
  powerLost(count: number, fate: (operation: Write | Change, isLast: boolean) => Fate): MemoryDisk {
    return this.#replayed(count, (last) => last).losePower(fate);
  }

  /** Bits of a stored byte turn over. */
  flip(path: string, at: number, mask: number): void {
    this.#do({ type: 'flip', file: this.#file(path), at, mask });
  }

  /** Path and size of all files. */
  files(): Map<string, number> {
    const files = new Map<string, number>();
    for (const { path, file } of this.#inside.now.walk()) if (file) files.set(path, file.length);
    return files;
  }

  room(): DiskRoom {
    let used = 0;
    for (const size of this.files().values()) used += size;
    return { free: Math.max(0, this.capacity - used), total: this.capacity };
  }

  async list(path: string): Promise<string[]> {
    await this.#perform({ type: 'list', path });
    const { now } = this.#inside;
    return [...now.names(now.folder(path))!.keys()];
  }

  async read(path: string): Promise<Buffer> {
    try {
      await this.#perform({ type: 'read', path });
      const bytes = Buffer.from(this.#inside.now.file(this.#file(path))!.bytes);
      this.onRead?.(path, bytes, 0);
      return bytes;
    } catch (error) {
      throw new Error(`${path} cannot be read at offset 0: ${(error as Error).message}`, { cause: error });
    }
  }

  /** As on a real disk: what is removed meanwhile can be read to its end, and a chunk's memory is used again. */
  async *stream(path: string, offset: number): AsyncGenerator<Uint8Array> {
    await this.#perform({ type: 'open', path });
    const file = this.#inside.now.file(this.#file(path))!;
    const chunk = Buffer.alloc(Math.min(streamChunkBytes, Math.max(0, file.length - offset)));
    for (let at = offset; at < file.length; ) {
      await this.#perform({ type: 'read', path, at });
      const bytes = chunk.subarray(0, file.bytes.copy(chunk, 0, at));
      this.onRead?.(path, bytes, at);
      at += bytes.length;
      yield bytes;
    }
  }

  async makeFolder(path: string): Promise<void> {
    if (this.#inside.now.find(path) !== undefined) return;
    await this.#perform({ type: 'makeFolder', path }, () =>
      this.#inside.now.find(path) === undefined ? this.#link(path, 'folder') : undefined,
    );
  }

  async create(path: string): Promise<NewFile> {
    let file: Node | undefined;
    await this.#perform({ type: 'create', path }, () => {
      if (this.#inside.now.find(path) !== undefined) throw failure('EEXIST', path);
      const link = this.#link(path, 'file');
      file = link.node;
      return link;
    });
    const opened = file!;
    let size = 0;
    return {
      append: async (bytes) => {
        await this.#write(path, opened, bytes, size);
        size += bytes.length;
      },
      sync: () => this.#sync(path, opened),
      close: () => this.#end(),
    };
  }

  async writeNew(path: string, bytes: Uint8Array): Promise<void> {
    const file = await this.create(path);
    await file.append(bytes);
    await file.sync();
    await file.close();
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#perform({ type: 'rename', path: from }, () => {
      const { now } = this.#inside;
      const node = now.find(from);
      if (node === undefined || dirname(from) !== dirname(to)) throw missing(from);
      if (now.names(now.find(to) ?? -1)?.size) throw failure('ENOTEMPTY', to);
      return { type: 'rename', folder: now.folder(dirname(from)), from: basename(from), to: basename(to), node };
    });
  }

  /** What is in a folder goes one by one, and before it. */
  async remove(path: string): Promise<void> {
    const { now } = this.#inside;
    const node = now.find(path);
    for (const name of [...(now.names(node ?? -1)?.keys() ?? [])]) await this.remove(`${path}/${name}`);
    await this.#perform({ type: 'remove', path }, () =>
      now.find(path) === undefined
        ? undefined
        : { type: 'unlink', folder: now.folder(dirname(path)), name: basename(path) },
    );
  }

  async syncFolder(path: string): Promise<void> {
    await this.#perform({ type: 'syncFolder', path }, () => ({
      type: 'syncFolder',
      folder: this.#inside.now.folder(path),
    }));
  }

  async openAppend(path: string): Promise<AppendFile> {
    await this.#perform({ type: 'open', path });
    const file = this.#file(path);
    return {
      write: async (bytes, at) => {
        const only = await this.#write(path, file, bytes, at);
        await this.#sync(path, file, only);
      },
      zero: async (from, to) => {
        await this.#write(path, file, new Uint8Array(to - from), from);
        await this.#sync(path, file);
      },
      close: () => this.#end(),
    };
  }

  #file(path: string): Node {
    const node = this.#inside.now.find(path);
    if (node === undefined || !this.#inside.now.file(node)) throw missing(path);
    return node;
  }

  #link(path: string, kind: 'file' | 'folder'): Extract<Change, { type: 'link' }> {
    const { now } = this.#inside;
    return { type: 'link', folder: now.folder(dirname(path)), name: basename(path), node: this.#inside.nodes, kind };
  }

  async #write(path: string, file: Node, bytes: Uint8Array, at: number): Promise<number> {
    if (bytes.length === 0) return -1;
    return this.#perform({ type: 'write', path, at, bytes: bytes.length }, () => ({
      type: 'write',
      file,
      at,
      bytes: Uint8Array.from(bytes),
    }));
  }

  async #sync(path: string, file: Node, only?: number): Promise<void> {
    await this.#perform({ type: 'sync', path }, () => ({ type: 'sync', file, ...(only !== undefined && { only }) }));
  }

  #end(): Promise<void> {
    return this.#dead ? never() : Promise.resolve();
  }

  /** The place that its operation has in the journal; it is planned when it takes effect. */
  async #perform(asked: Asked, plan: () => Operation | undefined = () => undefined): Promise<number> {
    const { pause } = this.#options;
    if (this.#dead) await never();
    if (pause) {
      this.#underWay.add(plan);
      await pause(asked, 'before');
      if (this.#dead) await never();
      this.#underWay.delete(plan);
    }
    const planned = plan();
    const failed = this.fails?.(asked) ?? this.#withoutRoom(planned);
    const operation = failed ? despite(planned, failed) : planned;
    const place = operation ? this.#do(operation) : -1;
    if (pause) await pause(asked, 'after');
    if (this.#dead) await never();
    if (failed)
      throw Object.assign(failure(failed.code, `${asked.type} ${asked.path}`), { syscall: callOf(planned, asked) });
    return place;
  }

  #withoutRoom(operation: Operation | undefined): Failure | undefined {
    if (operation?.type !== 'write' || this.capacity === Number.POSITIVE_INFINITY) return undefined;
    const { file, at, bytes } = operation;
    const size = this.#inside.now.file(file)?.length ?? 0;
    const fits = size + this.room().free - at;
    return fits >= bytes.length || at + bytes.length <= size ? undefined : { code: 'ENOSPC', bytes: Math.max(0, fits) };
  }

  #do(operation: Operation): number {
    const inside = this.#inside;
    const { now, platter, unsynced } = inside;
    const place = inside.places++;
    if (inside.base) inside.journal.push(operation);
    switch (operation.type) {
      case 'link':
        inside.nodes = Math.max(inside.nodes, operation.node + 1);
        now.make(operation);
        platter.make(operation);
        now.change(operation);
        unsynced.push({ place, operation });
        break;
      case 'rename':
      case 'unlink':
      case 'write':
        apply(now, operation);
        unsynced.push({ place, operation });
        break;
      case 'sync':
        this.#settle(
          ({ operation: waiting, place: at }) =>
            waiting.type === 'write' &&
            waiting.file === operation.file &&
            !waiting.doomed &&
            (operation.only ?? at) === at,
          operation.failed,
        );
        break;
      case 'syncFolder': {
        const isOfFolder = ({ operation: waiting }: Unsynced): boolean =>
          waiting.type !== 'write' && waiting.folder === operation.folder;
        // A folder that changed after a failure is written with all that is in it.
        const isChanged = unsynced.some((each) => isOfFolder(each) && !each.operation.doomed);
        this.#settle((each) => isChanged && isOfFolder(each), operation.failed);
        break;
      }
      case 'flip':
        now.flip(operation.file, operation.at, operation.mask);
        platter.flip(operation.file, operation.at, operation.mask);
        break;
      case 'note':
        break;
    }
    return place;
  }

  #settle(isSettled: (waiting: Unsynced) => boolean, failed: true | undefined): void {
    const inside = this.#inside;
    const settled = new Set(inside.unsynced.filter(isSettled));
    if (failed) {
      const doom = ({ place, operation }: Unsynced): Unsynced => ({ place, operation: { ...operation, doomed: true } });
      inside.unsynced = inside.unsynced.map((each) => (settled.has(each) ? doom(each) : each));
      return;
    }
    inside.unsynced = inside.unsynced.filter((each) => !settled.has(each));
    for (const { place, operation } of settled) {
      const gone = new Set(apply(inside.platter, operation));
      if (gone.size > 0)
        inside.unsynced = inside.unsynced.filter(
          ({ operation: other }) => !gone.has(other.type === 'write' ? other.file : other.folder),
        );
      // What a doomed write left of older bytes in the same place is written over.
      if (operation.type === 'write')
        inside.unsynced = inside.unsynced.flatMap((other) =>
          other.place < place && other.operation.type === 'write'
            ? uncovered(other.operation, operation).map((piece) => ({ place: other.place, operation: piece }))
            : [other],
        );
    }
  }

  /** What was under way when the process died; each is planned when the one before has had its fate. */
  *#die(): Generator<Operation> {
    this.#dead = true;
    for (const plan of this.#underWay) {
      let operation: Operation | undefined;
      try {
        operation = plan();
      } catch {
        // It would have failed, and had no effect.
      }
      if (operation) yield operation;
    }
  }

  #next(inside: Inside): MemoryDisk {
    const next = new MemoryDisk(this.#options, inside);
    next.fails = this.fails;
    next.onRead = this.onRead;
    next.capacity = this.capacity;
    return next;
  }

  #replayed(count: number, change: (last: Operation) => Operation): MemoryDisk {
    const { base, journal } = this.#inside;
    if (!base) throw new Error('the journal was not kept');
    const disk = new MemoryDisk({}, insideOf(base.copy(), true, this.#inside.nodes));
    for (let at = 0; at < count; at++) disk.#do(at === count - 1 ? change(journal[at]!) : journal[at]!);
    return disk;
  }
}

const never = (): Promise<never> => new Promise(() => {});

/** A write with O_DSYNC is one call, whichever half of it fails. */
function callOf(operation: Operation | undefined, asked: Asked): string {
  const isSync = operation?.type === 'syncFolder' || (operation?.type === 'sync' && operation.only === undefined);
  return isSync ? 'fsync' : operation?.type === 'sync' ? 'write' : asked.type;
}

function apply(image: Image, operation: Write | Change): Node[] {
  if (operation.type !== 'write') return image.change(operation);
  image.write(operation);
  return [];
}
