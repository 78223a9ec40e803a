/** Who is who: ids as etcd derives them, so that the same flags give the same ids. */
import { createHash } from 'node:crypto';
import { compareIds, isId } from '../raft/membership.ts';
import { asMemberId, type MemberId } from '../raft/types.ts';
import type { NodeOptions } from './flags.ts';

export interface ClusterMember {
  readonly id: MemberId;
  readonly name: string;
  readonly peerUrls: readonly string[];
}

/** How a cluster began; the same on every member for ever, also on those that join later. */
export interface Genesis {
  readonly token: string;
  /** Its first voters, in the order of ids. */
  readonly members: readonly ClusterMember[];
}

export interface MemberIdentity {
  /** Lowercase hex without padding. */
  readonly clusterId: string;
  readonly memberId: MemberId;
  readonly genesis: Genesis;
}

const first8Bytes = (data: Uint8Array | string): bigint => createHash('sha1').update(data).digest().readBigUInt64BE(0);

/**
 * `configurationIndex`: of the configuration that a later member is added to. Two who add the same addresses at the same time
 * mean the same member; whoever is added again after a removal is another one.
 */
export function memberIdOf(peerUrls: readonly string[], token: string, configurationIndex?: number): MemberId {
  const text = [...peerUrls].sort().join('') + token + (configurationIndex ?? '');
  return asMemberId(first8Bytes(text).toString(16));
}

export function clusterIdOf(members: readonly MemberId[]): string {
  const ids = members.map((id) => BigInt(`0x${id}`)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const bytes = Buffer.alloc(ids.length * 8);
  ids.forEach((id, i) => {
    bytes.writeBigUInt64BE(id, i * 8);
  });
  return first8Bytes(bytes).toString(16);
}

/** Of a member of a new cluster. */
export function identityOf(
  options: Pick<NodeOptions, 'name' | 'initialCluster' | 'initialClusterToken'>,
): MemberIdentity {
  const token = options.initialClusterToken;
  const members = options.initialCluster
    .map(({ name, peerUrls }) => ({ id: memberIdOf(peerUrls, token), name, peerUrls }))
    .sort((a, b) => compareIds(a.id, b.id));
  const self = members.find(({ name }) => name === options.name)!;
  return { clusterId: clusterIdOf(members.map(({ id }) => id)), memberId: self.id, genesis: { token, members } };
}

/** Addresses from outside; undefined when they are none. */
export function peerUrlsFrom(value: unknown): string[] | undefined {
  const sane = Array.isArray(value) && value.length > 0 && value.length <= 16;
  return sane && value.every((url) => typeof url === 'string' && url.length <= 300 && URL.parse(url)?.port)
    ? [...(value as string[])].sort()
    : undefined;
}

/** From a file or another member; undefined when it makes no sense. */
export function genesisFrom(value: unknown): Genesis | undefined {
  const { token, members } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof token !== 'string' || !Array.isArray(members) || members.length === 0) return undefined;
  const checked = members.map((member: unknown): ClusterMember | undefined => {
    const { id, name, peerUrls } = (member ?? {}) as Readonly<Record<string, unknown>>;
    const urls = peerUrlsFrom(peerUrls);
    return isId(id) && typeof name === 'string' && urls ? { id: asMemberId(id), name, peerUrls: urls } : undefined;
  });
  return checked.includes(undefined) ? undefined : { token, members: checked as ClusterMember[] };
}
