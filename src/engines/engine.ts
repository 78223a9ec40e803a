/**
 * The contract between Raftsman and one kind of Raft system. The operator and the jobs know members only through it,
 * so that an engine is added without a change anywhere else: a room of its own, and a line in open.ts. What its members
 * run is in profile.ts.
 */
import type { EngineProfile } from './profile.ts';

export type {
  Crash,
  EngineProfile,
  EngineSettings,
  MemberArchive,
  MemberInput,
  MemberParts,
  VersionChange,
} from './profile.ts';

/** How to reach one member's client address. */
export interface Endpoint {
  /** `http://host:port`. The path is ignored. */
  readonly url: string;
  /** PEM bytes for `https` endpoints. */
  readonly tls?: EndpointTls;
}

export interface EndpointTls {
  readonly ca?: Uint8Array;
  readonly cert?: Uint8Array;
  readonly key?: Uint8Array;
  /** Name that the member's certificate is checked against, where it is not the endpoint's host. */
  readonly serverName?: string;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** The whole call, in milliseconds. Default 5000. */
  readonly timeoutMs?: number;
}

/** What one member says of itself. Never an answer of another member: it is asked without forwarding. */
export interface MemberStatus {
  /** Lower-case hexadecimal without padding, as etcd prints it. */
  readonly memberId: string;
  readonly clusterId: string;
  /** Name of the member in the member list; empty when it has not published one yet. */
  readonly name: string;
  /** Absent when the member knows no leader. */
  readonly leaderId?: string;
  readonly isLearner: boolean;
  readonly term: number;
  /** Last index in the member's log, committed or not, as the engine reports it. */
  readonly index: number;
  readonly appliedIndex: number;
  readonly revision: number;
  /** Bytes of the member's state, free pages included where the engine has such. */
  readonly sizeBytes: number;
  /** Bytes of it that hold data: the difference is what `defragment` gives back. */
  readonly sizeInUseBytes: number;
  /** The size above which the member refuses writes; negative: none. Absent where it does not tell: before etcd 3.6. */
  readonly quotaBytes?: number;
  readonly version: string;
  /** The member list as this member knows it, which may be behind. Empty where it does not tell: a learner of etcd. */
  readonly members: readonly Member[];
  /** Alarms that stand in the cluster, as this member knows them. */
  readonly alarms: readonly Alarm[];
  /** What is wrong in the member's own words, alarms not repeated, such as `etcdserver: no leader`. */
  readonly errors: readonly string[];
}

/** NoSpace: writes are refused until space is made and the alarm disarmed. Corrupt: a member's data differ. */
export interface Alarm {
  readonly type: 'NoSpace' | 'Corrupt';
  /** Of the member whose alarm it is. Hexadecimal; `0` where etcd does not know which member holds the wrong data (3.5). */
  readonly memberId: string;
}

