import { fastify } from 'fastify';
import type { Registry } from 'prom-client';

export interface HttpOptions {
  /** `host:port`; `:8080` listens on every address, port 0 takes a free one. */
  readonly address: string;
  readonly metrics: Registry;
  /** What the process still waits for; ready when empty. */
  readonly waitingFor: () => readonly string[];
}

export interface HttpServer {
  /** Where it listens: `http://127.0.0.1:41234`. */
  readonly url: string;
  close(): Promise<void>;
}

/** Health and metrics: `/healthz` (the process answers), `/readyz` (its caches are filled), `/metrics`. */
export async function serveHttp(options: HttpOptions): Promise<HttpServer> {
  const at = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(options.address);
  const port = Number(at?.[3]);
  if (at === null || port > 65_535) {
    throw new RangeError(`HTTP address ${JSON.stringify(options.address)} is not host:port, such as :8080`);
  }
  const server = fastify({ logger: false, bodyLimit: 1024, requestTimeout: 10_000 });
  server.get('/healthz', (_request, reply) => reply.type('text/plain').send('ok\n'));
  server.get('/readyz', (_request, reply) => {
    const waiting = options.waitingFor();
    if (waiting.length === 0) return reply.type('text/plain').send('ok\n');
    return reply
      .code(503)
      .type('text/plain')
      .send(`waiting for ${waiting.join(', ')}\n`);
  });
  server.get('/metrics', async (_request, reply) => {
    const text = await options.metrics.metrics();
    return reply.type(options.metrics.contentType).send(text);
  });
  const host = at[1] || at[2] || '::';
  try {
    await server.listen({ port, host });
  } catch (error) {
    // A machine without IPv6 has no `::`.
    if ((error as { code?: string }).code !== 'EAFNOSUPPORT' || host !== '::') throw error;
    await server.listen({ port, host: '0.0.0.0' });
  }
  const address = server.server.address();
  const bound = typeof address === 'object' && address !== null ? address.port : port;
  const shown = host === '::' || host === '0.0.0.0' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  return { url: `http://${shown}:${bound}`, close: () => server.close() };
}
