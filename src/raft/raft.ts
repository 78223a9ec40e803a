/**
 * Raft as a pure state machine. `step` takes what happened, `take` returns what to do about it; types.ts has the protocol.
 * This file settles terms and roles for each event, and composes one batch of commands.
 */
import { compactThrough } from './compaction.ts';
import { Core } from './core.ts';
import * as election from './election.ts';
import * as following from './following.ts';
import { entrySize } from './log.ts';
import * as replication from './replication.ts';
import * as serving from './serving.ts';
import { restore, settingsOf } from './settings.ts';
import * as transfer from './transfer.ts';
import {
  asIndex,
  asTerm,
  type Configuration,
  type HardState,
  type Index,
  type MemberId,
  type Message,
  type RaftCommand,
  type RaftConfig,
  RaftError,
  type RaftEvent,
  type RaftStatus,
  type RestoredState,
  type Role,
  type SnapshotMessage,
  type SnapshotMeta,
  type Term,
} from './types.ts';
import { nonsense } from './validation.ts';

export class Raft {
  readonly #core: Core;
  /** As last handed to the disk. */
  #hardState: HardState;
  /** As last told to the driver. */
  #told: { role: Role; term: Term; leader: MemberId | null };
  #toldConfiguration: Configuration;
  /** Handed out for apply and not reported yet, oldest first. */
  #applying: { last: Index; bytes: number }[] = [];
  #applyingBytes = 0;