export interface Member {
  readonly id: string;
  /** Empty when the member has never started. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

/**
 * The state of one member at one revision in three values. Equal on all members of a cluster, and equal before a
 * snapshot and after its restore.
 */
export interface Fingerprint {
  readonly revision: number;
  readonly keys: number;
  /** Opaque; compared for equality only. The key-value engines give eight lower-case hexadecimal digits. */
  readonly hash: string;
}

/** Facts of a snapshot that the member sends ahead of its bytes. */
export interface SnapshotFacts {
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  readonly configuration: readonly SnapshotServer[];
  readonly configurationIndex: number;
  readonly clusterId: string;
  readonly engineVersion: string;
}

export interface SnapshotServer {
  readonly id: string;
  readonly address: string;
  readonly suffrage: 'voter' | 'nonvoter';
}

export interface OpenSnapshot {
  /** The member that sends it. */
  readonly endpoint: Endpoint;
  readonly facts: SnapshotFacts;
  /** Exactly the number of bytes that `chunks` yields. */
  readonly sizeBytes: number;
  /**
   * The state in the engine's own form, once. Throws `ENGINE_SNAPSHOT_CORRUPT` at its end when the bytes do not bear
   * the checksum that the member sent, `ENGINE_UNAVAILABLE` when the member goes away.
   */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Of the member that sends it, at the snapshot's own revision: what a restore is held against. */
  fingerprint(options?: CallOptions): Promise<Fingerprint>;
  /** Ends the stream before its end. Idempotent. */
  close(): void;
}

export interface NewMember {
  readonly peerUrls: readonly string[];
  /** Without a vote until `promoteMember`. */
  readonly learner: boolean;
}

/**
 * Calls to one member take one endpoint and are never forwarded; calls to the cluster take the endpoints of any of its
 * members, which are tried in turn while that cannot do anything twice. Ids are hexadecimal. Every call rejects with an
 * EngineError.
 */
export interface Engine {
  /** The `engine.type` of a RaftCluster. */
  readonly type: EngineType;
  readonly profile: EngineProfile;
  /** Needs no leader. Costs the member nothing that is written to its log: fit for polling. */
  status(endpoint: Endpoint, options?: CallOptions): Promise<MemberStatus>;
  /** Linearizable: no list of the past, and no answer without a quorum. */
  members(endpoints: readonly Endpoint[], options?: CallOptions): Promise<Member[]>;
  /** `ENGINE_MEMBER_EXISTS` when a member has one of the peer URLs already. */
  addMember(endpoints: readonly Endpoint[], member: NewMember, options?: CallOptions): Promise<Member>;
  /** `ENGINE_MEMBER_NOT_FOUND` when there is none of that id (any more). */
  removeMember(endpoints: readonly Endpoint[], id: string, options?: CallOptions): Promise<void>;
  /** Gives a learner its vote. `ENGINE_LEARNER_BEHIND` until it has caught up; `ENGINE_NOT_LEARNER` when it votes already. */
  promoteMember(endpoints: readonly Endpoint[], id: string, options?: CallOptions): Promise<void>;
  /** Of the leader's endpoint: `ENGINE_NOT_LEADER` when it does not lead any more. Resolves once the other one leads. */
  moveLeader(leader: Endpoint, targetId: string, options?: CallOptions): Promise<void>;
  /** Forgets the history before `revision`. `physical`: resolves only when the space is free in the member that answers. */
  compact(
    endpoints: readonly Endpoint[],
    revision: number,
    options?: CallOptions & { readonly physical?: boolean },
  ): Promise<void>;
  /** Gives the free space of this very member back to its disk. The member answers nobody meanwhile: allow it minutes. */
  defragment(endpoint: Endpoint, options?: CallOptions): Promise<void>;
  /** Takes an alarm back. One that does not stand is no error. */
  disarm(endpoints: readonly Endpoint[], alarm: Alarm, options?: CallOptions): Promise<void>;
  /** Of this very member, at `revision` or at its present one. */
  fingerprint(endpoint: Endpoint, revision?: number, options?: CallOptions): Promise<Fingerprint>;
  /** From the first endpoint that answers. */
  openSnapshot(endpoints: readonly Endpoint[], options?: OpenSnapshotOptions): Promise<OpenSnapshot>;
  /** Closes idle connections. The engine can be used again afterwards. */
  close(): void;
}

export interface OpenSnapshotOptions {
  /** Also ends the stream. */
  readonly signal?: AbortSignal;
  /** Where an engine that does not tell a snapshot's facts ahead of its bytes keeps them meanwhile. Default: the system's. */
  readonly spoolFolder?: string;
  /** Bytes that were spooled so far, of how many. */
  readonly onSpooled?: (bytes: number, totalBytes: number) => void;
}

export type EngineType = 'Embedded' | 'Etcd';

export type EngineErrorCode =
  /** No connection, no quorum, or no answer in time: `reason` says which. A retry may help. */
  | 'ENGINE_UNAVAILABLE'
  /** The member refused the call. A retry does not help. */
  | 'ENGINE_REFUSED'
  /** A change of members that could cost the quorum, says the cluster: nothing was changed. */
  | 'ENGINE_UNSAFE'
  /** Another change of members or move of the leader is underway: nothing was changed. A retry helps. */
  | 'ENGINE_BUSY'
  | 'ENGINE_MEMBER_EXISTS'
  | 'ENGINE_MEMBER_NOT_FOUND'
  /** A learner that has not caught up yet. A retry helps. */
  | 'ENGINE_LEARNER_BEHIND'
  | 'ENGINE_NOT_LEARNER'
  | 'ENGINE_NOT_LEADER'
  /** The snapshot's bytes do not bear their checksum or their announced size, or are no snapshot. */
  | 'ENGINE_SNAPSHOT_CORRUPT'
  /** The history at that revision is compacted away, or not there yet. */
  | 'ENGINE_REVISION_UNAVAILABLE'
  /** Not an engine that this version knows. */
  | 'ENGINE_UNKNOWN'
  /** Not an endpoint URL. */
  | 'ENGINE_ENDPOINT_INVALID';

/** Why `ENGINE_UNAVAILABLE`. */
export type Unavailable =
  /** Nobody listens at the address: the process is gone, or not there yet. */
  | 'refused'
  /** The address cannot be reached, or does not exist: the machine or the way to it is gone. */
  | 'unreachable'
  /** Somebody holds the port and does not answer: slow, or hung when it stays so. */
  | 'timeout'
  /** The member answers, and knows no leader or reaches no quorum. */
  | 'noLeader'
  /** The connection broke in the middle, or the member is about to stop. */
  | 'interrupted'
  /** The TLS handshake failed: certificates do not fit. */
  | 'tls'
  /** The caller's own signal. */
  | 'cancelled';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: EngineErrorCode;
  /** Of `ENGINE_UNAVAILABLE`. */
  readonly reason: Unavailable | undefined;
  constructor(code: EngineErrorCode, message: string, options?: { cause?: unknown; reason?: Unavailable }) {
    super(message, options);
    this.code = code;
    this.reason = options?.reason;
  }
}
