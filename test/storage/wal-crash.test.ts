/**
 * The promise at every point where a crash can come: what was acknowledged is there, what was overwritten does not come
 * back, nothing appears that was never submitted. Random histories run against a disk that remembers every operation; then,
 * for every prefix of its operations, the log is opened again as the death of the process, or of the power, would leave it.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LogEntry, SnapshotMark, StoredHardState, WalBatch, WalContents } from '../../src/storage/types.ts';
import { Wal } from '../../src/storage/wal.ts';
import { seeded } from '../raft/moves.ts';
import { type Fate, MemoryDisk, sector } from './memory-disk.ts';

const folder = '/wal';
const identity = { clusterId: 'c1', memberId: 'm1' };
const sizes = { segmentBytes: 900, allocationBytes: 512 };

/** What a log holds after some appends. */
interface State {
  readonly hardState: StoredHardState | undefined;
  readonly entries: readonly LogEntry[];
  readonly marks: readonly SnapshotMark[];
  readonly lastIndex: number;
}

const empty: State = { hardState: undefined, entries: [], marks: [], lastIndex: 0 };

function after(before: State, { hardState, entries = [], snapshot }: WalBatch): State {
  const first = entries[0]?.index ?? Number.POSITIVE_INFINITY;
  let kept = [...before.entries.filter(({ index }) => index < first), ...entries];
  let lastIndex = entries.at(-1)?.index ?? before.lastIndex;
  if (snapshot?.replacesLog) {
    kept = [];
    lastIndex = snapshot.index;
  }
  return {
    hardState: hardState ?? before.hardState,
    entries: kept,
    marks: snapshot ? [...before.marks, snapshot] : before.marks,
    lastIndex,
  };
}

type Move = readonly [what: number, a: number, b: number];

/** A log and the moves it makes, as its member would: terms rise, truncation stays behind the commit index. */
class History {
  readonly disk: MemoryDisk;
  /** After each append, in the order of submission. */
  readonly states: State[] = [empty];
  /** Commit indexes told without anything else, by the number of appends before. */
  readonly commits: { readonly appends: number; readonly commit: number }[] = [];
  readonly releases: number[] = [0];
  #wal: Wal | undefined;
  #open: Promise<unknown>[] = [];

  readonly #pause: () => Promise<void>;

  constructor(pause: () => Promise<void>) {
    this.disk = new MemoryDisk({ pause });
    this.#pause = pause;
  }

  async run(moves: readonly Move[]): Promise<void> {
    this.#wal = await Wal.create(folder, identity, { ...sizes, disk: this.disk });
    this.disk.note('created');
    for (const move of moves) {
      await this.#move(move);
      await this.#pause();
    }
    await this.#settled();
    await this.#wal.close();
  }

