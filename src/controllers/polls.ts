/**
 * Questions to what no watch tells of: members and running Jobs. They are asked beside the reconciles, a bounded number
 * at a time and each for a bounded time, so that one that hangs delays nobody; a reconcile reads the last answers.
 */
import type { Key } from '../kube/objects.ts';
import type { Clock } from '../runtime/clock.ts';
import { same } from './manifests.ts';

export interface Question<T> {
  /** Unique within its group, such as a pod's name. */
  readonly id: string;
  /** When it changes, the question is another one: earlier answers do not count. */
  readonly of: string;
  /** When it changes, the question is asked again at once; earlier answers count until then. */
  readonly again?: string;
  readonly ask: (signal: AbortSignal) => Promise<T>;
}

export interface Answer<T> {
  readonly value?: T;
  /** When the value came: of no clock but the polls' own, in milliseconds. */
  readonly at?: number;
  /** How often in a row there was no answer since. */
  readonly failures: number;
  readonly error?: unknown;
}

export interface PollOptions<T> {
  readonly clock: Clock;
  /** How long an answer holds, in milliseconds; undefined: for good. */
  readonly everyMs: (answer: Answer<T>) => number | undefined;
  readonly timeoutMs: number;
  readonly concurrency: number;
  /** Called when an answer differs from the one before. */
  readonly wake: (group: Key) => void;
}

interface Entry<T> {
  question: Question<T>;
  answer: Answer<T>;
  cancel?: (() => void) | undefined;
  asking?: AbortController | undefined;
  waiting: boolean;
  /** Asked for again while it was being asked: that answer may be of before. */
  stale?: boolean;
}

export class Polls<T> {
  readonly #options: PollOptions<T>;
  readonly #groups = new Map<Key, Map<string, Entry<T>>>();
  readonly #waiting: { readonly group: Key; readonly entry: Entry<T> }[] = [];
  #running = 0;
  #closed = false;

  constructor(options: PollOptions<T>) {
    this.#options = options;
  }

  /** The questions of a group from now on, in place of those before. An empty list forgets the group. */
  ask(group: Key, questions: readonly Question<T>[]): void {
    if (this.#closed) return;
    const before = this.#groups.get(group) ?? new Map<string, Entry<T>>();
    const after = new Map<string, Entry<T>>();
    const due: Entry<T>[] = [];
    for (const question of questions) {
      const old = before.get(question.id);
      if (old && old.question.of === question.of) {
        if (old.question.again !== question.again) due.push(old);
        old.question = question;
        after.set(question.id, old);
        before.delete(question.id);
        continue;
      }
      const entry: Entry<T> = { question, answer: { failures: 0 }, waiting: false };
      after.set(question.id, entry);
      due.push(entry);
    }
    for (const entry of before.values()) this.#stop(entry);
    if (after.size === 0) this.#groups.delete(group);
    else this.#groups.set(group, after);
    for (const entry of due) this.#queue(group, entry);
  }

  /** Asks a group's questions again at once: something was done that changes the answers. */
  refresh(group: Key): void {
    for (const entry of this.#groups.get(group)?.values() ?? []) {
      if (entry.asking) entry.stale = true;
      else this.#queue(group, entry);
    }
  }

  answers(group: Key): ReadonlyMap<string, Answer<T>> {
    return new Map([...(this.#groups.get(group) ?? [])].map(([id, { answer }]) => [id, answer]));
  }

  close(): void {
    this.#closed = true;
    for (const entries of this.#groups.values()) for (const entry of entries.values()) this.#stop(entry);
    this.#groups.clear();
    this.#waiting.length = 0;
  }

  #stop(entry: Entry<T>): void {
    entry.cancel?.();
    entry.asking?.abort();
  }

  #queue(group: Key, entry: Entry<T>): void {
    entry.cancel?.();
    entry.cancel = undefined;
    if (entry.waiting) return;
    entry.waiting = true;
    this.#waiting.push({ group, entry });
    this.#next();
  }

  #next(): void {
    while (this.#running < this.#options.concurrency) {
      const next = this.#waiting.shift();
      if (!next) return;
      next.entry.waiting = false;
      if (this.#current(next.group, next.entry) && !next.entry.asking) void this.#run(next.group, next.entry);
    }
  }

  #current(group: Key, entry: Entry<T>): boolean {
    return !this.#closed && this.#groups.get(group)?.get(entry.question.id) === entry;
  }

  async #run(group: Key, entry: Entry<T>): Promise<void> {
    this.#running += 1;
    const { question } = entry;
    const asking = new AbortController();
    entry.asking = asking;
    const before = entry.answer;
    const limit = this.#options.clock.after(this.#options.timeoutMs, () =>
      asking.abort(new Error(`no answer within ${this.#options.timeoutMs} ms`)),
    );
    try {
      const value = await question.ask(asking.signal);
      entry.answer = { value, at: this.#options.clock.monotonic(), failures: 0 };
    } catch (error) {
      const cause = asking.signal.aborted ? (asking.signal.reason ?? error) : error;
      entry.answer = { ...before, failures: before.failures + 1, error: cause };
    } finally {
      limit();
      entry.asking = undefined;
      this.#running -= 1;
    }
    if (this.#current(group, entry)) {
      if (entry.stale || entry.question.again !== question.again) {
        entry.stale = false;
        this.#queue(group, entry);
      } else {
        const wait = this.#options.everyMs(entry.answer);
        if (wait !== undefined) entry.cancel = this.#options.clock.after(wait, () => this.#queue(group, entry));
      }
      const changed = !same(before.value, entry.answer.value) || before.failures !== entry.answer.failures;
      // A silence that goes on is no news.
      if (changed && entry.answer.failures <= 2) this.#options.wake(group);
    }
    this.#next();
  }
}
