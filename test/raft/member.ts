/**
 * A member for tests: the core with a driver in memory that keeps to the protocol of types.ts and does nothing by itself.
 * Disk and state machine advance only when told to, a crash loses what was not durable, and a restart reads the disk.
 */
import { Raft } from '../../src/raft/raft.ts';
import type {
  Entry,
  HardState,
  MemberId,
  Message,
  RaftCommand,
  RaftConfig,
  RaftEvent,
  RestoredState,
  SnapshotMessage,
  SnapshotMeta,
} from '../../src/raft/types.ts';

type Command<T extends RaftCommand['type']> = Extract<RaftCommand, { type: T }>;
type DiskWork = Command<'persist'> | Command<'installSnapshot'> | Command<'compact'>;
type ApplyWork = Command<'apply'> | Command<'installSnapshot'>;

/** The replicated state: what was applied, by position. No-ops leave no trace. */
export type State = ReadonlyMap<number, string>;

export interface StoredSnapshot {
  readonly meta: SnapshotMeta;
  readonly state: State;
}

/** What another place than the member itself has to act on. */
export interface Outside {
  send(message: Message): void;
  sendSnapshot(message: SnapshotMessage, stored: StoredSnapshot): void;
  /** Called for every command, in order, before the member acts on it. */
  observe?(member: Member, command: RaftCommand): void;
  /** The entry is about to be applied. */
  applied?(member: Member, entry: Entry): void;
  /** It is about to keep a snapshot of its own. */
  snapshotTaken?(member: Member, meta: SnapshotMeta): void;
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (data: Uint8Array): string => new TextDecoder().decode(data);

export class Member {
  readonly id: MemberId;
  readonly config: RaftConfig;
  readonly outside: Outside;
  raft: Raft;
  down = false;

  hardState: HardState;
  entries: Entry[];
  snapshots: StoredSnapshot[];
  /** Spooled snapshots of others, durable but not installed. */
  spooled = new Map<number, StoredSnapshot>();

  diskQueue: DiskWork[] = [];
  applyQueue: ApplyWork[] = [];
  state = new Map<number, string>();
  /** A commit index that was written without a sync. */
  #unsynced: HardState | null = null;

  constructor(config: RaftConfig, initial: RestoredState, outside: Outside) {
    this.id = config.id;
    this.config = config;
    this.outside = outside;
    this.hardState = initial.hardState;
    this.entries = [...initial.entries];
    this.snapshots = [{ meta: initial.snapshot, state: new Map() }];
    this.raft = new Raft(config, initial);
  }

  get newestSnapshot(): StoredSnapshot {
    return this.snapshots[this.snapshots.length - 1]!;
  }

  get durableLast(): number {
    return this.entries.at(-1)?.index ?? this.newestSnapshot.meta.index;
  }

  /** The log as the core has it: what is durable with what is on its way. */
  get log(): Entry[] {
    let log = [...this.entries];
    for (const work of this.diskQueue) {
      if (work.type === 'installSnapshot') log = [];
      else if (work.type === 'persist') log = overwrite(log, work.entries);
    }
    return log;
  }

  step(...events: RaftEvent[]): RaftCommand[] {
    for (const event of events) this.raft.step(event);
    return this.take();
  }

  take(): RaftCommand[] {
    const commands = this.raft.take();
    for (const command of commands) {
      this.outside.observe?.(this, command);
      this.#start(command);
    }
    return commands;
  }

  #start(command: RaftCommand): void {
    switch (command.type) {
      case 'persist':
      case 'compact':
        this.diskQueue.push(command);
        return;
      case 'installSnapshot':
        this.diskQueue.push(command);
        this.applyQueue.push(command);
        return;
      case 'apply':
        this.applyQueue.push(command);
        return;
      case 'send':
        this.outside.send(command.message);
        return;
      case 'sendSnapshot':
        this.outside.sendSnapshot(command.message, this.#stored(command.message.meta));
        return;
      case 'refuseSnapshot':
        // Only what that stream brought: the same snapshot may have come before and be waiting for its install.
        if (
          !this.diskQueue.some(
            (work) => work.type === 'installSnapshot' && work.meta.index === command.message.meta.index,
          )
        ) {
          this.spooled.delete(command.message.meta.index);
        }
        return;
      case 'receiveSnapshot':
      case 'proposalsAccepted':
      case 'proposalsDropped':
      case 'readReady':
      case 'readDropped':
      case 'transferEnded':
      case 'configurationChanged':
      case 'roleChanged':
      case 'ignored':
        return;
    }
  }

