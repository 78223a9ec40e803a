/**
 * A member as storage sees it: a log and snapshots on one disk, through restarts. It keeps what it asked for and what it was
 * told, so that whatever is read back can be judged.
 */
import { recoverSnapshot } from '../../src/storage/recover.ts';
import { type FolderSnapshotStore, openSnapshotFolder } from '../../src/storage/snapshots.ts';
import type { LogEntry, SnapshotMark, StoredHardState, WalBatch } from '../../src/storage/types.ts';
import { Wal, type WalInternals } from '../../src/storage/wal.ts';
import type { MemoryDisk } from './memory-disk.ts';

const paths = { member: '/member', wal: '/member/wal', snapshots: '/member/snap' };
const identity = { clusterId: 'c1', memberId: 'm1' };
const sizes = { segmentBytes: 900, allocationBytes: 512 };
const retain = 2;

/** What a member holds: the data of its entries, from index 1 on, and what it promised. */
interface Held {
  readonly entries: readonly string[];
  readonly hardState: StoredHardState;
}

export type Move = readonly [what: number, a: number, b: number];

/** What a member asked for and was told, over all its lives. */
export class Promises {
  /** After each submitted batch. */
  readonly states: Held[] = [{ entries: [], hardState: { term: 1, vote: null, commit: 0 } }];
  /** The last of them that was acknowledged. */
  acknowledged = 0;
  #sequence = 0;
  #milliseconds = 1000;

  get latest(): Held {
    return this.states.at(-1)!;
  }

  /** Never the same twice, so that nothing old passes for new. */
  data(size: number): string {
    return `${++this.#sequence}:`.padEnd(size, 'x');
  }

  /** For one of several ends of the same story. */
  copy(): Promises {
    const copy = new Promises();
    copy.states.splice(0, 1, ...this.states);
    copy.acknowledged = this.acknowledged;
    copy.#sequence = this.#sequence;
    copy.#milliseconds = this.#milliseconds;
    return copy;
  }

  now(): number {
    return this.#milliseconds++;
  }

  submit(held: Held): number {
    return this.states.push(held) - 1;
  }

  /** Which state it is that was read; it is the only one from here on. Throws when it breaks a promise. */
  judge(found: Held): void {
    const same = ({ entries, hardState }: Held): boolean =>
      entries.join() === found.entries.join() &&
      hardState.term === found.hardState.term &&
      hardState.vote === found.hardState.vote &&
      hardState.commit === found.hardState.commit;
    for (let at = this.states.length - 1; at >= this.acknowledged; at--) {
      if (!same(this.states[at]!)) continue;
      this.states.splice(0, this.states.length, found);
      this.acknowledged = 0;
      return;
    }
    const told = this.states[this.acknowledged]!;
    throw new Error(
      `found ${found.entries.length} entries and ${JSON.stringify(found.hardState)}; ` +
        `${told.entries.length} and ${JSON.stringify(told.hardState)} were acknowledged`,
    );
  }
}

/** A disk with an empty member on it. */
export async function born(disk: MemoryDisk): Promise<void> {
  await disk.makeFolder(paths.member);
  await disk.makeFolder(paths.snapshots);
  await disk.syncFolder('/');
  const wal = await Wal.create(paths.wal, identity, { ...sizes, disk });
  await wal.append({
    hardState: { term: 1, vote: null, commit: 0 },
    snapshot: { index: 0, term: 1, configuration: {}, configurationIndex: 0, replacesLog: true },
  });
  await wal.close();
}

/** One life: from a start to its end. */
export class Life {
  readonly wal: Wal;
  /** What failed and is no reason to stop. */
  readonly failures: Error[] = [];
  readonly #store: FolderSnapshotStore;
  readonly #promises: Promises;
  readonly #open: Promise<void>[] = [];

  /** Fails as a member's start does; throws what `judge` says of what it finds. */
  static async begin(disk: MemoryDisk, promises: Promises, options: WalInternals = {}): Promise<Life> {
    const { wal, contents } = await Wal.open(paths.wal, { ...sizes, ...options, disk });
    const warn = (): void => {};
    const now = (): number => promises.now();
    const store = await openSnapshotFolder({ folder: paths.snapshots, retain, now, warn, disk });
    let entries: string[] = [];
    const mark = await recoverSnapshot(store, contents, {
      load: async ({ meta, read }) => {
        const chunks: Buffer[] = [];
        for await (const chunk of read()) chunks.push(Buffer.from(chunk));
        entries = JSON.parse(Buffer.concat(chunks).toString()) as string[];
        if (entries.length !== meta.index) throw new Error('another state than its name says');
      },
      warn,
    });
    if (!mark) throw new Error('the log does not say how it began');
    const from = entries.length;
    for (const { index, data } of contents.entries.filter((entry) => entry.index > from)) {
      if (entries.push(Buffer.from(data).toString()) !== index) throw new Error(`entry ${index} after a gap`);
    }
    promises.judge({ entries, hardState: contents.hardState! });
    return new Life(wal, store, promises);
  }

