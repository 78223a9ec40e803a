/**
 * A digest over all live keys of one member at one revision. etcd's own hash is over its history, of which a restore keeps
 * nothing; this one is equal before and after. Memory is bounded, whatever the size of keys and values in all.
 */
import { createHash } from 'node:crypto';
import type { EtcdClient } from '../../etcd/client.ts';
import type { KeyValue } from '../../etcd/gen/kv.ts';
import { EngineError, type Fingerprint } from '../engine.ts';
import { everything } from '../etcd-protocol.ts';

/** What the member reads for one page of names, in bytes: it reads the values with them. */
const namesBytes = 32 * 1024 * 1024;
/** Values of one answer, in bytes, by what values have on average. */
const valuesBytes = 1024 * 1024;

type Limits = Parameters<EtcdClient['range']>[1];

/**
 * Names come in long pages, and values in short ranges between two names: for the rest of a range etcd counts every key,
 * so that short pages of everything would take the square of the keys.
 */
export async function digestKeys(
  client: EtcdClient,
  revision: number,
  limits: () => NonNullable<Limits>,
  { mostNames = 10_000, mostValues = 128 }: { readonly mostNames?: number; readonly mostValues?: number } = {},
): Promise<Fingerprint> {
  const at = { revision, serializable: true };
  const [{ count, header }, { dbSizeInUse }] = [
    await client.range({ ...everything, ...at, countOnly: true }, limits()),
    await client.status(limits()),
  ];
  const known = revision > 0 ? revision : (header?.revision ?? 0);
  const average = Math.max(1, Math.ceil(dbSizeInUse / Math.max(1, count)));
  const namesAtOnce = clamp(Math.floor(namesBytes / average), Math.min(mostValues, mostNames), mostNames);
  const valuesAtOnce = clamp(Math.floor(valuesBytes / average), 1, mostValues);
  const hash = createHash('sha256');
  const head = Buffer.alloc(4 + 4 + 4 * 8);
  let keys = 0;
  const add = ({ key, value, createRevision, modRevision, version, lease }: KeyValue) => {
    head.writeUInt32BE(key.length, 0);
    head.writeUInt32BE(value.length, 4);
    head.writeBigInt64BE(BigInt(createRevision), 8);
    head.writeBigInt64BE(BigInt(modRevision), 16);
    head.writeBigInt64BE(BigInt(version), 24);
    head.writeBigInt64BE(BigInt(lease), 32);
    hash.update(head).update(key).update(value);
    keys += 1;
  };
  const reading = { revision: known, serializable: true };
  let from: Uint8Array = everything.key;
  for (let more = count > 0; more; ) {
    const names = await client.range(
      { key: from, rangeEnd: everything.rangeEnd, ...reading, keysOnly: true, limit: namesAtOnce },
      limits(),
    );
    for (let first = 0; first < names.kvs.length; first += valuesAtOnce) {
      const part = names.kvs.slice(first, first + valuesAtOnce);
      const { kvs } = await client.range(
        { key: part[0]!.key, rangeEnd: after(part.at(-1)!.key), ...reading },
        limits(),
      );
      if (kvs.length !== part.length)
        throw new EngineError(
          'ENGINE_REFUSED',
          `${kvs.length} keys where there were ${part.length} at revision ${known}`,
        );
      for (const each of kvs) add(each);
    }
    more = names.more;
    const last = names.kvs.at(-1);
    if (last) from = after(last.key);
  }
  if (keys !== count)
    throw new EngineError('ENGINE_REFUSED', `${keys} keys where ${count} were announced at revision ${known}`);
  return { revision: known, keys, hash: hash.digest('hex') };
}

/** The smallest key behind it. */
function after(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