  #stored(meta: SnapshotMeta): StoredSnapshot {
    const stored = this.snapshots.find((one) => one.meta.index === meta.index && one.meta.term === meta.term);
    if (stored === undefined) throw new Error(`${this.id} has no snapshot at ${meta.index} to send`);
    return stored;
  }

  /** Does one piece of disk work and reports it. Null: there was none. */
  persistOne(): RaftCommand[] | null {
    const work = this.diskQueue.shift();
    if (work === undefined) return null;
    switch (work.type) {
      case 'compact':
        this.entries = this.entries.filter((entry) => entry.index > work.through);
        return [];
      case 'installSnapshot': {
        const stored = this.spooled.get(work.meta.index);
        if (stored === undefined) throw new Error(`${this.id} installs a snapshot that it does not have`);
        this.spooled.delete(work.meta.index);
        this.entries = [];
        this.snapshots.push(stored);
        return this.step({ type: 'persisted', id: work.id });
      }
      case 'persist': {
        this.entries = overwrite(this.entries, work.entries);
        if (work.hardState !== null) this.#unsynced = work.hardState;
        if (work.sync && this.#unsynced !== null) {
          this.hardState = this.#unsynced;
          this.#unsynced = null;
        }
        for (const message of work.messages) this.outside.send(message);
        return this.step({ type: 'persisted', id: work.id });
      }
    }
  }

  /** Runs one piece of work through the state machine and reports it. Null: nothing can be done now. */
  applyOne(): RaftCommand[] | null {
    const work = this.applyQueue[0];
    if (work === undefined) return null;
    if (work.type === 'installSnapshot') {
      if (this.diskQueue.includes(work)) return null;
      this.applyQueue.shift();
      this.state = new Map(this.snapshots.find(({ meta }) => meta.index === work.meta.index)!.state);
      return this.step({ type: 'applied', index: work.meta.index });
    }
    this.applyQueue.shift();
    for (const entry of work.entries) {
      this.outside.applied?.(this, entry);
      if (entry.kind === 'normal') this.state.set(entry.index, text(entry.data));
    }
    return this.step({ type: 'applied', index: work.entries.at(-1)!.index });
  }

  /** Takes a snapshot of what is applied. Throws what the core throws. */
  snapshot(): RaftCommand[] {
    const meta = this.raft.snapshotMeta(this.raft.status().applied);
    if (meta.index <= this.newestSnapshot.meta.index) return [];
    this.outside.snapshotTaken?.(this, meta);
    this.snapshots.push({ meta, state: new Map(this.state) });
    return this.step({ type: 'snapshotTaken', meta });
  }

  /** Everything that was not durable is gone; of the write under way, the first `torn` entries may have arrived. */
  crash(torn = 0): void {
    const [head] = this.diskQueue;
    if (torn > 0 && head?.type === 'persist') this.entries = overwrite(this.entries, head.entries.slice(0, torn));
    this.down = true;
    this.diskQueue = [];
    this.applyQueue = [];
    this.spooled.clear();
    this.#unsynced = null;
  }

  restart(): RaftCommand[] {
    const { meta, state } = this.newestSnapshot;
    this.state = new Map(state);
    this.down = false;
    this.raft = new Raft(this.config, { hardState: this.hardState, snapshot: meta, entries: this.entries });
    return this.take();
  }
}

export function overwrite(log: readonly Entry[], entries: readonly Entry[]): Entry[] {
  const head = entries[0];
  if (head === undefined) return [...log];
  const kept = log.filter((entry) => entry.index < head.index);
  const end = kept.at(-1)?.index;
  if (end !== undefined && end + 1 !== head.index) throw new Error(`entry ${head.index} written after ${end}`);
  return [...kept, ...entries];
}
