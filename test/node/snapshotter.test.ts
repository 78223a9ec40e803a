import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { dueBytes, type Positions, Snapshotter, type SnapshotterOptions } from '../../src/node/snapshotter.ts';
import { asIndex, asTerm, type Index, RaftError, type SnapshotMeta } from '../../src/raft/types.ts';
import type { StoredSnapshotMeta } from '../../src/storage/types.ts';
import { memoryLog } from './memory-log.ts';

afterEach(() => {
  jest.useRealTimers();
});

const settled = (): Promise<void> => new Promise((done) => setImmediate(done));
const metaAt = (index: Index): SnapshotMeta => ({
  index,
  term: asTerm(3),
  configuration: { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  configurationIndex: asIndex(0),
});

type Step = 'metaAt' | 'freeze' | 'create' | 'slices' | 'write' | 'close' | 'record' | 'compact';

interface Situation {
  readonly failing?: Step;
  readonly error?: Error;
  readonly options?: Partial<SnapshotterOptions>;
  /** `write` waits for this. */
  readonly gate?: () => Promise<void>;
}

/** A snapshotter with nothing real around it: everything that it does is noted in order. */
function snapshotterWith({ failing, error = new Error('no luck'), options = {}, gate }: Situation = {}) {
  const done: string[] = [];
  const { log, lines, messages } = memoryLog();
  const positions = { applied: asIndex(10), last: asIndex(10), snapshot: asIndex(0) };
  const note = (step: Step): void => {
    done.push(step);
    if (step === failing) throw error;
  };
  const snapshotter = new Snapshotter({
    log,
    threshold: 5,
    periodMs: 0,
    random: () => 0,
    positions: () => positions,
    metaAt: (index) => {
      if (failing === 'metaAt') throw error;
      return metaAt(index);
    },
    freeze: () => {
      note('freeze');
      const header = { index: positions.applied as number, sizeBytes: 2 };
      return {
        header: header as never,
        *slices() {
          note('slices');
          yield Uint8Array.of(1);
          yield Uint8Array.of(2);
        },
        release: () => done.push('release'),
      };
    },
    store: {
      async create(meta) {
        note('create');
        return {
          id: 'x',
          size: 0,
          write: async () => {
            note('write');
            await gate?.();
          },
          checksum: () => '',
          close: async () => {
            note('close');
            return { ...meta, version: 1, id: `3-${meta.index}-1`, size: 2, crc: '' } satisfies StoredSnapshotMeta;
          },
          cancel: async () => {
            done.push('cancel');
          },
        };
      },
    },
    record: async () => {
      note('record');
      positions.snapshot = positions.applied;
    },
    compact: async () => note('compact'),
    ...options,
  });
  return { snapshotter, positions, done, lines, messages };
}

describe('when a snapshot is due', () => {
  test('HR-11 HR-12 GR-22 the timer looks after [I, 2I), drawn anew each time; at the threshold exactly, on the log’s last index', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'performance'] });
    const draws = [0, 0.5, 0.999];
    const positions: Positions & { last: Index } = { applied: asIndex(4), last: asIndex(4), snapshot: asIndex(0) };
    let looked = 0;
    const { snapshotter, done } = snapshotterWith({
      options: {
        periodMs: 1000,
        random: () => draws.shift() ?? 0,
        positions: () => {
          looked++;
          return positions;
        },
        freeze: () => {
          throw new Error('not now');
        },
      },
    });
    jest.advanceTimersByTime(999);
    expect(looked).toBe(0);
    jest.advanceTimersByTime(1);
    expect(looked).toBe(1);
    jest.advanceTimersByTime(1499);
    expect(looked).toBe(1);
    jest.advanceTimersByTime(1);
    expect(looked).toBe(2);
    jest.advanceTimersByTime(1998);
    expect(looked).toBe(2);
    jest.advanceTimersByTime(1);
    expect(looked).toBe(3);
    expect(snapshotter.counters.failed).toBe(0);
    positions.last = asIndex(5);
    jest.advanceTimersByTime(1000);
    await settled();
    expect(snapshotter.counters.failed).toBe(1);
    expect(done).toEqual([]);
    await snapshotter.stop();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('HR-11 with a period nothing is checked when entries are applied', async () => {
    const { snapshotter, done } = snapshotterWith({ options: { periodMs: 3_600_000 } });
    snapshotter.onApplied(1);
    expect(done).toEqual([]);
    await snapshotter.stop();
  });

  test('RA-02 RA-03 without a period every applied batch is checked: not at the count, but past it, on what is applied', async () => {
    const { snapshotter, positions, done } = snapshotterWith();
    positions.last = asIndex(1000);
    positions.applied = asIndex(5);
    snapshotter.onApplied(1);
    expect(done).toEqual([]);
    positions.applied = asIndex(6);
    snapshotter.onApplied(1);
    await snapshotter.stop();
    expect(done[0]).toBe('freeze');
  });

  test('RA-23 so many bytes applied make one due whatever the count says, and count anew after it', async () => {
    const { snapshotter, positions } = snapshotterWith({ options: { threshold: 1_000_000 } });
    snapshotter.onApplied(dueBytes - 1);
    expect(snapshotter.counters.taken).toBe(0);
    snapshotter.onApplied(1);
    await settled();
    expect(snapshotter.counters.taken).toBe(1);
    positions.applied = asIndex(20);
    snapshotter.onApplied(dueBytes - 1);
    await settled();
    expect(snapshotter.counters.taken).toBe(1);
    snapshotter.onApplied(1);
    await settled();
    expect(snapshotter.counters.taken).toBe(2);
  });

  test('HR-13 when the positions cannot be told, that is logged, nothing is taken, and the loop goes on', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'performance'] });
    let broken = true;
    const { snapshotter, messages } = snapshotterWith({
      options: {
        periodMs: 1000,
        positions: () => {
          if (broken) throw new Error('the log cannot be read');
          return { applied: asIndex(10), last: asIndex(10), snapshot: asIndex(0) };
        },
      },
    });
    jest.advanceTimersByTime(1000);
    expect(messages()).toEqual(['could not tell whether a snapshot is due']);
    expect(snapshotter.counters.taken).toBe(0);
    broken = false;
    jest.advanceTimersByTime(1000);
    await settled();
    expect(snapshotter.counters.taken).toBe(1);
    await snapshotter.stop();
  });

  test('HR-14 a failing automatic one is logged and counted, and after a pause the next is tried', async () => {
    let now = 0;
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
    try {
      const { snapshotter, messages, done } = snapshotterWith({ failing: 'create' });
      snapshotter.onApplied(1);
      await settled();
      expect(snapshotter.counters.failed).toBe(1);
      expect(messages()).toContain('could not take a snapshot');
      snapshotter.onApplied(1);
      await settled();
      expect(done.filter((step) => step === 'create').length).toBe(1);
      now = 30_000;
      snapshotter.onApplied(1);
      await settled();
      expect(done.filter((step) => step === 'create').length).toBe(2);
    } finally {
      clock.mockRestore();
    }
  });
});