  get #state(): State {
    return this.states.at(-1)!;
  }

  get #commit(): number {
    return Math.max(this.#state.hardState?.commit ?? 0, this.commits.at(-1)?.commit ?? 0);
  }

  async #move([what, a, b]: Move): Promise<void> {
    const { hardState, lastIndex } = this.#state;
    const term = hardState?.term ?? 1;
    const commit = this.#commit;
    const further = commit + (a % (lastIndex - commit + 1));
    switch (what) {
      case 0:
      case 1:
      case 2:
        this.#append({
          hardState: a % 2 ? { term, vote: hardState?.vote ?? null, commit: further } : undefined,
          entries: this.#entries(lastIndex + 1, term, b),
        });
        return;
      case 3: {
        const from = commit + 1 + (a % Math.max(1, lastIndex - commit));
        this.#append({ hardState: { term: term + 1, vote: null, commit }, entries: this.#entries(from, term + 1, b) });
        return;
      }
      case 4:
        this.#append({ hardState: { term: term + 1, vote: `${a % 5}`, commit } });
        return;
      case 5:
        if (!hardState) return;
        this.commits.push({ appends: this.states.length - 1, commit: further });
        this.disk.note(`told ${this.commits.length}`);
        void this.#wal!.append({ hardState: { ...hardState, commit: this.#commit } });
        return;
      case 6:
        if (commit === 0) return;
        this.#append({
          hardState: { term, vote: hardState?.vote ?? null, commit },
          snapshot: this.#mark(1 + (a % commit), term, false),
        });
        return;
      case 7: {
        const index = lastIndex + 1 + (a % 4);
        this.#append({
          hardState: { term, vote: hardState?.vote ?? null, commit: index },
          snapshot: this.#mark(index, term, true),
        });
        return;
      }
      case 8: {
        await this.#settled();
        const through = Math.floor((commit * (a % 4)) / 3);
        this.releases.push(Math.max(through, this.releases.at(-1)!));
        this.disk.note(`released ${this.releases.length}`);
        this.#open.push(this.#wal!.release(through));
        return;
      }
      case 9:
        await this.#settled();
        await this.#wal!.close();
        this.#wal = (await Wal.open(folder, { ...sizes, disk: this.disk })).wal;
        return;
      default:
        await this.#settled();
    }
  }

  #entries(from: number, term: number, shape: number): LogEntry[] {
    return Array.from({ length: 1 + (shape % 3) }, (_, i) => ({
      index: from + i,
      term,
      kind: 'normal' as const,
      data: new Uint8Array((shape * 37 * (i + 1)) % 330).fill(shape % 7 === 0 ? 0 : this.states.length),
    }));
  }

  #mark(index: number, term: number, replacesLog: boolean): SnapshotMark {
    return { index, term, configuration: { at: this.states.length }, configurationIndex: 0, replacesLog };
  }

  #append(batch: WalBatch): void {
    this.states.push(after(this.#state, batch));
    const number = this.states.length - 1;
    this.disk.note(`submitted ${number}`);
    this.#open.push(this.#wal!.append(batch).then(() => this.disk.note(`acknowledged ${number}`)));
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#open.splice(0));
  }

  /** What had been promised and asked for when only so many operations had happened. */
  before(count: number): Promises {
    const promises: Promises = { created: false, acknowledged: 0, submitted: 0, released: 0, told: 0 };
    for (const operation of this.disk.journal.slice(0, count)) {
      if (operation.type !== 'note') continue;
      const [word, number] = operation.what.split(' ');
      if (word === 'created') promises.created = true;
      else promises[word as 'acknowledged' | 'submitted' | 'released' | 'told'] = Number(number);
    }
    return promises;
  }

  /** Why these contents break a promise, or the number of the last append that they hold. */
  judge(contents: WalContents, promises: Promises): string | number {
    const objections: string[] = [];
    for (let held = promises.submitted; held >= promises.acknowledged; held--) {
      const objection = this.#objection(contents, this.states[held]!, promises);
      if (objection === undefined) return held;
      objections.push(`as after append ${held}: ${objection}`);
    }
    return objections.join('; ');
  }

  #objection(contents: WalContents, state: State, { released, told }: Promises): string | undefined {
    const through = this.releases[Math.max(0, released - 1)]!;
    const plain = (entries: readonly LogEntry[]): string =>
      entries.map((e) => `${e.index} ${e.term} ${e.kind} ${Buffer.from(e.data).toString('latin1')}`).join();
    const first = contents.entries[0]?.index ?? Number.POSITIVE_INFINITY;
    const wanted = state.entries.filter(({ index }) => index >= first);
    if (plain(wanted) !== plain(contents.entries)) return 'other entries';
    if (state.entries.some(({ index }) => index > through && index < first)) return `entries after ${through} are gone`;
    const { hardState } = contents;
    if (hardState?.term !== state.hardState?.term || hardState?.vote !== state.hardState?.vote) return 'another vote';
    if ((hardState?.commit ?? 0) < (state.hardState?.commit ?? 0)) return 'the commit index went back';
    if ((hardState?.commit ?? 0) > state.lastIndex) return 'more committed than there is';
    const commit = Math.max(state.hardState?.commit ?? 0, ...this.commits.slice(0, told).map((one) => one.commit));
    if ((hardState?.commit ?? 0) > commit) return 'a commit index that nobody told';
    const marks = state.marks
      .filter(({ index }) => index <= (hardState?.commit ?? 0))
      .map((mark) => JSON.stringify(mark));
    const found = contents.snapshots.map((mark) => JSON.stringify(mark));
    if (found.some((mark, i) => marks.indexOf(mark) < 0 || found.indexOf(mark) !== i)) return 'marks that nobody made';
    if (marks.some((mark) => JSON.parse(mark).index >= through && !found.includes(mark))) return 'marks are gone';
    return undefined;
  }
}

interface Promises {
  created: boolean;
  acknowledged: number;
  submitted: number;
  released: number;
  told: number;
}