  /** Throws `RAFT_CONFIG_INVALID` or `RAFT_STATE_INVALID`. */
  constructor(config: RaftConfig, restored: RestoredState) {
    const settings = settingsOf(config);
    const { log, term, vote } = restore(restored);
    this.#core = new Core(settings, restored, log, term, vote);
    this.#hardState = restored.hardState;
    this.#told = { role: 'follower', term, leader: null };
    this.#toldConfiguration = this.#core.configuration;
    // GR-12: nobody else could object.
    if (this.#core.alone && election.mayStand(this.#core)) election.campaign(this.#core);
  }

  get role(): Role {
    return this.#core.role;
  }

  get term(): Term {
    return this.#core.term;
  }

  get leader(): MemberId | null {
    return this.#core.leader;
  }

  get commit(): Index {
    return this.#core.log.commit;
  }

  get lastIndex(): Index {
    return this.#core.log.last;
  }

  status(): RaftStatus {
    const { id, role, term, leader, log, snapshot, configuration, configurationIndex, progress } = this.#core;
    const { committed } = this.#core.configurations;
    return {
      id,
      role,
      term,
      leader,
      commit: log.commit,
      applied: log.applied,
      firstIndex: log.first,
      lastIndex: log.last,
      logBytes: log.bytes,
      snapshotIndex: snapshot.index,
      configuration,
      configurationIndex,
      committedConfiguration: committed.configuration,
      committedConfigurationIndex: committed.index,
      transferTo: this.#core.transfer?.to ?? null,
      progress: [...progress].map(([member, { state, match, next, window, recentlyActive }]) => ({
        member,
        state,
        match,
        next,
        inflight: window.size,
        recentlyActive,
      })),
    };
  }

  /**
   * The meta of a snapshot of the state as applied through `applied` (HR-03, HR-19), which must have been reported.
   * Throws `RAFT_SNAPSHOT_REFUSED` when there is nothing to snapshot (HR-18) or a configuration is not applied yet (HR-20).
   */
  snapshotMeta(applied: Index): SnapshotMeta {
    const { log, configurations } = this.#core;
    const { configuration, index: configurationIndex } = configurations.committed;
    if (applied === 0) throw new RaftError('RAFT_SNAPSHOT_REFUSED', 'nothing new to snapshot: nothing was applied yet');
    if (applied < configurationIndex) {
      throw new RaftError(
        'RAFT_SNAPSHOT_REFUSED',
        `cannot take snapshot now, wait until the configuration entry at ${configurationIndex} has been applied (have applied ${applied})`,
      );
    }
    const term = log.term(applied);
    if (applied > log.applied || term === undefined) {
      throw new RaftError('RAFT_DRIVER_ORDER', `a snapshot at ${applied} is not of a state reported as applied`);
    }
    return { index: applied, term, configuration, configurationIndex };
  }

  /** Throws `RAFT_DRIVER_ORDER` when the driver breaks the protocol; nothing that a peer sends makes it throw. */
  step(event: RaftEvent): void {
    const core = this.#core;
    switch (event.type) {
      case 'tick':
        core.early = null;
        if (core.silence > 0) core.silence--;
        transfer.tickTransfer(core);
        if (core.role === 'leader') replication.tickLeader(core);
        else election.tickElection(core);
        return;
      case 'receive':
        this.#receive(event.message);
        return;
      case 'propose':
        serving.propose(core, { kind: 'normal', id: event.id, data: event.data });
        return;
      case 'change': {
        const { type: kind, ...proposal } = event;
        serving.propose(core, { kind, ...proposal });
        return;
      }
      case 'transferLeadership':
        transfer.transferLeadership(core, event.to);
        return;
      case 'timeLost':
        core.reads.voidLease();
        return;
      case 'readIndex':
        serving.readIndex(core, event.id);
        return;
      case 'campaign':
        if (core.leader === null && election.mayStand(core)) election.campaign(core);
        return;
      case 'persisted':
        this.#persisted(event.id);
        return;
      case 'applied':
        this.#applied(event.index);
        return;
      case 'snapshotTaken':
        this.#snapshotTaken(event.meta);
        return;
      case 'snapshotSent':
        replication.onSnapshotSent(core, event.to, event.ok);
        return;
      case 'snapshotOffered':
        this.#snapshotOffered(event.message);
        return;
      case 'snapshotReceived':
        following.onSnapshotReceived(core, event.message);
        return;
      case 'unreachable':
        replication.onUnreachable(core, event.member);
        election.onUnreachable(core, event.member);
        return;
      case 'ended':
        this.#ended(event.member);
        return;
    }
  }

  /** Everything to do about the events since the last call, in order. */
  take(): RaftCommand[] {
    const core = this.#core;
    serving.flushForwards(core);
    serving.flushAccepted(core);
    if (core.role === 'leader') {
      serving.startReadRound(core);
      serving.leaveJoint(core);
      replication.replicate(core);
      transfer.stepDownWhenRemoved(core);
    }
    transfer.settleTransfer(core);
    following.flushAcknowledgement(core);
    this.#persist();
    this.#apply();
    const { commands } = core;
    core.commands = [];
    const { role, term, leader } = core;
    const told = this.#told;
    if (told.role !== role || told.term !== term || told.leader !== leader) {
      this.#told = { role, term, leader };
      commands.unshift({ type: 'roleChanged', role, term, leader });
    }
    const { configuration, configurationIndex } = core;
    if (this.#toldConfiguration !== configuration) {
      this.#toldConfiguration = configuration;
      commands.unshift({ type: 'configurationChanged', configuration, configurationIndex });
    }
    return commands;
  }

  #receive(message: Exclude<Message, SnapshotMessage>): void {
    const core = this.#core;
    const reason = nonsense(core.id, core.term, message);
    if (reason !== null) {
      core.emit({ type: 'ignored', from: message.from, reason });
      return;
    }
    if (message.term > core.term && !this.#meetHigherTerm(message)) return;
    const stale = message.term < core.term;
    switch (message.type) {
      case 'vote':
        election.answerVote(core, message);
        return;
      case 'voteResponse':
        election.countAnswer(core, message);
        return;
      case 'append':
        if (this.#heed(message)) following.onAppend(core, message);
        return;
      case 'heartbeat':
        if (this.#heed(message)) following.onHeartbeat(core, message);
        return;
      case 'commit':
        if (this.#heed(message)) core.commitTo(message.commit);
        return;
      case 'appendResponse':
        if (stale) return;
        replication.onAppendResponse(core, message);
        transfer.urge(core, message.from);
        return;
      case 'timeoutNow':
        transfer.onTimeoutNow(core, message);
        return;
      case 'heartbeatResponse':
        if (stale) return;
        replication.onHeartbeatResponse(core, message.from);
        transfer.urge(core, message.from);
        serving.onReadRoundAnswer(core, message.from, message.round);
        return;
      case 'propose':
        serving.onPropose(core, message);
        return;
      case 'proposeResponse':
        serving.onProposeResponse(core, message);
        return;
      case 'readIndex':
        serving.onReadIndex(core, message.from, message.ids);
        return;
      case 'readIndexResponse':
        serving.onReadIndexResponse(core, message);
        return;
    }
  }

  /** GR-14, with what must not raise the term. False: the message is not even looked at. */
  #meetHigherTerm(message: Message): boolean {
    const core = this.#core;
    switch (message.type) {
      case 'vote':
        if (!message.transfer && election.isInTouchWithLeader(core)) {
          core.early = message;
          return false;
        }
        if (!message.preVote) core.becomeFollower(message.term, null);
        return true;
      case 'voteResponse':
        if (!(message.preVote && message.granted)) core.becomeFollower(message.term, null);
        return true;
      default:
        core.becomeFollower(message.term, null);
        return true;
    }
  }

  /** Whether this comes from the leader of our term, which then has a follower here whose timer starts anew (GR-09). */
  #heed(message: Message): boolean {
    const core = this.#core;
    if (message.term < core.term) {
      // GR-16: an old leader, or one that was cut off with its term behind, learns of ours.
      core.send({
        type: 'appendResponse',
        to: message.from,
        accepted: false,
        index: asIndex(0),
        hintIndex: asIndex(0),
        hintTerm: asTerm(0),
      });
      return false;
    }
    if (core.leader !== message.from || core.role !== 'follower') {
      if (core.leader !== null) {
        core.emit({ type: 'ignored', from: message.from, reason: 'leads a term that has another leader' });
        return false;
      }
      core.becomeFollower(message.term, message.from);
    }
    core.resetElectionTimer();
    return true;
  }

  /** Whoever heard of it first may have asked already. */
  #ended(member: MemberId): void {
    const core = this.#core;
    if (core.role !== 'follower' || core.leader !== member) return;
    election.onEnded(core, member);
    if (core.early === null) election.standFirst(core);
    else this.#receive(core.early);
  }

  #persisted(id: number): void {
    const core = this.#core;
    const through = core.persists.complete(id, core.term);
    if (through === null) return;
    if (through > core.log.stable) core.log.stable = through;
    if (core.role === 'candidate') election.ownVoteDurable(core);
    else if (core.role === 'leader') replication.advanceCommit(core);
  }