describe('a snapshot that is asked for', () => {
  test('HR-15 is taken at once, whatever threshold and timer say, and answers what it is', async () => {
    const { snapshotter } = snapshotterWith({ options: { threshold: 1_000_000, periodMs: 3_600_000 } });
    expect(await snapshotter.take()).toMatchObject({ id: '3-10-1', index: 10, term: 3, size: 2 });
    await snapshotter.stop();
  });

  test('HR-15 returns its error to who asked, and logs it', async () => {
    const { snapshotter, messages } = snapshotterWith({ failing: 'create' });
    await expect(snapshotter.take()).rejects.toThrow('failed to create snapshot: no luck');
    expect(messages()).toContain('could not take a snapshot');
    await snapshotter.stop();
  });

  test('HR-16 waits its turn while one runs; who asks while one waits shares it', async () => {
    const gates: (() => void)[] = [];
    const { snapshotter, positions, done } = snapshotterWith({
      gate: () => new Promise((go) => gates.push(go)),
    });
    const first = snapshotter.take();
    await settled();
    const second = snapshotter.take();
    positions.applied = asIndex(12);
    const third = snapshotter.take();
    await settled();
    expect(done.filter((step) => step === 'freeze').length).toBe(1);
    const running = { first, second, third };
    while (done.filter((step) => step === 'compact').length < 2) {
      gates.shift()?.();
      await settled();
    }
    expect((await running.first).index).toBe(10);
    expect((await running.second).index).toBe(12);
    expect((await running.third).index).toBe(12);
    expect(done.filter((step) => step === 'freeze').length).toBe(2);
  });

  test('HR-17 when the member stops, the one under way ends without a trace, and so do those that wait and those that come', async () => {
    const gates: (() => void)[] = [];
    const { snapshotter, done } = snapshotterWith({ gate: () => new Promise((go) => gates.push(go)) });
    const running = snapshotter.take();
    await settled();
    const waiting = snapshotter.take();
    const outcomes = Promise.allSettled([running, waiting]);
    const stopped = snapshotter.stop();
    gates.shift()!();
    await stopped;
    expect(await outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'SNAPSHOT_STOPPED' } },
      { status: 'rejected', reason: { code: 'SNAPSHOT_STOPPED' } },
    ]);
    await expect(snapshotter.take()).rejects.toMatchObject({ code: 'SNAPSHOT_STOPPED' });
    expect(done).toEqual(['freeze', 'create', 'slices', 'write', 'cancel', 'release']);
  });

  test('HR-18 HR-20 a refusal is passed through as it is, is no failure, and no sink was made', async () => {
    const refused = new RaftError('RAFT_SNAPSHOT_REFUSED', 'nothing new to snapshot: nothing was applied yet');
    const { snapshotter, done, messages } = snapshotterWith({ failing: 'metaAt', error: refused });
    await expect(snapshotter.take()).rejects.toBe(refused);
    expect(done).toEqual([]);
    expect(snapshotter.counters.failed).toBe(0);
    expect(messages()).toEqual(['no snapshot now']);
  });
});

