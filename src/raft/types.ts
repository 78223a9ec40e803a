/**
 * The vocabulary of the Raft core, and the protocol between it and its driver.
 *
 * The core is a state machine without I/O, clock or randomness of its own. The driver calls `raft.step(event)` any number
 * of times and then `raft.take()` once, which returns the commands of the whole batch in the order in which the driver must
 * start them. Proposals, reads and messages stepped between two `take`s share one `persist` and one append message per
 * follower: step everything that one turn of the event loop brought, then take once.
 *
 * What the driver does with the commands
 * --------------------------------------
 * Two queues, each strictly first in, first out and never reordered; the queues run beside each other.
 *
 * **The disk queue** takes `persist`, `installSnapshot` and `compact`.
 *  - `persist`: write `entries` (the first entry's index implies the truncation of everything at and after it), write
 *    `hardState` if there is one, then one fdatasync if `sync`. When that and everything queued earlier is durable: send
 *    `messages`, then step `persisted{id}`. One fdatasync may cover several queued persists; report them in id order.
 *    An empty persist (no entries, no hard state, `sync: false`) is a barrier: it holds `messages` until all earlier
 *    work is durable. `sync: false` with a hard state only means the commit index moved: it may stay in memory and be
 *    written with the next synced batch or at shutdown, but is completed at once when its turn comes.
 *  - `installSnapshot`: the snapshot's file is durable already (see below). Write the snapshot's record and forget the whole
 *    log: the next entry is `meta.index + 1`. Make that durable, step `persisted{id}`. The same command is queued for apply.
 *  - `compact`: entries up to and including `through` may be removed from disk. Never reported back, may be lazy.
 *  A failing write is fatal for the member: nothing is retried and nothing more is stepped.
 *
 * **The apply queue** takes `apply` and `installSnapshot`.
 *  - `apply`: run the entries through the state machine in order; every entry is committed and durable here. Entries of kind
 *    `noop` carry no data but count. Then step `applied{index of the last entry}`.
 *  - `installSnapshot`: replace (not merge) the state by the snapshot's once the disk queue has finished its part, then step
 *    `applied{index: meta.index}`. Later `apply`s continue at `meta.index + 1`.
 *
 * **At once**, in the order given: `send` (without waiting for any disk work; loss is allowed, a second delivery is allowed
 * for everything but `propose`; keep the order per peer where the transport allows), `sendSnapshot`, `receiveSnapshot`,
 * `refuseSnapshot`, `proposalsAccepted`, `proposalsDropped`, `readReady`, `readDropped`, `roleChanged`, `transferEnded`,
 * `configurationChanged`, `ignored`.
 *
 * What may leave before it is durable: append, heartbeat and commit messages of a leader (it counts itself only after its own
 * `persisted`), heartbeat responses, rejections, pre-votes, forwarded proposals and reads. Vote requests, granted votes and
 * acknowledged appends come only inside `persist.messages`.
 *
 * Proposals
 * ---------
 * `propose{id, data}`; `id` is the driver's, unique among all lives of this member, since the answer to an earlier one may still
 * come. Works on every member: a follower forwards it.
 * Outcome: `proposalsAccepted` names the log position that it got, or `proposalsDropped` says that it is in no log and a retry
 * is safe. After acceptance: when the entry applied at that index has that term, it is done; when another term is applied at
 * that index, the proposal is lost for good (a retry is safe); when a snapshot is installed over that index, or nothing comes
 * before the caller's deadline, the outcome is unknown. A forwarded proposal whose answer is lost stays without outcome: the
 * driver's deadline decides, as unknown. On `proposalsDropped{reason: 'noLeader'}` wait for a `roleChanged` with a leader.
 *
 * Membership
 * ----------
 * `change{id, change, context}` is proposed as everything else and has the same outcomes; the entry, of kind `configuration`,
 * holds the whole configuration that results and the context (`decodeConfiguration` in membership.ts). A configuration counts
 * from the moment its entry is in the log, committed or not (§4.1); `configurationChanged` tells the driver whom to be
 * connected with. A leader takes one change at a time, and none before it has committed an entry of its own term.
 * A leader that is not in the configuration any more leads without counting itself until that is committed; then it asks the
 * voter that is furthest along to stand, and steps down. Members that are no voters do not stand (they may, not counting
 * themselves, while the configuration that says so is not committed), but answer votes: they may have been promoted by an entry
 * that they have not seen.
 * A new member starts with `initialState` of the configuration that the cluster was made with, which it is no part of.
 *
 * Reads
 * -----
 * `readIndex{id}` works on every member; `readReady{ids, index}`: the read may be answered once `applied >= index`.
 * No answer (a lost message) or `readDropped`: step it again with a new id, it is idempotent. Retry after half an election
 * timeout.
 *
 * Snapshots (bytes never pass through the core)
 * ---------------------------------------------
 *  - Own snapshot: when the driver wants one (`snapshotDue`, compaction.ts) at its applied index, it asks
 *    `raft.snapshotMeta(applied)`, writes state and meta durably, adds the snapshot's record to the log, then steps
 *    `snapshotTaken{meta}`; the core answers with `compact`. Keep the newest two snapshots at least.
 *  - Sending: `sendSnapshot{message}`: open the stored snapshot `message.meta` (or a newer durable one, then with its meta in
 *    the message, but none of a later term than the message's: this member leads no more then), stream header and bytes to
 *    `message.to` on a connection of its own, and step `snapshotSent{to, ok}`: `ok` when the receiver says that it stored or
 *    refused it, not ok on any failure or when no snapshot can be opened. At most one per follower is outstanding. Keep that
 *    snapshot on disk while it is sent.
 *  - Receiving: on the stream's header step `snapshotOffered{message}`. The core answers `receiveSnapshot` (spool the stream
 *    aside, verify whole, make durable) or `refuseSnapshot` (tell the sender, drop the stream). When stored: step
 *    `snapshotReceived{message}`; the core answers `installSnapshot` or, if it no longer needs it, `refuseSnapshot` (delete
 *    what this stream spooled, never an equal snapshot whose install is queued; tell the sender that all is well). A broken
 *    stream is just dropped: the sender reports.
 *
 * Start
 * -----
 * `new Raft(config, restored)`. A new member's `restored` is `initialState(configuration)`: a snapshot at index 0 that holds
 * nothing but the configuration; the driver persists that record with the log so that a restart knows it. After a
 * restart: the newest snapshot that the log has a record of, the hard state, and all entries after the log's last compaction
 * (`entries[0].index` may lie at or before `snapshot.index`: the trailing entries serve lagging followers).
 * State is restored from the snapshot; the core then hands out `apply` for what is committed after it.
 * A sole voter campaigns by itself. In a freshly bootstrapped cluster one member (lowest id) may step `campaign` at start and
 * whenever a peer becomes reachable while there is no leader, instead of waiting for an election timeout.
 */

