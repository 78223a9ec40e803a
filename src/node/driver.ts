/**
 * Carries out what Raft commands: disk, network and state machine run beside each other, and each reports back. What one
 * turn of the event loop brings is stepped together and taken once, so that it shares one write and one message per peer.
 */
import type { Log } from '../log.ts';
import { Raft } from '../raft/raft.ts';
import type {
  HardState,
  Index,
  Message,
  RaftCommand,
  RaftConfig,
  RaftEvent,
  RaftStatus,
  RestoredState,
  SnapshotMessage,
  SnapshotMeta,
} from '../raft/types.ts';
import type { FolderSnapshotStore } from '../storage/snapshots.ts';
import type { Wal } from '../storage/wal.ts';
import { ApplyQueue } from './apply-queue.ts';
import type { Channel } from './channel.ts';
import type { WireMessage } from './codec.ts';
import type { KeyValues } from './kv.ts';
import { Proposals } from './proposals.ts';
import { Reads } from './reads.ts';
import { receiveSnapshot, sendSnapshot, type TransferCounters, type Verdict } from './snapshot-transfer.ts';
import { Snapshotter } from './snapshotter.ts';
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
  /** Nothing can be relied on any more: the process must end. */
  readonly onFatal: (error: unknown) => void;
}

export interface DriverCounters extends TransferCounters {
  leaderChanges: number;
  appliedEntries: number;
  ignoredMessages: number;
  failedSnapshotSends: number;
}

export class Driver {
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly snapshotter: Snapshotter;
  readonly counters: DriverCounters = {
    leaderChanges: 0,
    appliedEntries: 0,
    ignoredMessages: 0,
    failedSnapshotSends: 0,
    sentSnapshots: 0,
    receivedSnapshots: 0,
    sentBytes: 0,
    receivedBytes: 0,
  };
  readonly #options: DriverOptions;
  readonly #raft: Raft;
  readonly #applyQueue: ApplyQueue;
  #transport: Transport | undefined;
  #ticker: NodeJS.Timeout | undefined;
  /** As last handed to the disk: goes with every snapshot mark, which counts only up to the commit index. */
  #hardState: HardState;
  /** The newest disk work: everything handed to the disk before it is durable when this is. */
  #disk: Promise<void> | undefined;
  #applied: Index;
  #snapshotIndex: Index;
  #turnDue = false;
  #stopped = false;
  /** Snapshots that wait for Raft's word, by sender. */
  readonly #offers = new Map<string, (verdict: Verdict) => void>();

