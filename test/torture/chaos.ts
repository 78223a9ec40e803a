/**
 * Faults, several at once, in eras: each era has its victims, mostly so few that the others are a quorum, and ends with a moment
 * in which nothing is wrong. Beside them operators do their work. All choices come from the seed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Chance } from '../soak/random.ts';
import type { Cluster } from './cluster.ts';
import { type Fault, faults } from './faults.ts';
import type { Member } from './member.ts';
import type { Network } from './network.ts';
import { type Operation, operations, replacement } from './operator.ts';

export interface ChaosOptions {
  readonly cluster: Cluster;
  readonly network: Network;
  readonly seed: number;
  /** The clock of the round, in microseconds. */
  readonly now: () => number;
  /** The test itself went wrong. */
  readonly onFailure: (error: unknown) => void;
}

export interface Done {
  done: number;
  refused: number;
}

export interface Event {
  readonly name: string;
  readonly from: number;
  to: number;
}

const era = { leastMs: 5000, mostMs: 22_000, atOnce: 4, pauseMs: 1500, calmMs: 5000 } as const;
/** Of so many eras, one strikes whoever it likes. */
const recklessEras = 4;
const operationEveryMs = 2500;
const replacementEveryMs = 12_000;

export class Chaos {
  readonly tally = new Map<string, Done>();
  readonly events: Event[] = [];
  readonly #options: ChaosOptions;
  readonly #ended = new AbortController();
  readonly #faults: Promise<unknown>;
  readonly #operations: Promise<unknown>;

  constructor(options: ChaosOptions) {
    this.#options = options;
    const { seed } = options;
    this.#faults = this.#eras(new Chance(seed ^ 0x5eed));
    const operate = (one: (chance: Chance) => Operation, everyMs: number, salt: number): Promise<void> =>
      this.#operate(one, everyMs, new Chance(seed ^ salt));
    this.#operations = Promise.all([
      operate((chance) => chance.weighted(operations), operationEveryMs, 0x0b5),
      operate(() => replacement, replacementEveryMs, 0x4e3),
    ]);
    for (const running of [this.#faults, this.#operations]) running.catch(options.onFailure);
  }

  /** What goes on right now. */
  get running(): readonly string[] {
    return this.events.filter(({ to }) => to === Number.POSITIVE_INFINITY).map(({ name }) => name);
  }

  during(from: number, to: number): readonly string[] {
    const names = this.events.filter((event) => event.from < to && event.to > from).map(({ name }) => name);
    return [...new Set(names)];
  }

  /** Resolves when every fault is undone. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#faults;
  }

  /** Resolves when those who came and went have done so: the cluster has to serve. */
  async settled(): Promise<void> {
    await this.#operations;
  }

  get #isOver(): boolean {
    return this.#ended.signal.aborted;
  }

  async #eras(chance: Chance): Promise<void> {
    while (!this.#isOver) {
      const over = new AbortController();
      const signal = AbortSignal.any([over.signal, this.#ended.signal]);
      const end = performance.now() + era.leastMs + chance.below(era.mostMs - era.leastMs);
      const [isReckless, atOnce] = [chance.below(recklessEras) === 0, 1 + chance.below(era.atOnce)];
      const struck = this.#someMembers(chance);
      const running = new Set<Promise<void>>();
      while (!signal.aborted && performance.now() < end) {
        const [fault, own] = [chance.weighted(faults), new Chance(chance.below(2 ** 31))];
        if (running.size < atOnce) {
          const victims = this.#there(isReckless ? this.#options.cluster.all : struck);
          const one: Promise<void> = this.#strike(fault, victims, own, signal).finally(() => running.delete(one));
          one.catch(this.#options.onFailure);
          running.add(one);
        }
        await rest(chance.below(era.pauseMs), signal);
      }
      over.abort();
      await Promise.all(running);
      await rest(chance.below(era.calmMs), this.#ended.signal);
    }
  }

  /** As many as a quorum can do without. */
  #someMembers(chance: Chance): readonly Member[] {
    const { cluster } = this.#options;
    const left = [...this.#there(cluster.all)];
    const struck: Member[] = [];
    while (struck.length < Math.floor((cluster.size - 1) / 2))
      struck.push(...left.splice(chance.below(left.length), 1));
    return struck;
  }

  #there(members: readonly Member[]): readonly Member[] {
    const there = members.filter(({ phase }) => phase !== 'none');
    return there.length > 0 ? there : this.#options.cluster.serving;
  }

  async #strike(fault: Fault, victims: readonly Member[], chance: Chance, signal: AbortSignal): Promise<void> {
    const { cluster, network } = this.#options;
    const event = this.#begin(fault.name);
    const wait = (milliseconds: number): Promise<void> => rest(milliseconds, signal);
    const isDone = await fault.run({ cluster, network, chance, victims, rest: wait });
    this.#finish(event, isDone);
  }

  async #operate(next: (chance: Chance) => Operation, everyMs: number, chance: Chance): Promise<void> {
    for (;;) {
      await rest(chance.below(2 * everyMs), this.#ended.signal);
      if (this.#isOver) return;
      const { name, run } = next(chance);
      const event = this.#begin(name);
      const isDone = await run(this.#options.cluster, new Chance(chance.below(2 ** 31))).then(
        () => true,
        () => false,
      );
      this.#finish(event, isDone);
    }
  }

  #begin(name: string): Event {
    const event = { name, from: this.#options.now(), to: Number.POSITIVE_INFINITY };
    this.events.push(event);
    return event;
  }

  #finish(event: Event, isDone: boolean): void {
    event.to = this.#options.now();
    const done = this.tally.get(event.name) ?? { done: 0, refused: 0 };
    this.tally.set(event.name, done);
    if (isDone) done.done++;
    else done.refused++;
  }
}

/** Ends early, without an error, when it is over. */
const rest = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  delay(milliseconds, undefined, { signal }).catch(() => {});