declare const brand: unique symbol;

/** Position in the log, from 1; 0 is "before the log". */
export type Index = number & { readonly [brand]: 'Index' };
/** Raft's logical time, from 1; 0 is "before any election". */
export type Term = number & { readonly [brand]: 'Term' };
/** A member's id: lowercase hex of a uint64 without padding, as etcd prints it. */
export type MemberId = string & { readonly [brand]: 'MemberId' };

export const asIndex = (value: number): Index => value as Index;
export const asTerm = (value: number): Term => value as Term;
export const asMemberId = (value: string): MemberId => value as MemberId;

/** `noop` opens a leader's term and carries no data; `configuration` holds a whole configuration (membership.ts). */
export type EntryKind = 'normal' | 'noop' | 'configuration';

export interface Entry {
  readonly term: Term;
  readonly index: Index;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

/** What must survive a crash beside the entries. `commit` may be older on disk than in memory, never newer than the log. */
export interface HardState {
  readonly term: Term;
  readonly vote: MemberId | null;
  readonly commit: Index;
}

/** Joint while `votersOutgoing` is not empty: elections and commits then need both majorities. */
export interface Configuration {
  readonly voters: readonly MemberId[];
  readonly votersOutgoing: readonly MemberId[];
  readonly learners: readonly MemberId[];
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly MemberId[];
  readonly autoLeave: boolean;
}

/** What a member is to be: `learner` gets the log and counts for nothing, `none` is no member. */
export type Suffrage = 'voter' | 'learner' | 'none';

export interface MemberChange {
  readonly member: MemberId;
  readonly suffrage: Suffrage;
}

/**
 * `single`: one member's suffrage, thesis §4.1. `joint`: any number at once by way of a joint configuration (§4.3), left by
 * the leader itself once that is committed (`autoLeave`) or by a `leaveJoint`.
 */
export type ConfigurationChange =
  | { readonly type: 'single'; readonly member: MemberId; readonly suffrage: Suffrage }
  | { readonly type: 'joint'; readonly changes: readonly MemberChange[]; readonly autoLeave: boolean }
  | { readonly type: 'leaveJoint' };

/** What a snapshot stands for: the state after `index`, whose entry had `term`. */
export interface SnapshotMeta {
  readonly index: Index;
  readonly term: Term;
  readonly configuration: Configuration;
  /** The log position that brought `configuration`; 0 for the one that the cluster was made with. */
  readonly configurationIndex: Index;
}

/** What a member finds on its disk; for a new member `initialState(configuration)`. */
export interface RestoredState {
  readonly hardState: HardState;
  readonly snapshot: SnapshotMeta;
  /** Contiguous. The first may be older than the snapshot, must not leave a gap after it. */
  readonly entries: readonly Entry[];
}

export interface RaftConfig {
  readonly id: MemberId;
  /** T: a follower that hears nothing campaigns after a number of ticks drawn from [T, 2T). Default 10. */
  readonly electionTicks?: number;
  /** Ticks between a leader's heartbeats, less than `electionTicks`. Default 1. */
  readonly heartbeatTicks?: number;
  /** Uniform in [0, 1), as Math.random. The only source of chance. */
  readonly random: () => number;
  /** Bytes of entries (data and 32 each) in one append message; at least one entry always goes. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** Append messages to one follower that may be unanswered. Default 256. */
  readonly maxInflightMessages?: number;
  /** Bytes of entries (data and 32 each) in them; one message always goes. Default 16 MiB. */
  readonly maxInflightBytes?: number;
  /** Bytes of entries (data and 32 each) that a leader holds uncommitted before it drops new ones. Default 64 MiB. */
  readonly maxUncommittedBytes?: number;
  /** Bytes handed out for apply and not yet reported applied. Default 16 MiB. */
  readonly maxApplyingBytes?: number;
  /** Entries kept behind the newest snapshot for lagging followers. Default 10240 (HR-32). */
  readonly trailingLogs?: number;
  /** Ask whether an election could be won before raising the term (thesis §9.6). Default true. */
  readonly preVote?: boolean;
  /** A leader without a quorum's answers for T ticks steps down, and members in touch with a leader refuse votes. Default true. */
  readonly checkQuorum?: boolean;
  /**
   * Answer reads without a round while a quorum's last answers are fresh enough (§6.4.1). Saves a round trip and trusts that
   * no member's clock runs faster than another's by more than a tick in T, and that all members have this set: whoever answers
   * a leader gives no vote for T ticks, restarted or not. Needs `checkQuorum`. Default false.
   */
  readonly leaseReads?: boolean;
}

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

interface Envelope {
  readonly from: MemberId;
  readonly to: MemberId;
  /** The sender's term, except in a pre-vote and its grant, where it is the term that the candidate would have. */
  readonly term: Term;
}

/**
 * `context` travels in the entry and means nothing to the core. `basedOn`: the change was thought out for the configuration at
 * this position, and is invalid when the leader's newest is another one (hashicorp/raft's prevIndex).
 */
export type Proposal =
  | { readonly kind: 'normal'; readonly id: number; readonly data: Uint8Array }
  | {
      readonly kind: 'change';
      readonly id: number;
      readonly change: ConfigurationChange;
      readonly context: string;
      readonly basedOn?: Index;
    };

export type Message =
  | (Envelope & {
      readonly type: 'vote';
      readonly preVote: boolean;
      /** The leader asked for this election (§3.10): answer although a leader is alive. */
      readonly transfer: boolean;
      readonly lastIndex: Index;
      readonly lastTerm: Term;
    })
  | (Envelope & { readonly type: 'voteResponse'; readonly preVote: boolean; readonly granted: boolean })
  | (Envelope & {
      readonly type: 'append';
      readonly prevIndex: Index;
      readonly prevTerm: Term;
      readonly entries: readonly Entry[];
      readonly commit: Index;
    })
  | (Envelope & {
      readonly type: 'appendResponse';
      readonly accepted: boolean;
      /** Accepted: the log matches the leader's up to here, durably. Rejected: the `prevIndex` that did not match. */
      readonly index: Index;
      /** Rejected only (else 0): the highest position worth trying next, and the receiver's term there. */
      readonly hintIndex: Index;
      readonly hintTerm: Term;
    })
  /** `commit` never exceeds what the receiver has acknowledged. `round` > 0 names the read round that an answer confirms. */
  | (Envelope & { readonly type: 'heartbeat'; readonly commit: Index; readonly round: number })
  | (Envelope & { readonly type: 'heartbeatResponse'; readonly round: number })
  /** The commit index moved and there was no append to carry it. Never answered. */
  | (Envelope & { readonly type: 'commit'; readonly commit: Index })
  /** §3.10: the receiver is to stand for election at once, in place of the sender. */
  | (Envelope & { readonly type: 'timeoutNow' })
  /** Header of a snapshot stream; travels only by `sendSnapshot`/`snapshotOffered`, never by `send`/`receive`. */
  | SnapshotMessage
  /** A follower's proposals, for the leader. Must not be delivered twice. */
  | (Envelope & { readonly type: 'propose'; readonly proposals: readonly Proposal[] })
  /** Positions `firstIndex ...` in the order of `ids`, in the leader's term `term`; null: dropped for `reason`. */
  | (Envelope & {
      readonly type: 'proposeResponse';
      readonly ids: readonly number[];
      readonly firstIndex: Index | null;
      readonly reason: DropReason | null;
    })
  | (Envelope & { readonly type: 'readIndex'; readonly ids: readonly number[] })
  /** `index` null: the receiver could not confirm its leadership. */
  | (Envelope & { readonly type: 'readIndexResponse'; readonly ids: readonly number[]; readonly index: Index | null });

export type SnapshotMessage = Envelope & { readonly type: 'snapshot'; readonly meta: SnapshotMeta };

/**
 * `noLeader`: no leader is known here. `notLeader`: it was forwarded to a member that no longer leads.
 * `tooManyUncommitted`: the leader's bound of uncommitted bytes is reached; retry later.
 * `transferring`: leadership is being handed over; retry when there is another leader, or when the attempt has ended.
 *
 * Of configuration changes only: `termNotCommitted`: the leader has not committed an entry of its own term yet, retry soon.
 * `changePending`: the last change is not committed yet. `changeInvalid`: it changes nothing, leaves no voter, or does not fit
 * the configuration as it is (joint or not, or not the one that it was based on). `learnerBehind`: the learner to become a
 * voter has not caught up.
 */
export type DropReason =
  | 'noLeader'
  | 'notLeader'
  | 'tooManyUncommitted'
  | 'transferring'
  | 'termNotCommitted'
  | 'changePending'
  | 'changeInvalid'
  | 'learnerBehind';

/**
 * `notLeader`, `notVoter` (or not a member), `busy` (another transfer is under way): nothing was begun.
 * `timedOut`: not within an election timeout; this member leads on. `deposed`: this member lost leadership to a third one or
 * to nobody yet.
 */
export type TransferFailure = 'notLeader' | 'notVoter' | 'busy' | 'timedOut' | 'deposed';

export type RaftEvent =
  /** One unit of time has passed. After a stall of the process step only as many ticks as the driver wants to count. */
  | { readonly type: 'tick' }
  | { readonly type: 'receive'; readonly message: Exclude<Message, SnapshotMessage> }
  | { readonly type: 'propose'; readonly id: number; readonly data: Uint8Array }
  | {
      readonly type: 'change';
      readonly id: number;
      readonly change: ConfigurationChange;
      readonly context: string;
      readonly basedOn?: Index;
    }
  | { readonly type: 'readIndex'; readonly id: number }
  /** Hand leadership to this voter (§3.10). Answered by `transferEnded`. */
  | { readonly type: 'transferLeadership'; readonly to: MemberId }
  /** More time has passed than was ticked, say in a stopped process: what was believed for a while (a lease) is void. */
  | { readonly type: 'timeLost' }
  /** Start an election now. No effect on a member that knows a leader, whose candidacy is under way, or that may not vote. */
  | { readonly type: 'campaign' }
  /** The `persist` or `installSnapshot` of this id, and all before it, are durable. */
  | { readonly type: 'persisted'; readonly id: number }
  | { readonly type: 'applied'; readonly index: Index }
  /** An own snapshot is durable, its log record included. */
  | { readonly type: 'snapshotTaken'; readonly meta: SnapshotMeta }
  | { readonly type: 'snapshotSent'; readonly to: MemberId; readonly ok: boolean }
  | { readonly type: 'snapshotOffered'; readonly message: SnapshotMessage }
  /** The offered snapshot is stored and durable beside the others; nothing else was done with it. */
  | { readonly type: 'snapshotReceived'; readonly message: SnapshotMessage }
  /** The transport lost its connection with this member, in either direction: messages under way may be gone, and it too. */
  | { readonly type: 'unreachable'; readonly member: MemberId }
  /** The process of this member has ended, or listens no more: its machine refuses connections to it. */
  | { readonly type: 'ended'; readonly member: MemberId };

export type RaftCommand =
  | {
      readonly type: 'persist';
      readonly id: number;
      readonly hardState: HardState | null;
      readonly entries: readonly Entry[];
      readonly sync: boolean;
      readonly messages: readonly Message[];
    }
  | { readonly type: 'installSnapshot'; readonly id: number; readonly meta: SnapshotMeta }
  | { readonly type: 'compact'; readonly through: Index }
  | { readonly type: 'apply'; readonly entries: readonly Entry[] }
  | { readonly type: 'send'; readonly message: Message }
  | { readonly type: 'sendSnapshot'; readonly message: SnapshotMessage }
  | { readonly type: 'receiveSnapshot'; readonly message: SnapshotMessage }
  | { readonly type: 'refuseSnapshot'; readonly message: SnapshotMessage; readonly reason: string }
  /** `ids[k]` has the log position (`firstIndex + k`, `term`). */
  | {
      readonly type: 'proposalsAccepted';
      readonly ids: readonly number[];
      readonly term: Term;
      readonly firstIndex: Index;
    }
  | { readonly type: 'proposalsDropped'; readonly ids: readonly number[]; readonly reason: DropReason }
  | { readonly type: 'readReady'; readonly ids: readonly number[]; readonly index: Index }
  | { readonly type: 'readDropped'; readonly ids: readonly number[] }
  /** `failure` null: this member heard of `to` as the leader of a later term. */
  | { readonly type: 'transferEnded'; readonly to: MemberId; readonly failure: TransferFailure | null }
  /** Effective at once, before it is committed, and taken back when its entry is truncated. */
  | {
      readonly type: 'configurationChanged';
      readonly configuration: Configuration;
      readonly configurationIndex: Index;
    }
  /** Any of the three changed since the last `take`. */
  | { readonly type: 'roleChanged'; readonly role: Role; readonly term: Term; readonly leader: MemberId | null }
  /** A message that no correct peer sends was ignored: count it, log it once per peer and reason. */
  | { readonly type: 'ignored'; readonly from: MemberId; readonly reason: string };

/** What status endpoints and the driver's decisions read. */
export interface RaftStatus {
  readonly id: MemberId;
  readonly role: Role;
  readonly term: Term;
  readonly leader: MemberId | null;
  readonly commit: Index;
  readonly applied: Index;
  readonly firstIndex: Index;
  readonly lastIndex: Index;
  /** Bytes of entry data held in memory, for size-based snapshots (RA-23). */
  readonly logBytes: number;
  readonly snapshotIndex: Index;
  readonly configuration: Configuration;
  readonly configurationIndex: Index;
  /** The newest configuration whose entry is committed; the one above may be newer (HR-19). */
  readonly committedConfiguration: Configuration;
  readonly committedConfigurationIndex: Index;
  /** Who is about to take over leadership. */
  readonly transferTo: MemberId | null;
  /** On a leader: each other member as the leader sees it. */
  readonly progress: readonly ProgressStatus[];
}

export interface ProgressStatus {
  readonly member: MemberId;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly match: Index;
  readonly next: Index;
  readonly inflight: number;
  readonly recentlyActive: boolean;
}

export type RaftErrorCode =
  | 'RAFT_CONFIG_INVALID'
  | 'RAFT_STATE_INVALID'
  | 'RAFT_DRIVER_ORDER'
  | 'RAFT_SNAPSHOT_REFUSED'
  | 'RAFT_CHANGE_INVALID';

/**
 * `RAFT_CONFIG_INVALID` and `RAFT_STATE_INVALID` come from the constructor, `RAFT_DRIVER_ORDER` from a `step` that breaks the
 * protocol above (fatal: a bug of the driver), `RAFT_SNAPSHOT_REFUSED` from `snapshotMeta` (HR-20; try again later),
 * `RAFT_CHANGE_INVALID` from the arithmetic of membership.ts.
 */
export class RaftError extends Error {
  readonly code: RaftErrorCode;
  constructor(code: RaftErrorCode, message: string) {
    super(message);
    this.name = 'RaftError';
    this.code = code;
  }
}
