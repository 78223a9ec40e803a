/** What a disk holds, and what changes it: the insides of MemoryDisk. */

/** A file or folder, whatever its name; never used again. */
export type Node = number;

export const root: Node = 0;
export const sector = 512;

/** To the names in a folder. `doomed`: as with a write. */
export type Change = { readonly folder: Node; readonly doomed?: true } & (
  | { readonly type: 'link'; readonly name: string; readonly node: Node; readonly kind: 'file' | 'folder' }
  | { readonly type: 'rename'; readonly from: string; readonly to: string; readonly node: Node }
  | { readonly type: 'unlink'; readonly name: string }
);

/** `doomed`: its sync failed. The kernel shows the bytes, takes them for written, and no later sync puts them on disk. */
export interface Write {
  readonly type: 'write';
  readonly file: Node;
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly doomed?: true;
}

/** What becomes of an unsynced operation in a loss of power: how many of its bytes, or which of its sectors, are there. */
export type Fate = 'kept' | 'lost' | { readonly bytes: number } | { readonly sectors: (at: number) => boolean };

/** A file's bytes, with room to grow. */
class Content {
  #room: Buffer;
  #length: number;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#room = Buffer.from(bytes);
    this.#length = bytes.length;
  }

  get bytes(): Buffer {
    return this.#room.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  write(at: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const end = at + bytes.length;
    if (end > this.#room.length) {
      const larger = Buffer.alloc(Math.max(end, 2 * this.#room.length));
      larger.set(this.bytes);
      this.#room = larger;
    }
    this.#room.set(bytes, at);
    this.#length = Math.max(this.#length, end);
  }

  flip(at: number, mask: number): void {
    if (at < this.#length) this.#room[at]! ^= mask;
  }
}

/** Folders by name, files by content. */
export class Image {
  readonly #folders = new Map<Node, Map<string, Node>>([[root, new Map()]]);
  readonly #files = new Map<Node, Content>();

  /** Of all that has a name. */
  copy(): Image {
    const copy = new Image();
    for (const { node } of this.walk()) {
      const names = this.#folders.get(node);
      if (names) copy.#folders.set(node, new Map(names));
      else copy.#files.set(node, new Content(this.#files.get(node)!.bytes));
    }
    copy.#folders.set(root, new Map(this.#folders.get(root)!));
    return copy;
  }

  /** All that has a name, below a folder; folders before what is in them. */
  *walk(folder: Node = root, path = ''): Generator<{ node: Node; path: string; file: Content | undefined }> {
    for (const [name, node] of this.#folders.get(folder) ?? []) {
      const file = this.#files.get(node);
      yield { node, path: `${path}/${name}`, file };
      if (!file) yield* this.walk(node, `${path}/${name}`);
    }
  }

  make({ node, kind }: { readonly node: Node; readonly kind: 'file' | 'folder' }): void {
    if (kind === 'folder') this.#folders.set(node, new Map());
    else this.#files.set(node, new Content());
  }

  /** What has lost its name by it, with all that was below. */
  change(change: Change): Node[] {
    const names = this.#folders.get(change.folder);
    if (!names) return [];
    if (change.type === 'link') {
      names.set(change.name, change.node);
      return [];
    }
    const name = change.type === 'unlink' ? change.name : change.to;
    const before = names.get(name);
    names.delete(name);
    if (change.type === 'rename') {
      names.delete(change.from);
      names.set(name, change.node);
    }
    return before === undefined || (change.type === 'rename' && before === change.node) ? [] : this.#drop(before);
  }

  #drop(node: Node): Node[] {
    const gone = [node, ...[...this.walk(node)].map((below) => below.node)];
    for (const each of gone) {
      this.#files.delete(each);
      this.#folders.delete(each);
    }
    return gone;
  }

  /** A file without a name any more is nobody's loss. */
  write({ file, at, bytes }: Write): void {
    this.#files.get(file)?.write(at, bytes);
  }

  flip(file: Node, at: number, mask: number): void {
    this.#files.get(file)?.flip(at, mask);
  }

  file(node: Node): Content | undefined {
    return this.#files.get(node);
  }

  names(folder: Node): ReadonlyMap<string, Node> | undefined {
    return this.#folders.get(folder);
  }

  folder(path: string): Node {
    const node = this.find(path);
    if (node === undefined || !this.#folders.has(node)) throw missing(path);
    return node;
  }

  find(path: string): Node | undefined {
    let at: Node | undefined = root;
    for (const name of path.split('/').filter(Boolean)) at = this.#folders.get(at ?? -1)?.get(name);
    return at;
  }
}

export const failure = (code: string, what: string): Error => Object.assign(new Error(`${code}: ${what}`), { code });
export const missing = (path: string): Error => failure('ENOENT', path);

/** What is left of a write or a change of names. */
export function left(operation: Write | Change, fate: Fate): (Write | Change)[] {
  if (fate === 'lost') return [];
  if (fate === 'kept' || operation.type !== 'write') return [operation];
  const { at, bytes } = operation;
  if ('bytes' in fate) return [{ ...operation, bytes: bytes.subarray(0, fate.bytes) }];
  const pieces: Write[] = [];
  for (let from = 0; from < bytes.length; ) {
    const to = Math.min(bytes.length, (Math.floor((at + from) / sector) + 1) * sector - at);
    if (fate.sectors(at + from)) pieces.push({ ...operation, at: at + from, bytes: bytes.subarray(from, to) });
    from = to;
  }
  return pieces;
}

/** A write without those of its bytes that another one covers. */
export function uncovered(write: Write, by: Write): Write[] {
  const [from, to] = [by.at, by.at + by.bytes.length];
  const end = write.at + write.bytes.length;
  if (write.file !== by.file || to <= write.at || from >= end) return [write];
  const before = write.bytes.subarray(0, Math.max(0, from - write.at));
  const after = write.bytes.subarray(Math.min(write.bytes.length, to - write.at));
  return [
    { ...write, bytes: before },
    { ...write, at: end - after.length, bytes: after },
  ].filter(({ bytes }) => bytes.length > 0);
}