  #applied(index: Index): void {
    const { log } = this.#core;
    if (index > log.applying) {
      throw new RaftError('RAFT_DRIVER_ORDER', `applied{index: ${index}} was not handed out (through ${log.applying})`);
    }
    while (this.#applying.length > 0 && this.#applying[0]!.last <= index) {
      this.#applyingBytes -= this.#applying.shift()!.bytes;
    }
    if (index > log.applied) log.applied = index;
  }

  /** HR-25: durable first, then recorded, then compacted. */
  #snapshotTaken(meta: SnapshotMeta): void {
    const core = this.#core;
    const { log } = core;
    // One from the leader may have overtaken it.
    if (meta.index <= core.snapshot.index) return;
    if (meta.index > log.applied) {
      throw new RaftError('RAFT_DRIVER_ORDER', `snapshotTaken at ${meta.index}, applied only through ${log.applied}`);
    }
    core.snapshot = meta;
    const allowed = replication.heldBack(core, meta.index);
    const through = compactThrough(log.first, log.last, allowed, core.settings.trailingLogs);
    if (through === null) return;
    log.compact(through);
    core.emit({ type: 'compact', through });
  }

  #snapshotOffered(message: SnapshotMessage): void {
    const core = this.#core;
    const reason = nonsense(core.id, core.term, message);
    if (reason !== null) {
      core.emit({ type: 'ignored', from: message.from, reason });
      core.emit({ type: 'refuseSnapshot', message, reason });
      return;
    }
    if (message.term > core.term) core.becomeFollower(message.term, null);
    if (this.#heed(message)) following.onSnapshotOffered(core, message);
    else core.emit({ type: 'refuseSnapshot', message, reason: 'the sender does not lead the current term' });
  }

  #persist(): void {
    const core = this.#core;
    const { log, persists, afterPersist: messages, hardState } = core;
    const entries = log.takeUnhanded();
    const before = this.#hardState;
    const elected = hardState.term !== before.term || hardState.vote !== before.vote;
    const moved = hardState.commit !== before.commit;
    const sync = entries.length > 0 || elected;
    // Always anew: a persist that is handed out owns its list, even an empty one.
    core.afterPersist = [];
    if (sync || moved || (messages.length > 0 && !persists.idle)) {
      this.#hardState = hardState;
      const id = persists.issue(core.term, log.handed);
      core.emit({ type: 'persist', id, hardState: elected || moved ? hardState : null, entries, sync, messages });
    } else {
      for (const message of messages) core.emit({ type: 'send', message });
    }
  }

  /** Committed and durable here, in portions that bound what waits for the state machine. */
  #apply(): void {
    const { log, settings } = this.#core;
    const through = asIndex(Math.min(log.commit, log.stable));
    const room = settings.maxApplyingBytes - this.#applyingBytes;
    if (log.applying >= through || room <= 0) return;
    const entries = log.slice(asIndex(log.applying + 1), through, room);
    const last = entries[entries.length - 1]!.index;
    let bytes = 0;
    for (const entry of entries) bytes += entrySize(entry);
    this.#applying.push({ last, bytes });
    this.#applyingBytes += bytes;
    log.applying = last;
    this.#core.emit({ type: 'apply', entries });
  }
}
