/** One story of a log and its snapshots, told again with every single operation failing, and on a disk that is full from any byte on. */
import { describe, expect, test } from '@jest/globals';
import { born, Life, type Move, Promises } from './life.ts';
import { type Asked, type Failure, type Fate, MemoryDisk, sector } from './memory-disk.ts';

/** Entries, votes, overwriting, snapshots of its own and from a leader, several segments. */
const story: readonly Move[] = [
  [0, 1, 1],
  [0, 1, 5],
  [4, 0, 0],
  [1, 1, 2],
  [3, 1, 0],
  [2, 1, 4],
  [5, 0, 0],
  [0, 1, 3],
  [3, 2, 7],
  [0, 1, 2],
  [4, 0, 0],
  [0, 1, 8],
  [6, 0, 0],
  [7, 0, 5],
  [0, 1, 2],
  [1, 1, 6],
  [5, 0, 0],
  [0, 1, 1],
];

const kinds: readonly Asked['type'][] = [
  'makeFolder',
  'create',
  'open',
  'write',
  'sync',
  'rename',
  'remove',
  'syncFolder',
];

interface Told {
  readonly disk: MemoryDisk;
  readonly promises: Promises;
  /** What ended the story before its end. */
  readonly failure: Error | undefined;
  /** Operations of the start. */
  readonly started: number;
  /** What the log was still asked to write after that. */
  readonly later: readonly Asked[];
}

/** Tells the story on a new disk whose operations fail as `fails` says of each, by its number. */
async function tell(fails: (asked: Asked, number: number) => Failure | undefined): Promise<Told> {
  const disk = new MemoryDisk();
  await born(disk);
  const promises = new Promises();
  let number = 0;
  let failure: Error | undefined;
  let started = Number.POSITIVE_INFINITY;
  const later: Asked[] = [];
  disk.fails = (asked) => {
    if (!kinds.includes(asked.type)) return undefined;
    if (failure && asked.path.endsWith('.wal') && asked.type === 'write') later.push(asked);
    return fails(asked, number++);
  };
  try {
    const life = await Life.begin(disk, promises, { pauseWhenFull: async () => {} });
    started = number;
    await life.run(story);
  } catch (error) {
    failure = error as Error;
  }
  disk.fails = undefined;
  return { disk, promises, failure, started, later };
}

/** What the next process finds must be what was promised; it goes on, and what it found and added must then survive an outage. */
async function goesOn(disk: MemoryDisk, promises: Promises, moves = story.slice(0, 6)): Promise<void> {
  const again = promises.copy();
  await (await Life.begin(disk, again)).run(moves);
  await Life.begin(
    disk.powerLost(disk.journal.length, () => 'lost'),
    again,
  );
}

const fates: readonly (() => Fate)[] = [
  () => 'lost',
  () => 'kept',
  () => ({ sectors: (at) => (at / sector) % 2 < 1 }),
  () => ({ bytes: 100 }),
];

/** After the death of the process, and after an outage that leaves all, nothing or part of what was not synced. */
async function holds({ disk, promises }: Pick<Told, 'disk' | 'promises'>): Promise<void> {
  const count = disk.journal.length;
  await goesOn(disk.killed(count), promises);
  // So little that no new segment has its folder written again.
  await goesOn(disk.killed(count), promises, [[0, 1, 0]]);
  for (const fate of fates) await goesOn(disk.powerLost(count, fate), promises);
}

async function operations(): Promise<readonly Asked[]> {
  const asked: Asked[] = [];
  const { failure } = await tell((each) => void asked.push(each));
  expect(failure).toBeUndefined();
  return asked;
}

