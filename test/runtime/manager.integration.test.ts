import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createApplier } from '../../src/kube/apply.ts';
import { createClient } from '../../src/kube/client.ts';
import { type ConfigMap, configMaps, leases, type Secret, secrets } from '../../src/kube/kinds.ts';
import { controllerKeys, type Live, ownedBy, refOf } from '../../src/kube/objects.ts';
import { createLog } from '../../src/log.ts';
import type { LeaderOptions } from '../../src/runtime/contract.ts';
import { createManager } from '../../src/runtime/manager.ts';
import { type ApiServer, apiServer } from '../kube/api-server.ts';
import { type FaultProxy, faultProxy } from '../kube/fault-proxy.ts';
import { until } from '../kube/until.ts';

let server: ApiServer;

beforeAll(async () => {
  server = await apiServer('runtime-manager');
}, 600_000);

afterAll(async () => {
  await server?.stop();
});

const source = (namespace: string, name: string, value: string): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace, name, labels: { source: 'yes' } },
  data: { value },
});

/** An operator in small: for every marked config map a secret with its value, owned by it. */
function operator(namespace: string, proxy: FaultProxy, leader?: Partial<LeaderOptions> & { identity: string }) {
  const client = createClient(proxy.connection);
  const lines: string[] = [];
  let url = '';
  const manager = createManager({
    client,
    log: createLog({ write: (line) => lines.push(line) }),
    httpAddress: '127.0.0.1:0',
    listening: (at) => {
      url = at;
    },
    graceMs: 100,
    ...(leader === undefined ? {} : { leader: { namespace, name: 'leader', ...leader } }),
  });
  const selector = { namespace, labelSelector: 'source=yes' };
  const maps = manager.cache(configMaps, selector);
  const copies = manager.cache(secrets, { namespace });
  const applier = createApplier(manager.client);
  let reconciles = 0;
  manager.add<ConfigMap>({
    name: 'copy',
    kind: configMaps,
    selector,
    watches: [{ kind: secrets, selector: { namespace }, keys: controllerKeys(configMaps) }],
    async reconcile(key) {
      reconciles++;
      const map = maps.get(key);
      if (map === undefined || map.metadata.deletionTimestamp !== undefined) return {};
      const copy: Secret & { stringData?: unknown } = {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { ...refOf(key), ownerReferences: [ownedBy(map as Live)] },
        data: { value: Buffer.from(map.data?.['value'] ?? '').toString('base64') },
      };
      await applier.apply(secrets, copy, copies.get(key) as Live | undefined);
      return {};
    },
  });
  const stop = new AbortController();
  const ended = manager.start(stop.signal).then(
    () => 'stopped',
    (error: { code?: string }) => error.code ?? String(error),
  );
  const get = async (path: string) => {
    const response = await fetch(`${url}${path}`);
    return { status: response.status, text: await response.text() };
  };
  return {
    manager,
    lines,
    get,
    ended,
    reconciles: () => reconciles,
    listening: () => url !== '',
    async end() {
      stop.abort();
      const how = await ended;
      client.close();
      return how;
    },
  };
}

const copied = async (namespace: string, name: string) => {
  const copy = await server.client.find(secrets, { namespace, name });
  return Buffer.from(copy?.data?.['value'] ?? '', 'base64').toString('utf8');
};

