/**
 * A disk in memory that can crash. It keeps every operation, so that a test can stop before any of them and ask what is
 * left: after the death of the process (all that was written can be read, the last write perhaps in part), or after a loss
 * of power (of what was not synced, anything may be there or not: whole writes, parts of them, and names in any order).
 */
import { basename, dirname } from 'node:path';
import { type AppendFile, type Disk, type NewFile, streamChunkBytes } from '../../src/storage/disk.ts';

type Node = number;

type Change =
  | {
      readonly type: 'link';
      readonly folder: Node;
      readonly name: string;
      readonly node: Node;
      readonly kind: 'file' | 'folder';
    }
  | { readonly type: 'rename'; readonly folder: Node; readonly from: string; readonly to: string; readonly node: Node }
  | { readonly type: 'unlink'; readonly folder: Node; readonly name: string };

export type Operation =
  | Change
  /** `doomed`: its sync failed. The kernel shows the bytes, takes them for written, and no later sync puts them on disk. */
  | {
      readonly type: 'write';
      readonly file: Node;
      readonly at: number;
      readonly bytes: Uint8Array;
      readonly doomed?: true;
    }
  /** `only`: the write at this place in the journal; otherwise all of the file's. */
  | { readonly type: 'sync'; readonly file: Node; readonly only?: number }
  | { readonly type: 'syncFolder'; readonly folder: Node }
  /** Something that the test wants to find again. */
  | { readonly type: 'note'; readonly what: string };

const root: Node = 0;
export const sector = 512;

/** What a disk holds: folders by name, files by content. */
class Image {
  readonly folders = new Map<Node, Map<string, Node>>([[root, new Map()]]);
  readonly files = new Map<Node, Buffer>();

  copy(): Image {
    const copy = new Image();
    for (const [node, names] of this.folders) copy.folders.set(node, new Map(names));
    for (const [node, bytes] of this.files) copy.files.set(node, Buffer.from(bytes));
    return copy;
  }

  make(node: Node, kind: 'file' | 'folder'): void {
    if (kind === 'folder') this.folders.set(node, new Map());
    else this.files.set(node, Buffer.alloc(0));
  }

  change(change: Change): void {
    const names = this.folders.get(change.folder)!;
    if (change.type === 'link') names.set(change.name, change.node);
    else if (change.type === 'unlink') names.delete(change.name);
    else {
      names.delete(change.from);
      names.set(change.to, change.node);
    }
  }

  write(file: Node, at: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const before = this.files.get(file)!;
    const content = Buffer.alloc(Math.max(before.length, at + bytes.length));
    content.set(before);
    content.set(bytes, at);
    this.files.set(file, content);
  }

  folder(path: string): Node {
    let at: Node = root;
    for (const name of path.split('/').filter(Boolean)) {
      const next = this.folders.get(at)?.get(name);
      if (next === undefined || !this.folders.has(next)) throw missing(path);
      at = next;
    }
    return at;
  }

  find(path: string): Node | undefined {
    return this.folders.get(this.folder(dirname(path)))!.get(basename(path));
  }
}

function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
}

/** What becomes of an unsynced operation in a loss of power: how many of its bytes, or which of its sectors, are there. */
export type Fate = 'kept' | 'lost' | { readonly bytes: number } | { readonly sectors: (at: number) => boolean };

export interface MemoryDiskOptions {
  /** Called between an operation and its completion, so that others may come in between. */
  readonly pause?: () => Promise<void>;
}

export class MemoryDisk implements Disk {
  readonly journal: Operation[] = [];
  readonly #base: Image;
  readonly #now: Image;
  readonly #pause: () => Promise<void>;
  #nodes: number;

  constructor(options: MemoryDiskOptions = {}, base = new Image(), journal: readonly Operation[] = []) {
    this.#pause = options.pause ?? (() => Promise.resolve());
    this.#base = base;
    this.#now = base.copy();
    this.#nodes = 1 + Math.max(0, ...base.folders.keys(), ...base.files.keys());
    for (const operation of journal) this.#do(operation);
  }

  note(what: string): void {
    this.#do({ type: 'note', what });
  }

