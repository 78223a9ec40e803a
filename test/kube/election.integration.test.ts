import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createRecorder } from '../../src/kube/events.ts';
import { configMaps, events, leases } from '../../src/kube/kinds.ts';
import { createLog } from '../../src/log.ts';
import { type ApiServer, apiServer } from './api-server.ts';
import { until } from './until.ts';

let server: ApiServer;
let namespace: string;
const started: ChildProcess[] = [];

beforeAll(async () => {
  server = await apiServer('kube-election');
  namespace = await server.namespace('election');
}, 600_000);

afterAll(async () => {
  for (const child of started) if (child.exitCode === null) child.kill('SIGKILL');
  await server?.stop();
});

/** Moments (ns) at which the candidate led, and how it ended. */
function candidate(identity: string) {
  const script = join(import.meta.dirname, 'election-process.ts');
  const child = spawn(process.execPath, [script, server.kubeconfig, namespace, identity], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  started.push(child);
  const led: bigint[] = [];
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) led.push(BigInt(line));
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
  return { child, led, ended };
}

describe('leader election between processes on a real API server', () => {
  test('a leader stopped with SIGSTOP and woken when another leads: never both at one moment, and the old one ends', async () => {
    const a = candidate('a');
    await until(() => a.led.length > 5);
    const b = candidate('b');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(b.led).toEqual([]);
    a.child.kill('SIGSTOP');
    await until(() => b.led.length > 5);
    a.child.kill('SIGCONT');
    expect(await a.ended).toBe(3);
    expect(a.led.every((moment) => moment < b.led[0]!)).toBe(true);
    b.child.kill('SIGTERM');
    expect(await b.ended).toBe(0);
    // Given back, not run out: whoever comes next need not wait.
    const between = await server.client.get(leases, { namespace, name: 'election' });
    expect(between.spec).toMatchObject({ holderIdentity: '', leaseTransitions: 1 });
    const c = candidate('c');
    await until(() => c.led.length > 0);
    expect(b.led.every((moment) => moment < c.led[0]!)).toBe(true);
    c.child.kill('SIGTERM');
    expect(await c.ended).toBe(0);
    const lease = await server.client.get(leases, { namespace, name: 'election' });
    expect(lease.spec).toMatchObject({ holderIdentity: '', leaseTransitions: 2 });
    expect(lease.spec?.renewTime).toMatch(/\.\d{6}Z$/);
  }, 90_000);
});

describe('events on a real API server', () => {
  test('what is said three times by one operator and once more after its restart appears as one event, counted', async () => {
    const about = await server.client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'subject', namespace },
    });
    const said = {
      reason: 'StoreMissing',
      action: 'CheckStore',
      note: 'create the store s3',
      type: 'Warning' as const,
    };
    const log = createLog({ write: (line) => expect(line).toBe('') });
    const recorder = () => createRecorder({ client: server.client, log, instance: 'pod' });
    const first = recorder();
    for (let i = 0; i < 3; i++) first.record(about, said);
    await first.flush();
    const second = recorder();
    second.record(about, said);
    second.record(about, { reason: 'StoreFound', action: 'CheckStore', note: 'the store is there' });
    await second.flush();
    const { items } = await server.client.listAll(events, { namespace });
    const seen = items.map(({ reason, type, note, series }) => [type, reason, note, series?.count ?? 1]);
    expect(seen.sort()).toEqual([
      ['Normal', 'StoreFound', 'the store is there', 1],
      ['Warning', 'StoreMissing', 'create the store s3', 4],
    ]);
    expect(items[0]?.regarding).toMatchObject({ kind: 'ConfigMap', name: 'subject', uid: about.metadata.uid });
  });
});
