/**
 * Time as a queue of events. While a world runs, the timers, immediates and clocks of this process are its own: `install` puts
 * them in place before the product is loaded. The clock takes the next event, lets all promises settle that it leads to, and
 * takes the next one: nothing else ever happens, so that the same seed gives the same story.
 *
 * Every event belongs to the process (of the simulated world) that asked for it, or to nobody. When a process ends its events
 * are dropped, so it ends between any two of them: at every await of a timer, a disk or the network.
 */
import type { Chance } from '../soak/random.ts';

/** One life of a member: from its start to its end, whatever ends it. */
export class Life {
  ended = false;
  /** It stands still (SIGSTOP): what is due meanwhile happens when it goes on, in its order. */
  stopped = false;
  readonly late: { run: (() => void) | undefined }[] = [];
  /** How fast its clock runs. */
  readonly rate: number;
  /** How far its calendar is off, in milliseconds. */
  readonly skew: number;
  readonly place: number;
  lastImmediate = 0;

  constructor(place: number, rate: number, skew: number) {
    this.place = place;
    this.rate = rate;
    this.skew = skew;
  }
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly owner: Life | undefined;
  run: (() => void) | undefined;
}

const isBefore = (one: Event, other: Event): boolean =>
  one.at < other.at || (one.at === other.at && one.order < other.order);

/** Real ones, for whoever drives a clock. */
const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  performanceNow: performance.now.bind(performance),
  dateNow: Date.now,
};
export const realNow = real.performanceNow;

/** Events handed to the real loop at a time: between any two of them it lets promises settle. */
const batch = 64;
/** Wall clock at the beginning of a world. */
const epoch = Date.UTC(2026, 0, 1);

export class Clock {
  now = 0;
  /** Whose event runs; what it leads to belongs to it. */
  current: Life | undefined;
  events = 0;
  /** A checksum over all that happened, in order. */
  digest = 0;
  readonly #heap: Event[] = [];
  readonly #chance: Chance;
  #order = 0;

  constructor(chance: Chance) {
    this.#chance = chance;
  }

  after(ms: number, owner: Life | undefined, run: () => void): Event {
    const event: Event = { at: this.now + ms, order: this.#order++, owner, run };
    this.#push(event);
    return event;
  }

  /** For a promise that settles after so long, in the life that asks. */
  pass(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, this.current, resolve);
    });
  }

  /** Immediates come in their order, and something may come before them. */
  immediately(owner: Life | undefined, run: () => void): Event {
    const at = this.now + this.#chance.next() * 0.1;
    if (!owner) return this.after(at - this.now, owner, run);
    owner.lastImmediate = Math.max(at, owner.lastImmediate);
    return this.after(owner.lastImmediate - this.now, owner, run);
  }

  /** Runs this as the life's own: now, later if it stands still, or never. */
  within(life: Life, run: () => void): void {
    if (life.ended) return;
    if (life.stopped) {
      life.late.push({ run });
      return;
    }
    this.current = life;
    run();
  }

  goOn(life: Life): void {
    life.stopped = false;
    for (const event of life.late.splice(0)) this.after(0, life, () => event.run?.());
  }

  /** Notes in the digest that this happened. */
  mark(value: number): void {
    this.digest = Math.imul(this.digest ^ value, 0x9e3779b1) ^ (this.digest >>> 15);
  }

  /** Events one by one until `before`, called between any two, says that it is enough or throws. */
  drive(before: () => boolean): Promise<void> {
    active = this;
    return new Promise<void>((resolve, reject) => {
      let done = false;
      const one = (): void => {
        if (done) return;
        try {
          done = before() || !this.#step();
          if (done) resolve();
        } catch (error) {
          done = true;
          reject(error as Error);
        }
      };
      const some = (): void => {
        for (let at = 1; at < batch; at++) real.setImmediate(one);
        real.setImmediate(() => {
          one();
          if (!done) some();
        });
      };
      some();
    }).finally(() => {
      active = undefined;
    });
  }

  #step(): boolean {
    const event = this.#pop();
    if (!event) return false;
    const { run, owner } = event;
    this.now = event.at;
    if (run === undefined || owner?.ended === true) return true;
    this.events++;
    this.mark((event.at * 1024) | 0);
    this.mark(owner?.place ?? 99);
    this.current = owner;
    // Whoever waits may still be called off.
    if (owner?.stopped) owner.late.push(event);
    else run();
    return true;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

let active: Clock | undefined;

/** What `setTimeout` and its like give. */
class Timer {
  event: Event | undefined;

  cancel(): void {
    if (this.event) this.event.run = undefined;
    this.event = undefined;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

type Callback = (...args: unknown[]) => void;

function timer(clock: Clock, run: () => void, ms: number, repeats: boolean): Timer {
  const owner = clock.current;
  const delay = Math.max(1, ms) / (owner?.rate ?? 1);
  const made = new Timer();
  const start = (): void => {
    made.event = clock.after(delay, owner, () => {
      // An interval's next turn is counted from when this one came, however late that was.
      if (repeats) start();
      else made.event = undefined;
      run();
    });
  };
  start();
  return made;
}

function cancel(handle: unknown, otherwise: (handle: never) => void): void {
  if (handle instanceof Timer) handle.cancel();
  else otherwise(handle as never);
}

/** From here on timers and clocks are those of the world that runs, and the real ones while none does. */
export function install(): void {
  const replaced = {
    setTimeout: (run: Callback, ms = 1, ...args: unknown[]) =>
      active ? timer(active, () => run(...args), ms, false) : real.setTimeout(run, ms, ...args),
    setInterval: (run: Callback, ms = 1, ...args: unknown[]) =>
      active ? timer(active, () => run(...args), ms, true) : real.setInterval(run, ms, ...args),
    setImmediate: (run: Callback, ...args: unknown[]) => {
      if (!active) return real.setImmediate(run, ...args);
      const made = new Timer();
      made.event = active.immediately(active.current, () => run(...args));
      return made;
    },
    clearTimeout: (handle: unknown) => cancel(handle, real.clearTimeout),
    clearInterval: (handle: unknown) => cancel(handle, real.clearInterval),
    clearImmediate: (handle: unknown) => cancel(handle, real.clearImmediate),
  };
  Object.assign(globalThis, replaced);
  Date.now = () => (active ? epoch + Math.floor(active.now + (active.current?.skew ?? 0)) : real.dateNow());
  Object.defineProperty(performance, 'now', {
    value: () => (active ? active.now * (active.current?.rate ?? 1) : real.performanceNow()),
    configurable: true,
  });
}
