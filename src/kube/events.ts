import { createHash } from 'node:crypto';
import type { Log } from '../log.ts';
import { type Clock, pause, systemClock } from './clock.ts';
import type { EventInput, EventRecorder, KubeClient } from './contract.ts';
import { ApiError, isAlreadyExists, isNotFound } from './errors.ts';
import { type Event, events, type ObjectReference } from './kinds.ts';
import { microTime } from './micro-time.ts';
import type { Live } from './objects.ts';

export interface RecorderOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly clock?: Clock;
  /** Who reports, a qualified name. */
  readonly controller?: string;
  /** Which process: the pod's name. */
  readonly instance: string;
  /** Repeats of an event within so many milliseconds become one request. */
  readonly seriesMs?: number;
  /** New events per object and reason, so that a frequent one leaves room for the rare: so many at once, then one per `refillMs`. */
  readonly burst?: number;
  readonly refillMs?: number;
}

/** One event as written, and the repeats that are not written yet. */
interface Series {
  readonly body: Event;
  readonly regarding: string;
  repeats: number;
  lastObserved: number;
  /** Writes of one event follow one another. */
  writing: Promise<void>;
  cancel: (() => void) | undefined;
}

const NOTE_BYTES = 1024;
const REMEMBERED = 4096;
const TRIES = 4;

/**
 * Events of events.k8s.io/v1. An event's name is made from what it says, so that the same thing said again, be it by a
 * restarted operator or by two at once, is counted in the series of one event instead of appearing twice.
 */
export function createRecorder(options: RecorderOptions): EventRecorder {
  const { client, clock = systemClock, controller = 'raftsman.dev/operator', instance } = options;
  const { seriesMs = 60_000, burst = 25, refillMs = 300_000 } = options;
  const log = options.log;
  const known = new Map<string, Series>();
  const buckets = new Map<string, { tokens: number; at: number }>();

  const allowed = (what: string): boolean => {
    const now = clock.monotonic();
    const bucket = buckets.get(what) ?? { tokens: burst, at: now };
    bucket.tokens = Math.min(burst, bucket.tokens + (now - bucket.at) / refillMs);
    bucket.at = now;
    buckets.delete(what);
    buckets.set(what, bucket);
    if (buckets.size > REMEMBERED) buckets.delete(buckets.keys().next().value!);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  };

  const persist = async (what: string, request: () => Promise<void>): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      try {
        await request();
        return;
      } catch (error) {
        const later =
          !(error instanceof ApiError) || error.status === 429 || error.status >= 500 || error.status === 409;
        if (!later || attempt === TRIES) {
          // A namespace on its way out takes no events, and nobody will look for them there.
          const gone = error instanceof ApiError && /because it is being terminated/.test(error.message);
          log[gone ? 'debug' : 'warn']('event was not written', { event: what, error });
          return;
        }
        await pause(clock, 500 * 2 ** attempt);
      }
    }
  };

  /** Adds `repeats` to the series of the event as it stands on the server. */
  const extend = async (series: Series, repeats: number): Promise<void> => {
    const { namespace, name } = series.body.metadata;
    const ref = { namespace: namespace ?? 'default', name };
    const there = await client.find(events, ref);
    if (there === undefined) {
      // Events live for an hour: this one begins again.
      await client.create(events, { ...series.body, eventTime: microTime(series.lastObserved) });
      return;
    }
    const count = (there.series?.count ?? 1) + repeats;
    await client.patch(events, ref, {
      metadata: { resourceVersion: there.metadata.resourceVersion },
      series: { count, lastObservedTime: microTime(series.lastObserved) },
    });
  };

  const write = (series: Series, work: () => Promise<void>): void => {
    series.writing = series.writing.then(() => persist(series.body.metadata.name, work));
  };

  const writeRepeats = (series: Series): void => {
    series.cancel?.();
    series.cancel = undefined;
    const { repeats } = series;
    if (repeats === 0) return;
    series.repeats = 0;
    write(series, () => extend(series, repeats));
  };

  const record = (regarding: Live, input: EventInput): void => {
    const now = clock.now();
    const about = reference(regarding);
    const related = input.related === undefined ? undefined : reference(input.related);
    const note = cut(input.note);
    const type = input.type ?? 'Normal';
    const said = [controller, about.uid, type, input.reason, input.action, note, related?.uid ?? ''];
    const hash = createHash('sha256').update(said.join('\0')).digest('hex').slice(0, 16);
    const key = `${about.uid}/${hash}`;
    const before = known.get(key);
    if (before !== undefined) {
      before.repeats++;
      before.lastObserved = now;
      before.cancel ??= clock.after(seriesMs, () => writeRepeats(before));
      known.delete(key);
      known.set(key, before);
      return;
    }
    if (!allowed(`${about.uid ?? ''} ${input.reason}`)) {
      log.warn('event left out: too many of one reason about one object', {
        kind: about.kind,
        name: about.name,
        reason: input.reason,
      });
      return;
    }
    const body: Event = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: {
        name: `${regarding.metadata.name.slice(0, 230)}.${hash}`,
        // About an object of no namespace, events are kept in `default`.
        namespace: regarding.metadata.namespace ?? 'default',
      },
      eventTime: microTime(now),
      reportingController: controller,
      reportingInstance: instance.slice(0, 128),
      type,
      reason: input.reason,
      action: input.action,
      note,
      regarding: about,
      ...(related === undefined ? {} : { related }),
    };
    const series: Series = {
      body,
      regarding: key,
      repeats: 0,
      lastObserved: now,
      writing: Promise.resolve(),
      cancel: undefined,
    };
    known.set(key, series);
    if (known.size > REMEMBERED) {
      const [oldest, given] = known.entries().next().value!;
      known.delete(oldest);
      writeRepeats(given);
    }
    write(series, async () => {
      try {
        await client.create(events, body);
      } catch (error) {
        if (isAlreadyExists(error)) await extend(series, 1);
        // The namespace is gone, and with it everybody who could read this.
        else if (!isNotFound(error)) throw error;
      }
    });
  };

  return {
    record(regarding, input) {
      try {
        record(regarding, input);
      } catch (error) {
        log.warn('event was not recorded', { reason: input.reason, error });
      }
    },
    async flush() {
      for (const series of known.values()) writeRepeats(series);
      await Promise.all([...known.values()].map((series) => series.writing));
    },
  };
}

function reference(object: Live): ObjectReference {
  const { namespace, name, uid, resourceVersion } = object.metadata;
  const { apiVersion, kind } = object;
  return { apiVersion, kind, ...(namespace === undefined ? {} : { namespace }), name, uid, resourceVersion };
}

/** The server refuses notes above 1 KiB; cut between characters. */
function cut(note: string): string {
  if (Buffer.byteLength(note) <= NOTE_BYTES) return note;
  const bytes = Buffer.from(note).subarray(0, NOTE_BYTES - 3);
  return `${new TextDecoder().decode(bytes).replace(/\uFFFD+$/, '')}…`;
}