describe('each operation of a story in its turn', () => {
  test('RS-23 fails with EIO: a failure of the log is final, whatever was acknowledged is there, and the next start goes on', async () => {
    const asked = await operations();
    expect(asked.filter(({ type }) => type === 'sync').length).toBeGreaterThan(30);
    let final = 0;
    for (let at = 0; at < asked.length; at++) {
      const told = await tell((_, number) => (number === at ? { code: 'EIO' } : undefined));
      // In the log's file every failure is final; a snapshot that fails is only not there.
      const { type, path } = asked[at]!;
      if (path.includes('/wal/') && (type === 'write' || type === 'sync')) {
        expect([asked[at], told.failure]).toEqual([asked[at], expect.objectContaining({ code: 'WAL_FAILED' })]);
        final++;
      }
      expect(told.later).toEqual([]);
      await holds(told);
    }
    expect(final).toBeGreaterThan(30);
  });

  test('RS-24 finds the disk full, once: what only lacked room is done again, a failed sync is final, nothing acknowledged is lost', async () => {
    const asked = await operations();
    let goneOn = 0;
    for (let at = 0; at < asked.length; at++) {
      const told = await tell((_, number) => (number === at ? { code: 'ENOSPC' } : undefined));
      const { type, path } = asked[at]!;
      if (path.includes('.wal') && type === 'write' && at >= told.started) {
        expect([asked[at], told.failure]).toEqual([asked[at], undefined]);
        goneOn++;
      }
      await holds(told);
    }
    expect(goneOn).toBeGreaterThan(15);
  });

  test('RS-24 takes half of its bytes and finds the disk full: all of them are written again', async () => {
    const asked = await operations();
    for (let at = 0; at < asked.length; at++) {
      const { type, bytes = 0 } = asked[at]!;
      if (type !== 'write') continue;
      const fails = { code: 'ENOSPC', bytes: bytes >> 1 };
      const told = await tell((_, number) => (number === at ? fails : undefined));
      // A start makes nothing larger: only a disk that lies lacks room for it.
      if (at >= told.started) expect([asked[at], told.failure]).toEqual([asked[at], undefined]);
      await holds(told);
    }
  });
});

describe('a disk that is full', () => {
  /** The story on a disk of so many bytes. `onFull`: the log waits for room; how often it has found none. */
  async function within(capacity: number, onFull: (disk: MemoryDisk, times: number) => 'wait' | 'die') {
    const disk = new MemoryDisk();
    await born(disk);
    disk.capacity = capacity;
    const promises = new Promises();
    let times = 0;
    const died = Promise.withResolvers<'died'>();
    const pauseWhenFull = async (): Promise<void> => {
      if (onFull(disk, ++times) === 'wait') return;
      died.resolve('died');
      await new Promise(() => {});
    };
    const life = await Life.begin(disk, promises, { pauseWhenFull });
    const how = await Promise.race([life.run(story).then(() => 'done' as const), died.promise]);
    return { disk, promises, how, times, life };
  }

  async function sizes(): Promise<number[]> {
    const disk = new MemoryDisk();
    await born(disk);
    const least = disk.room();
    expect(least.total).toBe(Number.POSITIVE_INFINITY);
    let size = 0;
    for (const bytes of disk.files().values()) size += bytes;
    return Array.from({ length: 60 }, (_, i) => size + i * 97);
  }

  test('RS-24 is waited for, and the story goes on to its end as soon as there is room', async () => {
    let waited = 0;
    for (const capacity of await sizes()) {
      const told = await within(capacity, (disk, times) => {
        if (times === 3) disk.capacity = Number.POSITIVE_INFINITY;
        return 'wait';
      });
      expect(told.how).toBe('done');
      if (told.times > 0) waited++;
      await holds(told);
    }
    expect(waited).toBeGreaterThan(30);
  });

  test('RS-24 and the process dies of it: it starts again on the full disk with all that was acknowledged, and goes on when there is room', async () => {
    let died = 0;
    for (const capacity of await sizes()) {
      const { disk, promises, how } = await within(capacity, (_, times) => (times === 2 ? 'die' : 'wait'));
      if (how === 'died') died++;
      const count = disk.journal.length;
      for (const left of [disk.killed(count), ...fates.map((fate) => disk.powerLost(count, fate))]) {
        // What others wrote meanwhile has taken the rest.
        left.capacity = 0;
        const again = promises.copy();
        await Life.begin(left, again);
        left.capacity = Number.POSITIVE_INFINITY;
        await goesOn(left.kill(), again);
      }
    }
    expect(died).toBeGreaterThan(30);
  });

  test('RS-24 has no name left to give, either: the member starts and reads', async () => {
    const { disk, promises } = await tell(() => undefined);
    const left = disk.kill();
    left.capacity = 0;
    left.fails = ({ type }) => (['makeFolder', 'create'].includes(type) ? { code: 'ENOSPC' } : undefined);
    await Life.begin(left, promises);
  });
});
