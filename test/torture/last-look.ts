/** When all is quiet: every member holds the same, and that is what was acknowledged. */
import type { EtcdClient } from '../../src/etcd/client.ts';
import type { KeyValue } from '../../src/etcd/gen/kv.ts';
import { prefix, seenOf } from './calls.ts';
import type { Cluster } from './cluster.ts';
import type { Member } from './member.ts';
import { all, type Operation, type Seen } from './operations.ts';

export interface LastLook {
  readonly revision: number;
  readonly keys: number;
  /** By group. */
  readonly contents: ReadonlyMap<string, readonly Seen[]>;
  /** Members that differ from each other. */
  readonly problems: readonly string[];
  /** The read of all of a group that this amounts to. */
  readonly read: (group: string) => Operation;
}

const page = 1000;
const deadlineMs = 30_000;
const nothing = new Uint8Array(0);

/** All keys of the member's own state at the revision, page by page. */
async function* everything(etcd: EtcdClient, revision: number): AsyncGenerator<KeyValue> {
  let key = Buffer.from([0]);
  for (;;) {
    const request = { key, rangeEnd: Buffer.from([0]), limit: page, revision, serializable: true };
    const { kvs, more } = await etcd.range(request, { deadlineMs });
    yield* kvs;
    if (!more) return;
    key = Buffer.concat([kvs.at(-1)!.key, Buffer.from([0])]);
  }
}

async function contentsOf(etcd: EtcdClient, revision: number): Promise<{ keys: number; groups: Map<string, Seen[]> }> {
  const groups = new Map<string, Seen[]>();
  let keys = 0;
  for await (const record of everything(etcd, revision)) {
    keys++;
    const name = Buffer.from(record.key).toString('latin1');
    if (!name.startsWith(prefix)) continue;
    const group = name.slice(prefix.length, name.lastIndexOf('/'));
    const seen = groups.get(group) ?? [];
    groups.set(group, seen);
    seen.push(seenOf(record));
  }
  return { keys, groups };
}

interface Held {
  readonly member: Member;
  readonly hash: string;
  readonly contents: Awaited<ReturnType<typeof contentsOf>>;
}

async function held(member: Member, revision: number): Promise<Held> {
  const { admin } = member;
  // From here on its own state is as new as that.
  await admin.range({ key: Buffer.from(prefix), rangeEnd: nothing }, { deadlineMs });
  const { hash, compactRevision, hashRevision } = await admin.hashKv(revision, { deadlineMs });
  const contents = await contentsOf(admin, revision);
  return { member, hash: `${hash} (compacted at ${compactRevision}, at ${hashRevision})`, contents };
}

export async function lastLook(cluster: Cluster, client: number, now: () => number): Promise<LastLook> {
  const call = now();
  const { header } = await cluster.serving[0]!.admin.range({ key: Buffer.from(prefix) }, { deadlineMs });
  const { revision } = header!;
  const end = now();
  const members: Held[] = [];
  for (const member of cluster.serving) members.push(await held(member, revision));
  const [first, ...others] = members as [Held, ...Held[]];
  const problems = others.flatMap(({ member, hash, contents }) => [
    ...(hash === first.hash ? [] : [`${member.name} has the hash ${hash}, and ${first.member.name} ${first.hash}`]),
    ...differences(`${member.name} beside ${first.member.name}`, contents.groups, first.contents.groups),
  ]);
  const { groups: contents, keys } = first.contents;
  const read = (group: string): Operation => {
    const answer = { revision, succeeded: true, results: [{ records: contents.get(group) ?? [] }] };
    return { kind: 'last look', client, call, return: end, success: [{ do: 'get', key: all }], answer };
  };
  return { revision, keys, contents, problems, read };
}

/** Those of `expected` that are not as they should be; at most a few. */
export function differences(
  what: string,
  found: ReadonlyMap<string, readonly Seen[]>,
  expected: ReadonlyMap<string, readonly Seen[]>,
): string[] {
  const wrong: string[] = [];
  for (const [group, seen] of expected) {
    const [is, should] = [JSON.stringify(found.get(group) ?? []), JSON.stringify(seen)];
    if (is !== should) wrong.push(`${what}: ${group} is ${is}, and should be ${should}`);
  }
  return wrong.slice(0, 10);
}
