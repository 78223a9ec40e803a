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
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from '../etcd/gen/rpc.ts';
import { restoreStore } from '../mvcc/restore.ts';
import { MvccStore } from '../mvcc/store.ts';
import type { DeleteResult, PutResult, Snapshot, StateHash, TxnResult } from '../mvcc/types.ts';
import { decodeConfiguration } from '../raft/membership.ts';
import type { MemberId, EntryKind as RaftEntryKind } from '../raft/types.ts';
import { type AlarmAction, Alarms } from './alarms.ts';
import { Book, decodeContext, encodeContext, type MembershipAction } from './book.ts';
import type { ClusterMember } from './identity.ts';
import { decodeEntry, type EntryKind, encodeEntry } from './kv-entries.ts';
import { KvError, refusal } from './kv-errors.ts';
import { deleteOperation, putOperation, txnOperation } from './kv-messages.ts';
import type { Change } from './proposals.ts';
import { txnCost } from './quota.ts';

export { createBackend } from './kv-backend.ts';
export { KvError } from './kv-errors.ts';

/** What the state asks of the member's driver. */
export interface Proposer {
  /**
   * Proposes an entry with these bytes. Success shows when the entry reaches `KeyValues.apply`, so nothing is reported
   * here; `lost` is called at most once, when the entry is certain not to be applied or when the driver gives up.
   * It may be proposed again for as long as `awaited` says so: an entry that was applied must not be applied twice. May
   * throw an `EtcdError` at once (no leader, too many requests).
   */
  propose(data: Uint8Array, lost: (error: EtcdError) => void, awaited: () => boolean): void;
  /** The same for a change of the configuration. */
  change(change: Change, lost: (error: EtcdError) => void, awaited: () => boolean): void;
}

/** What a proposal comes to, by its kind. */
export interface Outcomes {
  put: PutResult;
  deleteRange: DeleteResult;
  txn: TxnResult;
  /** The revision after it; `swept` settles when the memory is given back. */
  compact: { readonly revision: number; readonly swept: Promise<void> };
  /** Whether that changed anything. */
  alarm: boolean;
  attributes: undefined;
  peerUrls: undefined;
}

interface Requests {
  put: PutRequest;
  deleteRange: DeleteRangeRequest;
  txn: TxnRequest;
  compact: CompactionRequest;
  alarm: AlarmAction;
  attributes: { readonly memberId: MemberId; readonly name: string; readonly clientUrls: readonly string[] };
  peerUrls: { readonly memberId: MemberId; readonly peerUrls: readonly string[] };
}