  /** The process dies after `count` operations, the last of which, if it is a write, got only so far. */
  killed(count: number, lastBytes = Number.POSITIVE_INFINITY): MemoryDisk {
    const journal = this.journal.slice(0, count);
    const last = journal.at(-1);
    if (last?.type === 'write') journal[count - 1] = { ...last, bytes: last.bytes.subarray(0, lastBytes) };
    return new MemoryDisk({}, this.#base, journal);
  }

  /** The process stopped over the failure to sync its last operation, a write. */
  syncFailed(count: number): MemoryDisk {
    const journal = this.journal.slice(0, count);
    const last = journal[count - 1]!;
    if (last.type === 'write') journal[count - 1] = { ...last, doomed: true };
    return new MemoryDisk({}, this.#base, journal);
  }

  /** The power fails after `count` operations. */
  powerLost(count: number, fate: (operation: Operation, isLast: boolean) => Fate): MemoryDisk {
    const image = this.#base.copy();
    const pending = new Map<number, Operation>();
    for (let at = 0; at < count; at++) {
      const operation = this.journal[at]!;
      if (operation.type === 'note') continue;
      if (operation.type !== 'sync' && operation.type !== 'syncFolder') {
        pending.set(at, operation);
        if (operation.type === 'link') image.make(operation.node, operation.kind);
        continue;
      }
      for (const [place, waiting] of pending) {
        if (!settles(operation, place, waiting)) continue;
        pending.delete(place);
        apply(image, waiting, 'kept');
      }
    }
    for (const [place, waiting] of pending) apply(image, waiting, fate(waiting, place === count - 1));
    return new MemoryDisk({}, image);
  }

  async list(path: string): Promise<string[]> {
    return [...this.#now.folders.get(this.#now.folder(path))!.keys()];
  }

  async read(path: string): Promise<Buffer> {
    const node = this.#now.find(path);
    if (node === undefined) throw missing(path);
    return Buffer.from(this.#now.files.get(node)!);
  }

  async makeFolder(path: string): Promise<void> {
    if (this.#now.find(path) === undefined) this.#link(path, 'folder');
    await this.#pause();
  }

  async *stream(path: string, offset: number): AsyncGenerator<Uint8Array> {
    const bytes = (await this.read(path)).subarray(offset);
    for (let at = 0; at < bytes.length; at += streamChunkBytes) yield bytes.subarray(at, at + streamChunkBytes);
  }

  async create(path: string): Promise<NewFile> {
    if (this.#now.find(path) !== undefined) throw new Error(`EEXIST: ${path}`);
    const file = this.#link(path, 'file');
    let size = 0;
    await this.#pause();
    return {
      append: async (bytes) => {
        this.#do({ type: 'write', file, at: size, bytes: Uint8Array.from(bytes) });
        size += bytes.length;
        await this.#pause();
      },
      sync: async () => {
        this.#do({ type: 'sync', file });
        await this.#pause();
      },
      close: async () => {},
    };
  }

  async writeNew(path: string, bytes: Uint8Array): Promise<void> {
    const file = await this.create(path);
    await file.append(bytes);
    await file.sync();
  }

  async rename(from: string, to: string): Promise<void> {
    const node = this.#now.find(from);
    if (node === undefined || dirname(from) !== dirname(to)) throw missing(from);
    if (this.#now.folders.get(this.#now.find(to) ?? -1)?.size)
      throw Object.assign(new Error(`ENOTEMPTY: ${to}`), { code: 'ENOTEMPTY' });
    this.#do({ type: 'rename', folder: this.#now.folder(dirname(from)), from: basename(from), to: basename(to), node });
    await this.#pause();
  }

  async remove(path: string): Promise<void> {
    if (this.#now.find(path) !== undefined) {
      this.#do({ type: 'unlink', folder: this.#now.folder(dirname(path)), name: basename(path) });
    }
    await this.#pause();
  }

  async syncFolder(path: string): Promise<void> {
    await this.#pause();
    this.#do({ type: 'syncFolder', folder: this.#now.folder(path) });
    await this.#pause();
  }

  async openAppend(path: string): Promise<AppendFile> {
    const file = this.#now.find(path);
    if (file === undefined) throw missing(path);
    const write = (bytes: Uint8Array, at: number): number => {
      this.#do({ type: 'write', file, at, bytes: Uint8Array.from(bytes) });
      return this.journal.length - 1;
    };
    return {
      write: async (bytes, at) => {
        const only = write(bytes, at);
        await this.#pause();
        this.#do({ type: 'sync', file, only });
        await this.#pause();
      },
      zero: async (from, to) => {
        write(new Uint8Array(to - from), from);
        await this.#pause();
        this.#do({ type: 'sync', file });
        await this.#pause();
      },
      close: async () => {},
    };
  }

  #link(path: string, kind: 'file' | 'folder'): Node {
    const node = this.#nodes++;
    this.#do({ type: 'link', folder: this.#now.folder(dirname(path)), name: basename(path), node, kind });
    return node;
  }

  #do(operation: Operation): void {
    this.journal.push(operation);
    if (operation.type === 'link') {
      this.#nodes = Math.max(this.#nodes, operation.node + 1);
      this.#now.make(operation.node, operation.kind);
    }
    apply(this.#now, operation, 'kept');
  }
}

function settles(sync: Operation, place: number, waiting: Operation): boolean {
  if (sync.type === 'syncFolder')
    return waiting.type !== 'write' && 'folder' in waiting && waiting.folder === sync.folder;
  if (sync.type !== 'sync' || waiting.type !== 'write' || waiting.file !== sync.file || waiting.doomed) return false;
  return sync.only === undefined || sync.only === place;
}

function apply(image: Image, operation: Operation, fate: Fate): void {
  if (fate === 'lost') return;
  switch (operation.type) {
    case 'link':
    case 'rename':
    case 'unlink':
      image.change(operation);
      return;
    case 'write': {
      const { file, at, bytes } = operation;
      if (fate === 'kept') image.write(file, at, bytes);
      else if ('bytes' in fate) image.write(file, at, bytes.subarray(0, fate.bytes));
      else {
        for (let from = 0; from < bytes.length; ) {
          const to = Math.min(bytes.length, (Math.floor((at + from) / sector) + 1) * sector - at);
          if (fate.sectors(at + from)) image.write(file, at + from, bytes.subarray(from, to));
          from = to;
        }
      }
      return;
    }
    case 'sync':
    case 'syncFolder':
    case 'note':
      return;
  }
}
