/** What a client leaves behind when it is closed: nothing but the calls that are under way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { startScripted } from './scripted.ts';
import { startUnaccepting, type Unaccepting } from './unaccepting.ts';

let unaccepting: Unaccepting;
/** Accepts, and never says a word. */
let silent: Server;
let silentPort: number;
const accepted = new Set<Socket>();

beforeAll(async () => {
  unaccepting = await startUnaccepting();
  silent = createServer((socket) => {
    accepted.add(socket.resume().on('error', () => {}));
  }).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  silentPort = (silent.address() as { port: number }).port;
});
afterAll(async () => {
  for (const socket of accepted) socket.destroy();
  silent.close();
  await unaccepting.close();
});

describe('a process that has closed its client ends by itself', () => {
  /** The system gives up on a connection after two minutes, and nobody on a handshake. */
  const soonMs = 30_000;

  test.each([
    ['no connection is accepted', 'http', () => unaccepting.port],
    ['no connection is accepted that is to be secured', 'https', () => unaccepting.port],
    ['a server never speaks HTTP/2', 'http', () => silentPort],
    ['a server never speaks TLS', 'https', () => silentPort],
  ])(
    'while %s',
    async (_, scheme, port) => {
      const script = join(import.meta.dirname, 'close-process.ts');
      const child = spawn(process.execPath, [script, `${scheme}://127.0.0.1:${port()}`], {
        env: { ...process.env, NODE_OPTIONS: '' },
        stdio: ['ignore', 'pipe', 'inherit'],
        timeout: soonMs,
      });
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
      expect({ said, code, signal }).toEqual({ said: 'ETCD_DEADLINE_EXCEEDED', code: 0, signal: null });
    },
    60_000,
  );
});

describe('closing', () => {
  test.each(['http', 'https'])('gives up a connection that is being made (%s)', async (scheme) => {
    accepted.clear();
    const client = new EtcdClient({ endpoints: [`${scheme}://127.0.0.1:${silentPort}`], deadlineMs: 60_000 });
    const connected = once(silent, 'connection');
    const call = client.status();
    const [socket] = (await connected) as [Socket];
    client.close();
    await expect(call).rejects.toMatchObject({ code: 'ETCD_CANCELLED' });
    if (!socket.closed) await once(socket, 'close');
  });

  test('lets a call that is under way have its answer', async () => {
    const server = await startScripted();
    const asked = server.next();
    const client = new EtcdClient({ endpoints: [server.url] });
    const call = client.status();
    const { answer } = await asked;
    client.close();
    answer();
    const { version } = await call.finally(() => server.close());
    expect(version).toBe('3.6.0');
    await expect(client.status()).rejects.toMatchObject({ code: 'ETCD_CANCELLED' });
  });

  test('twice is as good as once', () => {
    const client = new EtcdClient({ endpoints: ['http://127.0.0.1:1'] });
    client.close();
    client.close();
  });
});
