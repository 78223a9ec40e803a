import { afterEach, describe, expect, test } from '@jest/globals';
import { createClient, pathOf } from '../../src/kube/client.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { ApiError, TransportError } from '../../src/kube/errors.ts';
import { configMaps, leases, namespaces } from '../../src/kube/kinds.ts';
import { compareVersions, controllerKeys, keyOf, ownedBy, refOf } from '../../src/kube/objects.ts';
import { plainConnection, recordingServer } from './recording-server.ts';

type Server = Awaited<ReturnType<typeof recordingServer>>;
let open: { server: Server; client: KubeClient } | undefined;

async function serve(answer: Parameters<typeof recordingServer>[0], token?: () => string) {
  const server = await recordingServer(answer);
  const connection = plainConnection(server.url, token);
  const client = createClient(connection);
  open = { server, client };
  return { server, client, connection };
}

afterEach(async () => {
  open?.client.close();
  await open?.server.close();
  open = undefined;
});

const json = (response: import('node:http').ServerResponse, status: number, body: unknown, headers = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
};
const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'ns' } };
const failed = (code: number, reason: string, message = '') => ({
  kind: 'Status',
  status: 'Failure',
  code,
  reason,
  message,
});
const rejection = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('resolved, though it should have failed');
};

describe('client', () => {
  test('paths name group, version, namespace and subresource, and quote what needs it', () => {
    expect(pathOf(configMaps, { namespace: 'ns' })).toBe('/api/v1/namespaces/ns/configmaps');
    expect(pathOf(configMaps, {})).toBe('/api/v1/configmaps');
    expect(pathOf(leases, { namespace: 'ns', name: 'a/b' }, 'status')).toBe(
      '/apis/coordination.k8s.io/v1/namespaces/ns/leases/a%2Fb/status',
    );
    expect(pathOf(namespaces, { name: 'ns' }, undefined, { force: 'true', limit: undefined })).toBe(
      '/api/v1/namespaces/ns?force=true',
    );
    expect(() => pathOf(configMaps, { name: 'a' })).toThrow('needs metadata.namespace');
  });

  test('apply sends exactly the object, as our field manager and with force; status goes to its own door alone', async () => {
    const { server, client } = await serve((_, response) => json(response, 200, object));
    await client.apply(configMaps, { ...object, data: { k: 'v' } });
    await client.applyStatus(configMaps, { ...object, data: { k: 'v' }, status: { ok: true } } as typeof object);
    expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'PATCH /api/v1/namespaces/ns/configmaps/a?fieldManager=raftsman&force=true',
      'PATCH /api/v1/namespaces/ns/configmaps/a/status?fieldManager=raftsman&force=true',
    ]);
    expect(server.seen[0]?.headers['content-type']).toBe('application/apply-patch+yaml');
    expect(JSON.parse(server.seen[0]!.body)).toEqual({ ...object, data: { k: 'v' } });
    expect(JSON.parse(server.seen[1]!.body)).toEqual({ ...object, status: { ok: true } });
  });

  test('a failure tells request, status, reason and message, and has a stable code', async () => {
    const { client } = await serve((_, response) =>
      json(response, 404, failed(404, 'NotFound', 'configmaps "a" not found')),
    );
    const error = await rejection(client.get(configMaps, { namespace: 'ns', name: 'a' }));
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 404, reason: 'NotFound', code: 'KUBE_NOT_FOUND' });
    expect((error as Error).message).toBe(
      'GET /api/v1/namespaces/ns/configmaps/a: 404 NotFound: configmaps "a" not found',
    );
    expect(await client.find(configMaps, { namespace: 'ns', name: 'a' })).toBeUndefined();
    expect(await client.delete(configMaps, { namespace: 'ns', name: 'a' })).toBe(false);
  });

  test('a failure that is no Kubernetes answer (a gateway’s page) is still an ApiError', async () => {
    const { client } = await serve((_, response) => void response.writeHead(502).end('<html>bad gateway'));
    const error = await rejection(client.version());
    expect(error).toMatchObject({ status: 502, reason: 'InternalError' });
    expect((error as Error).message).toContain('bad gateway');
  });

  test('429 is tried again after Retry-After', async () => {
    const { server, client } = await serve((_, response, nth) =>
      nth < 3
        ? json(response, 429, failed(429, 'TooManyRequests'), { 'retry-after': '0' })
        : json(response, 200, object),
    );
    await client.create(configMaps, object);
    expect(server.seen).toHaveLength(3);
  });

  test('a 429 that asks for longer than the call may take goes to the caller, with the wait', async () => {
    const { server, client } = await serve((_, response) =>
      json(response, 429, failed(429, 'TooManyRequests'), { 'retry-after': '120' }),
    );
    const error = await rejection(client.create(configMaps, object));
    expect(error).toMatchObject({ status: 429, retryAfterMs: 120_000 });
    expect(server.seen).toHaveLength(1);
  });

  test('401 makes credentials be read anew, once', async () => {
    let token = 'old';
    const { server, client, connection } = await serve(
      (request, response) =>
        request.headers.authorization === 'Bearer new'
          ? json(response, 200, object)
          : json(response, 401, failed(401, 'Unauthorized')),
      () => token,
    );
    const forget = connection.forget;
    connection.forget = () => {
      token = 'new';
      forget();
    };
    await client.get(configMaps, { namespace: 'ns', name: 'a' });
    expect(server.seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer old', 'Bearer new']);
    connection.forget = forget;
    token = 'bad';
    expect(await rejection(client.get(configMaps, { namespace: 'ns', name: 'a' }))).toMatchObject({ status: 401 });
    expect(server.seen).toHaveLength(4);
  });

  test('a server that does not answer in time is a TransportError, and so is one that is not there', async () => {
    const { server, client } = await serve(() => {});
    const error = await rejection(client.get(configMaps, { namespace: 'ns', name: 'a' }, { timeoutMs: 30 }));
    expect(error).toBeInstanceOf(TransportError);
    expect((error as Error).message).toContain('no answer within 30 ms');
    await server.close();
    expect(await rejection(client.version())).toBeInstanceOf(TransportError);
  });

  test('an aborted call ends at once', async () => {
    const { client } = await serve(() => {});
    const stop = new AbortController();
    const pending = rejection(client.get(configMaps, { namespace: 'ns', name: 'a' }, { signal: stop.signal }));
    setImmediate(() => stop.abort());
    expect(await pending).toBeInstanceOf(TransportError);
  });

  test('an abort is heard at any moment: before the call, while credentials are read, while a 429 is waited for', async () => {
    const { client, connection, server } = await serve((_, response) =>
      json(response, 429, failed(429, 'TooManyRequests'), { 'retry-after': '20' }),
    );
    const ref = { namespace: 'ns', name: 'a' };
    expect(await rejection(client.get(configMaps, ref, { signal: AbortSignal.abort() }))).toBeInstanceOf(
      TransportError,
    );
    const reading = new AbortController();
    const { credentials } = connection;
    connection.credentials = async () => {
      reading.abort();
      return await credentials();
    };
    expect(await rejection(client.get(configMaps, ref, { signal: reading.signal }))).toBeInstanceOf(TransportError);
    expect(server.seen).toHaveLength(0);
    connection.credentials = credentials;
    const throttled = new AbortController();
    const pending = rejection(client.get(configMaps, ref, { signal: throttled.signal }));
    while (server.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    throttled.abort();
    expect(await pending).toBeInstanceOf(TransportError);
  });

  test('connections are kept alive and shared', async () => {
    const sockets = new Set<unknown>();
    const { client } = await serve((request, response) => {
      sockets.add(request.socket);
      json(response, 200, object);
    });
    for (let i = 0; i < 5; i++) await client.get(configMaps, { namespace: 'ns', name: 'a' });
    expect(sockets.size).toBe(1);
    expect(client.requests).toBe(5);
  });

  test('listed objects have the same shape as watched ones: kind and apiVersion are there, and no field is dropped', async () => {
    const item = { metadata: { name: 'a', uid: 'u', resourceVersion: '1' }, unknownField: { kept: true } };
    const { client } = await serve((_, response) =>
      json(response, 200, { metadata: { resourceVersion: '7' }, items: [item] }),
    );
    const { items, resourceVersion } = await client.listAll(configMaps);
    expect(resourceVersion).toBe('7');
    expect(items).toEqual([{ ...item, apiVersion: 'v1', kind: 'ConfigMap' }]);
  });

  test('an expired continue token begins the list again, and the second time asks for everything at once', async () => {
    const { server, client } = await serve((request, response) => {
      const query = new URL(request.url ?? '', 'http://x').searchParams;
      if (query.has('continue')) return json(response, 410, failed(410, 'Expired'));
      const token = query.has('limit') ? { continue: 'next' } : {};
      json(response, 200, { metadata: { resourceVersion: '7', ...token }, items: [{ metadata: { name: 'a' } }] });
    });
    expect((await client.listAll(configMaps)).items).toHaveLength(1);
    expect(server.seen.map(({ url }) => url.split('?')[1] ?? '')).toEqual([
      'limit=500',
      'limit=500&continue=next',
      'limit=500',
      'limit=500&continue=next',
      '',
    ]);
  });

  test('a watch yields events however the bytes are cut, and says when an event was cut off', async () => {
    const event = (name: string) =>
      `${JSON.stringify({ type: 'ADDED', object: { metadata: { name, resourceVersion: '1' } } })}\n`;
    const bytes = Buffer.from(event('eins') + event('zwölf') + event('drei').slice(0, 20));
    const { client } = await serve(async (_, response) => {
      response.writeHead(200);
      for (const byte of bytes) {
        response.write(Buffer.of(byte));
        if (byte % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    });
    const names: string[] = [];
    const reading = (async () => {
      for await (const event of client.watch(configMaps, { resourceVersion: '1' })) {
        if (event.type !== 'BOOKMARK') names.push(event.object.metadata.name);
      }
    })();
    expect(((await rejection(reading)) as Error).message).toContain('middle of an event');
    expect(names).toEqual(['eins', 'zwölf']);
  });

  test('an ERROR event in a watch is the ApiError that it carries', async () => {
    const { client } = await serve((_, response) => {
      response.end(`${JSON.stringify({ type: 'ERROR', object: failed(410, 'Expired', 'too old') })}\n`);
    });
    const reading = (async () => {
      for await (const _ of client.watch(configMaps, { resourceVersion: '1' }));
    })();
    expect(await rejection(reading)).toMatchObject({ status: 410, code: 'KUBE_EXPIRED' });
  });

  test('a fenced client sends no write that its guard forbids, and still reads', async () => {
    const { server, client } = await serve((_, response) => json(response, 200, object));
    const fenced = client.fenced(() => {
      throw new Error('not leading');
    });
    await fenced.get(configMaps, { namespace: 'ns', name: 'a' });
    for (const write of [
      () => fenced.apply(configMaps, object),
      () => fenced.create(configMaps, object),
      () => fenced.patch(configMaps, { namespace: 'ns', name: 'a' }, []),
      () => fenced.delete(configMaps, { namespace: 'ns', name: 'a' }),
    ]) {
      expect(await rejection(write())).toMatchObject({ message: 'not leading' });
    }
    expect(server.seen).toHaveLength(1);
  });
});

describe('objects', () => {
  test('keys and references are each other’s inverse', () => {
    for (const ref of [{ name: 'a' }, { namespace: 'ns', name: 'a' }]) expect(refOf(keyOf(ref))).toEqual(ref);
  });

  test('resource versions order as integers of any length; anything else has no order', () => {
    expect(compareVersions('9', '10')).toBe(-1);
    expect(compareVersions('18446744073709551616', '18446744073709551615')).toBe(1);
    expect(compareVersions('5', '5')).toBe(0);
    expect(compareVersions('', '5')).toBeUndefined();
    expect(compareVersions('05', '5')).toBeUndefined();
  });

  test('a child wakes the controller of its controlling owner, and no other kind’s', () => {
    const owner = {
      ...object,
      metadata: { ...object.metadata, uid: 'u', resourceVersion: '1', creationTimestamp: 'x' },
    };
    const child = { ...object, metadata: { name: 'c', namespace: 'ns', ownerReferences: [ownedBy(owner)] } };
    expect(controllerKeys(configMaps)(child)).toEqual(['ns/a']);
    expect(controllerKeys({ ...configMaps, version: 'v2' })(child)).toEqual(['ns/a']);
    expect(controllerKeys({ ...configMaps, group: 'raftsman.dev' })(child)).toEqual([]);
    expect(controllerKeys(leases)(child)).toEqual([]);
    expect(controllerKeys(configMaps)(object)).toEqual([]);
  });
});
