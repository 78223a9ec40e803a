/**
 * Data that a restore must bring back, and the proof that it did: every key, value, create and mod revision and version,
 * compared one by one. Values are made from a seed, so that the expectation does not come from the cluster under test.
 */
import { createHash } from 'node:crypto';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { Target } from './target.ts';

export interface KeyValue {
  readonly key: string;
  /** Hex. */
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

export interface Written {
  /** What the cluster holds now, by key: key in text, value in hex. */
  readonly expected: ReadonlyMap<string, string>;
  readonly puts: number;
  readonly deletes: number;
  /** Bytes of all values that are there now. */
  readonly bytes: number;
  /** Of the last write. */
  readonly revision: number;
}

const text = new TextEncoder();

/** Pseudo-random bytes that depend on nothing but their arguments; any byte value occurs, so nothing may assume text. */
export function seededValue(seed: string, n: number, size: number): Uint8Array {
  const blocks: Buffer[] = [];
  for (let block = 0; block * 32 < size; block++) {
    blocks.push(createHash('sha256').update(`${seed}/${n}/${block}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, size);
}

/** Writes `count` keys, overwrites every third and deletes every tenth, so that revisions, versions and gaps all count. */
export async function writeData({ url, tls }: Target, seed: string, count: number, valueBytes = 256): Promise<Written> {
  const client = new EtcdClient({ endpoints: [url], deadlineMs: 20_000, ...(tls ? { tls } : {}) });
  try {
    const expected = new Map<string, string>();
    let revision = 0;
    let puts = 0;
    let deletes = 0;
    const put = async (n: number, version: number) => {
      const key = `${seed}/${String(n).padStart(6, '0')}`;
      const value = seededValue(`${seed}#${version}`, n, valueBytes + (n % 97));
      const response = await client.put({ key: text.encode(key), value });
      revision = Math.max(revision, response.header!.revision);
      expected.set(key, Buffer.from(value).toString('hex'));
      puts++;
    };
    const window = 64;
    const all = Array.from({ length: count }, (_, n) => n);
    for (let at = 0; at < count; at += window) await Promise.all(all.slice(at, at + window).map((n) => put(n, 1)));
    const thirds = all.filter((n) => n % 3 === 0);
    for (let at = 0; at < thirds.length; at += window)
      await Promise.all(thirds.slice(at, at + window).map((n) => put(n, 2)));
    for (const n of all.filter((one) => one % 10 === 7)) {
      const key = `${seed}/${String(n).padStart(6, '0')}`;
      const response = await client.deleteRange({ key: text.encode(key) });
      if (response.deleted !== 1) throw new Error(`deleting ${key} deleted ${response.deleted} keys instead of 1`);
      revision = Math.max(revision, response.header!.revision);
      expected.delete(key);
      deletes++;
    }
    const bytes = [...expected.values()].reduce((sum, hex) => sum + hex.length / 2, 0);
    return { expected, puts, deletes, bytes, revision };
  } finally {
    client.close();
  }
}

/** Every key of the cluster, linearizable, in pages. */
export async function readData({ url, tls }: Target): Promise<{ items: KeyValue[]; revision: number }> {
  const client = new EtcdClient({ endpoints: [url], deadlineMs: 20_000, ...(tls ? { tls } : {}) });
  try {
    const items: KeyValue[] = [];
    let from: Uint8Array = Uint8Array.of(0);
    let revision = 0;
    for (;;) {
      const page = await client.range({
        key: from,
        rangeEnd: Uint8Array.of(0),
        limit: 500,
        ...(revision ? { revision } : {}),
      });
      revision ||= page.header!.revision;
      for (const kv of page.kvs) {
        items.push({
          key: Buffer.from(kv.key).toString('utf8'),
          value: Buffer.from(kv.value).toString('hex'),
          createRevision: kv.createRevision,
          modRevision: kv.modRevision,
          version: kv.version,
        });
      }
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return { items, revision };
      from = Buffer.concat([last.key, Uint8Array.of(0)]);
    }
  } finally {
    client.close();
  }
}

/** The first differences between what should be there and what is, in words; empty when all is as it should be. */
export function differences(expected: ReadonlyMap<string, string>, items: readonly KeyValue[]): string[] {
  const found = new Map(items.map(({ key, value }) => [key, value]));
  const words: string[] = [];
  for (const [key, value] of expected) {
    const there = found.get(key);
    if (there === undefined) words.push(`${key} is missing`);
    else if (there !== value) words.push(`${key} has another value`);
  }
  for (const key of found.keys()) if (!expected.has(key)) words.push(`${key} should not be there`);
  return words.slice(0, 10);
}

/** One short hash of everything a client can see, for people to compare in a table. */
export function digest(items: readonly KeyValue[]): string {
  const hash = createHash('sha256');
  for (const item of items) hash.update(`${JSON.stringify(item)}\n`);
  return hash.digest('hex').slice(0, 16);
}
