/** What etcd's backend file says of itself: of the state in it, and of the members it had. */
import { EngineError, type SnapshotServer } from '../engine.ts';
import { Bolt, type Bucket, type ReadAt } from './bolt.ts';

export interface BackendFacts {
  /** Log index and term of the last entry in it. */
  readonly index: number;
  readonly term: number;
  /** Of the newest record, as `etcdutl snapshot status` prints it; 0 when nothing was ever written. */
  readonly revision: number;
  /** The oldest revision at which the data can still be read. At least 1, which is where etcd begins. */
  readonly readableRevision: number;
  readonly servers: readonly SnapshotServer[];
}

export async function backendFacts(read: ReadAt): Promise<BackendFacts> {
  const bolt = await Bolt.open(read);
  const [meta, keys, members] = [await bolt.bucket('meta'), await bolt.bucket('key'), await bolt.bucket('members')];
  if (!meta || !keys) throw corrupt('it has no buckets of the names meta and key');
  const last = await keys.lastKey();
  const revision = last === undefined ? 0 : revisionOf(last);
  const compacted = await Promise.all(
    ['scheduledCompactRev', 'finishedCompactRev'].map(async (name) => {
      const value = await meta.get(name);
      return value === undefined ? 0 : revisionOf(value);
    }),
  );
  return {
    index: await uint64(meta, 'consistent_index'),
    term: await uint64(meta, 'term'),
    revision,
    // Where the newest record was itself compacted away, its revision is that of the compaction.
    readableRevision: Math.max(1, revision, ...compacted),
    servers: members ? await serversOf(members) : [],
  };
}

function corrupt(what: string): EngineError {
  return new EngineError('ENGINE_SNAPSHOT_CORRUPT', `the snapshot is not of etcd's backend: ${what}`);
}

async function uint64(meta: Bucket, name: string): Promise<number> {
  const value = await meta.get(name);
  if (value?.length !== 8) throw corrupt(`meta has no ${name}`);
  return exact(Buffer.from(value).readBigUInt64BE(), name);
}

/** Main revision, underscore, number within the transaction, and a mark for what deletes. */
function revisionOf(key: Uint8Array): number {
  if (key.length < 17) throw corrupt(`a revision of ${key.length} bytes`);
  return exact(Buffer.from(key).readBigUInt64BE(), 'revision');
}

function exact(value: bigint, name: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(`${name} is ${value}`);
  return Number(value);
}

async function serversOf(members: Bucket): Promise<SnapshotServer[]> {
  const servers: SnapshotServer[] = [];
  for await (const [key, value] of members.entries()) {
    const id = Buffer.from(key).toString();
    let member: { peerURLs?: unknown; isLearner?: unknown };
    try {
      member = JSON.parse(Buffer.from(value).toString()) as typeof member;
    } catch {
      throw corrupt(`member ${id} is no JSON`);
    }
    const [address] = Array.isArray(member.peerURLs) ? (member.peerURLs as unknown[]) : [];
    servers.push({
      id,
      address: typeof address === 'string' ? address : '',
      suffrage: member.isLearner === true ? 'nonvoter' : 'voter',
    });
  }
  return servers;
}
