/**
 * Carries out what Raft commands: disk, network and state machine run beside each other, and each reports back. What one
 * turn of the event loop brings is stepped together and taken once, so that it shares one write and one message per peer.
 */
import type { Log } from '../log.ts';
import { Raft } from '../raft/raft.ts';
import type {
  Configuration,
  HardState,
  Index,
  Message,
  RaftCommand,
  RaftConfig,
  RaftEvent,
  RaftStatus,
  RestoredState,
} from '../raft/types.ts';
import type { FolderSnapshotStore } from '../storage/snapshots.ts';
import type { Wal } from '../storage/wal.ts';
import { ApplyQueue } from './apply-queue.ts';
import { Addresses } from './book.ts';
import type { WireMessage } from './codec.ts';
import type { KeyValues } from './kv.ts';
import { OnceLog } from './once.ts';
import { isProposable } from './proposable.ts';
import { Proposals } from './proposals.ts';
import { Reads } from './reads.ts';
import { Snapshots } from './snapshots.ts';
import { Transfers } from './transfers.ts';
import type { Transport } from './transport.ts';

export interface DriverOptions {
  readonly raft: RaftConfig;
  readonly restored: RestoredState;
  readonly wal: Wal;
  readonly store: FolderSnapshotStore;
  readonly keyValues: KeyValues;
  readonly log: Log;
  readonly tickMs: number;
  readonly electionMs: number;
  readonly requestTimeoutMs: number;
  readonly snapshotCount: number;
  readonly snapshotPeriodMs: number;
  /** A leader is known again, or is known no more. */
  readonly onLeader: (leader: string | null) => void;
  /** `configuration` is another one now. */
  readonly onConfiguration: () => void;
  /** Nothing can be relied on any more: the process must end. */
  readonly onFatal: (error: unknown) => void;
  /** Told of every command before it is carried out, for tests that watch what a cluster promises. */
  readonly observe?: (command: RaftCommand) => void;
}

/** What a driver needs of a transport. */
export type Outgoing = Pick<Transport, 'send' | 'flush' | 'openSnapshotChannel'>;

export interface DriverCounters {
  leaderChanges: number;
  appliedEntries: number;
  ignoredMessages: number;
}

