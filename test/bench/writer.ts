/**
 * Clients that always write, one for each member and in turn, at a steady pace whether earlier writes were answered or not.
 * The longest time in which none of them got an answer is how long the cluster could not be written to; how soon a client
 * that knows one member alone finds another is not in it. They live in a thread of their own: what the bench itself is busy
 * with must not look like an outage. Nor must they: a hundred writes a second are enough to see one, and leave the two cores
 * to those that are looked at.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';

const everyMs = 10;
/** A member that forwarded a put to a dead leader never answers it. */
const attemptMs = 300;
/** Puts under way at each member at most: what an outage of `attemptMs` and more piles up must not delay what follows. */
const underWayAtMost = 20;
const key = Buffer.from('bench/outage');

/** The clock that all threads of a process share, in milliseconds. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6;

interface Asked {
  readonly endpoints: readonly string[];
  readonly tls: ClientTls | undefined;
}

export class Writer {
  readonly #worker: Worker;
  readonly #failed: Promise<never>;

  constructor(endpoints: readonly string[], tls?: ClientTls) {
    this.#worker = new Worker(new URL(import.meta.url), { workerData: { endpoints, tls } satisfies Asked });
    this.#failed = new Promise((_, reject) =>
      this.#worker
        .once('error', reject)
        .once('exit', (code) => reject(new Error(`the thread that writes has ended: ${code}`))),
    );
    this.#failed.catch(() => {});
  }

  /** The longest time without an answer since `from`, in milliseconds, one that lasts included. */
  longestGapMs(from: number): Promise<number> {
    const answer = new Promise<number>((resolve) => this.#worker.once('message', resolve));
    this.#worker.postMessage(from);
    return Promise.race([answer, this.#failed]);
  }

  /** Resolves when `forMs` have passed in which no two answers were `withinMs` or more apart. Fails after `atMostMs`. */
  async steady(forMs: number, withinMs: number, atMostMs: number): Promise<void> {
    const end = now() + atMostMs;
    for (;;) {
      const from = now();
      await delay(forMs);
      if ((await this.longestGapMs(from)) < withinMs) return;
      if (now() > end) throw new Error(`writes were not steady within ${atMostMs / 1000} s`);
    }
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

function write({ endpoints, tls }: Asked): void {
  const answers = [now()];
  const clients = endpoints.map((endpoint) => {
    const settings = { endpoints: [endpoint], deadlineMs: attemptMs };
    return { etcd: new EtcdClient(tls === undefined ? settings : { ...settings, tls }), underWay: 0 };
  });
  let turn = 0;
  setInterval(() => {
    const client = clients[turn % clients.length]!;
    const value = Buffer.from(`${turn++}`);
    if (client.underWay >= underWayAtMost) return;
    client.underWay++;
    client.etcd
      .put({ key, value })
      .then(
        () => answers.push(now()),
        () => {},
      )
      .finally(() => client.underWay--);
  }, everyMs);
  parentPort!.on('message', (from: number) => {
    const begin = answers.findLastIndex((at) => at <= from);
    const times = [...answers.slice(Math.max(begin, 0)), now()];
    parentPort!.postMessage(Math.max(...times.slice(1).map((at, n) => at - times[n]!)));
  });
}

if (!isMainThread) write(workerData as Asked);
