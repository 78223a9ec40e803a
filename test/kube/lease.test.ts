import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { KubeClient } from '../../src/kube/contract.ts';
import { ApiError, TransportError } from '../../src/kube/errors.ts';
import type { Lease } from '../../src/kube/kinds.ts';
import { createElection, LeadershipLostError } from '../../src/kube/lease.ts';
import { microTime } from '../../src/kube/micro-time.ts';
import type { Live } from '../../src/kube/objects.ts';
import { createLog } from '../../src/log.ts';
import { type ManualClock, manualClock, settle } from './manual-clock.ts';

/** One register with compare-and-set: all that an election needs of the server. */
function register() {
  let lease: Live<Lease> | undefined;
  let version = 100;
  const store = (given: Lease): Live<Lease> => {
    version++;
    const metadata = { ...given.metadata, uid: 'lease', resourceVersion: `${version}`, creationTimestamp: 'x' };
    lease = { ...given, metadata };
    return lease;
  };
  return {
    read: () => lease,
    create(given: Lease) {
      if (lease !== undefined) throw new ApiError('create', 409, { reason: 'AlreadyExists' });
      return store(given);
    },
    replace(given: Lease) {
      if (given.metadata.resourceVersion !== lease?.metadata.resourceVersion) {
        throw new ApiError('replace', 409, { reason: 'Conflict' });
      }
      return store(given);
    },
  };
}

interface Process {
  readonly id: string;
  readonly clock: ManualClock;
  reachable: boolean;
  readonly leading: boolean;
  /** Answers take so long on this process's clock. */
  slow: number;
  stop(): void;
  readonly ended: Promise<string>;
}

function start(server: ReturnType<typeof register>, id: string, wall?: number): Process {
  const clock = manualClock(wall);
  const stop = new AbortController();
  const request = async <T>(act: () => T): Promise<T> => {
    // The process object is complete once its first request is under way.
    await Promise.resolve();
    if (!one.reachable) throw new TransportError('unreachable');
    if (one.slow === 0) return act();
    const result = act();
    await new Promise<void>((resolve) => clock.after(one.slow, resolve));
    return result;
  };
  const client = {
    find: () => request(() => server.read()),
    create: (_: unknown, given: Lease) => request(() => server.create(given)),
    replace: (_: unknown, given: Lease) => request(() => server.replace(given)),
  } as unknown as KubeClient;
  const log = createLog({ write: () => {} });
  const election = createElection({
    client,
    log,
    clock,
    random: () => 0,
    namespace: 'ns',
    name: 'lease',
    identity: id,
  });
  const one: Process = {
    id,
    clock,
    reachable: true,
    slow: 0,
    get leading() {
      return election.leading;
    },
    stop: () => stop.abort(),
    ended: election
      .run(stop.signal, (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())))
      .then(
        () => 'stopped',
        (error: unknown) => (error instanceof LeadershipLostError ? 'lost' : String(error)),
      ),
  };
  return one;
}

/** Real time passes for all alike. */
async function pass(processes: readonly Process[], milliseconds: number, check: () => void = () => {}) {
  for (let left = milliseconds; left > 0; left -= 500) {
    for (const one of processes) await one.clock.advance(Math.min(500, left));
    check();
  }
}