describe('the way of a snapshot', () => {
  test('HR-25 HR-08 RA-08 written, closed, recorded, and only then the log is let go', async () => {
    const { snapshotter, done } = snapshotterWith();
    await snapshotter.take();
    expect(done).toEqual(['freeze', 'create', 'slices', 'write', 'write', 'close', 'record', 'compact', 'release']);

    let recorded = false;
    const slow = snapshotterWith({
      options: {
        record: async () => {
          await new Promise(setImmediate);
          recorded = true;
        },
        compact: async () => expect(recorded).toBe(true),
      },
    });
    await slow.snapshotter.take();
  });

  test.each<readonly [string, Step, string, string]>([
    ['HR-18', 'freeze', 'SNAPSHOT_NOT_STARTED', 'failed to start snapshot: no luck'],
    ['HR-21', 'create', 'SNAPSHOT_NOT_CREATED', 'failed to create snapshot: no luck'],
    ['HR-22', 'slices', 'SNAPSHOT_NOT_PERSISTED', 'failed to persist snapshot: no luck'],
    ['HR-22', 'write', 'SNAPSHOT_NOT_PERSISTED', 'failed to persist snapshot: no luck'],
    ['HR-23', 'close', 'SNAPSHOT_NOT_CLOSED', 'failed to close snapshot: no luck'],
    ['HR-26', 'compact', 'SNAPSHOT_LOG_NOT_COMPACTED', 'log compaction failed: no luck'],
  ])(
    '%s when %s fails it is named, nothing after it is done, D7 RA-05 and the log is not compacted',
    async (_, failing, code, message) => {
      const { snapshotter, done } = snapshotterWith({ failing });
      await expect(snapshotter.take()).rejects.toMatchObject({ code, message });
      const order: readonly string[] = ['freeze', 'create', 'slices', 'write', 'close', 'record', 'compact'];
      const last = order.indexOf(failing);
      expect(done.filter((step) => order.indexOf(step) > last)).toEqual([]);
    },
  );

  test.each<readonly [Step, number]>([
    ['metaAt', 0],
    ['freeze', 0],
    ['create', 1],
    ['slices', 1],
    ['write', 1],
    ['close', 1],
    ['record', 1],
    ['compact', 1],
  ])('HR-24 when %s fails the frozen view is given back exactly %i times', async (failing, times) => {
    const { snapshotter, done } = snapshotterWith({ failing });
    await expect(snapshotter.take()).rejects.toThrow('no luck');
    expect(done.filter((step) => step === 'release').length).toBe(times);
    if (times > 0) expect(done.at(-1)).toBe('release');
  });

  test.each<readonly [Step, boolean]>([
    ['create', false],
    ['slices', true],
    ['write', true],
    ['close', true],
    ['record', false],
    ['compact', false],
  ])('HR-08 HR-22 when %s fails the sink is cancelled: %s', async (failing, cancelled) => {
    const { snapshotter, done } = snapshotterWith({ failing });
    await expect(snapshotter.take()).rejects.toThrow('no luck');
    expect(done.includes('cancel')).toBe(cancelled);
  });

  test('HR-26 RA-11 when the log cannot be compacted the error is returned, and the snapshot counts all the same', async () => {
    const { snapshotter, positions, done } = snapshotterWith({ failing: 'compact' });
    await expect(snapshotter.take()).rejects.toThrow('log compaction failed: no luck');
    expect(snapshotter.counters.taken).toBe(1);
    expect(positions.snapshot).toBe(10);
    expect(done).not.toContain('cancel');
  });

  test('ES-14 HR-03 RA-06 the state is of the very index that the snapshot is told to be of, or there is no snapshot', async () => {
    const { snapshotter, done } = snapshotterWith({ options: { metaAt: (index) => metaAt(asIndex(index - 1)) } });
    await expect(snapshotter.take()).rejects.toThrow('the state is at index 10, not at 9');
    expect(done).toEqual(['freeze', 'release']);
  });

  test('HR-31 its steps are measured, failing ones too, and the log tells its beginning and its end', async () => {
    const good = snapshotterWith();
    const steps: string[] = [];
    good.snapshotter.onStep = (step, seconds) => {
      expect(seconds).toBeGreaterThanOrEqual(0);
      steps.push(step);
    };
    await good.snapshotter.take();
    expect(steps).toEqual(['create', 'persist', 'compact', 'take']);
    expect(good.lines).toMatchObject([
      { message: 'taking a snapshot', index: 10, term: 3, bytes: 2 },
      { message: 'took a snapshot', index: 10, term: 3 },
    ]);
    const bad = snapshotterWith({ failing: 'create' });
    bad.snapshotter.onStep = (step) => steps.push(`bad ${step}`);
    await expect(bad.snapshotter.take()).rejects.toThrow();
    expect(steps.slice(4)).toEqual(['bad create', 'bad take']);
  });
});
