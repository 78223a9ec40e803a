import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Connection } from '../../src/kube/connection.ts';

/** A socket that answers what a test says, for what no real server does on demand: a 401, a silence, a broken line. */
export async function recordingServer(
  answer: (request: IncomingMessage, response: ServerResponse, nth: number) => void,
) {
  const seen: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8');
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      answer(request, response, seen.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    seen,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function plainConnection(url: string, token?: () => string): Connection & { forgotten: number } {
  const connection = {
    server: new URL(url),
    namespace: 'default',
    forgotten: 0,
    async credentials() {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token()}` };
      return { headers, tls: {} };
    },
    forget() {
      connection.forgotten++;
    },
  };
  return connection;
}
