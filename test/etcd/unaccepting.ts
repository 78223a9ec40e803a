/** A port that takes no further connection: whoever connects to it hears nothing at all, as of a host that is gone. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';

export interface Unaccepting {
  readonly port: number;
  close(): Promise<void>;
}

/** Listens, and then never accepts: its thread stands still. */
const listener = `
const { parentPort } = require('node:worker_threads');
const server = require('node:net').createServer();
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  parentPort.postMessage(server.address().port);
  setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
});`;

/** How many connections wait in a queue of one, by Linux: one more. */
const queued = 2;

export async function startUnaccepting(): Promise<Unaccepting> {
  const thread = new Worker(listener, { eval: true });
  const [port] = (await once(thread, 'message')) as [number];
  const waiting: Socket[] = [];
  for (let n = 0; n < queued; n++) {
    const socket = connect(port, '127.0.0.1');
    waiting.push(socket);
    await once(socket, 'connect');
  }
  return {
    port,
    async close() {
      for (const socket of waiting) socket.destroy();
      await thread.terminate();
    },
  };
}
