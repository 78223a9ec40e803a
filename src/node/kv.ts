/**
 * The key-value state machine of one member: log entries in, changes of the state and answers out. Deterministic: what
 * an entry does depends on the entries before it and on nothing else.
 *
 * How the driver uses it: it makes one `KeyValues`, restores a snapshot's bytes into it if there is one, calls `apply`
 * for every committed entry in order, `snapshot` when it wants one, and gives `createBackend(keyValues, driver)` to
 * `serveEtcd`.
 */
import { randomInt } from 'node:crypto';
import { type EtcdError, etcdError } from '../etcd/errors.ts';
import { CompactionRequest, DeleteRangeRequest, type Member, PutRequest, TxnRequest } from '../etcd/gen/rpc.ts';
import type { SnapshotMember } from '../etcd/maintenance-stream.ts';
import { restoreStore } from '../mvcc/restore.ts';
import { MvccStore } from '../mvcc/store.ts';
import type { DeleteResult, PutResult, Snapshot, StateHash, TxnResult } from '../mvcc/types.ts';
import { decodeEntry, type EntryKind, encodeEntry } from './kv-entries.ts';
import { KvError, refusal } from './kv-errors.ts';
import { deleteOperation, putOperation, txnOperation } from './kv-messages.ts';

export { createBackend } from './kv-backend.ts';
export { KvError } from './kv-errors.ts';

