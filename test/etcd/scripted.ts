/** A gRPC server of a few of etcd's methods that answers when and how a test says. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { PutResponse, StatusResponse } from '../../src/etcd/gen/rpc.ts';
import { methods } from '../../src/etcd/methods.ts';

export interface Asked {
  /** Sends the answer. */
  answer(): void;
}

export interface Scripted {
  readonly url: string;
  /** How many calls it has had. */
  readonly calls: number;
  /** The next call that comes. */
  next(): Promise<Asked>;
  /** Breaks its connections, whatever is under way. Idempotent. */
  close(): void;
}

export async function startScripted(): Promise<Scripted> {
  const server = new Server();
  let calls = 0;
  let waiting: ((asked: Asked) => void)[] = [];
  const handler =
    <R>(response: R) =>
    (_: ServerUnaryCall<unknown, R>, send: sendUnaryData<R>): void => {
      calls++;
      const heard = waiting;
      waiting = [];
      for (const hear of heard) hear({ answer: () => send(null, response) });
    };
  server.addService(
    { status: methods.status, put: methods.put },
    {
      status: handler(StatusResponse.fromPartial({ version: '3.6.0' })),
      put: handler(PutResponse.fromPartial({ header: { revision: 7 } })),
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  // Ending a server tells its clients that their calls are cancelled; a connection that breaks tells them nothing.
  const sockets = new Set<Socket>();
  const front = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}));
    near.pipe(far).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(front, 'listening');
  return {
    url: `http://127.0.0.1:${(front.address() as { port: number }).port}`,
    get calls() {
      return calls;
    },
    next: () => new Promise((resolve) => waiting.push(resolve)),
    close() {
      front.close();
      for (const socket of sockets) socket.destroy();
      server.forceShutdown();
    },
  };
}
