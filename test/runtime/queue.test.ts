import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createQueue } from '../../src/runtime/queue.ts';
import { exponential } from '../../src/runtime/rate-limiter.ts';
import { manualClock, settle } from '../kube/manual-clock.ts';

describe('work queue', () => {
  test('hands keys out in the order in which they came', async () => {
    const queue = createQueue({ clock: manualClock() });
    for (const key of ['a', 'b', 'c']) queue.add(key);
    expect([await queue.take(), await queue.take(), await queue.take()]).toEqual(['a', 'b', 'c']);
  });

  test('a key added many times before it is taken is handed out once', async () => {
    const queue = createQueue({ clock: manualClock() });
    for (let i = 0; i < 10; i++) queue.add('a');
    expect(queue.length).toBe(1);
    expect(await queue.take()).toBe('a');
    queue.done('a');
    expect(queue.length).toBe(0);
  });

  test('a key added while it is worked on waits until that work is done, and then comes once more', async () => {
    const queue = createQueue({ clock: manualClock() });
    queue.add('a');
    expect(await queue.take()).toBe('a');
    queue.add('a');
    queue.add('a');
    expect(queue.length).toBe(0);
    let second: string | undefined;
    void queue.take().then((key) => {
      second = key;
    });
    await settle();
    expect(second).toBeUndefined();
    queue.done('a');
    await settle();
    expect(second).toBe('a');
    queue.done('a');
    expect(queue.length).toBe(0);
  });

  test('done without a new add brings nothing back', async () => {
    const queue = createQueue({ clock: manualClock() });
    queue.add('a');
    await queue.take();
    queue.done('a');
    queue.shutDown();
    expect(await queue.take()).toBeUndefined();
  });

  test('of several delays of one key the earliest counts, and it comes once', async () => {
    const clock = manualClock();
    const queue = createQueue({ clock });
    queue.addAfter('a', 500);
    queue.addAfter('a', 100);
    queue.addAfter('a', 900);
    await clock.advance(99);
    expect(queue.length).toBe(0);
    await clock.advance(1);
    expect(queue.length).toBe(1);
    expect(await queue.take()).toBe('a');
    queue.done('a');
    await clock.advance(10_000);
    expect(queue.length).toBe(0);
  });

  test('a delay of zero or less is no delay', () => {
    const queue = createQueue({ clock: manualClock() });
    queue.addAfter('a', 0);
    queue.addAfter('b', -5);
    expect(queue.length).toBe(2);
  });

  test('a failing key waits 5 ms, 10 ms, 20 ms and so on up to 1000 s, and begins anew once forgotten', () => {
    const limiter = exponential();
    const waits = Array.from({ length: 22 }, () => limiter.next('a'));
    expect(waits.slice(0, 5)).toEqual([5, 10, 20, 40, 80]);
    expect(waits[17]).toBe(655_360);
    expect(waits.slice(18)).toEqual([1_000_000, 1_000_000, 1_000_000, 1_000_000]);
    expect(limiter.next('b')).toBe(5);
    expect(limiter.failures('a')).toBe(22);
    limiter.forget('a');
    expect(limiter.failures('a')).toBe(0);
    expect(limiter.next('a')).toBe(5);
  });

  test('ten thousand failures of one key still wait 1000 s, not Infinity', () => {
    const limiter = exponential();
    for (let i = 0; i < 10_000; i++) limiter.next('a');
    expect(limiter.next('a')).toBe(1_000_000);
  });

  test('addRateLimited waits for the longer of its own delay and the one asked for', async () => {
    const clock = manualClock();
    const queue = createQueue({ clock });
    queue.addRateLimited('a', 3_000);
    await clock.advance(2_999);
    expect(queue.length).toBe(0);
    await clock.advance(1);
    expect(queue.length).toBe(1);
    expect(queue.failures('a')).toBe(1);
  });

  test('after shutdown queued keys are still handed out, new and delayed ones are not, and waiting workers go home', async () => {
    const clock = manualClock();
    const queue = createQueue({ clock });
    queue.add('a');
    queue.addAfter('late', 10);
    queue.shutDown();
    queue.add('b');
    queue.addAfter('c', 1);
    expect(clock.pending).toBe(0);
    expect(await queue.take()).toBe('a');
    expect(await queue.take()).toBeUndefined();
    const idle = createQueue({ clock });
    const waiting = idle.take();
    idle.shutDown();
    expect(await waiting).toBeUndefined();
  });

  test('drain waits for keys under way, also for one that was added again meanwhile', async () => {
    const queue = createQueue({ clock: manualClock() });
    queue.add('a');
    await queue.take();
    queue.add('a');
    let drained = false;
    const draining = queue.drain().then(() => {
      drained = true;
    });
    await settle();
    expect(drained).toBe(false);
    queue.done('a');
    expect(await queue.take()).toBe('a');
    await settle();
    expect(drained).toBe(false);
    queue.done('a');
    await draining;
    expect(queue.shuttingDown).toBe(true);
  });

  test('a key that was just worked on rests: of a burst the first is worked on at once, and one more serves all the others', async () => {
    const clock = manualClock();
    const queue = createQueue({ clock, restMs: 100 });
    queue.add('a');
    expect(await queue.take()).toBe('a');
    queue.add('a');
    queue.done('a');
    queue.add('a');
    queue.add('b');
    expect(await queue.take()).toBe('b');
    await clock.advance(99);
    queue.add('a');
    expect(queue.length).toBe(0);
    await clock.advance(1);
    expect(await queue.take()).toBe('a');
    queue.done('a');
    await clock.advance(1_000);
    expect(queue.length).toBe(0);
    queue.add('a');
    expect(queue.length).toBe(1);
    expect(clock.pending).toBe(0);
  });

  test('what was added for a moment of its own does not rest', async () => {
    const clock = manualClock();
    const queue = createQueue({ clock, restMs: 100 });
    queue.add('a');
    await queue.take();
    queue.addAfter('a', 1);
    queue.add('a');
    queue.done('a');
    await clock.advance(1);
    expect(await queue.take()).toBe('a');
    queue.done('a');
    queue.shutDown();
    expect(clock.pending).toBe(0);
  });

  test('a change that came in during the work does not rest when the queue shuts down', async () => {
    const queue = createQueue({ clock: manualClock(), restMs: 100 });
    queue.add('a');
    await queue.take();
    queue.add('a');
    queue.shutDown();
    queue.done('a');
    expect(await queue.take()).toBe('a');
    queue.done('a');
    expect(await queue.take()).toBeUndefined();
  });

  test('tells how long a key waited for a worker', async () => {
    const clock = manualClock();
    const waits: number[] = [];
    const queue = createQueue({ clock, waited: (milliseconds) => waits.push(milliseconds) });
    queue.add('a');
    await clock.advance(70);
    await queue.take();
    expect(waits).toEqual([70]);
  });

  test('whatever happens in whatever order: no key is with two workers, and no add is lost', async () => {
    const operation = fc.record({
      what: fc.constantFrom('add', 'after', 'take', 'done', 'advance'),
      key: fc.constantFrom('a', 'b', 'c'),
      delay: fc.integer({ min: -1, max: 50 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60 }), fc.constantFrom(0, 20), async (operations, restMs) => {
        const clock = manualClock();
        const queue = createQueue({ clock, restMs });
        const working = new Set<string>();
        /** Keys that somebody asked for and that nobody took up since. */
        const owed = new Set<string>();
        const take = async (): Promise<void> => {
          const key = await queue.take();
          if (key === undefined) return;
          expect(working.has(key)).toBe(false);
          expect(owed.has(key)).toBe(true);
          working.add(key);
          owed.delete(key);
        };
        for (const { what, key, delay } of operations) {
          if (what === 'add') {
            queue.add(key);
            owed.add(key);
          } else if (what === 'after') {
            queue.addAfter(key, delay);
            clock.after(delay, () => owed.add(key));
            owed.add(key);
          } else if (what === 'take') {
            if (queue.length > 0) await take();
          } else if (what === 'advance') {
            clock.freeze(0);
          } else if (working.delete(key)) {
            queue.done(key);
          }
        }
        await clock.advance(100);
        for (const key of [...working]) {
          working.delete(key);
          queue.done(key);
        }
        await clock.advance(restMs);
        while (queue.length > 0) await take();
        expect([...owed]).toEqual([]);
      }),
      { numRuns: 60, seed: 3 },
    );
  });
});
