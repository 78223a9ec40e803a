import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { checkKey, checkPrefix } from './key.ts';
import {
  type PutResult,
  type Store,
  type StoreCallOptions,
  type StoredObject,
  StoreError,
  type StoreErrorCode,
} from './store.ts';

/** No key has a name that begins with a dot, so what is being written is never taken for an object. */
const partialPrefix = '.partial-';
/** A put that was killed leaves its file; after a day nobody is writing it any more. Milliseconds. */
const partialLifetimeMs = 24 * 60 * 60 * 1000;

const codes: Readonly<Record<string, StoreErrorCode>> = {
  ENOENT: 'STORE_KEY_MISSING',
  EISDIR: 'STORE_KEY_MISSING',
  ENOTDIR: 'STORE_KEY_MISSING',
  EACCES: 'STORE_ACCESS_DENIED',
  EPERM: 'STORE_ACCESS_DENIED',
  EROFS: 'STORE_ACCESS_DENIED',
  ENOSPC: 'STORE_FULL',
  EDQUOT: 'STORE_FULL',
};

/** A store in a folder of a mounted volume. `mount` must be there; `path` in it is made by the first put. */
export class VolumeStore implements Store {
  readonly kind = 'volume';
  readonly location: string;
  readonly #mount: string;

  constructor(mount: string, path?: string) {
    if (path !== undefined) checkKey(path);
    this.#mount = mount;
    this.location = path === undefined ? mount : join(mount, path);
  }

