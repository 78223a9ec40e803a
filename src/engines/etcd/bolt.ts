/**
 * Reads a bbolt file, etcd's backend: a B+tree of pages. Only as much as it takes to look something up, at positions; the
 * file may be of any size. Whatever is out of place is refused with `ENGINE_SNAPSHOT_CORRUPT`.
 */
import { EngineError } from '../engine.ts';

/** Bytes from a position; fewer only where the file ends. */
export type ReadAt = (position: number, length: number) => Promise<Uint8Array>;

const magic = 0xed0cdaed;
const version = 2;
const pageHeader = 16;
const metaBytes = 64;
const elementBytes = 16;
const bucketHeader = 16;
const branchPage = 0x01;
const leafPage = 0x02;
const metaPage = 0x04;
const bucketElement = 0x01;
/** A tree of the largest file is not half as deep. */
const deepest = 32;
/** Keys and values that are asked for are small; more than this is a sign that the file is no etcd's. */
const longest = 4 * 1024 * 1024;
const mostPages = 1_000;

interface Page {
  readonly kind: 'branch' | 'leaf';
  /** Where its elements begin, from the start of the file. */
  readonly at: number;
  readonly elements: DataView;
  readonly count: number;
}

/** Where a bucket's tree begins: on a page, or within the value that the bucket is of its parent. */
type Root = { readonly page: number } | { readonly inline: number };

function corrupt(what: string): EngineError {
  return new EngineError('ENGINE_SNAPSHOT_CORRUPT', `the snapshot is no good bbolt file: ${what}`);
}

export class Bolt {
  readonly #read: ReadAt;
  readonly #pageSize: number;
  readonly #root: Bucket;

  private constructor(read: ReadAt, pageSize: number, root: number) {
    this.#read = read;
    this.#pageSize = pageSize;
    this.#root = new Bucket(this, { page: root });
  }

  static async open(read: ReadAt): Promise<Bolt> {
    // The two newest states of the file: the newer of those that are whole counts.
    const first = await metaAt(read, 0);
    const sizes = first ? [first.pageSize] : Array.from({ length: 7 }, (_, at) => 1024 << at);
    let newest = first;
    for (const size of sizes) {
      const second = await metaAt(read, size);
      if (second && second.pageSize === size && (newest === undefined || second.txid > newest.txid)) newest = second;
    }
    if (newest === undefined) throw corrupt('neither of its meta pages is whole');
    return new Bolt(read, newest.pageSize, newest.root);
  }

  bucket(name: string): Promise<Bucket | undefined> {
    return this.#root.bucket(Buffer.from(name));
  }

  async page(root: Root): Promise<Page> {
    const at = 'page' in root ? root.page * this.#pageSize : root.inline;
    const header = viewOf(await this.bytes(at, pageHeader));
    const flags = header.getUint16(8, true);
    const count = header.getUint16(10, true);
    if ('page' in root && header.getBigUint64(0, true) !== BigInt(root.page))
      throw corrupt(`page ${root.page} says that it is another`);
    const kind = flags === branchPage ? 'branch' : flags === leafPage ? 'leaf' : undefined;
    if (kind === undefined) throw corrupt(`a page of a tree at byte ${at} is neither branch nor leaf`);
    if (kind === 'branch' && count === 0) throw corrupt(`the branch at byte ${at} is empty`);
    const elements = viewOf(await this.bytes(at + pageHeader, count * elementBytes));
    return { kind, at: at + pageHeader, elements, count };
  }

  async bytes(position: number, length: number): Promise<Uint8Array> {
    if (length > longest) throw corrupt(`${length} bytes are asked for at byte ${position}`);
    if (length === 0) return new Uint8Array(0);
    const bytes = await this.#read(position, length);
    if (bytes.length < length) throw corrupt(`it ends before byte ${position + length}`);
    return bytes;
  }
}

export class Bucket {
  readonly #bolt: Bolt;
  readonly #root: Root;

  constructor(bolt: Bolt, root: Root) {
    this.#bolt = bolt;
    this.#root = root;
  }

  async get(key: Uint8Array | string): Promise<Uint8Array | undefined> {
    const found = await this.#find(Buffer.from(key));
    return found && !found.isBucket ? this.#bolt.bytes(found.valueAt, found.valueLength) : undefined;
  }

