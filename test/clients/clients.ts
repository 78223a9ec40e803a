/**
 * Clients that write all the time through the etcd protocol, remember what was acknowledged, and at the end compare all of it
 * with what each member holds. They know no engine.
 *
 * Every put has a key of its own and is never tried again: one that failed may have been applied or not, and either is right.
 * One that was acknowledged must be there with its value, at the very revision that the answer named.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient, type EtcdClientOptions } from '../../src/etcd/client.ts';
import { EtcdError } from '../../src/etcd/errors.ts';

export interface ClientsOptions {
  /** Where writer `n` may write, asked anew after each failure, in the order in which to try. */
  readonly endpoints: (writer: number) => readonly string[];
  /** Everything else that a connection needs, such as certificates; asked anew for each. */
  readonly connection?: () => Omit<EtcdClientOptions, 'endpoints' | 'deadlineMs'>;
  readonly writers?: number;
  /** How long each writer rests after a put, in milliseconds. */
  readonly paceMs?: number;
  /** How long a put may take before its writer goes elsewhere, in milliseconds. */
  readonly attemptMs?: number;
  /** Keys begin with it, values are made from it. */
  readonly seed: string;
}

/** What a comparison found. `wrong` is empty when no acknowledged write is lost and nothing is there that nobody wrote. */
export interface Comparison {
  readonly acknowledged: number;
  /** Puts without an answer that are there after all. */
  readonly unansweredThere: number;
  readonly wrong: readonly string[];
  /** Of all that was read: equal on members that hold the same. */
  readonly digest: string;
}

export interface CompareOptions {
  /** Only what was written up to this revision is there: a snapshot was taken at it. */
  readonly upTo?: number;
  readonly connection?: ClientsOptions['connection'];
}

const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1');
/** Every so many puts, a writer reads back what it wrote, linearizable, wherever it is connected. */
const readEvery = 16;
const page = 2000;

interface Writer {
  /** The revision of each acknowledged put, by number. */
  readonly acknowledged: Map<number, number>;
  /** Puts without an answer. */
  readonly unanswered: Set<number>;
  next: number;
}

export class Clients {
  readonly #options: Required<Omit<ClientsOptions, 'connection'>> & Pick<ClientsOptions, 'connection'>;
  readonly #writers: readonly Writer[];
  /** When puts were acknowledged, in order, by `performance.now()`. */
  readonly #answers: number[] = [];
  readonly #stale: string[] = [];
  readonly #failures = new Map<string, number>();
  readonly #running: Promise<unknown>;
  #stopped = false;

