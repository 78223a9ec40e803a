/**
 * Finds a key's entry, by many small maps in the place of one: a map that grows is copied whole, and with a million keys
 * that alone stalls the process for tens of milliseconds (D17).
 */
import type { Key } from './types.ts';

const shards = 256;
/** Keys differ at their end more than anywhere else. */
const hashedCharacters = 8;

function shardOf(key: Key): number {
  let hash = key.length;
  for (let i = Math.max(0, key.length - hashedCharacters); i < key.length; i++) {
    hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0;
  }
  return (hash ^ (hash >>> 8) ^ (hash >>> 16)) & (shards - 1);
}

export class KeyIndex<Entry> {
  readonly #shards = new Array<Map<Key, Entry> | undefined>(shards).fill(undefined);

  get(key: Key): Entry | undefined {
    return this.#shards[shardOf(key)]?.get(key);
  }

  set(key: Key, entry: Entry): void {
    const shard = shardOf(key);
    this.#shards[shard] ??= new Map();
    this.#shards[shard].set(key, entry);
  }

  delete(key: Key): void {
    this.#shards[shardOf(key)]?.delete(key);
  }
}
