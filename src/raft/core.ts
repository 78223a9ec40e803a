/**
 * The state of one member and the moves that every room of the core shares: sending, changing roles, moving the commit
 * index. Elections, replication and reads are functions over it, each in a file of its own.
 */
import { isSoleVoter, membersOf } from './configuration.ts';
import { Configurations } from './configurations.ts';
import { entrySize, type Log } from './log.ts';
import { decodeConfiguration } from './membership.ts';
import { Persists } from './persists.ts';
import { Progress } from './progress.ts';
import { Reads } from './reads.ts';
import type { Settings } from './settings.ts';
import {
  asIndex,
  type Configuration,
  type Entry,
  type EntryKind,
  type HardState,
  type Index,
  type MemberId,
  type Message,
  type Proposal,
  type RaftCommand,
  RaftError,
  type RestoredState,
  type Role,
  type SnapshotMeta,
  type Term,
} from './types.ts';

/** A message without what the core fills in itself. */
type Draft<M> = M extends Message ? Omit<M, 'from' | 'term'> & { readonly term?: Term } : never;

const noData = new Uint8Array(0);

export interface Transfer {
  readonly to: MemberId;
  /** The term of the leadership that is handed over. */
  readonly term: Term;
  elapsed: number;
}

export class Core {
  readonly settings: Settings;
  readonly id: MemberId;
  readonly log: Log;
  readonly persists = new Persists();
  readonly votes = new Map<MemberId, boolean>();
  /** A leader's view of all others; empty otherwise. */
  readonly progress = new Map<MemberId, Progress>();
  readonly reads = new Reads();

  term: Term;
  vote: MemberId | null;
  role: Role = 'follower';
  leader: MemberId | null = null;
  readonly configurations: Configurations;
  /** The newest durable snapshot, which lagging followers get. */
  snapshot: SnapshotMeta;

  /** Ticks since this follower heard of its leader or granted a vote; on a leader, since it last counted its quorum. */
  electionElapsed = 0;
  /** Drawn from [T, 2T) at each reset (GR-09). */
  electionTimeout = 0;
  heartbeatElapsed = 0;
  /** Ticks of this leadership, by which leases are counted. */
  leaderTicks = 0;
  /**
   * Ticks left in which this member grants no vote, not even to itself: it has vouched for a leader's lease (§6.4.1), or may
   * have before it restarted. Only the leader's own word (§3.10) overrides that, since it forswears its lease with it.
   */
  silence = 0;
  /** The leader that this member had has ended, and it knows of no other. */
  ended: MemberId | null = null;
  /** The last candidacy in this tick that was ignored since this member was in touch with a leader. */
  early: Extract<Message, { type: 'vote' }> | null = null;
  uncommittedBytes = 0;
  /** Leadership is being handed over, or was and its outcome is not known yet. */
  transfer: Transfer | null = null;

  commands: RaftCommand[] = [];
  /** Messages that promise something durable. */
  afterPersist: Message[] = [];
  /** The log matches the leader's of this term through here; told once per batch. */
  acknowledge: Index | null = null;
  /** Proposals and reads to forward, or to answer by whoever leads at the end of the batch. */
  forwardProposals: Proposal[] = [];
  forwardReads: number[] = [];
  accepted: { term: Term; firstIndex: Index; ids: number[] } | null = null;

  constructor(settings: Settings, restored: RestoredState, log: Log, term: Term, vote: MemberId | null) {
    this.settings = settings;
    this.id = settings.id;
    this.log = log;
    this.term = term;
    this.vote = vote;
    this.snapshot = restored.snapshot;
    this.configurations = new Configurations(restored.snapshot);
    for (const entry of restored.entries) if (entry.index > restored.snapshot.index) this.#heed(entry);
    this.configurations.commit(log.commit);
    if (settings.leaseReads && term > 0) this.silence = settings.electionTicks;
    this.resetElectionTimer();
  }

  /** The one that counts, committed or not. */
  get configuration(): Configuration {
    return this.configurations.latest.configuration;
  }