  constructor(options: ClientsOptions) {
    this.#options = { writers: 4, paceMs: 10, attemptMs: 1000, ...options };
    this.#writers = Array.from({ length: this.#options.writers }, () => ({
      acknowledged: new Map(),
      unanswered: new Set(),
      next: 0,
    }));
    this.#running = Promise.all(this.#writers.map((writer, n) => this.#write(writer, n)));
  }

  get acknowledged(): number {
    return this.#answers.length;
  }

  /** Why puts had no answer, how often: for people. */
  get failures(): string {
    return [...this.#failures].map(([code, count]) => `${count} ${code}`).join(', ');
  }

  /** The highest revision that a put was acknowledged at. */
  get revision(): number {
    return Math.max(0, ...this.#writers.map(({ acknowledged }) => [...acknowledged.values()].at(-1) ?? 0));
  }

  /** The longest time between two acknowledged puts since `from`, in milliseconds, one that lasts included. */
  longestPauseMs(from: number): number {
    const begin = Math.max(
      this.#answers.findLastIndex((at) => at <= from),
      0,
    );
    const times = [...this.#answers.slice(begin), performance.now()];
    return times.slice(1).reduce((longest, at, n) => Math.max(longest, at - times[n]!), 0);
  }

  /** Resolves when `count` more puts have been acknowledged. Fails after `withinMs`. */
  async more(count: number, withinMs = 30_000): Promise<void> {
    const wanted = this.acknowledged + count;
    const end = performance.now() + withinMs;
    while (this.acknowledged < wanted) {
      if (performance.now() > end)
        throw new Error(
          `${this.acknowledged - wanted + count} of ${count} puts within ${withinMs / 1000} s (${this.failures})`,
        );
      await delay(10);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #write(writer: Writer, n: number): Promise<void> {
    const { paceMs, attemptMs: deadlineMs, seed } = this.#options;
    let client: EtcdClient | undefined;
    for (let turn = n; !this.#stopped; ) {
      if (client === undefined) {
        const endpoints = this.#options.endpoints(n);
        const endpoint = endpoints[turn % Math.max(endpoints.length, 1)];
        if (endpoint !== undefined)
          client = new EtcdClient({ ...this.#options.connection?.(), endpoints: [endpoint], deadlineMs });
      }
      const number = writer.next++;
      writer.unanswered.add(number);
      try {
        if (client === undefined) throw new Error('no endpoint');
        const response = await client.put({ key: ascii(keyFor(seed, n, number)), value: valueFor(seed, n, number) });
        this.#answers.push(performance.now());
        writer.unanswered.delete(number);
        writer.acknowledged.set(number, response.header!.revision);
        if (number % readEvery === 0) await this.#readBack(client, n, number);
        await delay(paceMs);
      } catch (error) {
        const code = error instanceof EtcdError ? error.code : String(error);
        this.#failures.set(code, (this.#failures.get(code) ?? 0) + 1);
        client?.close();
        client = undefined;
        turn++;
        // Refused at once by a member that is gone: without a rest this would be a busy loop.
        await delay(Math.max(paceMs, 2));
      }
    }
    client?.close();
  }

  async #readBack(client: EtcdClient, n: number, number: number): Promise<void> {
    const key = keyFor(this.#options.seed, n, number);
    const { kvs, header } = await client.range({ key: ascii(key) });
    if (kvs.length === 0) this.#stale.push(`${key} was acknowledged, and a read at ${header!.revision} had it not`);
  }

  /** Reads everything from one member, as it holds it itself, and compares. Stop the clients first. */
  async compare(endpoint: string, options: CompareOptions = {}): Promise<Comparison> {
    const { seed } = this.#options;
    const found = new Map<string, { value: Uint8Array; revision: number; version: number }>();
    const digest = createHash('sha256');
    const client = new EtcdClient({
      ...(options.connection ?? this.#options.connection)?.(),
      endpoints: [endpoint],
      // Comparing is no measurement: a machine may be busy.
      deadlineMs: 60_000,
    });
    try {
      if (options.upTo === undefined) await caughtUp(client, this.revision);
      for await (const kv of everything(client, seed)) {
        found.set(Buffer.from(kv.key).toString('latin1'), { ...kv, revision: kv.modRevision });
        digest.update(kv.key).update(`\0${kv.modRevision}\0${kv.version}\0`).update(kv.value);
      }
    } finally {
      client.close();
    }
    const upTo = options.upTo ?? Number.POSITIVE_INFINITY;
    const wrong = [...this.#stale];
    let acknowledged = 0;
    let unansweredThere = 0;
    for (const [n, writer] of this.#writers.entries()) {
      for (const [number, revision] of writer.acknowledged) {
        const key = keyFor(seed, n, number);
        const there = found.get(key);
        found.delete(key);
        if (revision > upTo) {
          if (there) wrong.push(`${key} is there and was written at ${revision}, after ${upTo}`);
          continue;
        }
        acknowledged++;
        if (!there) wrong.push(`${key} was acknowledged at ${revision} and is missing`);
        else if (there.revision !== revision || there.version !== 1)
          wrong.push(`${key} was acknowledged at ${revision} and is at ${there.revision}, version ${there.version}`);
        else if (!sameBytes(there.value, valueFor(seed, n, number))) wrong.push(`${key} has another value`);
      }
      for (const number of writer.unanswered) {
        const key = keyFor(seed, n, number);
        const there = found.get(key);
        if (!there) continue;
        found.delete(key);
        unansweredThere++;
        if (!sameBytes(there.value, valueFor(seed, n, number))) wrong.push(`${key} has another value`);
      }
    }
    for (const key of found.keys()) wrong.push(`${key} is there and nobody wrote it`);
    return { acknowledged, unansweredThere, wrong: wrong.slice(0, 20), digest: digest.digest('hex').slice(0, 16) };
  }
}

const keyFor = (seed: string, writer: number, number: number): string =>
  `${seed}/${writer}/${String(number).padStart(8, '0')}`;

/** Any byte may occur in it, and it depends on nothing but its arguments. */
const valueFor = (seed: string, writer: number, number: number): Uint8Array =>
  createHash('sha512').update(`${seed} ${writer} ${number}`).digest();

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** A member that has the log may be a moment behind in applying it. */
async function caughtUp(client: EtcdClient, revision: number): Promise<void> {
  const end = performance.now() + 60_000;
  for (;;) {
    const { header } = await client.range({ key: Uint8Array.of(0), countOnly: true, serializable: true });
    if (header!.revision >= revision) return;
    if (performance.now() > end)
      throw new Error(`a member is at revision ${header!.revision} and does not get to ${revision}`);
    await delay(50);
  }
}

/** All keys below `seed` at one revision, as this very member holds them. */
async function* everything(client: EtcdClient, seed: string) {
  const rangeEnd = ascii(`${seed}0`); // `0` follows `/`
  let key = ascii(`${seed}/`);
  let revision = 0;
  for (;;) {
    const { kvs, more, header } = await client.range({ key, rangeEnd, limit: page, revision, serializable: true });
    yield* kvs;
    const last = kvs.at(-1);
    if (!more || last === undefined) return;
    revision ||= header!.revision;
    key = Buffer.concat([last.key, Uint8Array.of(0)]);
  }
}