describe('leader election', () => {
  test('times are written with exactly six fractional digits', () => {
    expect(microTime(Date.UTC(2030, 0, 2, 3, 4, 5, 6))).toBe('2030-01-02T03:04:05.006000Z');
    expect(microTime(Date.UTC(2030, 0, 1) + 0.5)).toBe('2030-01-01T00:00:00.000500Z');
  });

  test('the first of two leads and stays leader; the other only looks', async () => {
    const server = register();
    const a = start(server, 'a');
    await settle();
    const b = start(server, 'b');
    await pass([a, b], 120_000, () => expect([a.leading, b.leading]).toEqual([true, false]));
    expect(server.read()?.spec).toMatchObject({ holderIdentity: 'a', leaseTransitions: 0, leaseDurationSeconds: 15 });
  });

  test('a leader that stops gives the lease back, and the other takes it at its next try', async () => {
    const server = register();
    const a = start(server, 'a');
    await settle();
    const b = start(server, 'b');
    await pass([a, b], 5_000);
    a.stop();
    expect(await a.ended).toBe('stopped');
    expect(server.read()?.spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    await pass([b], 2_500);
    expect(b.leading).toBe(true);
    expect(server.read()?.spec?.leaseTransitions).toBe(1);
    expect(a.leading).toBe(false);
  });

  test('a leader that cannot reach the server stops leading 10 s after its last renewal, before anybody else begins', async () => {
    const server = register();
    const a = start(server, 'a');
    await settle();
    const b = start(server, 'b');
    await pass([a, b], 4_000);
    a.reachable = false;
    const overlap = () => expect(a.leading && b.leading).toBe(false);
    await pass([a, b], 9_000, overlap);
    await pass([a, b], 2_000, overlap);
    expect(a.leading).toBe(false);
    expect(await a.ended).toBe('lost');
    await pass([b], 10_000, overlap);
    expect(b.leading).toBe(true);
  });

  test('a leader that slept (SIGSTOP) does not lead for one moment after it wakes, even before any timer ran', async () => {
    const server = register();
    const a = start(server, 'a');
    await settle();
    const b = start(server, 'b');
    await pass([a, b], 4_000);
    a.clock.freeze(60_000);
    expect(a.leading).toBe(false);
    await pass([b], 60_000);
    expect(b.leading).toBe(true);
    await a.clock.advance(5_000);
    expect(await a.ended).toBe('lost');
    expect(server.read()?.spec?.holderIdentity).toBe('b');
  });

  test('a renewal whose answer came after a sleep does not count from the answer on', async () => {
    const server = register();
    const a = start(server, 'a');
    await settle();
    a.slow = 100;
    await a.clock.advance(2_010);
    a.clock.freeze(30_000);
    await a.clock.advance(100);
    expect(a.leading).toBe(false);
  });

  test('wall clocks that are years apart or jump do not matter', async () => {
    const server = register();
    const a = start(server, 'a', Date.UTC(1999, 0, 1));
    await settle();
    const b = start(server, 'b', Date.UTC(2055, 0, 1));
    for (const year of [1980, 2090, 2030]) {
      a.clock.setWall(Date.UTC(year, 5, 1));
      b.clock.setWall(Date.UTC(2100 - (year - 1980), 5, 1));
      await pass([a, b], 20_000, () => expect([a.leading, b.leading]).toEqual([true, false]));
    }
  });

  test('two that begin at the same moment: one leads', async () => {
    const server = register();
    const both = [start(server, 'a'), start(server, 'b')];
    await pass(both, 10_000, () => expect(both.filter((one) => one.leading).length).toBeLessThan(2));
    expect(both.filter((one) => one.leading)).toHaveLength(1);
  });

  test('settings by which two could lead at once are refused', () => {
    const settings = { client: {} as KubeClient, log: createLog(), namespace: 'ns', name: 'l', identity: 'a' };
    expect(() => createElection({ ...settings, renewDeadlineMs: 15_000 })).toThrow(RangeError);
  });

  test('whatever is cut off, slow, asleep or restarted: never two leaders at one moment, and always one again in the end', async () => {
    const step = fc.record({
      who: fc.nat(2),
      what: fc.constantFrom('cut', 'heal', 'sleep', 'slow', 'wall', 'stop', 'nothing'),
      forMs: fc.integer({ min: 500, max: 20_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
        const server = register();
        let started = 0;
        const processes = [0, 1, 2].map(() => start(server, `p${started++}`));
        const asleep = new Map<Process, number>();
        const check = () => expect(processes.filter((one) => one.leading).length).toBeLessThan(2);
        const tick = async (milliseconds: number) => {
          for (let left = milliseconds; left > 0; left -= 500) {
            for (const one of processes) {
              const sleep = asleep.get(one) ?? 0;
              if (sleep > 0) {
                one.clock.freeze(500);
                asleep.set(one, sleep - 500);
              } else {
                await one.clock.advance(500);
              }
              check();
            }
            // A process that lost the lease ends; its supervisor starts another.
            for (const [i, one] of processes.entries()) {
              const ended = await Promise.race([one.ended, settle().then(() => undefined)]);
              if (ended !== undefined) processes[i] = start(server, `p${started++}`);
            }
          }
        };
        for (const { who, what, forMs } of steps) {
          const one = processes[who]!;
          if (what === 'cut') one.reachable = false;
          if (what === 'heal') one.reachable = true;
          if (what === 'slow') one.slow = forMs / 4;
          if (what === 'sleep') asleep.set(one, forMs);
          if (what === 'wall') one.clock.setWall(Date.UTC(2000 + (forMs % 60), 1, 1));
          if (what === 'stop') one.stop();
          await tick(forMs);
        }
        for (const one of processes) {
          one.reachable = true;
          one.slow = 0;
        }
        asleep.clear();
        await tick(45_000);
        expect(processes.filter((one) => one.leading)).toHaveLength(1);
        for (const one of processes) one.stop();
      }),
      { numRuns: 12, seed: 5 },
    );
  }, 120_000);
});
