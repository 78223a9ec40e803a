import { describe, expect, test } from '@jest/globals';
import { clearUnusedAfterMs, SnapshotOutbox } from '../../src/node/snapshot-outbox.ts';
import type { OpenSnapshot } from '../../src/storage/types.ts';
import { ManualClock } from './manual-clock.ts';
import { memoryLog } from './memory-log.ts';

/** Lets everything that only waits for promises go on. */
const settled = (): Promise<void> => new Promise((done) => setImmediate(done));

function outboxWith({ closeFails = false } = {}) {
  const clock = new ManualClock();
  const { log, messages } = memoryLog();
  const prepared: { atLeast: number; done: PromiseWithResolvers<OpenSnapshot> }[] = [];
  const closed: number[] = [];
  const outbox = new SnapshotOutbox({
    clock,
    log,
    prepare: (atLeast) => {
      const done = Promise.withResolvers<OpenSnapshot>();
      prepared.push({ atLeast, done });
      return done.promise;
    },
  });
  const snapshot = (index: number): OpenSnapshot => ({
    meta: {
      version: 1,
      id: `1-${index}-1`,
      index,
      term: 1,
      configuration: {},
      configurationIndex: 0,
      size: 0,
      crc: '',
    },
    read: async function* () {},
    close: async () => {
      closed.push(index);
      if (closeFails) throw new Error('the disk is gone');
    },
  });
  /** The preparation that was begun last ends with this. */
  const ready = async (index: number): Promise<OpenSnapshot> => {
    const made = snapshot(index);
    prepared.at(-1)!.done.resolve(made);
    await settled();
    return made;
  };
  return { outbox, clock, messages, prepared, closed, ready };
}