  async bucket(name: Uint8Array): Promise<Bucket | undefined> {
    const found = await this.#find(Buffer.from(name));
    if (!found?.isBucket) return undefined;
    const head = viewOf(await this.#bolt.bytes(found.valueAt, bucketHeader));
    const page = pageNumber(head, 0);
    return new Bucket(this.#bolt, page === 0 ? { inline: found.valueAt + bucketHeader } : { page });
  }

  /** The greatest key; undefined in an empty bucket. */
  async lastKey(): Promise<Uint8Array | undefined> {
    let root = this.#root;
    for (let depth = 0; depth < deepest; depth++) {
      const page = await this.#bolt.page(root);
      if (page.count === 0) return undefined;
      if (page.kind === 'leaf') return this.#key(page, page.count - 1);
      root = { page: childOf(page, page.count - 1) };
    }
    throw corrupt('its tree is too deep');
  }

  /** Of a small bucket, in the order of keys. Buckets within are left out. */
  async *entries(): AsyncGenerator<readonly [key: Uint8Array, value: Uint8Array]> {
    yield* this.#entriesOf(this.#root, { pages: mostPages });
  }

  async *#entriesOf(root: Root, left: { pages: number }): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    // A page that is its own child would never end.
    if (left.pages-- === 0) throw corrupt(`a bucket that should be small has more than ${mostPages} pages`);
    const page = await this.#bolt.page(root);
    for (let at = 0; at < page.count; at++) {
      if (page.kind === 'branch') {
        yield* this.#entriesOf({ page: childOf(page, at) }, left);
        continue;
      }
      const { isBucket, valueAt, valueLength } = leafAt(page, at);
      if (!isBucket) yield [await this.#key(page, at), await this.#bolt.bytes(valueAt, valueLength)];
    }
  }

  async #find(key: Buffer) {
    let root = this.#root;
    for (let depth = 0; depth < deepest; depth++) {
      const page = await this.#bolt.page(root);
      // The last element whose key is not greater.
      let low = -1;
      let high = page.count;
      while (high - low > 1) {
        const middle = (low + high) >>> 1;
        if (Buffer.compare(await this.#key(page, middle), key) <= 0) low = middle;
        else high = middle;
      }
      if (page.kind === 'branch') {
        if (low < 0) return undefined;
        root = { page: childOf(page, low) };
        continue;
      }
      return low >= 0 && key.equals(await this.#key(page, low)) ? leafAt(page, low) : undefined;
    }
    throw corrupt('its tree is too deep');
  }

  #key({ kind, at, elements }: Page, index: number): Promise<Uint8Array> {
    const element = index * elementBytes;
    // Positions are from the element itself.
    const [pos, length] = kind === 'branch' ? [element, element + 4] : [element + 4, element + 8];
    return this.#bolt.bytes(at + element + elements.getUint32(pos, true), elements.getUint32(length, true));
  }
}

function leafAt({ at, elements }: Page, index: number) {
  const element = index * elementBytes;
  const keyLength = elements.getUint32(element + 8, true);
  return {
    isBucket: (elements.getUint32(element, true) & bucketElement) !== 0,
    valueAt: at + element + elements.getUint32(element + 4, true) + keyLength,
    valueLength: elements.getUint32(element + 12, true),
  };
}

const childOf = ({ elements }: Page, index: number): number => pageNumber(elements, index * elementBytes + 8);

function pageNumber(view: DataView, at: number): number {
  const number = view.getBigUint64(at, true);
  if (number > 1n << 40n) throw corrupt(`there is no page ${number}`);
  return Number(number);
}

interface Meta {
  readonly pageSize: number;
  readonly root: number;
  readonly txid: bigint;
}

async function metaAt(read: ReadAt, position: number): Promise<Meta | undefined> {
  const bytes = await read(position, pageHeader + metaBytes);
  if (bytes.length < pageHeader + metaBytes) return undefined;
  const view = viewOf(bytes);
  const meta = bytes.subarray(pageHeader);
  if ((view.getUint16(8, true) & metaPage) === 0 || view.getUint32(pageHeader, true) !== magic) return undefined;
  const found = view.getUint32(pageHeader + 4, true);
  if (found !== version) throw corrupt(`it is of version ${found}, and ${version} can be read`);
  if (fnv64a(meta.subarray(0, 56)) !== view.getBigUint64(pageHeader + 56, true)) return undefined;
  const pageSize = view.getUint32(pageHeader + 8, true);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return undefined;
  return { pageSize, root: pageNumber(view, pageHeader + 16), txid: view.getBigUint64(pageHeader + 48, true) };
}

function fnv64a(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
