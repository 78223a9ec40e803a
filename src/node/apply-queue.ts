/**
 * What is committed goes to the state machine here, in order, beside the disk and the network. A long run is applied in
 * slices, so that heartbeats go out in between.
 */
import type { Entry, EntryKind, Index, SnapshotMeta } from '../raft/types.ts';

const sliceMs = 8;
const checkEvery = 64;

export interface StateMachine {
  apply(index: number, term: number, data: Uint8Array, kind: EntryKind): void;
}

export interface ApplyQueueOptions {
  readonly stateMachine: StateMachine;
  readonly onEntry: (entry: Entry) => void;
  readonly onApplied: (index: Index, bytes: number) => void;
  /** Loads the stored snapshot into the state machine, once its record is durable. */
  readonly install: (meta: SnapshotMeta, durable: Promise<void>) => Promise<void>;
  readonly onInstalled: (meta: SnapshotMeta) => void;
  /** The state machine failed: the member must stop. */
  readonly onFailure: (error: unknown) => void;
}

type Task =
  | { readonly type: 'apply'; readonly entries: readonly Entry[] }
  | { readonly type: 'install'; readonly meta: SnapshotMeta; readonly durable: Promise<void> };

export class ApplyQueue {
  readonly #options: ApplyQueueOptions;
  readonly #tasks: Task[] = [];
  #running = false;
  #ended: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: ApplyQueueOptions) {
    this.#options = options;
  }

  push(task: Task): void {
    this.#tasks.push(task);
    if (this.#running || this.#stopped) return;
    this.#running = true;
    this.#ended = this.#run().catch((error: unknown) => {
      this.#stopped = true;
      this.#options.onFailure(error);
    });
  }

  /** Resolves when what is under way has ended: the state machine is left alone then. */
  stop(): Promise<void> {
    this.#stopped = true;
    return this.#ended;
  }

  /** Runs without waiting for as long as nothing takes long: the common batch is applied within the turn it came in. */
  async #run(): Promise<void> {
    for (let task = this.#tasks.shift(); task && !this.#stopped; task = this.#tasks.shift()) {
      if (task.type === 'apply') {
        const rest = this.#apply(task.entries);
        if (rest) await rest;
      } else {
        await this.#options.install(task.meta, task.durable);
        if (!this.#stopped) this.#options.onInstalled(task.meta);
      }
    }
    this.#running = false;
  }

  #apply(entries: readonly Entry[]): Promise<void> | undefined {
    const at = this.#slice(entries, 0);
    return at < entries.length ? this.#continue(entries, at) : undefined;
  }

  async #continue(entries: readonly Entry[], from: number): Promise<void> {
    for (let at = from; at < entries.length && !this.#stopped; at = this.#slice(entries, at)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Applies for one slice of time; returns where it stopped. */
  #slice(entries: readonly Entry[], from: number): number {
    const { stateMachine, onEntry, onApplied } = this.#options;
    const until = performance.now() + sliceMs;
    let bytes = 0;
    let at = from;
    while (at < entries.length) {
      const entry = entries[at++]!;
      stateMachine.apply(entry.index, entry.term, entry.data, entry.kind);
      onEntry(entry);
      bytes += entry.data.length;
      if (at % checkEvery === 0 && performance.now() > until) break;
    }
    onApplied(entries[at - 1]!.index, bytes);
    return at;
  }
}
