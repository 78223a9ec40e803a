/**
 * What clients asked for and what they were told, held against the log. All changes have one order, which is that of the log; a
 * read stands behind the entry that was the last one applied when it was answered. That order must be the one in which clients
 * saw things happen: whatever was answered before something else was asked for stands before it (linearizability), each change
 * stands there once, what was refused does not stand there at all, and every answer is what the changes before it make true.
 */
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from '../../src/etcd/gen/rpc.ts';
import { decodeEntry } from '../../src/node/kv-entries.ts';
import type { Entry } from '../../src/raft/types.ts';
import type { Call } from './plan.ts';
import { Violation } from './violation.ts';

/** A key as it is at some point. */
export interface Held {
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

/** What a change came to. */
export interface Outcome {
  readonly revision: number;
  readonly succeeded?: boolean;
  readonly deleted?: number;
}

export interface Operation {
  readonly name: string;
  readonly call: Call;
  readonly key: string;
  /** Behind this entry it must stand: it was known to somebody when this was asked for. */
  readonly floor: number;
  state: 'asked' | 'answered' | 'refused' | 'unknown';
  /** Of its entry; of a read, of the last entry applied. */
  position: number | undefined;
  outcome: Outcome | undefined;
  /** Of a read. */
  seen: Held | undefined;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class History {
  readonly operations: Operation[] = [];
  /** By who waits for it: process and sequence. */
  readonly #byTag = new Map<string, Operation>();
  readonly #positions = new Map<string, number>();
  #known = 0;

  ask(name: string, call: Call, key: string): Operation {
    const operation: Operation = {
      name,
      call,
      key,
      floor: this.#known,
      state: 'asked',
      position: undefined,
      outcome: undefined,
      seen: undefined,
    };
    this.operations.push(operation);
    return operation;
  }

  /** These bytes are what it proposes. */
  tag(operation: Operation, data: Uint8Array): void {
    const { process, sequence } = decodeEntry(0, data);
    this.#byTag.set(`${process}:${sequence}`, operation);
  }

  /** An entry is committed, seen for the first time. */
  committed(entry: Entry): void {
    if (entry.kind !== 'normal') return;
    const { process, sequence } = decodeEntry(entry.index, entry.data);
    const tag = `${process}:${sequence}`;
    const before = this.#positions.get(tag);
    const operation = this.#byTag.get(tag);
    const name = operation?.name ?? `an entry of process ${process}`;
    if (before !== undefined) throw new Violation(`${name} is in the log twice, at ${before} and at ${entry.index}`);
    this.#positions.set(tag, entry.index);
    if (!operation) return;
    operation.position = entry.index;
    if (operation.state === 'refused') throw new Violation(`${name} was refused and is in the log at ${entry.index}`);
    if (entry.index <= operation.floor) {
      throw new Violation(`${name} stands at ${entry.index}, before what was known when it was asked for`);
    }
  }

  answered(operation: Operation, outcome: Outcome): void {
    operation.state = 'answered';
    operation.outcome = outcome;
    const { position, name } = operation;
    if (position === undefined) throw new Violation(`${name} was acknowledged and is not committed`);
    this.#known = Math.max(this.#known, position);
  }

  read(operation: Operation, position: number, seen: Held | undefined): void {
    operation.state = 'answered';
    operation.position = position;
    operation.seen = seen;
    if (position < operation.floor) {
      throw new Violation(
        `${operation.name} saw the state at ${position}, and ${operation.floor} was known when it was asked for`,
      );
    }
    this.#known = Math.max(this.#known, position);
  }

  refused(operation: Operation): void {
    operation.state = 'refused';
    if (operation.position !== undefined) {
      throw new Violation(`${operation.name} was refused and is in the log at ${operation.position}`);
    }
  }

  /** What all entries together come to, with every answer checked on the way. */
  replay(entries: readonly Entry[]): Model {
    const model = new Model();
    const reads = this.operations.filter(({ call, state }) => call === 'read' && state === 'answered');
    reads.sort((one, other) => one.position! - other.position!);
    const byPosition = new Map(this.operations.filter(({ call }) => call !== 'read').map((one) => [one.position, one]));
    let next = 0;
    const readThrough = (position: number): void => {
      for (; next < reads.length && reads[next]!.position! <= position; next++) checkRead(reads[next]!, model);
    };
    readThrough(0);
    for (const entry of entries) {
      const outcome = model.apply(entry);
      const operation = byPosition.get(entry.index);
      if (operation?.state === 'answered' && outcome) checkOutcome(operation, outcome);
      readThrough(entry.index);
    }
    if (next < reads.length) throw new Violation(`${reads[next]!.name} saw what was never committed`);
    for (const { name, state, position, call } of this.operations) {
      if (call === 'read' || state !== 'answered') continue;
      if (position === undefined || position > entries.length) throw new Violation(`acknowledged ${name} is lost`);
    }
    return model;
  }
}

function checkRead({ name, key, seen, position }: Operation, model: Model): void {
  const [expected, found] = [model.keys.get(key), seen].map((held) => JSON.stringify(held ?? null));
  if (expected !== found) throw new Violation(`${name} saw ${found} at ${position}, where there is ${expected}`);
}

function checkOutcome({ name, outcome, position }: Operation, expected: Outcome): void {
  for (const [what, value] of Object.entries(expected)) {
    const found = outcome![what as keyof Outcome];
    if (found !== value) throw new Violation(`${name} at ${position}: ${what} ${found}, where it must be ${value}`);
  }
}

/** The state once more, in the plainest way. */
export class Model {
  revision = 1;
  readonly keys = new Map<string, Held>();

  apply(entry: Entry): Outcome | undefined {
    if (entry.kind !== 'normal') return undefined;
    const { kind, payload } = decodeEntry(entry.index, entry.data);
    switch (kind) {
      case 'put':
        this.#put(PutRequest.decode(payload));
        return { revision: this.revision };
      case 'deleteRange': {
        const deleted = this.#delete(DeleteRangeRequest.decode(payload));
        return { revision: this.revision, deleted };
      }
      case 'txn':
        return this.#txn(TxnRequest.decode(payload));
      case 'compact':
        // It changes nothing that is read at the newest revision.
        CompactionRequest.decode(payload);
        return undefined;
      default:
        return undefined;
    }
  }

  #put({ key, value }: PutRequest): void {
    const before = this.keys.get(text(key));
    this.revision++;
    this.keys.set(text(key), {
      value: text(value),
      createRevision: before?.createRevision ?? this.revision,
      modRevision: this.revision,
      version: (before?.version ?? 0) + 1,
    });
  }

  #delete({ key }: DeleteRangeRequest): number {
    if (!this.keys.delete(text(key))) return 0;
    this.revision++;
    return 1;
  }

  /** As clients here ask: one comparison with a revision, and one operation either way. */
  #txn({ compare, success, failure }: TxnRequest): Outcome {
    const [{ key, targetUnion } = {}] = compare;
    const wanted = targetUnion?.$case === 'modRevision' ? targetUnion.value : 0;
    const succeeded = (this.keys.get(text(key!))?.modRevision ?? 0) === wanted;
    const [operation] = succeeded ? success : failure;
    if (operation?.request?.$case === 'requestPut') this.#put(operation.request.value);
    if (operation?.request?.$case === 'requestDeleteRange') this.#delete(operation.request.value);
    return { revision: this.revision, succeeded };
  }
}