describe('the one snapshot that is ready to be sent', () => {
  test('ES-04 ES-05 none is there: unavailable at once, and however often it is asked for one preparation starts', async () => {
    const { outbox, prepared, ready } = outboxWith();
    for (let i = 0; i < 10; i++) expect(outbox.get(7)).toBeUndefined();
    expect(prepared.map(({ atLeast }) => atLeast)).toEqual([7]);
    const made = await ready(7);
    expect(outbox.get(7)).toBe(made);
    expect(prepared.length).toBe(1);
  });

  test('ES-02 ES-03 ES-06 one is handed out and in use; meanwhile everybody else is told unavailable, and nothing is prepared', async () => {
    const { outbox, prepared, ready } = outboxWith();
    outbox.get(7);
    const made = await ready(7);
    expect(outbox.get(7)).toBe(made);
    expect(outbox.get(7)).toBeUndefined();
    expect(outbox.get(9)).toBeUndefined();
    expect(prepared.length).toBe(1);
  });

  test('ES-07 ES-13 the second follower is served only after the first one’s snapshot was cleared, by a new preparation', async () => {
    const { outbox, prepared, closed, ready } = outboxWith();
    outbox.get(7);
    await ready(7);
    outbox.get(7);
    expect(outbox.get(7)).toBeUndefined();
    outbox.clearUsed();
    expect(closed).toEqual([7]);
    expect(outbox.get(8)).toBeUndefined();
    expect(prepared.map(({ atLeast }) => atLeast)).toEqual([7, 8]);
    const second = await ready(8);
    expect(outbox.get(8)).toBe(second);
  });

  test('ES-01 ES-08 ES-23 what nobody uses for 5 s after it was made is cleared, on a clock of the test’s own', async () => {
    const { outbox, clock, closed, prepared, ready } = outboxWith();
    expect(clearUnusedAfterMs).toBe(5000);
    outbox.get(7);
    clock.advance(60_000);
    await ready(7);
    clock.advance(4999);
    expect(closed).toEqual([]);
    clock.advance(1);
    expect(closed).toEqual([7]);
    expect(outbox.get(7)).toBeUndefined();
    expect(prepared.length).toBe(2);
  });

  test('ES-08 an old snapshot’s timer does not clear the one after it', async () => {
    const { outbox, clock, closed, ready } = outboxWith();
    outbox.get(7);
    await ready(7);
    clock.advance(3000);
    outbox.get(7);
    outbox.clearUsed();
    outbox.get(8);
    const second = await ready(8);
    clock.advance(3000);
    expect(closed).toEqual([7]);
    expect(outbox.get(8)).toBe(second);
  });

  test('ES-09 what is in use is never cleared by the timer, however slow it is sent', async () => {
    const { outbox, clock, closed, ready } = outboxWith();
    outbox.get(7);
    await ready(7);
    outbox.get(7);
    clock.advance(3_600_000);
    expect(closed).toEqual([]);
    outbox.clearUsed();
    expect(closed).toEqual([7]);
    expect(clock.pending).toBe(0);
  });

  test('ES-10 giving back what is not in use is a mistake that is not passed over', async () => {
    const { outbox, ready } = outboxWith();
    expect(() => outbox.clearUsed()).toThrow('a snapshot was given back that is not in use');
    outbox.get(7);
    await ready(7);
    expect(() => outbox.clearUsed()).toThrow('not in use');
    outbox.get(7);
    outbox.clearUsed();
    expect(() => outbox.clearUsed()).toThrow('not in use');
  });

  test('ES-11 closeBefore closes what is no newer than the index: of index 5, not before 3 nor 4, but before 5', async () => {
    const { outbox, closed, ready } = outboxWith();
    expect(outbox.closeBefore(5)).toBe(false);
    outbox.get(5);
    await ready(5);
    expect([3, 4].map((index) => outbox.closeBefore(index))).toEqual([false, false]);
    expect(closed).toEqual([]);
    expect(outbox.closeBefore(5)).toBe(true);
    expect(closed).toEqual([5]);
  });

  test('D15 what closeBefore closed is forgotten: nobody gets a closed one, and it is not closed twice', async () => {
    const { outbox, closed, prepared, ready } = outboxWith();
    outbox.get(5);
    await ready(5);
    expect(outbox.closeBefore(9)).toBe(true);
    expect(outbox.closeBefore(9)).toBe(false);
    expect(outbox.get(5)).toBeUndefined();
    expect(prepared.length).toBe(2);
    expect(closed).toEqual([5]);
  });

  test('ES-11 ES-09 one in use is not closed under its reader', async () => {
    const { outbox, closed, ready } = outboxWith();
    outbox.get(5);
    await ready(5);
    outbox.get(5);
    expect(outbox.closeBefore(9)).toBe(false);
    expect(closed).toEqual([]);
  });

  test('ES-11 one that is older than what Raft counts on makes room for a newer one', async () => {
    const { outbox, closed, prepared, ready } = outboxWith();
    outbox.get(5);
    await ready(5);
    expect(outbox.get(6)).toBeUndefined();
    expect(closed).toEqual([5]);
    expect(prepared.map(({ atLeast }) => atLeast)).toEqual([5, 6]);
  });

  test('ES-12 a failing close is logged, and the outbox goes on', async () => {
    const { outbox, messages, ready } = outboxWith({ closeFails: true });
    outbox.get(5);
    await ready(5);
    outbox.get(5);
    outbox.clearUsed();
    await settled();
    expect(messages()).toEqual(['could not close a snapshot']);
    outbox.get(6);
    const second = await ready(6);
    expect(outbox.get(6)).toBe(second);
  });

  test('ES-04 a preparation that fails is logged once and tried again only after a pause, not with every question', async () => {
    const { outbox, clock, messages, prepared } = outboxWith();
    outbox.get(7);
    prepared[0]!.done.reject(new Error('CRC mismatch'));
    await settled();
    for (let i = 0; i < 10; i++) expect(outbox.get(7)).toBeUndefined();
    expect(prepared.length).toBe(1);
    expect(messages()).toEqual(['could not prepare a snapshot for sending']);
    clock.advance(clearUnusedAfterMs);
    outbox.get(7);
    expect(prepared.length).toBe(2);
  });

  test('ES-04 who wants to know when it is ready is told, whether it went well or not', async () => {
    const { outbox, prepared, ready } = outboxWith();
    await outbox.ready();
    outbox.get(7);
    let told = false;
    const waiting = outbox.ready().then(() => {
      told = true;
    });
    await settled();
    expect(told).toBe(false);
    const made = await ready(7);
    await waiting;
    expect(outbox.get(7)).toBe(made);
    outbox.clearUsed();
    outbox.get(8);
    prepared[1]!.done.reject(new Error('no'));
    await outbox.ready();
    expect(outbox.get(8)).toBeUndefined();
  });

  test('ES-13 stopping closes what is held, and what a preparation under way still brings', async () => {
    const held = outboxWith();
    held.outbox.get(5);
    await held.ready(5);
    held.outbox.stop();
    expect(held.closed).toEqual([5]);
    const late = outboxWith();
    late.outbox.get(5);
    late.outbox.stop();
    await late.ready(5);
    expect(late.closed).toEqual([5]);
    expect(late.clock.pending).toBe(0);
  });
});