export class Driver {
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly snapshots: Snapshots;
  readonly transfers = new Transfers((to) => this.#step({ type: 'transferLeadership', to }));
  /** Of members whose addition is in the log and perhaps not committed. */
  readonly addresses = new Addresses();
  readonly counters: DriverCounters = {
    leaderChanges: 0,
    appliedEntries: 0,
    ignoredMessages: 0,
  };
  readonly #options: DriverOptions;
  readonly #raft: Raft;
  readonly #applyQueue: ApplyQueue;
  #transport: Outgoing | undefined;
  #ticker: NodeJS.Timeout | undefined;
  /** As last handed to the disk: goes with every snapshot mark, which counts only up to the commit index. */
  #hardState: HardState;
  /** The newest disk work: everything handed to the disk before it is durable when this is. */
  #disk: Promise<void> | undefined;
  #applied: Index;
  #configuration: Configuration;
  /** Time that Raft was told of, on this clock. */
  #tickedUntil = performance.now();
  #turnDue = false;
  #stopped = false;
  readonly #complaints: OnceLog;

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#complaints = new OnceLog(options.log);
    const { restored, keyValues, electionMs, requestTimeoutMs: timeoutMs } = options;
    this.#hardState = restored.hardState;
    this.#applied = restored.snapshot.index;
    this.#raft = new Raft(options.raft, restored);
    this.#configuration = this.#raft.status().configuration;
    this.addresses.learn(restored.entries);
    const now = (): number => performance.now();
    const hasLeader = (): boolean => this.#raft.leader !== null;
    const firstId = someId(options.raft.random);
    this.proposals = new Proposals({
      step: (id, payload) =>
        this.#step('change' in payload ? { type: 'change', id, ...payload } : { type: 'propose', id, data: payload }),
      hasLeader,
      now,
      timeoutMs,
      firstId,
    });
    const retryMs = electionMs / 2;
    this.reads = new Reads({
      step: (id) => this.#step({ type: 'readIndex', id }),
      hasLeader,
      now,
      timeoutMs,
      retryMs,
      firstId,
    });
    this.snapshots = new Snapshots({
      self: options.raft.id,
      store: options.store,
      wal: options.wal,
      keyValues,
      log: options.log,
      index: restored.snapshot.index,
      threshold: options.snapshotCount,
      periodMs: options.snapshotPeriodMs,
      random: options.raft.random,
      raft: this.#raft,
      applied: () => this.#applied,
      hardState: (commit) => {
        if (commit > this.#hardState.commit) this.#hardState = { ...this.#hardState, commit };
        return this.#hardState;
      },
      step: (event) => this.#step(event),
    });
    this.#applyQueue = new ApplyQueue({
      stateMachine: keyValues,
      onEntry: (entry) => {
        this.counters.appliedEntries++;
        this.proposals.onApplied(entry.index, entry.term);
      },
      onApplied: (index, bytes) => {
        this.#applied = index;
        this.#step({ type: 'applied', index });
        this.reads.onApplied(index);
        this.snapshots.onApplied(bytes);
      },
      install: (meta, durable) => this.snapshots.install(meta, durable),
      onInstalled: (meta) => {
        this.#applied = meta.index;
        this.proposals.onInstalled();
        this.reads.onApplied(meta.index);
        this.snapshots.onInstalled(meta);
        this.#step({ type: 'applied', index: meta.index });
      },
      onFailure: (error) => this.#fatal(error),
    });
    this.reads.onApplied(restored.snapshot.index);
  }

  start(transport: Outgoing): void {
    this.#transport = transport;
    this.#tickedUntil = performance.now();
    this.snapshots.start((to) => transport.openSnapshotChannel(to));
    this.#ticker = setInterval(() => this.#tick(), this.#options.tickMs);
    this.#schedule();
  }

  status(): RaftStatus {
    return this.#raft.status();
  }

  get leader(): string | null {
    return this.#raft.leader;
  }

  /** The one that counts: the newest in the log, committed or not. */
  get configuration(): Configuration {
    return this.#configuration;
  }

  get term(): number {
    return this.#raft.term;
  }

  get commit(): number {
    return this.#raft.commit;
  }

  receive(message: WireMessage): void {
    const proposals = message.type === 'propose' ? message.proposals : [];
    if (!proposals.every((proposal) => proposal.kind === 'change' || isProposable(proposal.data))) {
      this.#ignored(message.from, 'proposes what cannot be applied');
      return;
    }
    if (message.type === 'propose' && message.term < this.#raft.term) {
      // Meant for the leader of an earlier term, whose sender may already have proposed it anew: see proposals.ts.
      const { from: to, to: from } = message;
      const ids = message.proposals.map(({ id }) => id);
      this.#transport?.send({
        type: 'proposeResponse',
        from,
        to,
        term: this.#raft.term,
        ids,
        firstIndex: null,
        reason: 'notLeader',
      });
      this.#schedule();
      return;
    }
    this.#step({ type: 'receive', message });
  }

  /** Starts an election when nobody leads. */
  campaign(): void {
    this.#step({ type: 'campaign' });
  }

  onUnreachable(member: Message['to']): void {
    this.#step({ type: 'unreachable', member });
  }

  onEnded(member: Message['to']): void {
    this.#step({ type: 'ended', member });
  }

  /** Stops acting; what was acknowledged is durable already. Resolves when disk and state machine are left alone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#ticker);
    this.transfers.abandon();
    await Promise.all([this.#applyQueue.stop(), this.snapshots.stop()]);
  }

  #tick(): void {
    this.#tickedUntil += this.#options.tickMs;
    this.#step({ type: 'tick' });
    this.proposals.expire();
    this.proposals.retry();
    this.reads.tick();
  }

  #step(event: RaftEvent): void {
    if (this.#stopped) return;
    try {
      this.#raft.step(event);
    } catch (error) {
      this.#fatal(error);
    }
    this.#schedule();
  }

  /** Timers come late, and not at all in a stopped process. Raft must not believe for longer than it may (§6.4.1). */
  #countLostTime(): void {
    const now = performance.now();
    if (now - this.#tickedUntil < this.#options.tickMs) return;
    this.#tickedUntil = now;
    this.#raft.step({ type: 'timeLost' });
  }

  /**
   * At once when at most one entry is under way: a lone client gains by every turn of the loop that it need not wait. Otherwise
   * after the next poll phase: what arrives meanwhile shares the write to disk and to each peer (docs/performance.md).
   */
  #schedule(): void {
    if (this.#turnDue || !this.#transport) return;
    this.#turnDue = true;
    setImmediate(() => {
      if (this.#raft.lastIndex - this.#applied <= 1) this.#turn();
      else setImmediate(() => this.#turn());
    });
  }

  #turn(): void {
    this.#turnDue = false;
    if (this.#stopped) return;
    this.reads.closeRound();
    try {
      this.#countLostTime();
      for (const command of this.#raft.take()) this.#execute(command);
    } catch (error) {
      this.#fatal(error);
    }
    this.#transport!.flush();
  }

  #execute(command: RaftCommand): void {
    const { proposals, reads } = this;
    this.#options.observe?.(command);
    switch (command.type) {
      case 'persist':
        this.#persist(command);
        break;
      case 'send':
        this.#send(command.message);
        break;
      case 'apply':
        this.#applyQueue.push({ type: 'apply', entries: command.entries });
        break;
      case 'proposalsAccepted':
        proposals.onAccepted(command.ids, command.term, command.firstIndex, this.#applied);
        break;
      case 'proposalsDropped':
        proposals.onDropped(command.ids, command.reason);
        break;
      case 'readReady':
        reads.onReady(command.ids, command.index);
        break;
      case 'readDropped':
        // Asked again after half an election timeout.
        break;
      case 'installSnapshot': {
        const durable = this.snapshots.beginInstall(command.meta);
        this.#after(durable, command.id, []);
        this.#applyQueue.push({ type: 'install', meta: command.meta, durable });
        break;
      }
      case 'sendSnapshot':
        void this.snapshots.send(command.message);
        break;
      case 'receiveSnapshot':
        this.snapshots.onWanted(command.message);
        break;
      case 'refuseSnapshot':
        this.snapshots.onRefused(command.message, command.reason);
        break;
      case 'compact':
        void this.snapshots.compact(command.through).catch(() => {});
        break;
      case 'roleChanged':
        this.#roleChanged(command);
        break;
      case 'transferEnded':
        this.#options.log.info('leadership transfer ended', { to: command.to, failure: command.failure });
        this.transfers.onEnded(command.to, command.failure);
        proposals.retry();
        break;
      case 'configurationChanged':
        this.#configuration = command.configuration;
        this.#options.log.info('configuration changed', {
          ...command.configuration,
          index: command.configurationIndex,
        });
        // Where a new member is reached is in the entry, which the same batch hands to the disk.
        queueMicrotask(() => this.#options.onConfiguration());
        break;
      case 'ignored':
        this.#ignored(command.from, command.reason);
        break;
    }
  }

  #ignored(from: string, reason: string): void {
    this.counters.ignoredMessages++;
    this.#complaints.warn('ignored a message', { from, reason });
  }

  #send(message: Message): void {
    if (message.type === 'snapshot') throw new Error('a snapshot is sent on a connection of its own');
    const sent = this.#transport!.send(message);
    if (message.type !== 'propose') return;
    const ids = message.proposals.map(({ id }) => id);
    if (sent) this.proposals.onForwarded(ids, message.term);
    else this.proposals.onDropped(ids, 'noLeader');
  }

  #persist(command: Extract<RaftCommand, { type: 'persist' }>): void {
    const { id, hardState, entries, sync, messages } = command;
    if (hardState) this.#hardState = hardState;
    this.addresses.learn(entries);
    const written = this.#options.wal.append({ hardState: hardState ?? undefined, entries });
    // A commit index alone waits for nothing of its own, only for its turn.
    if (sync || this.#disk === undefined) this.#after(written, id, messages);
    else this.#after(this.#disk, id, messages);
  }

  #after(disk: Promise<void>, id: number, messages: readonly Message[]): void {
    this.#disk = disk;
    disk.then(
      () => {
        if (this.#disk === disk) this.#disk = undefined;
        this.#durable(id, messages);
      },
      (error: unknown) => this.#fatal(error),
    );
  }

  #durable(id: number, messages: readonly Message[]): void {
    if (this.#stopped) return;
    for (const message of messages) this.#send(message);
    this.#step({ type: 'persisted', id });
  }

  #roleChanged({ role, term, leader }: Extract<RaftCommand, { type: 'roleChanged' }>): void {
    this.#options.log.info('role changed', { role, term, leader });
    if (leader !== null) this.counters.leaderChanges++;
    this.#options.onLeader(leader);
    if (leader === null) return;
    this.proposals.retry();
    this.reads.askAgain();
  }

  #fatal(error: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#ticker);
    void this.#applyQueue.stop();
    this.#options.onFatal(error);
  }
}

/**
 * Where a process begins to count what it asks others for. Answers to an earlier process of this member may still come, late or
 * because they were late in being found: none of them must be taken for an answer to what this one asks.
 */
const someId = (random: () => number): number => Math.floor(random() * 2 ** 32) * 2 ** 20;