  async put(key: string, source: AsyncIterable<Uint8Array>, options: StoreCallOptions = {}): Promise<PutResult> {
    const target = this.#path(key);
    const folder = dirname(target);
    await this.check();
    await this.#attempt('write', key, () => this.#makeFolder(folder));
    await this.#refuseOutside(folder, key);
    await sweep(folder);
    const aside = join(folder, `${partialPrefix}${randomBytes(6).toString('hex')}-${basename(target)}`);
    const file = await this.#attempt('write', key, () => open(aside, 'wx', 0o600));
    try {
      const hash = createHash('sha256');
      let sizeBytes = 0;
      try {
        for await (const chunk of source) {
          throwIfAborted(options.signal, key);
          hash.update(chunk);
          sizeBytes += chunk.length;
          await this.#attempt('write', key, () => writeAll(file, chunk));
        }
        throwIfAborted(options.signal, key);
        await this.#attempt('write', key, () => file.sync());
      } finally {
        await file.close();
      }
      await this.#attempt('write', key, async () => {
        await rename(aside, target);
        await syncFolder(folder);
      });
      return { key, sizeBytes, sha256: hash.digest('hex') };
    } finally {
      await rm(aside, { force: true });
    }
  }

  async get(
    key: string,
    options: StoreCallOptions & { readonly range?: { readonly start: number; readonly end?: number } } = {},
  ): Promise<{ sizeBytes: number; chunks: AsyncIterable<Uint8Array> }> {
    const path = this.#path(key);
    await this.check();
    const file = await this.#attempt('read', key, async () => {
      await this.#refuseOutside(path, key);
      const handle = await open(path, 'r');
      if ((await handle.stat()).isFile()) return handle;
      await handle.close();
      throw Object.assign(new Error('not a file'), { code: 'EISDIR' });
    });
    const { size } = await file.stat();
    const start = options.range?.start ?? 0;
    const end = Math.min(options.range?.end ?? size - 1, size - 1);
    const chunks = async function* (this: VolumeStore): AsyncGenerator<Uint8Array> {
      // Closing the stream closes the file, also when the reader stops early.
      const stream = createReadStream(path, { fd: file, start, end: Math.max(end, start), highWaterMark: 256 * 1024 });
      try {
        if (end < start) return;
        for await (const chunk of stream as AsyncIterable<Uint8Array>) {
          throwIfAborted(options.signal, key);
          yield chunk;
        }
      } catch (error) {
        throw this.#translate('read', key, error);
      } finally {
        stream.destroy();
      }
    };
    return { sizeBytes: Math.max(0, end - start + 1), chunks: chunks.call(this) };
  }

  async head(key: string): Promise<StoredObject | undefined> {
    const path = this.#path(key);
    await this.check();
    try {
      const found = await stat(path);
      if (!found.isFile()) return undefined;
      return { key, sizeBytes: found.size, etag: `${found.ino}-${found.mtimeMs}-${found.size}` };
    } catch (error) {
      const known = this.#translate('look up', key, error);
      if (known.code === 'STORE_KEY_MISSING') return undefined;
      throw known;
    }
  }

  async *list(prefix: string, options: StoreCallOptions = {}): AsyncGenerator<StoredObject> {
    checkPrefix(prefix);
    await this.check();
    const entries = await readdir(this.location, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
      const known = this.#translate('list', prefix, error);
      // Nothing has been put yet.
      if (known.code === 'STORE_KEY_MISSING') return [];
      throw known;
    });
    const keys = entries
      .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(this.location.length + 1)
          .split(sep)
          .join('/'),
      )
      .filter((key) => key.startsWith(prefix))
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const key of keys) {
      throwIfAborted(options.signal, prefix);
      // One that was deleted meanwhile is not listed.
      const found = await this.head(key);
      if (found !== undefined) yield found;
    }
  }

  async delete(key: string): Promise<void> {
    const path = this.#path(key);
    await this.check();
    try {
      await this.#refuseOutside(path, key);
      await rm(path);
      await syncFolder(dirname(path));
    } catch (error) {
      const known = this.#translate('delete', key, error);
      if (known.code !== 'STORE_KEY_MISSING') throw known;
    }
  }

  async check(): Promise<void> {
    const found = await stat(this.#mount).catch(() => undefined);
    if (found?.isDirectory() === true) return;
    throw new StoreError('STORE_FOLDER_MISSING', `${this.#mount} is not a folder: mount the store's volume there`);
  }

  close(): void {}

  #path(key: string): string {
    return join(this.location, ...checkKey(key).split('/'));
  }

  /** Makes the folder and those above it durable, down from the mount. */
  async #makeFolder(folder: string): Promise<void> {
    const first = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let at = folder; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
  }

  /** A link inside the volume must not lead out of it. */
  async #refuseOutside(path: string, key: string): Promise<void> {
    const [root, real] = await Promise.all([realpath(this.#mount), realpath(path)]);
    if (real === root || real.startsWith(root.endsWith(sep) ? root : `${root}${sep}`)) return;
    throw new StoreError('STORE_KEY_INVALID', `"${key}" leads out of the store through a link`);
  }

  async #attempt<T>(verb: string, key: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw this.#translate(verb, key, error);
    }
  }

  #translate(verb: string, key: string, cause: unknown): StoreError {
    if (cause instanceof StoreError) return cause;
    const { code = '', message } = cause as { code?: string; message: string };
    const known = codes[code] ?? 'STORE_FAILED';
    const advice = {
      STORE_ACCESS_DENIED: 'let the user of this process read and write the volume',
      STORE_FULL: 'free room on the volume, or make it larger',
    } as Partial<Record<StoreErrorCode, string>>;
    const text =
      known === 'STORE_KEY_MISSING' && verb !== 'write'
        ? `there is no "${key}" in ${this.location}`
        : `cannot ${verb} "${key}" in ${this.location}: ${advice[known] === undefined ? '' : `${advice[known]}: `}${message}`;
    return new StoreError(verb === 'write' && known === 'STORE_KEY_MISSING' ? 'STORE_FAILED' : known, text, { cause });
  }
}

async function sweep(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((one) => one.startsWith(partialPrefix))) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > partialLifetimeMs) await rm(path, { force: true });
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await file.write(bytes, written, bytes.length - written)).bytesWritten;
  }
}

/** Makes a new or removed name survive a power loss (ES-21). */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function throwIfAborted(signal: AbortSignal | undefined, key: string): void {
  if (signal?.aborted !== true) return;
  throw new StoreError('STORE_ABORTED', `stopped while working on "${key}"`, { cause: signal.reason });
}
