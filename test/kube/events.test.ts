import { describe, expect, test } from '@jest/globals';
import type { KubeClient } from '../../src/kube/contract.ts';
import { ApiError, TransportError } from '../../src/kube/errors.ts';
import { createRecorder } from '../../src/kube/events.ts';
import type { Event } from '../../src/kube/kinds.ts';
import type { KubeObject, Live } from '../../src/kube/objects.ts';
import { createLog } from '../../src/log.ts';
import { manualClock } from './manual-clock.ts';

/** Keeps events as the server does, by name. */
function written() {
  const events = new Map<string, Live<Event>>();
  const requests: string[] = [];
  let failures: unknown[] = [];
  const client = {
    async create(_: unknown, event: Event) {
      requests.push(`create ${event.metadata.name}`);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      if (events.has(event.metadata.name)) throw new ApiError('create', 409, { reason: 'AlreadyExists' });
      events.set(event.metadata.name, event as Live<Event>);
      return event;
    },
    async find(_: unknown, { name }: { name: string }) {
      return events.get(name);
    },
    async patch(_: unknown, { name }: { name: string }, patch: Partial<Event>) {
      requests.push(`patch ${name}`);
      events.set(name, { ...events.get(name)!, series: patch.series! });
    },
  } as unknown as KubeClient;
  return { events, requests, client, fail: (...errors: unknown[]) => (failures = errors) };
}

const about = (name: string): Live<KubeObject> => ({
  apiVersion: 'raftsman.dev/v1alpha1',
  kind: 'RaftCluster',
  metadata: { name, namespace: 'ns', uid: `uid-${name}`, resourceVersion: '1', creationTimestamp: 'x' },
});
const said = { reason: 'StoreMissing', action: 'CheckStore', note: 'create the store', type: 'Warning' as const };

function recorder(client: KubeClient, clock = manualClock(), lines: string[] = []) {
  const log = createLog({ write: (line) => lines.push(line) });
  return { clock, lines, recorder: createRecorder({ client, log, clock, instance: 'pod-1' }) };
}

describe('events', () => {
  test('the same thing said a hundred times is one event and one request; a minute later its series tells the count', async () => {
    const server = written();
    const { clock, recorder: events } = recorder(server.client);
    for (let i = 0; i < 100; i++) events.record(about('a'), said);
    await clock.advance(59_000);
    expect(server.requests).toHaveLength(1);
    await clock.advance(2_000);
    expect(server.requests).toHaveLength(2);
    const [event] = server.events.values();
    expect(event?.series?.count).toBe(100);
    expect(event).toMatchObject({
      reason: 'StoreMissing',
      type: 'Warning',
      reportingController: 'raftsman.dev/operator',
    });
    expect(event?.eventTime).toMatch(/\.\d{6}Z$/);
  });

  test('a restarted operator that says the same again adds to the series instead of a second event', async () => {
    const server = written();
    const first = recorder(server.client).recorder;
    first.record(about('a'), said);
    await first.flush();
    const second = recorder(server.client).recorder;
    second.record(about('a'), said);
    await second.flush();
    expect(server.events.size).toBe(1);
    expect([...server.events.values()][0]?.series?.count).toBe(2);
  });

  test('what differs in object, reason or note is another event', async () => {
    const server = written();
    const { recorder: events } = recorder(server.client);
    events.record(about('a'), said);
    events.record(about('b'), said);
    events.record(about('a'), { ...said, reason: 'StoreFound' });
    events.record(about('a'), { ...said, note: 'create the bucket' });
    await events.flush();
    expect(server.events.size).toBe(4);
  });

  test('a reason for which there is ever something new to say of an object is cut off after 25; other reasons and objects are not', async () => {
    const server = written();
    const { lines, recorder: events, clock } = recorder(server.client);
    for (let i = 0; i < 40; i++) events.record(about('noisy'), { ...said, note: `${i}` });
    events.record(about('quiet'), said);
    events.record(about('noisy'), { ...said, reason: 'StoreFound' });
    await events.flush();
    expect(server.events.size).toBe(27);
    expect(lines.filter((line) => line.includes('too many of one reason'))).toHaveLength(15);
    await clock.advance(300_000);
    events.record(about('noisy'), { ...said, note: 'later' });
    await events.flush();
    expect(server.events.size).toBe(28);
  });

  test('a server that fails is tried again; one that refuses is not, and nothing is ever thrown', async () => {
    const server = written();
    const { clock, lines, recorder: events } = recorder(server.client);
    server.fail(new TransportError('down'), new ApiError('create', 500));
    events.record(about('a'), said);
    await clock.advance(10_000);
    expect(server.events.size).toBe(1);
    server.fail(new ApiError('create', 403, { reason: 'Forbidden' }));
    events.record(about('b'), said);
    await events.flush();
    expect(server.events.size).toBe(1);
    expect(lines.join()).toContain('event was not written');
  });

  test('a long note is cut to what the server takes, between characters', async () => {
    const server = written();
    const { recorder: events } = recorder(server.client);
    events.record(about('a'), { ...said, note: 'ä'.repeat(2_000) });
    await events.flush();
    const note = [...server.events.values()][0]?.note ?? '';
    expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1024);
    expect(note).toMatch(/^ä+…$/);
  });
});
