/**
 * Histories, each of a few keys that live for seconds: short enough to be checked in no time, and all together what every client
 * saw. A group that has had its time is read once more, and goes to a file; what it held is compared at the end of the round.
 */
import { appendFileSync, createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Chance } from '../soak/random.ts';
import {
  type Answer,
  afterAnswer,
  type Belief,
  hasChanged,
  isRead,
  type Operation,
  type Seen,
  type Transaction,
} from './operations.ts';

const liveGroups = 6;
const maxOperations = 150;
const maxAgeUs = 10_000_000;
/** Each may have been done at any time: too many of them and nobody could tell how. */
const maxUnknown = 6;
const linesAtOnce = 500;

export interface Group {
  readonly name: string;
  readonly born: number;
  readonly operations: Operation[];
  underWay: number;
  unknown: number;
  belief: Belief;
}

export interface History {
  readonly name: string;
  readonly operations: readonly Operation[];
}

/** The clock of a round: whole microseconds. */
export const clock = (): (() => number) => {
  const origin = performance.now();
  return () => Math.round((performance.now() - origin) * 1000);
};

export interface GroupsOptions {
  readonly folder: string;
  readonly now: () => number;
  /** Reads all of a group, for as long as it takes. Rejects when nothing can be read any more. */
  readonly readAll: (group: Group) => Promise<Operation>;
}

export class Groups {
  readonly #options: GroupsOptions;
  readonly #live: Group[] = [];
  readonly #closing = new Set<Promise<void>>();
  /** What is left for good: of groups all of whose writes were answered. */
  readonly settled = new Map<string, readonly Seen[]>();
  readonly #unsettled: string;
  /** Groups with writes that may still be done. */
  readonly unsettled = new Set<string>();
  /** The file of all answers. */
  readonly answers: string;
  #answerLines: string[] = [];
  #born = 0;
  #batch = 0;
  #inBatch = 0;

  constructor(options: GroupsOptions) {
    this.#options = options;
    this.#unsettled = join(options.folder, 'unsettled.jsonl');
    this.answers = join(options.folder, 'answers.jsonl');
  }

  get now(): () => number {
    return this.#options.now;
  }

  /** How many wait for their last read. */
  get closing(): number {
    return this.#closing.size;
  }

  /** Somebody may have written to it. */
  isKnown(name: string): boolean {
    return this.settled.has(name) || this.unsettled.has(name);
  }

  pick(chance: Chance): Group {
    while (this.#live.length < liveGroups) {
      const name = `g${this.#born++}`;
      this.#live.push({ name, born: this.now(), operations: [], underWay: 0, unknown: 0, belief: new Map() });
    }
    return chance.pick(this.#live);
  }

  onAnswer(group: Group, transaction: Transaction, client: number, call: number, answer: Answer): void {
    const end = this.now();
    group.operations.push({ ...transaction, client, call, return: end, answer });
    group.belief = afterAnswer(transaction, answer, group.belief);
    this.#note(transaction, call, end, answer);
    this.#retireWhenDue(group);
  }

  /** A read that was not answered is nothing. */
  onUnknown(group: Group, transaction: Transaction, client: number, call: number): void {
    if (isRead(transaction)) return;
    group.operations.push({ ...transaction, client, call });
    group.unknown++;
    this.#retireWhenDue(group);
  }

  onIdle(group: Group): void {
    group.underWay--;
    if (group.underWay === 0 && !this.#live.includes(group)) this.#close(group);
  }

  /** No more of any group. Resolves when each was read for the last time. */
  async end(): Promise<void> {
    for (const group of this.#live.splice(0)) if (group.underWay === 0) this.#close(group);
    while (this.#closing.size > 0) await Promise.all(this.#closing);
  }

  /** The file with what was closed since the last call. */
  rotate(): string | undefined {
    this.#flush();
    if (this.#inBatch === 0) return undefined;
    this.#inBatch = 0;
    return this.#batchFile(this.#batch++);
  }

  /** The histories that need a last look, with what was there in the end. */
  async *withLastRead(read: (group: string) => Operation): AsyncGenerator<History> {
    if (this.unsettled.size === 0) return;
    for await (const line of createInterface({ input: createReadStream(this.#unsettled) })) {
      const { name, operations } = JSON.parse(line) as History;
      yield { name, operations: [...operations, read(name)] };
    }
  }

  #batchFile(number: number): string {
    return join(this.#options.folder, `batch-${number}.jsonl`);
  }

  #retireWhenDue(group: Group): void {
    const at = this.#live.indexOf(group);
    const old = this.now() - group.born > maxAgeUs;
    if (at >= 0 && (old || group.operations.length >= maxOperations || group.unknown >= maxUnknown))
      this.#live.splice(at, 1);
  }

  #close(group: Group): void {
    if (group.operations.length === 0) return;
    const closed = this.#options.readAll(group).then((last) => {
      group.operations.push(last);
      this.#note(last, last.call, last.return!, last.answer!);
      const line = `${JSON.stringify({ name: group.name, operations: group.operations } satisfies History)}\n`;
      appendFileSync(this.#batchFile(this.#batch), line);
      this.#inBatch++;
      if (group.unknown > 0) {
        appendFileSync(this.#unsettled, line);
        this.unsettled.add(group.name);
      } else {
        this.settled.set(group.name, last.answer!.results[0]!.records!);
      }
    });
    const tracked: Promise<void> = closed.finally(() => this.#closing.delete(tracked));
    // Whoever waits for the end hears of it.
    tracked.catch(() => {});
    this.#closing.add(tracked);
  }

  #note(transaction: Transaction, call: number, end: number, answer: Answer): void {
    const changed = hasChanged(transaction, answer);
    this.#answerLines.push(JSON.stringify({ call, return: end, revision: answer.revision, changed }));
    if (this.#answerLines.length >= linesAtOnce) this.#flush();
  }

  #flush(): void {
    if (this.#answerLines.length > 0) appendFileSync(this.answers, `${this.#answerLines.join('\n')}\n`);
    this.#answerLines = [];
  }
}
