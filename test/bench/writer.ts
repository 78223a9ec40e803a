/**
 * One client that always writes: one put at a time, each to the next member, tried again at the next until one answers.
 * The longest time between two answers is how long the cluster could not be written to, as a client sees it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';

/** A member that forwarded a put to a dead leader never answers it: asked anew elsewhere after so long. */
const attemptMs = 100;
const key = Buffer.from('bench/outage');

export class Writer {
  readonly #clients: readonly EtcdClient[];
  readonly #answers: number[] = [];
  readonly #running: Promise<void>;
  #stopped = false;

  constructor(endpoints: readonly string[]) {
    this.#clients = endpoints.map((endpoint) => new EtcdClient({ endpoints: [endpoint], deadlineMs: attemptMs }));
    this.#running = this.#run();
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
    this.#stopped = true;
    await this.#running;
    for (const client of this.#clients) client.close();
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#stopped; turn++) {
      try {
        await this.#clients[turn % this.#clients.length]!.put({ key, value: Buffer.from(`${turn}`) });
        this.#answers.push(performance.now());
      } catch {
        // Refused at once by a member that is gone: without a pause this would be a busy loop.
        await delay(1);
      }
    }
  }
}