/** Opens the log that a crash left, adds to it, and lets the power fail: what was read must then be as durable as what was added. */
async function revived(history: History, left: MemoryDisk, promises: Promises, again: boolean): Promise<void> {
  const opened = await Wal.open(folder, { ...sizes, disk: left }).catch((error: Error) => {
    if (!promises.created && 'code' in error && error.code === 'WAL_MISSING') return undefined;
    throw error;
  });
  if (opened === undefined) return;
  const { wal, contents } = opened;
  const held = history.judge(contents, promises);
  if (typeof held === 'string') throw new Error(held);
  if (!again) {
    await wal.close();
    return;
  }
  const term = (contents.hardState?.term ?? 0) + 1;
  const more: LogEntry = { index: wal.lastIndex + 1, term, kind: 'normal', data: new Uint8Array(300).fill(0xee) };
  const hardState = { term, vote: 'again', commit: contents.hardState?.commit ?? 0 };
  await wal.append({ hardState, entries: [more] });
  const cut = await Wal.open(folder, { ...sizes, disk: left.powerLost(left.journal.length, () => 'lost') });
  expect(cut.contents.hardState).toEqual(hardState);
  expect(cut.contents.entries).toEqual([...contents.entries, more]);
  expect(cut.contents.snapshots).toEqual(contents.snapshots);
}

const moves = fc.array(fc.tuple(fc.integer({ min: 0, max: 11 }), fc.nat(1000), fc.nat(1000)), {
  minLength: 8,
  maxLength: 40,
});

/** Several segments, and several of them let go at once. */
const released: Move[] = [
  ...Array.from({ length: 30 }, (_, i): Move => [i % 5 === 0 ? 11 : 0, 2 * i + 1, 7 * i + 3]),
  [8, 3, 0],
  [0, 1, 1],
];

async function everyCrash(list: readonly Move[], seed: number): Promise<number> {
  const random = seeded(seed);
  const pause = async (): Promise<void> => {
    for (let turns = Math.floor(random() * 4); turns > 0; turns--) await Promise.resolve();
    if (random() < 0.1) await new Promise((resolve) => setImmediate(resolve));
  };
  const history = new History(pause);
  await history.run(list);
  const { disk } = history;
  let crashes = 0;
  const crash = async (how: string, count: number, left: MemoryDisk, again: boolean): Promise<void> => {
    crashes++;
    try {
      await revived(history, left, history.before(count), again);
    } catch (error) {
      throw new Error(`${how} after operation ${count} of ${disk.journal.length}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  };
  for (let count = 1; count <= disk.journal.length; count++) {
    const last = disk.journal[count - 1]!;
    if (last.type === 'note') continue;
    await crash('killed', count, disk.killed(count), true);
    await crash(
      'without power, nothing unsynced left,',
      count,
      disk.powerLost(count, () => 'lost'),
      false,
    );
    const some = (): Fate => {
      const draw = random();
      if (draw < 0.3) return 'lost';
      if (draw < 0.6) return 'kept';
      const salt = Math.floor(random() * 2 ** 20);
      return { sectors: (at) => ((Math.floor(at / sector) * 0x9e3779b1 + salt) >>> 7) % 2 === 0 };
    };
    await crash('without power, some of the unsynced left,', count, disk.powerLost(count, some), random() < 0.2);
    const only = disk.powerLost(count, (_, isLast) => (isLast ? 'kept' : 'lost'));
    await crash('without power, only the last of the unsynced left,', count, only, false);
    if (last.type !== 'write') continue;
    const next = disk.journal[count];
    if (next?.type === 'sync' && next.only === count - 1) {
      await crash('stopped by a failed sync', count, disk.syncFailed(count), true);
    }
    for (const part of [0.1, 0.5, 0.9]) {
      const bytes = Math.floor(last.bytes.length * part + random() * 8);
      await crash(`killed at byte ${bytes} of a write`, count, disk.killed(count, bytes), random() < 0.2);
      const torn = disk.powerLost(count, (_, isLast) => (isLast ? { bytes } : 'kept'));
      await crash(`without power at byte ${bytes} of a write`, count, torn, false);
    }
  }
  return crashes;
}

describe('a crash at any point', () => {
  test('GR-32 D1 RA-17: whatever was being written, cut, begun or released, every acknowledged batch is read back and no other', async () => {
    let crashes = 0;
    await fc.assert(
      fc.asyncProperty(moves, fc.nat(), async (list, seed) => {
        crashes += await everyCrash(list, seed);
      }),
      { seed: 20261122, numRuns: 12, endOnFailure: true, examples: [[released, 1]] },
    );
    expect(crashes).toBeGreaterThan(3000);
  });
});
