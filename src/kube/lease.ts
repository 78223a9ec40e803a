import type { Log } from '../log.ts';
import { type Clock, pause, systemClock } from './clock.ts';
import type { KubeClient } from './contract.ts';
import { isAlreadyExists, isConflict } from './errors.ts';
import { type Lease, leases } from './kinds.ts';
import { microTime } from './micro-time.ts';
import type { Live } from './objects.ts';

export interface ElectionOptions {
  /** Not fenced by this very election. */
  readonly client: KubeClient;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Namespace and name of the Lease. */
  readonly namespace: string;
  readonly name: string;
  /** Who we are: another one for each process and each start. */
  readonly identity: string;
  /** Others wait so long after the last renewal that they saw. 15 000 ms unless told. */
  readonly leaseDurationMs?: number;
  /** We stop leading so long after the last renewal that we began. Shorter than the lease; 10 000 ms unless told. */
  readonly renewDeadlineMs?: number;
  /** Between two tries. 2 000 ms unless told. */
  readonly retryPeriodMs?: number;
}

export interface Election {
  /** True while nobody else can lead. Looks at the clock anew each time: a process may have slept for a minute. */
  readonly leading: boolean;
  /** Throws NotLeadingError unless `leading`: the fence of a client that writes. */
  assertLeading(): void;
  /**
   * Waits until we lead, then calls `lead` once; its signal aborts when `signal` does or leadership is lost. Resolves
   * after `lead` ended and the lease was given back. Rejects with LeadershipLostError when the lease was lost (once `lead`
   * has ended), or with what `lead` threw.
   */
  run(signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void>;
}

export class LeadershipLostError extends Error {
  readonly code: string = 'LEADERSHIP_LOST';
  constructor(lease: string) {
    super(`the lease ${lease} could not be renewed in time: another process may lead now, this one has to end`);
    this.name = 'LeadershipLostError';
  }
}

export class NotLeadingError extends Error {
  readonly code: string = 'NOT_LEADING';
  constructor(lease: string) {
    super(`not sent: this process does not hold the lease ${lease}`);
    this.name = 'NotLeadingError';
  }
}

/**
 * Leader election over a Lease. Wall clocks are written down for people but never compared: a candidate takes over when
 * the Lease has not changed for the whole of its duration on the candidate's own forward-only clock, and the leader
 * counts from before it sent its last successful renewal, so that its term ends before anybody else's can begin.
 */
export function createElection(options: ElectionOptions): Election {
  const { client, clock = systemClock, random = Math.random, namespace, name, identity } = options;
  const { leaseDurationMs = 15_000, renewDeadlineMs = 10_000, retryPeriodMs = 2_000 } = options;
  if (!(retryPeriodMs < renewDeadlineMs && renewDeadlineMs < leaseDurationMs)) {
    throw new RangeError('leader election needs retryPeriodMs < renewDeadlineMs < leaseDurationMs');
  }
  const ref = { namespace, name };
  const shown = `${namespace}/${name}`;
  const log = options.log.with({ lease: shown, identity });
  /** The Lease as last seen, and when we first saw it so. */
  let observed: { readonly lease: Live<Lease>; readonly at: number } | undefined;
  /** We lead until then (on the forward-only clock). */
  let until = Number.NEGATIVE_INFINITY;
  const leading = (): boolean => clock.monotonic() < until;

  const observe = (lease: Live<Lease>): void => {
    if (observed?.lease.metadata.resourceVersion !== lease.metadata.resourceVersion) {
      observed = { lease, at: clock.monotonic() };
    }
  };

  const spec = (holder: string, durationMs: number, before?: Lease['spec']): NonNullable<Lease['spec']> => {
    const now = microTime(clock.now());
    const mine = before?.holderIdentity === identity;
    return {
      holderIdentity: holder,
      leaseDurationSeconds: Math.max(1, Math.ceil(durationMs / 1000)),
      renewTime: now,
      acquireTime: mine && before?.acquireTime !== undefined ? before.acquireTime : now,
      leaseTransitions: (before?.leaseTransitions ?? 0) + (before === undefined || mine ? 0 : 1),
    };
  };

  const write = async (before: Live<Lease> | undefined, content: NonNullable<Lease['spec']>, timeoutMs: number) => {
    const written =
      before === undefined
        ? await client.create(
            leases,
            { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: ref, spec: content },
            { timeoutMs },
          )
        : await client.replace(leases, { ...before, spec: { ...before.spec, ...content } }, { timeoutMs });
    observe(written);
  };

  /** One try to become or stay leader. */
  const attempt = async (timeoutMs: number): Promise<boolean> => {
    // While leading, what we wrote last is what is there: one request instead of two, and a conflict tells otherwise.
    if (!leading() || observed === undefined) {
      const lease = await client.find(leases, ref, { timeoutMs });
      if (lease === undefined) observed = undefined;
      else observe(lease);
    }
    const holder = observed?.lease.spec?.holderIdentity;
    if (observed !== undefined && holder && holder !== identity) {
      const theirs = Math.max(leaseDurationMs, (observed.lease.spec?.leaseDurationSeconds ?? 0) * 1000);
      if (clock.monotonic() < observed.at + theirs) return false;
    }
    // From before the request: however long it takes, nobody who sees its result later waits less.
    const began = clock.monotonic();
    try {
      await write(observed?.lease, spec(identity, leaseDurationMs, observed?.lease.spec), timeoutMs);
    } catch (error) {
      if (!isConflict(error) && !isAlreadyExists(error)) throw error;
      // Somebody else wrote: look, so that the next try knows.
      const lease = await client.find(leases, ref, { timeoutMs });
      if (lease === undefined) observed = undefined;
      else observe(lease);
      if (lease?.spec?.holderIdentity !== identity) until = Number.NEGATIVE_INFINITY;
      return false;
    }
    until = began + renewDeadlineMs;
    return leading();
  };

  const tryOnce = async (timeoutMs: number): Promise<boolean> => {
    try {
      return await attempt(timeoutMs);
    } catch (error) {
      log.warn('lease could not be reached; trying again', { error });
      return false;
    }
  };

  const release = async (): Promise<void> => {
    if (!leading() || observed === undefined) return;
    until = Number.NEGATIVE_INFINITY;
    try {
      await write(observed.lease, spec('', 1000, observed.lease.spec), renewDeadlineMs);
      log.info('lease given back');
    } catch (error) {
      log.warn('lease could not be given back; others wait until it runs out', { error });
    }
  };

  const run = async (signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    while (!(await tryOnce(renewDeadlineMs))) {
      if (signal.aborted) return;
      // Out of step, so that candidates do not collide.
      await pause(clock, retryPeriodMs * (1 + random() * 0.2), signal);
      if (signal.aborted) return;
    }
    log.info('leading');
    const term = new AbortController();
    const stop = (): void => term.abort();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    const ended = new AbortController();
    // A watchdog of its own, which does not wait for an answer from the server.
    const guard = async (): Promise<void> => {
      while (!ended.signal.aborted && leading()) await pause(clock, until - clock.monotonic(), ended.signal);
      if (!ended.signal.aborted) term.abort();
    };
    const renew = async (): Promise<void> => {
      while (!ended.signal.aborted && leading()) {
        await pause(clock, retryPeriodMs, ended.signal);
        if (!ended.signal.aborted && leading()) await tryOnce(Math.max(1, until - clock.monotonic()));
      }
      if (!ended.signal.aborted) term.abort();
    };
    const renewing = Promise.all([guard(), renew()]);
    try {
      await lead(term.signal);
    } finally {
      const kept = leading();
      ended.abort();
      signal.removeEventListener('abort', stop);
      await renewing;
      if (kept) await release();
      else until = Number.NEGATIVE_INFINITY;
      // Even when `lead` ended well: what it did last may have been done beside another leader.
      if (!kept) {
        log.error('leadership lost');
        // biome-ignore lint/correctness/noUnsafeFinally: losing the lease is what the caller must know first.
        throw new LeadershipLostError(shown);
      }
    }
  };

  return {
    get leading() {
      return leading();
    },
    assertLeading() {
      if (!leading()) throw new NotLeadingError(shown);
    },
    run,
  };
}