  get configurationIndex(): Index {
    return this.configurations.latest.index;
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.commit };
  }

  get alone(): boolean {
    return isSoleVoter(this.configuration, this.id);
  }

  /** Without it a new leader does not know which of the inherited entries are committed (thesis §3.6.2, §6.4). */
  get committedInTerm(): boolean {
    return this.log.term(this.log.commit) === this.term;
  }

  emit(command: RaftCommand): void {
    this.commands.push(command);
  }

  /** May go out before anything is durable. */
  send(draft: Draft<Message>): void {
    this.commands.push({ type: 'send', message: this.#address(draft) });
  }

  /** Goes out only when everything that was decided so far is durable. */
  sendAfterPersist(draft: Draft<Message>): void {
    this.afterPersist.push(this.#address(draft));
  }

  #address(draft: Draft<Message>): Message {
    return { ...draft, from: this.id, term: draft.term ?? this.term } as Message;
  }

  resetElectionTimer(): void {
    const { electionTicks, random } = this.settings;
    this.electionElapsed = 0;
    this.electionTimeout = electionTicks + Math.floor(random() * electionTicks);
  }

  /**
   * GR-14. The election timer keeps running: only the leader's messages and granted votes restart it (GR-09), except that
   * a former leader has none running.
   */
  becomeFollower(term: Term, leader: MemberId | null): void {
    if (term !== this.term) {
      this.term = term;
      this.vote = null;
      this.acknowledge = null;
    }
    if (this.role === 'leader') this.#leaveLeadership();
    this.role = 'follower';
    this.leader = leader;
    if (leader !== null) this.ended = null;
    this.votes.clear();
  }

  #leaveLeadership(): void {
    this.resetElectionTimer();
    this.reads.voidLease();
    this.progress.clear();
    this.uncommittedBytes = 0;
    for (const { from, ids } of this.reads.drain()) this.#dropReads(from, ids);
  }

  #dropReads(from: MemberId | null, ids: readonly number[]): void {
    if (from === null) this.emit({ type: 'readDropped', ids });
    else this.send({ type: 'readIndexResponse', to: from, ids, index: null });
  }

  /** §9.6: nothing but the role changes, so that a member that cannot win disturbs nobody. */
  becomePreCandidate(): void {
    this.role = 'preCandidate';
    this.leader = null;
    this.votes.clear();
    this.votes.set(this.id, true);
    this.resetElectionTimer();
  }

  /** GR-11. The own vote counts when it is durable, so it is not among the votes yet. */
  becomeCandidate(): void {
    this.role = 'candidate';
    this.leader = null;
    this.term = (this.term + 1) as Term;
    this.vote = this.id;
    this.acknowledge = null;
    this.votes.clear();
    this.resetElectionTimer();
  }

  /** GR-13. */
  becomeLeader(): void {
    this.role = 'leader';
    this.leader = this.id;
    this.ended = null;
    this.votes.clear();
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.leaderTicks = 0;
    this.reads.newTerm();
    this.#followMembers();
    this.uncommittedBytes = this.log.sizeBetween(this.log.commit, this.log.last);
    this.append('noop', noData);
  }

  /** A leader replicates to whoever the newest configuration names. */
  #followMembers(): void {
    const members = membersOf(this.configuration);
    for (const id of this.progress.keys()) if (!members.includes(id)) this.progress.delete(id);
    for (const id of members) {
      if (id === this.id || this.progress.has(id)) continue;
      const progress = new Progress(asIndex(this.log.last + 1), this.settings);
      // Until the next count: a leader must not step down over a voter that it has just added.
      progress.recentlyActive = this.log.lastTerm === this.term;
      this.progress.set(id, progress);
    }
  }

  /** A leader's own append. Returns the entry's position. */
  append(kind: EntryKind, data: Uint8Array): Index {
    const index = asIndex(this.log.last + 1);
    const entry: Entry = { term: this.term, index, kind, data };
    this.push(entry);
    this.uncommittedBytes += entrySize(entry);
    return index;
  }

  /** Every entry comes into the log here, since configurations count from then on. */
  push(entry: Entry): void {
    this.log.push(entry);
    this.#heed(entry);
  }

  #heed(entry: Entry): void {
    if (entry.kind !== 'configuration') return;
    const decoded = decodeConfiguration(entry.data);
    if (decoded === null) {
      throw new RaftError('RAFT_STATE_INVALID', `the configuration in entry ${entry.index} makes no sense`);
    }
    this.configurations.append(entry.index, decoded.configuration);
    if (this.role !== 'leader') return;
    this.reads.voidLease();
    this.#followMembers();
  }

  truncate(index: Index): void {
    this.persists.truncated(index);
    this.log.truncate(index);
    this.configurations.truncate(index);
  }

  commitTo(index: Index): void {
    const { log } = this;
    const commit = asIndex(Math.min(index, log.last));
    if (commit <= log.commit) return;
    if (this.role === 'leader') {
      this.uncommittedBytes = Math.max(0, this.uncommittedBytes - log.sizeBetween(log.commit, commit));
    }
    log.commit = commit;
    this.configurations.commit(commit);
  }
}