  private constructor(wal: Wal, store: FolderSnapshotStore, promises: Promises) {
    this.wal = wal;
    this.#store = store;
    this.#promises = promises;
  }

  /** Resolves when the last of the moves is done; rejects when the log has failed: the member must stop. */
  async run(moves: readonly Move[]): Promise<void> {
    for (const move of moves) await this.#move(move);
    await this.#settled();
  }

  async #move([what, a, b]: Move): Promise<void> {
    if (what % 8 > 3) await this.#settled();
    const { hardState, entries } = this.#promises.latest;
    const { term, vote } = hardState;
    const acknowledged = this.#promises.states[this.#promises.acknowledged]!;
    // What is committed is never overwritten.
    const commit = Math.min(
      acknowledged.hardState.term === term ? acknowledged.entries.length : hardState.commit,
      entries.length,
    );
    const committed = Math.max(hardState.commit, commit);
    switch (what % 8) {
      case 0:
      case 1:
      case 2:
        this.#append({ term, vote, commit: a % 2 ? committed : hardState.commit }, entries.length, 1 + (b % 3), b);
        return;
      case 3:
        this.#append(
          { term: term + 1, vote: `${a % 5}`, commit: hardState.commit },
          hardState.commit + (a % (entries.length - hardState.commit + 1)),
          b % 3,
          b,
        );
        return;
      case 4:
        return;
      case 5:
      case 6:
        await this.#snapshot(this.#promises.latest.entries.slice(0, committed), { ...hardState, commit: committed });
        return;
      default: {
        // From the leader: entries that were never in this log.
        const more = Array.from({ length: 2 }, () => this.#promises.data(20 + (b % 90)));
        await this.#install([...this.#promises.latest.entries, ...more]);
      }
    }
  }

  #append(hardState: StoredHardState, after: number, count: number, shape: number): void {
    const { entries } = this.#promises.latest;
    const added = Array.from({ length: count }, (_, i) => this.#promises.data(10 + ((shape * 37 * (i + 1)) % 330)));
    const state = { hardState, entries: [...entries.slice(0, count === 0 ? entries.length : after), ...added] };
    const logged = added.map(
      (data, i): LogEntry => ({ index: after + 1 + i, term: hardState.term, kind: 'normal', data: Buffer.from(data) }),
    );
    const done = this.#submit(state, { hardState, entries: logged });
    this.#open.push(done);
    // Awaited with the others; a failure ends the life, perhaps before that.
    done.catch(() => {});
  }

  async #submit(state: Held, batch: WalBatch): Promise<void> {
    const at = this.#promises.submit(state);
    await this.wal.append(batch);
    this.#promises.acknowledged = Math.max(this.#promises.acknowledged, at);
  }

  async #snapshot(entries: readonly string[], hardState: StoredHardState): Promise<void> {
    const mark = this.#mark(entries, hardState.term, false);
    if (entries.length === 0 || !(await this.#stored(mark, entries))) return;
    await this.#submit({ ...this.#promises.latest, hardState }, { hardState, snapshot: mark });
    this.#store.hold(mark);
    const oldest = (await this.#tried(() => this.#store.list()))?.at(-1);
    if (oldest) await this.#tried(() => this.wal.release(Math.min(mark.index, oldest.index)));
  }

  async #install(entries: readonly string[]): Promise<void> {
    const { term, vote } = this.#promises.latest.hardState;
    const hardState = { term, vote, commit: entries.length };
    const mark = this.#mark(entries, term, true);
    if (!(await this.#stored(mark, entries))) return;
    await this.#submit({ entries, hardState }, { hardState, snapshot: mark });
    this.#store.hold(mark);
  }

  #mark({ length: index }: readonly string[], term: number, replacesLog: boolean): SnapshotMark {
    return { index, term, configuration: {}, configurationIndex: 0, replacesLog };
  }

  async #stored(mark: SnapshotMark, entries: readonly string[]): Promise<boolean> {
    const state = Buffer.from(JSON.stringify(entries));
    const stored = await this.#tried(async () => {
      const sink = await this.#store.create({ version: 1, ...mark });
      try {
        await sink.write(state.subarray(0, 100));
        await sink.write(state.subarray(100));
        return await sink.close();
      } catch (error) {
        await sink.cancel();
        throw error;
      }
    });
    return stored !== undefined;
  }

  /** A snapshot that fails is taken again another time. */
  async #tried<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      this.failures.push(error as Error);
      return undefined;
    }
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#open.splice(0));
  }
}
