/**
 * The byte stream of `Maintenance.Snapshot`: the state, zeros up to a multiple of 512 bytes, then the SHA-256 of all of
 * that. `etcdctl snapshot save` knows by the size modulo 512 that a hash is there, and what it writes is this stream.
 */

/** The state at the head of a `Maintenance.Snapshot` stream: initial gRPC metadata `raftsman-snapshot`, as JSON. */
export interface SnapshotMetadata {
  /** Log index and term of the last entry in the snapshot. */
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  /** The Raft configuration in the snapshot, and the index of the entry that made it. */
  readonly configuration: readonly SnapshotMember[];
  readonly configurationIndex: number;
  /** Lowercase hex. */
  readonly clusterId: string;
  /** Of Raftsman. */
  readonly engineVersion: string;
}

export interface SnapshotMember {
  /** Lowercase hex. */
  readonly id: string;
  /** First peer URL. */
  readonly address: string;
  readonly suffrage: 'voter' | 'nonvoter';
}