  constructor(options: DriverOptions) {
    this.#options = options;
    const { restored, keyValues, electionMs, requestTimeoutMs: timeoutMs } = options;
    this.#hardState = restored.hardState;
    this.#applied = restored.snapshot.index;
    this.#snapshotIndex = restored.snapshot.index;
    this.#raft = new Raft(options.raft, restored);
    const now = (): number => performance.now();
    const hasLeader = (): boolean => this.#raft.leader !== null;
    this.proposals = new Proposals({
      step: (id, data) => this.#step({ type: 'propose', id, data }),
      hasLeader,
      now,
      timeoutMs,
    });
    const retryMs = electionMs / 2;
    this.reads = new Reads({ step: (id) => this.#step({ type: 'readIndex', id }), hasLeader, now, timeoutMs, retryMs });
    this.snapshotter = new Snapshotter({
      store: options.store,
      log: options.log,
      threshold: options.snapshotCount,
      periodMs: options.snapshotPeriodMs,
      random: options.raft.random,
      positions: () => ({ applied: this.#applied, last: this.#raft.lastIndex, snapshot: this.#snapshotIndex }),
      metaAt: (applied) => this.#raft.snapshotMeta(applied),
      freeze: () => keyValues.snapshot(),
      record: (meta) => this.#mark(meta, false),
      taken: (meta) => {
        if (meta.index > this.#snapshotIndex) this.#snapshotIndex = meta.index;
        this.#step({ type: 'snapshotTaken', meta });
      },
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
        this.snapshotter.onApplied(bytes);
      },
      install: (meta, durable) => this.#install(meta, durable),
      onInstalled: (meta) => {
        this.#applied = meta.index;
        this.#snapshotIndex = meta.index;
        this.proposals.onInstalled();
        this.reads.onApplied(meta.index);
        this.snapshotter.onInstalled();
        this.#step({ type: 'applied', index: meta.index });
      },
      onFailure: (error) => this.#fatal(error),
    });
    this.reads.onApplied(restored.snapshot.index);
  }

  start(transport: Transport): void {
    this.#transport = transport;
    this.#ticker = setInterval(() => this.#tick(), this.#options.tickMs);
    this.#schedule();
  }

  status(): RaftStatus {
    return this.#raft.status();
  }

  get leader(): string | null {
    return this.#raft.leader;
  }

  get term(): number {
    return this.#raft.term;
  }

  get commit(): number {
    return this.#raft.commit;
  }

  receive(message: WireMessage): void {
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

  receiveSnapshot(from: Message['from'], channel: Channel): void {
    const { store, log } = this.#options;
    const ask = (message: SnapshotMessage, type: 'snapshotOffered' | 'snapshotReceived'): Promise<Verdict> =>
      new Promise((resolve) => {
        this.#offers.get(from)?.({ wanted: false, reason: 'another snapshot was offered since' });
        this.#offers.set(from, resolve);
        this.#step({ type, message });
      });
    const offer = (message: SnapshotMessage): Promise<Verdict> => ask(message, 'snapshotOffered');
    const stored = (message: SnapshotMessage): Promise<Verdict> => ask(message, 'snapshotReceived');
    const self = this.#raft.status().id;
    void receiveSnapshot({ from, self, channel, store, log, counters: this.counters, offer, stored });
  }

  /** Stops acting; what was acknowledged is durable already. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#ticker);
    this.#applyQueue.stop();
    await this.snapshotter.stop();
  }

  #tick(): void {
    this.#step({ type: 'tick' });
    this.proposals.retry();
    this.proposals.expire();
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

  /**
   * After the next poll phase, not this one: what arrives meanwhile shares the write to disk and to each peer. Costs some
   * microseconds when idle and makes turns fewer under load (docs/performance.md).
   */
  #schedule(): void {
    if (this.#turnDue || !this.#transport) return;
    this.#turnDue = true;
    setImmediate(() => setImmediate(() => this.#turn()));
  }

  #turn(): void {
    this.#turnDue = false;
    if (this.#stopped) return;
    this.reads.closeRound();
    try {
      for (const command of this.#raft.take()) this.#execute(command);
    } catch (error) {
      this.#fatal(error);
    }
    this.#transport!.flush();
  }

  #execute(command: RaftCommand): void {
    const { proposals, reads } = this;
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
        this.#answerOffers({ wanted: true });
        const durable = this.#mark(command.meta, true);
        this.#after(durable, command.id, []);
        this.#applyQueue.push({ type: 'install', meta: command.meta, durable });
        break;
      }
      case 'sendSnapshot':
        void this.#sendSnapshot(command.message);
        break;
      case 'receiveSnapshot':
        this.#answerOffers({ wanted: true }, command.message.from);
        break;
      case 'refuseSnapshot':
        this.#options.log.info('refused a snapshot', { index: command.message.meta.index, reason: command.reason });
        this.#answerOffers({ wanted: false, reason: command.reason }, command.message.from);
        break;
      case 'compact':
        void this.#release(command.through);
        break;
      case 'roleChanged':
        this.#roleChanged(command);
        break;
      case 'ignored':
        if (this.counters.ignoredMessages++ < 100) {
          this.#options.log.warn('ignored a message', { from: command.from, reason: command.reason });
        }
        break;
    }
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

  /** The log's record of a snapshot, with a commit index that makes it count (RA-07). */
  #mark(meta: SnapshotMeta, replacesLog: boolean): Promise<void> {
    if (meta.index > this.#hardState.commit) this.#hardState = { ...this.#hardState, commit: meta.index };
    return this.#options.wal.append({ hardState: this.#hardState, snapshot: { ...meta, replacesLog } });
  }

  async #install(meta: SnapshotMeta, durable: Promise<void>): Promise<void> {
    await durable;
    const { store, keyValues, log } = this.#options;
    const stored = (await store.list()).find(({ index, term }) => index === meta.index && term === meta.term);
    if (!stored) throw new Error(`the snapshot at ${meta.index} that was just stored is gone`);
    await keyValues.restore((await store.open(stored.id)).chunks);
    log.info('replaced the state by a snapshot', { index: meta.index, term: meta.term, revision: keyValues.revision });
    await this.#release(meta.index);
  }

  async #sendSnapshot(message: SnapshotMessage): Promise<void> {
    const { log, store } = this.#options;
    let ok = false;
    try {
      const open = (to: Message['to']): Promise<Channel> => this.#transport!.openSnapshotChannel(to);
      const meta = await sendSnapshot(message, store, open, this.counters);
      log.info('sent a snapshot', { to: message.to, index: meta.index });
      ok = true;
    } catch (error) {
      this.counters.failedSnapshotSends++;
      log.warn('could not send a snapshot', { to: message.to, error });
    }
    this.#step({ type: 'snapshotSent', to: message.to, ok });
  }

  /** Raft's word on the snapshot that this sender (or, once it is installed, whoever) offered. */
  #answerOffers(verdict: Verdict, from?: string): void {
    for (const [sender, answer] of [...this.#offers]) {
      if (from !== undefined && sender !== from) continue;
      this.#offers.delete(sender);
      answer(verdict);
    }
  }

  /** Lets go what neither Raft nor the oldest kept snapshot needs: the next newest is there in case the newest is damaged. */
  async #release(through: number): Promise<void> {
    try {
      const oldest = (await this.#options.store.list()).at(-1);
      await this.#options.wal.release(Math.min(through, oldest?.index ?? 0));
    } catch (error) {
      this.#options.log.warn('could not remove old log segments', { error });
    }
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
    this.#applyQueue.stop();
    this.#options.onFatal(error);
  }
}
