/** Who is who: ids as etcd derives them, so that the same flags give the same ids. */
import { createHash } from 'node:crypto';
import { asMemberId, type MemberId } from '../raft/types.ts';
import type { NodeOptions } from './flags.ts';

/** A member as it was when the cluster began. */
export interface ClusterMember {
  readonly id: MemberId;
  readonly name: string;
  readonly peerUrls: readonly string[];
}

export interface ClusterIdentity {
  /** Lowercase hex without padding. */
  readonly clusterId: string;
  readonly self: ClusterMember;
  /** In the order of ids. */
  readonly members: readonly ClusterMember[];
}

const first8Bytes = (data: Uint8Array | string): bigint => createHash('sha1').update(data).digest().readBigUInt64BE(0);

/** In the order of the numbers that they are. */
export function compareIds(a: MemberId, b: MemberId): number {
  const [left, right] = [a.padStart(16, '0'), b.padStart(16, '0')];
  return left < right ? -1 : left > right ? 1 : 0;
}

export function memberIdOf(peerUrls: readonly string[], token: string): MemberId {
  return asMemberId(first8Bytes([...peerUrls].sort().join('') + token).toString(16));
}

export function clusterIdOf(members: readonly MemberId[]): string {
  const ids = members.map((id) => BigInt(`0x${id}`)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const bytes = Buffer.alloc(ids.length * 8);
  ids.forEach((id, i) => {
    bytes.writeBigUInt64BE(id, i * 8);
  });
  return first8Bytes(bytes).toString(16);
}

export function identityOf(
  options: Pick<NodeOptions, 'name' | 'initialCluster' | 'initialClusterToken'>,
): ClusterIdentity {
  const members = options.initialCluster
    .map(({ name, peerUrls }) => ({ id: memberIdOf(peerUrls, options.initialClusterToken), name, peerUrls }))
    .sort((a, b) => compareIds(a.id, b.id));
  const self = members.find(({ name }) => name === options.name)!;
  return { clusterId: clusterIdOf(members.map(({ id }) => id)), self, members };
}
