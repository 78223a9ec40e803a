/**
 * Clients that always write, one for each member, at a steady pace whether earlier writes were answered or not. The
 * longest time in which none of them got an answer is how long the cluster could not be written to; how soon a client that
 * knows one member alone finds another is not in it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';

const everyMs = 10;
/** A member that forwarded a put to a dead leader never answers it. */
const attemptMs = 300;
/** Puts under way at each member at most: what an outage of `attemptMs` and more piles up must not delay what follows. */
const underWayAtMost = 20;
const key = Buffer.from('bench/outage');

interface Client {
  readonly etcd: EtcdClient;
  underWay: number;
}

export class Writer {
  readonly #clients = new Map<string, Client>();
  readonly #answers: number[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #tls: ClientTls | undefined;
  #turn = 0;

  constructor(endpoints: readonly string[], tls?: ClientTls) {
    this.#tls = tls;
    this.use(endpoints);
    this.#timer = setInterval(() => this.#write(), everyMs);
  }

  /** The members that are written to from now on. */
  use(endpoints: readonly string[]): void {
    for (const [endpoint, { etcd }] of this.#clients) {
      if (endpoints.includes(endpoint)) continue;
      this.#clients.delete(endpoint);
      etcd.close();
    }
    for (const endpoint of endpoints) {
      if (this.#clients.has(endpoint)) continue;
      this.#clients.set(endpoint, {
        etcd: new EtcdClient({
          endpoints: [endpoint],
          deadlineMs: attemptMs,
          ...(this.#tls === undefined ? {} : { tls: this.#tls }),
        }),
        underWay: 0,
      });
    }
  }

  /** The longest time without an answer since `from` (of `performance.now()`), in milliseconds, one that lasts included. */
  longestGapMs(from: number): number {
    const begin = this.#answers.findLastIndex((at) => at <= from);
    const times = [...this.#answers.slice(Math.max(begin, 0)), performance.now()];
    return Math.max(...times.slice(1).map((at, n) => at - times[n]!));
  }

  /** Resolves when `forMs` have passed in which no two answers were `withinMs` or more apart. Fails after `atMostMs`. */
  async steady(forMs: number, withinMs: number, atMostMs: number): Promise<void> {
    const end = performance.now() + atMostMs;
    for (;;) {
      const from = performance.now();
      await delay(forMs);
      if (this.longestGapMs(from) < withinMs) return;
      if (performance.now() > end) throw new Error(`writes were not steady within ${atMostMs / 1000} s`);
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.use([]);
  }

  #write(): void {
    for (const client of this.#clients.values()) {
      if (client.underWay >= underWayAtMost) continue;
      client.underWay++;
      client.etcd
        .put({ key, value: Buffer.from(`${this.#turn++}`) })
        .then(
          () => this.#answers.push(performance.now()),
          () => {},
        )
        .finally(() => client.underWay--);
    }
  }
}
