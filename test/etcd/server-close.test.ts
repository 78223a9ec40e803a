/** A server that is closed waits for its clients no longer than it was told to, whatever they do. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { type EtcdBackend, type EtcdServer, serveEtcd } from '../../src/etcd/server.ts';

const servers: EtcdServer[] = [];
const clients: EtcdClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** Connections come through gRPC's own listener, or are handed over by another as those with TLS are. */
async function serve(backend: Partial<EtcdBackend>, listener: 'own' | 'handed over'): Promise<EtcdClient> {
  const scheme = listener === 'own' ? 'http' : 'https';
  const server = await serveEtcd({
    backend: backend as EtcdBackend,
    listen: [`${scheme}://127.0.0.1:0`],
    secureServer: (onConnection) => createServer((socket: Socket) => onConnection(socket)),
  });
  servers.push(server);
  const client = new EtcdClient({ endpoints: [server.urls[0]!.replace('https', 'http')], deadlineMs: 60_000 });
  clients.push(client);
  return client;
}

const key = Buffer.from('k');

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

describe.each(['own', 'handed over'] as const)('a server whose connections are its %s', (listener) => {
  test('cuts off a call that does not end when the grace is over, and is closed', async () => {
    const asked = Promise.withResolvers<void>();
    const client = await serve(
      {
        range: () => {
          asked.resolve();
          return new Promise(() => {});
        },
      },
      listener,
    );
    const call = client.range({ key }).then(
      () => 'answered',
      () => 'cut off',
    );
    await asked.promise;
    await servers.pop()!.close(50);
    expect(await call).toBe('cut off');
  });

  test('lets a call that ends within the grace have its answer', async () => {
    const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const client = await serve(
      {
        range: async () => {
          asked.resolve();
          await answer.promise;
          return { header: undefined, kvs: [], more: false, count: 7 };
        },
      },
      listener,
    );
    const call = client.range({ key });
    await asked.promise;
    const closed = servers.pop()!.close(60_000);
    answer.resolve();
    expect((await call).count).toBe(7);
    await closed;
  });

  test('does not wait for a client that leaves its end open, whether it has a call or not', async () => {
    const client = await serve({ range: () => new Promise(() => {}) }, listener);
    const call = client.range({ key }).catch(() => 'cut off');
    const server = servers.pop()!;
    const port = Number(new URL(server.urls[0]!).port);
    // As one behind a broken wire: it neither speaks nor ends what the server has ended.
    const silent = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    sockets.push(silent);
    await once(silent, 'connect');
    await once(silent, 'data');
    await server.close(50);
    expect(await call).toBe('cut off');
  });
});
