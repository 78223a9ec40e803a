/**
 * Members that die again and again on a slow disk: every operation takes as long as it likes and ends in any order; at any
 * moment the process dies, with writes half done, or the power fails, with whatever was not synced kept, lost or torn; now and
 * then an operation fails. Whatever is found at the next start must be what was promised.
 */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { seeded } from '../raft/moves.ts';
import type { Fate, Write } from './disk-image.ts';
import { born, Life, type Move, Promises } from './life.ts';
import { type Asked, MemoryDisk, type Operation, sector } from './memory-disk.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Counts {
  lives: number;
  kills: number;
  outages: number;
  failures: number;
  stopped: number;
}

/** What a disk has been asked for and not done yet, or done and not told. */
class Held {
  readonly #waiting: (() => void)[] = [];
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  hold(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  letOneGo(): void {
    const at = Math.floor(this.#random() * this.#waiting.length);
    this.#waiting.splice(at, 1)[0]?.();
  }

  /** Of a process that died nothing goes on. */
  clear(): void {
    this.#waiting.length = 0;
  }
}

async function lives(count: number, seed: number, counts: Counts): Promise<void> {
  const random = seeded(seed);
  const held = new Held(random);
  const promises = new Promises();
  let isHeld = false;
  const pause = (): Promise<void> => (isHeld ? held.hold() : Promise.resolve());
  let disk = new MemoryDisk({ pause, journal: false });
  await born(disk);
  const fate = (operation: Operation): Fate => {
    const draw = random();
    if (draw < 0.3) return 'lost';
    if (draw < 0.6) return 'kept';
    if (draw < 0.75) return { bytes: Math.floor(random() * ((operation as Write).bytes?.length ?? 0)) };
    const salt = Math.floor(random() * 2 ** 20);
    return { sectors: (at) => ((Math.floor(at / sector) * 0x9e3779b1 + salt) >>> 7) % 2 === 0 };
  };
  const move = (): Move => [Math.floor(random() * 8), Math.floor(random() * 1000), Math.floor(random() * 1000)];
  for (let life = 0; life < count; life++) {
    counts.lives++;
    isHeld = true;
    const isFailing = random() < 0.2;
    const before = counts.failures;
    disk.fails = ({ type }: Asked) => {
      if (!isFailing || type === 'list' || random() >= 0.01) return undefined;
      counts.failures++;
      return { code: random() < 0.7 ? 'EIO' : 'ENOSPC' };
    };
    let end: 'running' | 'done' | Error = 'running';
    const run = async (): Promise<void> => {
      const begun = await Life.begin(disk, promises, { pauseWhenFull: pause });
      await begun.run(Array.from({ length: 2 + Math.floor(random() * 25) }, move));
    };
    run().then(
      () => {
        end = 'done';
      },
      (error: Error) => {
        end = error;
      },
    );
    for (let steps = random() < 0.3 ? 1e4 : Math.floor(random() * 120); steps > 0 && end === 'running'; steps--) {
      await turn();
      held.letOneGo();
    }
    const why = end as typeof end | Error;
    if (why instanceof Error) {
      counts.stopped++;
      // Nothing but a failed operation may stop a start or a log.
      if (counts.failures === before) throw why;
    }
    held.clear();
    isHeld = false;
    disk.fails = undefined;
    if (random() < 0.5) {
      counts.kills++;
      disk = disk.kill(fate);
    } else {
      counts.outages++;
      disk = disk.losePower(fate);
    }
  }
}

test('GR-32 RA-19 HR-35 RS-23: after every death of the process or the power, on a disk slow and failing, all that was promised is there', async () => {
  const counts: Counts = { lives: 0, kills: 0, outages: 0, failures: 0, stopped: 0 };
  await fc.assert(
    fc.asyncProperty(fc.nat(), (seed) => lives(12, seed, counts)),
    { seed: 20261122, numRuns: 150, endOnFailure: true },
  );
  expect(counts.stopped).toBeGreaterThan(20);
});
