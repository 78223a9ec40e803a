import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { RaftCompaction, RaftCompactionPolicy } from '../../../src/api/compaction.ts';
import {
  currentBefore,
  merge,
  RevisionMemory,
  sampleOf,
  since,
  thin,
} from '../../../src/controllers/compaction/history.ts';
import { compactionRuns } from '../../../src/controllers/compaction/policy.ts';
import type { Live } from '../../../src/kube/objects.ts';

const at = (seconds: number) => new Date(Date.UTC(2026, 10, 22) + seconds * 1000);
const sample = (seconds: number, revision: number) => sampleOf(revision, at(seconds));

describe('what was current some time ago', () => {
  const samples = [sample(0, 10), sample(60, 20), sample(120, 30)];

  test.each([
    ['the newest sample that is old enough counts', 180, 60, 30],
    ['one of that very second is old enough', 180, 120, 20],
    ['the oldest known', 180, 180, 10],
  ])('%s', (_, now, keepSeconds, revision) => {
    expect(currentBefore(samples, keepSeconds, at(now))).toMatchObject({ kind: 'known', sample: { revision } });
  });

  test('before the oldest sample nothing is known, and it is told from when on something will be', () => {
    expect(currentBefore(samples, 3600, at(180))).toEqual({ kind: 'unknown', from: at(3600) });
    expect(currentBefore([], 3600, at(180))).toEqual({ kind: 'unknown' });
  });

  test('of sources that contradict each other the lower revision counts: too much history is kept, never too little', () => {
    expect(merge([sample(0, 10), sample(60, 25)], [sample(90, 20), sample(60, 22)])).toEqual([
      sample(0, 10),
      sample(60, 20),
      sample(90, 20),
    ]);
  });

  test('a moment within a second is told as the second after it', () => {
    expect(sampleOf(5, new Date(at(3).getTime() + 1)).time).toBe('2026-11-22T00:00:04Z');
  });
});

describe('memory', () => {
  /** A cluster that writes at its own pace, looked at every so often. */
  const life = fc.array(fc.record({ seconds: fc.integer({ min: 1, max: 600 }), writes: fc.nat(50) }), {
    minLength: 1,
    maxLength: 300,
  });

  test('never says more than was true, and is some days deep with few samples', () => {
    fc.assert(
      fc.property(life, fc.integer({ min: 1, max: 100_000 }), (steps, keepSeconds) => {
        const memory = new RevisionMemory();
        const truth: { seconds: number; revision: number }[] = [];
        let [seconds, revision] = [0, 1];
        for (const step of steps) {
          seconds += step.seconds;
          revision += step.writes;
          truth.push({ seconds, revision });
          memory.note('c', revision, at(seconds));
        }
        const known = currentBefore(memory.of('c'), keepSeconds, at(seconds));
        const was = truth.findLast((one) => one.seconds <= seconds - keepSeconds);
        if (known.kind === 'known') expect(known.sample.revision).toBeLessThanOrEqual(was!.revision);
        expect(memory.of('c').length).toBeLessThan(150);
        // A revision is known to within an eighth of its age.
        const deep = truth.findLast((one) => one.seconds <= seconds - keepSeconds * 1.125 - 600);
        if (deep) expect(known).toMatchObject({ kind: 'known' });
        if (deep && known.kind === 'known') expect(known.sample.revision).toBeGreaterThanOrEqual(deep.revision);
      }),
      { seed: 20261122, numRuns: 300 },
    );
  });

  test('what a clock noted that was ahead, and has been set back since, keeps nothing back', () => {
    const memory = new RevisionMemory();
    const year = 365 * 86_400;
    memory.note('c', 100, at(year));
    memory.note('c', 500, at(0));
    memory.note('c', 900, at(7200));
    expect(currentBefore(memory.of('c'), 3600, at(7200))).toEqual({ kind: 'known', sample: sample(0, 500) });
    const ofRun = { time: sample(year, 100).time, revision: 100 };
    const policy = {
      metadata: { name: 'p' },
      spec: { keepSeconds: 3600 },
      status: { clusterId: 'c', revisions: [sample(0, 500), ofRun] },
    } as unknown as Live<RaftCompactionPolicy>;
    const run = { status: { clusterId: 'c', startTime: at(7199).toISOString(), revision: 900 } };
    expect(compactionRuns.more?.(policy, [run as Live<RaftCompaction>], at(7200))).toEqual({
      clusterId: 'c',
      revisions: [sample(0, 500), sample(7200, 900)],
    });
  });

  test('another cluster of the same name starts over', () => {
    const memory = new RevisionMemory();
    memory.note('one', 500, at(0));
    memory.note('two', 3, at(60));
    expect(memory.of('two')).toEqual([sample(60, 3)]);
    memory.forget('one');
    expect(memory.of('one')).toEqual([]);
  });

  test('thinning keeps the newest, and forgetting keeps what it takes to know the time asked for', () => {
    const samples = Array.from({ length: 100 }, (_, minute) => sample(minute * 60, minute));
    const now = at(99 * 60);
    expect(thin(samples, now, 10).at(-1)).toEqual(samples.at(-1));
    expect(thin(samples, now, 10).length).toBeLessThan(40);
    expect(currentBefore(since(samples, 1800, now), 1800, now)).toEqual(currentBefore(samples, 1800, now));
    expect(since(samples, 1800, now)).toHaveLength(31);
  });
});