/** A member's name and client URLs, as it made them known through the log. */
export interface MemberAttributes {
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** What the services ask of the member's driver. Ids are lowercase hex. */
export interface MemberDriver {
  readonly clusterId: string;
  readonly memberId: string;
  term(): number;
  commitIndex(): number;
  /** undefined: none known. */
  leaderId(): string | undefined;
  isLearner(): boolean;
  /**
   * Proposes an entry with these bytes. Success shows when the entry reaches `KeyValues.apply`, so nothing is reported
   * here; `lost` is called at most once, when the entry is certain not to be applied or when the driver gives up.
   * May throw an `EtcdError` at once (no leader, too many requests).
   */
  propose(data: Uint8Array, lost: (error: EtcdError) => void): void;
  /** Resolves when the state is at least as new as every write acknowledged before the call (ReadIndex, then applied). */
  linearize(): Promise<void>;
  /** The members, voters and learners, with published attributes filled in (`KeyValues.attributes`). Ids in decimal. */
  members(): readonly Member[];
  /** For the head of a snapshot stream. */
  configuration(): { readonly members: readonly SnapshotMember[]; readonly index: number };
}

/** What a proposal comes to, by its kind. */
export interface Outcomes {
  put: PutResult;
  deleteRange: DeleteResult;
  txn: TxnResult;
  /** The revision after it; `swept` settles when the memory is given back. */
  compact: { readonly revision: number; readonly swept: Promise<void> };
  attributes: undefined;
}

interface Requests {
  put: PutRequest;
  deleteRange: DeleteRangeRequest;
  txn: TxnRequest;
  compact: CompactionRequest;
  attributes: { readonly memberId: string } & MemberAttributes;
}

interface Waiting {
  /** The request as it was decoded when it came in: applying it here need not decode it again. */
  readonly request: Requests[EntryKind];
  readonly resolve: (outcome: Outcomes[EntryKind]) => void;
  readonly reject: (error: unknown) => void;
  /** Milliseconds, of `performance.now()`. */
  readonly deadline: number;
}

export interface KeyValuesOptions {
  /** How long a proposal may wait to be applied, in milliseconds. 7000 unless told: etcd's five seconds and two elections. */
  readonly requestTimeoutMs?: number;
  /** Proposals that may wait at once, beyond which new ones are refused. 50000 unless told. */
  readonly maxWaiting?: number;
}

/** What a snapshot keeps beside the keys. */
interface Attachment {
  readonly members: Readonly<Record<string, MemberAttributes>>;
}

function readAttachment(attachment: unknown): Map<string, MemberAttributes> {
  const members = (attachment as Partial<Attachment> | null)?.members;
  if (typeof members !== 'object' || members === null) {
    throw new KvError('KV_SNAPSHOT_ATTACHMENT', 'the snapshot lists no members: it was not made by this program');
  }
  return new Map(Object.entries(members));
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class KeyValues {
  #store = new MvccStore();
  #attributes = new Map<string, MemberAttributes>();
  #appliedIndex = 0;
  #appliedTerm = 0;
  /** Tells entries that this process waits for from those of others and of its own earlier life. */
  readonly #process = randomInt(1, 2 ** 32);
  #sequence = 0;
  /** In the order in which they came, hence in the order of their deadlines. */
  readonly #waiting = new Map<number, Waiting>();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;
  readonly #requestTimeoutMs: number;
  readonly #maxWaiting: number;

  constructor(options: KeyValuesOptions = {}) {
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 7_000;
    this.#maxWaiting = options.maxWaiting ?? 50_000;
  }

  /** Index and term of the last entry applied; 0 before any. */
  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  get revision(): number {
    return this.#store.revision;
  }

  /** Keys that exist now. */
  get keys(): number {
    return this.#store.keys;
  }

  /** Bytes of the state, history included. */
  get sizeBytes(): number {
    return this.#store.sizeBytes;
  }

  /** For reads and for local decisions; changes go through `propose` and `apply`. */
  get store(): Pick<MvccStore, 'range' | 'txn' | 'revision' | 'compactRevision'> {
    return this.#store;
  }

  /** Published attributes by member id (hex); part of the replicated state and of snapshots. */
  get attributes(): ReadonlyMap<string, MemberAttributes> {
    return this.#attributes;
  }

  /** Proposals not yet applied here. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Proposes a request through the driver and resolves with what it came to when it has been applied here. Rejects with
   * an `EtcdError`; after `ETCD_TIMEOUT` it may still be applied.
   */
  propose<K extends EntryKind>(
    driver: Pick<MemberDriver, 'propose'>,
    kind: K,
    request: Requests[K],
    bytes: Uint8Array,
  ): Promise<Outcomes[K]> {
    if (this.#waiting.size >= this.#maxWaiting) return Promise.reject(etcdError('ETCD_TOO_MANY_REQUESTS'));
    this.#sequence = (this.#sequence + 1) >>> 0;
    const sequence = this.#sequence;
    const data = encodeEntry(kind, this.#process, sequence, bytes);
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.#requestTimeoutMs;
      const settle = resolve as (outcome: Outcomes[EntryKind]) => void;
      this.#waiting.set(sequence, { request, resolve: settle, reject, deadline });
      this.#timer ??= setTimeout(() => this.#expire(), this.#requestTimeoutMs).unref();
      const lost = (error: EtcdError): void => {
        if (this.#waiting.delete(sequence)) reject(error);
      };
      try {
        driver.propose(data, lost);
      } catch (error) {
        this.#waiting.delete(sequence);
        reject(error);
      }
    });
  }

  /** Makes a member's name and client URLs known to all. Rejects as `propose` does. */
  async publish(driver: Pick<MemberDriver, 'propose'>, memberId: string, attributes: MemberAttributes): Promise<void> {
    const request = { memberId, ...attributes };
    await this.propose(driver, 'attributes', request, Buffer.from(JSON.stringify(request)));
  }

  /**
   * Applies one committed entry and answers who waits for it here. Give every entry: those of kind noop and
   * configuration with empty `data`. Throws `KV_OUT_OF_ORDER` or `KV_UNKNOWN_ENTRY`: the member must stop.
   */
  apply(index: number, term: number, data: Uint8Array): void {
    if (index !== this.#appliedIndex + 1) {
      throw new KvError('KV_OUT_OF_ORDER', `entry ${index} cannot be applied after entry ${this.#appliedIndex}`);
    }
    if (data.length > 0) {
      const { kind, process, sequence, payload } = decodeEntry(index, data);
      const waiting = process === this.#process ? this.#waiting.get(sequence) : undefined;
      if (waiting === undefined) {
        this.#attempt(kind, undefined, payload);
      } else {
        this.#waiting.delete(sequence);
        const outcome = this.#attempt(kind, waiting.request, payload);
        if (outcome.error !== undefined) waiting.reject(outcome.error);
        else waiting.resolve(outcome.value);
      }
    }
    this.#appliedIndex = index;
    this.#appliedTerm = term;
  }

  /** The state after the last entry applied; cheap, and unaffected by what is applied afterwards. */
  snapshot(): Snapshot {
    const members = Object.fromEntries([...this.#attributes].sort(([a], [b]) => (a < b ? -1 : 1)));
    const attachment: Attachment = { members };
    return this.#store.snapshot({ index: this.#appliedIndex, term: this.#appliedTerm, attachment });
  }

  /**
   * Replaces the whole state by a snapshot's: all or nothing. Takes the padding, not the hash, of a Maintenance.Snapshot
   * stream (`stateOf` in etcd/maintenance-stream.ts removes and checks it). Rejects with an `MvccError`
   * (`MVCC_SNAPSHOT_...`) or a `KvError`. Do not call `apply` meanwhile. Waiting proposals go on waiting.
   */
  async restore(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const { store, header } = await restoreStore(chunks);
    const attributes = readAttachment(header.attachment);
    this.#store = store;
    this.#attributes = attributes;
    this.#appliedIndex = header.index;
    this.#appliedTerm = header.term;
    this.#sweep();
  }

  /** Forgets who the members were: for a snapshot that begins a new cluster, whose members are others. */
  forgetMembers(): void {
    this.#attributes = new Map();
  }

  /** Rejects everything that waits, with `ETCD_STOPPED`. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [sequence, { reject }] of this.#waiting) {
      this.#waiting.delete(sequence);
      reject(etcdError('ETCD_STOPPED'));
    }
  }

  /**
   * The hash of the state at `revision` (0: the newest), equal on all members. Works in steps between which other work
   * is done. Rejects with an `EtcdError`.
   */
  async hash(revision = 0): Promise<StateHash> {
    let steps: ReturnType<MvccStore['hash']>;
    try {
      steps = this.#store.hash(revision);
    } catch (error) {
      throw refusal(error);
    }
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      await turn();
    }
  }

  #attempt(
    kind: EntryKind,
    request: Requests[EntryKind] | undefined,
    payload: Uint8Array,
  ): { readonly error?: EtcdError; readonly value: Outcomes[EntryKind] } {
    try {
      return { value: this.#perform(kind, request, payload) };
    } catch (error) {
      return { error: refusal(error), value: undefined };
    }
  }

  /** `request`, when there is one, is what `payload` says. */
  #perform(kind: EntryKind, request: Requests[EntryKind] | undefined, payload: Uint8Array): Outcomes[EntryKind] {
    switch (kind) {
      case 'put':
        return this.#store.put(putOperation((request as PutRequest | undefined) ?? PutRequest.decode(payload)));
      case 'deleteRange': {
        const message = (request as DeleteRangeRequest | undefined) ?? DeleteRangeRequest.decode(payload);
        return this.#store.deleteRange(deleteOperation(message));
      }
      case 'txn':
        return this.#store.txn(txnOperation((request as TxnRequest | undefined) ?? TxnRequest.decode(payload)));
      case 'compact': {
        const { revision } = (request as CompactionRequest | undefined) ?? CompactionRequest.decode(payload);
        this.#store.compact(revision);
        return { revision: this.#store.revision, swept: this.#sweep() };
      }
      case 'attributes': {
        const { memberId, name, clientUrls } = JSON.parse(Buffer.from(payload).toString()) as Requests['attributes'];
        this.#attributes.set(memberId, { name, clientUrls });
        return undefined;
      }
    }
  }

  /** Gives memory back a little at a time, between other work. */
  #sweep(): Promise<void> {
    const run = async (): Promise<void> => {
      do await turn();
      while (this.#store.sweep());
      this.#sweeping = undefined;
    };
    this.#sweeping ??= run();
    return this.#sweeping;
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const [sequence, { deadline, reject }] of this.#waiting) {
      if (deadline > now) {
        this.#timer = setTimeout(() => this.#expire(), deadline - now).unref();
        return;
      }
      this.#waiting.delete(sequence);
      reject(etcdError('ETCD_TIMEOUT'));
    }
  }
}
