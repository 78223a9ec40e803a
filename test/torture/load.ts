/** Many clients at once, each connected with one member, reading and writing the same few keys without a rest. */
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';
import { Chance } from '../soak/random.ts';
import { DamagedError, isRefusal, perform } from './calls.ts';
import { clock, type Group, Groups } from './groups.ts';
import { type Answer, all, drawTransaction, hasChanged, type Operation, type Transaction } from './operations.ts';

/** What came of operations of a kind. `unknown`: no answer, or one that leaves open whether it was done. */
export interface Outcomes {
  answered: number;
  refused: number;
  unknown: number;
}

export interface Outage {
  readonly from: number;
  readonly to: number;
}

/** A member that clients may be sent to, and which life of its process this is. */
export interface Place {
  readonly endpoint: string;
  readonly life: () => string;
}

export interface LoadOptions {
  readonly clients: number;
  readonly seed: number;
  readonly folder: string;
  readonly places: () => readonly Place[];
  /** What must never be seen was seen. */
  readonly onViolation: (what: string) => void;
}

/** How long a client rests after an answer, and after a failure, at most, in milliseconds. */
const paceMs = 40;
const backoffMs = 200;
const deadlinesMs = [1000, 2000, 4000] as const;
const callsPerConnection = 60;
/** One in so many calls asks a member for what it holds by itself, which may be old but not older than what it said before. */
const localReads = 25;

export class Load {
  readonly tally = new Map<string, Outcomes>();
  readonly groups: Groups;
  readonly now = clock();
  /** The longest time without an acknowledged write. */
  outage: Outage = { from: 0, to: 0 };
  acknowledged = 0;
  #lastAcknowledged = 0;
  readonly #options: LoadOptions;
  readonly #newestSeen = new Map<string, number>();
  readonly #running: Promise<unknown>;
  #values = 0;
  #ended = false;
  #abandoned = false;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.groups = new Groups({ folder: options.folder, now: this.now, readAll: (group) => this.#readAll(group) });
    const clients = Array.from({ length: options.clients }, (_, n) =>
      this.#client(n, new Chance(options.seed + n * 7919)),
    );
    this.#running = Promise.all(clients);
  }

  /** Resolves when every history is complete: the members have to serve. */
  async stop(): Promise<void> {
    this.#ended = true;
    await this.#running;
    this.#onGap(this.now());
    await this.groups.end();
  }

  /** Nobody waits for what is under way. */
  abandon(): void {
    this.#ended = true;
    this.#abandoned = true;
  }

  async #client(n: number, chance: Chance): Promise<void> {
    while (!this.#ended) {
      const place = chance.pick(this.#options.places());
      const etcd = new EtcdClient({ endpoints: [place.endpoint], deadlineMs: chance.pick(deadlinesMs) });
      try {
        for (let calls = 0; calls < callsPerConnection && !this.#ended; calls++) {
          const good =
            chance.below(localReads) === 0 ? await this.#localRead(etcd, place) : await this.#one(etcd, n, chance);
          await delay(good ? chance.below(paceMs) : chance.below(backoffMs));
          if (!good && chance.below(2) === 0) break;
        }
      } finally {
        etcd.close();
      }
    }
  }

  /** Whether it was answered. */
  async #one(etcd: EtcdClient, n: number, chance: Chance): Promise<boolean> {
    const group = this.groups.pick(chance);
    const transaction = drawTransaction(chance, group.belief, () => `${n}.${this.#values++}`);
    const outcomes = this.tally.get(transaction.kind) ?? { answered: 0, refused: 0, unknown: 0 };
    this.tally.set(transaction.kind, outcomes);
    group.underWay++;
    const call = this.now();
    try {
      const answer = await perform(etcd, group.name, transaction);
      outcomes.answered++;
      this.groups.onAnswer(group, transaction, n, call, answer);
      this.#onAnswer(transaction, answer);
      return true;
    } catch (error) {
      if (isRefusal(error)) outcomes.refused++;
      else outcomes.unknown++;
      if (error instanceof DamagedError) this.#options.onViolation(error.message);
      if (!isRefusal(error)) this.groups.onUnknown(group, transaction, n, call);
      return false;
    } finally {
      this.groups.onIdle(group);
    }
  }

  #onAnswer(transaction: Transaction, answer: Answer): void {
    if (!hasChanged(transaction, answer)) return;
    this.acknowledged++;
    const now = this.now();
    this.#onGap(now);
    this.#lastAcknowledged = now;
  }

  #onGap(now: number): void {
    if (now - this.#lastAcknowledged > this.outage.to - this.outage.from)
      this.outage = { from: this.#lastAcknowledged, to: now };
  }

  async #localRead(etcd: EtcdClient, { endpoint, life }: Place): Promise<boolean> {
    const before = life();
    const newest = this.#newestSeen.get(before) ?? 0;
    try {
      const { header } = await etcd.range({ key: Buffer.from('t'), serializable: true });
      if (life() !== before) return true;
      const { revision } = header!;
      if (revision < newest)
        this.#options.onViolation(`${endpoint} served revision ${revision} after it had served ${newest}`);
      this.#newestSeen.set(before, Math.max(revision, this.#newestSeen.get(before) ?? 0));
      return true;
    } catch {
      return false;
    }
  }

  /** As often as it takes. */
  async #readAll(group: Group): Promise<Operation> {
    const transaction: Transaction = { kind: 'last read', success: [{ do: 'get', key: all }] };
    for (let tried = 0; ; tried++) {
      if (this.#abandoned) throw new Error('the round was given up');
      const places = this.#options.places();
      const etcd = new EtcdClient({ endpoints: [places[tried % places.length]!.endpoint], deadlineMs: 2000 });
      const call = this.now();
      try {
        const answer = await perform(etcd, group.name, transaction);
        return { ...transaction, client: this.#options.clients, call, return: this.now(), answer };
      } catch (error) {
        if (error instanceof DamagedError) this.#options.onViolation(error.message);
        await delay(backoffMs);
      } finally {
        etcd.close();
      }
    }
  }
}
