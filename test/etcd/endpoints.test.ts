/** Which endpoint a call goes to, how long it has there, and that no change is made twice. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { type Scripted, startScripted } from './scripted.ts';

const key = Buffer.from('k');

let first: Scripted;
let second: Scripted;
let client: EtcdClient | undefined;
beforeEach(async () => {
  [first, second] = await Promise.all([startScripted(), startScripted()]);
});
afterEach(() => {
  client?.close();
  first.close();
  second.close();
});

const clientOf = (deadlineMs: number, ...endpoints: string[]): EtcdClient => {
  client = new EtcdClient({ endpoints, deadlineMs });
  return client;
};

/** What others are given for connecting is half of this. */
const shortMs = 1_000;

test('a call that has begun has all the time that is left, however many endpoints there are', async () => {
  const asked = first.next();
  const began = performance.now();
  const call = clientOf(30_000, first.url, second.url).put({ key });
  const { answer } = await asked;
  // Longer than connecting may take: that is the point, and nothing else can be waited for.
  await Promise.race([call, delay(2_500 - (performance.now() - began))]);
  answer();
  expect((await call).header?.revision).toBe(7);
  expect([first.calls, second.calls]).toEqual([1, 0]);
});

test('a change that was begun and has no answer is not made elsewhere', async () => {
  const call = clientOf(shortMs, first.url, second.url).put({ key });
  await expect(call).rejects.toMatchObject({ code: 'ETCD_DEADLINE_EXCEEDED' });
  expect([first.calls, second.calls]).toEqual([1, 0]);
});

test('a change whose connection broke is not made elsewhere, a read is', async () => {
  const change = first.next();
  const both = clientOf(30_000, first.url, second.url);
  const call = both.put({ key });
  await change;
  const broken = expect(call).rejects.toMatchObject({ code: 'ETCD_UNREACHABLE' });
  first.close();
  await broken;
  expect([first.calls, second.calls]).toEqual([1, 0]);

  first = await startScripted();
  const [read, again] = [first.next(), second.next()];
  const status = clientOf(30_000, first.url, second.url).status();
  await read;
  first.close();
  (await again).answer();
  expect((await status).version).toBe('3.6.0');
});

test('a server that takes connections and keeps silent costs its share of the time, and gets no call', async () => {
  const sockets = new Set<Socket>();
  const silent: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
  }).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const asked = second.next();
  const call = clientOf(30_000, `http://127.0.0.1:${(silent.address() as { port: number }).port}`, second.url).put({
    key,
  });
  (await asked).answer();
  expect((await call).header?.revision).toBe(7);
  for (const socket of sockets) socket.destroy();
  silent.close();
});

test('waiting for a connection ends when the caller cancels, and when the client is closed', async () => {
  const connected = Promise.withResolvers<void>();
  const sockets = new Set<Socket>();
  const silent: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    connected.resolve();
  }).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const both = clientOf(60_000, `http://127.0.0.1:${(silent.address() as { port: number }).port}`, second.url);
  const stop = new AbortController();
  const calls = [both.status({ signal: stop.signal }), both.put({ key })].map((call) =>
    expect(call).rejects.toMatchObject({ code: 'ETCD_CANCELLED' }),
  );
  await connected.promise;
  stop.abort();
  await calls[0];
  both.close();
  await calls[1];
  expect(second.calls).toBe(0);
  for (const socket of sockets) socket.destroy();
  silent.close();
});