describe('an operator of the runtime on a real API server', () => {
  test('does its work, repairs what others break, and with nothing to do sends no request at all', async () => {
    const namespace = await server.namespace('idle');
    const proxy = await faultProxy(server.connection);
    await server.client.create(configMaps, source(namespace, 'a', 'one'));
    const t = operator(namespace, proxy);
    await until(async () => (await copied(namespace, 'a')) === 'one');
    await server.client.apply(configMaps, source(namespace, 'a', 'two'));
    await until(async () => (await copied(namespace, 'a')) === 'two');
    await server.client.patch(secrets, { namespace, name: 'a' }, { data: { value: 'YnJva2Vu' } });
    await until(async () => (await copied(namespace, 'a')) === 'two');
    await server.client.delete(secrets, { namespace, name: 'a' });
    await until(async () => (await copied(namespace, 'a')) === 'two');
    await until(async () => {
      const before = t.reconciles();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return t.reconciles() === before;
    });
    proxy.forget();
    t.manager.enqueue('copy', `${namespace}/a`);
    const before = t.reconciles();
    await until(() => t.reconciles() > before);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(proxy.asked).toEqual([]);
    expect(await t.end()).toBe('stopped');
    await proxy.close();
  });

  test('/healthz answers from the start, /readyz names what is missing until the caches are filled, /metrics measures', async () => {
    const namespace = await server.namespace('health');
    const proxy = await faultProxy(server.connection);
    proxy.inject(({ path }) =>
      path.endsWith('/secrets') ? { kind: 'status', code: 500, reason: 'InternalError' } : undefined,
    );
    const t = operator(namespace, proxy);
    await until(t.listening);
    expect(await t.get('/healthz')).toMatchObject({ status: 200 });
    await until(async () => (await t.get('/readyz')).text === 'waiting for the cache of secrets\n');
    expect((await t.get('/readyz')).status).toBe(503);
    proxy.inject(() => undefined);
    await until(async () => (await t.get('/readyz')).status === 200);
    await server.client.create(configMaps, source(namespace, 'a', 'one'));
    await until(async () => (await copied(namespace, 'a')) === 'one');
    await until(async () =>
      (await t.get('/metrics')).text.includes('raftsman_reconciles_total{controller="copy",result="success"}'),
    );
    const { text } = await t.get('/metrics');
    for (const name of [
      'raftsman_queue_depth{controller="copy"} 0',
      'raftsman_leader 1',
      'raftsman_cached_objects{resource="configmaps"} 1',
    ]) {
      expect(text).toContain(name);
    }
    expect(text).toMatch(/raftsman_reflector_events_total\{resource="secrets",event="error"\} [1-9]/);
    expect(text).toMatch(/raftsman_api_requests \d+/);
    await t.end();
    await proxy.close();
  });

  test('of two, one works; cut off from the server it gives up with LEADERSHIP_LOST and the other takes over', async () => {
    const namespace = await server.namespace('leaders');
    const [first, second] = [await faultProxy(server.connection), await faultProxy(server.connection)];
    const quick = { leaseDurationMs: 1_500, renewDeadlineMs: 1_000, retryPeriodMs: 150 };
    const a = operator(namespace, first, { identity: 'a', ...quick });
    await until(async () => (await a.get('/metrics').catch(() => ({ text: '' }))).text.includes('raftsman_leader 1'));
    const b = operator(namespace, second, { identity: 'b', ...quick });
    await server.client.create(configMaps, source(namespace, 'x', 'one'));
    await until(async () => (await copied(namespace, 'x')) === 'one');
    expect(b.reconciles()).toBe(0);
    first.inject(() => ({ kind: 'drop' }));
    first.cutAll();
    expect(await a.ended).toBe('LEADERSHIP_LOST');
    await expect(a.manager.client.delete(secrets, { namespace, name: 'x' })).rejects.toMatchObject({
      code: 'NOT_LEADING',
    });
    await server.client.apply(configMaps, source(namespace, 'x', 'two'));
    await until(async () => (await copied(namespace, 'x')) === 'two');
    expect(await b.end()).toBe('stopped');
    expect((await server.client.get(leases, { namespace, name: 'leader' })).spec?.holderIdentity).toBe('');
    await first.close();
    await second.close();
  });

  test('a server that is not there yet is waited for', async () => {
    const namespace = await server.namespace('late');
    const proxy = await faultProxy(server.connection);
    proxy.inject(() => ({ kind: 'drop' }));
    await server.client.create(configMaps, source(namespace, 'a', 'one'));
    const t = operator(namespace, proxy);
    await until(() => proxy.asked.length > 3);
    proxy.inject(() => undefined);
    await until(async () => (await copied(namespace, 'a')) === 'one');
    await t.end();
    await proxy.close();
  });
});