interface Waiting {
  /** The request as it was decoded when it came in: applying it here need not decode it again. */
  readonly request: Requests[EntryKind] | undefined;
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
  /** The members that the cluster began with. */
  readonly genesis?: readonly ClusterMember[];
  /** Tells this process apart from others and from its own earlier life. Drawn at random unless told. */
  readonly process?: number | undefined;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class KeyValues {
  #store = new MvccStore();
  #book: Book;
  #alarms = new Alarms();
  #onMembers = (): void => {};
  #onAlarm = (_: AlarmAction): void => {};
  #appliedIndex = 0;
  #appliedTerm = 0;
  /** Tells entries that this process waits for from those of others and of its own earlier life. */
  readonly #process: number;
  #sequence = 0;
  /** In the order in which they came, hence in the order of their deadlines. */
  readonly #waiting = new Map<number, Waiting>();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;
  readonly #requestTimeoutMs: number;
  readonly #maxWaiting: number;
  readonly #genesis: readonly ClusterMember[];

  constructor(options: KeyValuesOptions = {}) {
    this.#genesis = options.genesis ?? [];
    this.#book = Book.of(this.#genesis);
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 7_000;
    this.#maxWaiting = options.maxWaiting ?? 50_000;
    this.#process = options.process ?? randomInt(1, 2 ** 32);
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

  /** Bytes held for it, with what lies unused between. */
  get heldBytes(): number {
    return this.#store.heldBytes;
  }

  /** For reads and for local decisions; changes go through `propose` and `apply`. */
  get store(): Pick<MvccStore, 'range' | 'txn' | 'revision' | 'compactRevision'> {
    return this.#store;
  }

  /** Who the members are; changes by what is applied. */
  get book(): Pick<Book, 'members' | 'wasRemoved' | 'hasStarted' | 'withUrls' | 'sharesUrls'> {
    return this.#book;
  }

  /** Whose space ran out; changes by what is applied. */
  get alarms(): Pick<Alarms, 'areRaised' | 'members' | 'has'> {
    return this.#alarms;
  }

  /** Calls this with every action that changed an alarm. */
  watchAlarms(onAlarm: (action: AlarmAction) => void): void {
    this.#onAlarm = onAlarm;
  }

  /** Calls this whenever the book may have changed. */
  watchMembers(onMembers: () => void): void {
    this.#onMembers = onMembers;
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
    driver: Pick<Proposer, 'propose'>,
    kind: K,
    request: Requests[K],
    bytes: Uint8Array,
  ): Promise<Outcomes[K]> {
    return this.#wait(request, (sequence, lost, awaited) =>
      driver.propose(encodeEntry(kind, this.#process, sequence, bytes), lost, awaited),
    );
  }

  /** Proposes a change of the configuration and what it means for the book. Resolves and rejects as `propose` does. */
  change(driver: Pick<Proposer, 'change'>, change: Omit<Change, 'context'>, action: MembershipAction): Promise<void> {
    return this.#wait(undefined, (sequence, lost, awaited) =>
      driver.change({ ...change, context: encodeContext({ process: this.#process, sequence, action }) }, lost, awaited),
    );
  }

  #wait<T>(
    request: Requests[EntryKind] | undefined,
    hand: (sequence: number, lost: (error: EtcdError) => void, awaited: () => boolean) => void,
  ): Promise<T> {
    if (this.#waiting.size >= this.#maxWaiting) return Promise.reject(etcdError('ETCD_TOO_MANY_REQUESTS'));
    this.#sequence = (this.#sequence + 1) >>> 0;
    const sequence = this.#sequence;
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.#requestTimeoutMs;
      const settle = resolve as (outcome: Outcomes[EntryKind]) => void;
      this.#waiting.set(sequence, { request, resolve: settle, reject, deadline });
      this.#timer ??= setTimeout(() => this.#expire(), this.#requestTimeoutMs).unref();
      const lost = (error: EtcdError): void => {
        if (this.#waiting.delete(sequence)) reject(error);
      };
      try {
        hand(sequence, lost, () => this.#waiting.has(sequence));
      } catch (error) {
        this.#waiting.delete(sequence);
        reject(error);
      }
    });
  }

  /** Makes a member's name and client URLs known to all. Rejects as `propose` does. */
  async publish(driver: Pick<Proposer, 'propose'>, request: Requests['attributes']): Promise<void> {
    await this.propose(driver, 'attributes', request, Buffer.from(JSON.stringify(request)));
  }

  /** Says where a member is reached from now on. Rejects as `propose` does. */
  async move(driver: Pick<Proposer, 'propose'>, request: Requests['peerUrls']): Promise<void> {
    await this.propose(driver, 'peerUrls', request, Buffer.from(JSON.stringify(request)));
  }

  /** Raises or ends an alarm on all members; resolves with whether that changed anything. Rejects as `propose` does. */
  alarm(driver: Pick<Proposer, 'propose'>, action: AlarmAction): Promise<boolean> {
    return this.propose(driver, 'alarm', action, Buffer.from(JSON.stringify(action)));
  }

  /**
   * Applies one committed entry and answers who waits for it here. Give every entry. Throws `KV_OUT_OF_ORDER` or
   * `KV_UNKNOWN_ENTRY`: the member must stop.
   */
  apply(index: number, term: number, data: Uint8Array, raftKind: RaftEntryKind = 'normal'): void {
    if (index !== this.#appliedIndex + 1) {
      throw new KvError('KV_OUT_OF_ORDER', `entry ${index} cannot be applied after entry ${this.#appliedIndex}`);
    }
    if (raftKind === 'configuration') {
      this.#applyChange(index, data);
    } else if (raftKind === 'normal') {
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

  #applyChange(index: number, data: Uint8Array): void {
    const decoded = decodeConfiguration(data);
    if (decoded === null) throw new KvError('KV_UNKNOWN_ENTRY', `log entry ${index} holds no configuration`);
    const context = decodeContext(decoded.context);
    if (context === undefined) return;
    const { action } = context;
    this.#book.perform(action);
    // The disk that was full is gone with it, and nobody else could tell that it has room again.
    if (action.type === 'remove') this.#performAlarm({ type: 'lift', memberId: action.id });
    this.#onMembers();
    const waiting = context.process === this.#process ? this.#waiting.get(context.sequence) : undefined;
    if (waiting === undefined) return;
    this.#waiting.delete(context.sequence);
    waiting.resolve(undefined);
  }

  /** The state after the last entry applied; cheap, and unaffected by what is applied afterwards. */
  snapshot(): Snapshot {
    const attachment = { ...this.#book.attachment, alarms: this.#alarms.attachment };
    return this.#store.snapshot({ index: this.#appliedIndex, term: this.#appliedTerm, attachment });
  }

  /**
   * Replaces the whole state by a snapshot's: all or nothing. Takes the padding, not the hash, of a Maintenance.Snapshot
   * stream (`stateOf` in etcd/maintenance-stream.ts removes and checks it). Rejects with an `MvccError`
   * (`MVCC_SNAPSHOT_...`) or a `KvError`. Do not call `apply` meanwhile. Waiting proposals go on waiting.
   */
  async restore(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const { store, header } = await restoreStore(chunks);
    const book = Book.from(header.attachment, this.#genesis);
    const alarms = Alarms.from(header.attachment);
    this.#store = store;
    this.#book = book;
    this.#alarms = alarms;
    this.#appliedIndex = header.index;
    this.#appliedTerm = header.term;
    this.#sweep();
    this.#onMembers();
  }

  /** Forgets who the members were: for a snapshot that begins a new cluster, whose members are others. */
  forgetMembers(): void {
    this.#book = Book.of(this.#genesis);
    this.#alarms = new Alarms();
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
        this.#expectSpace();
        return this.#store.put(putOperation((request as PutRequest | undefined) ?? PutRequest.decode(payload)));
      case 'deleteRange': {
        const message = (request as DeleteRangeRequest | undefined) ?? DeleteRangeRequest.decode(payload);
        return this.#store.deleteRange(deleteOperation(message));
      }
      case 'txn': {
        const message = (request as TxnRequest | undefined) ?? TxnRequest.decode(payload);
        if (txnCost(message) > 0) this.#expectSpace();
        return this.#store.txn(txnOperation(message));
      }
      case 'compact': {
        const { revision } = (request as CompactionRequest | undefined) ?? CompactionRequest.decode(payload);
        this.#store.compact(revision);
        return { revision: this.#store.revision, swept: this.#sweep() };
      }
      case 'attributes': {
        const { memberId, name, clientUrls } = JSON.parse(Buffer.from(payload).toString()) as Requests['attributes'];
        this.#book.publish(memberId, name, clientUrls);
        this.#onMembers();
        return undefined;
      }
      case 'peerUrls': {
        const { memberId, peerUrls } = JSON.parse(Buffer.from(payload).toString()) as Requests['peerUrls'];
        this.#book.move(memberId, peerUrls);
        this.#onMembers();
        return undefined;
      }
      case 'alarm':
        return this.#performAlarm(JSON.parse(Buffer.from(payload).toString()) as AlarmAction);
    }
  }

  /** RS-24: an alarm may have come between the proposal and its entry. The same on all members. */
  #expectSpace(): void {
    if (this.#alarms.areRaised) throw etcdError('ETCD_NO_SPACE');
  }

  #performAlarm(action: AlarmAction): boolean {
    const isLate = action.type === 'raise' && action.cause === 'disk' && this.#book.wasRemoved(action.memberId);
    if (isLate || !this.#alarms.perform(action)) return false;
    this.#onAlarm(action);
    return true;
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

  /** Gives back what compaction left unused between what is kept, a little at a time, between other work. */
  async repack(): Promise<void> {
    await this.#sweeping;
    for (const _ of this.#store.repack()) await turn();
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
