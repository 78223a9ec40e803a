/** Health, readiness, metrics and version over HTTP, in etcd's shapes. */
import Fastify, { type FastifyReply } from 'fastify';
import type { StoredSnapshotMeta } from '../storage/types.ts';
import { version } from '../version.ts';
import { NodeError } from './errors.ts';
import { etcdApiVersion } from './kv-backend.ts';
import type { NodeMetrics } from './metrics.ts';
import { hostAndPort } from './urls.ts';

export interface HealthSource {
  /** Names of the alarms that stand. */
  alarms(): readonly string[];
  hasLeader(): boolean;
  /** Rejects when a quorum does not answer. */
  linearize(): Promise<void>;
  /** Why clients should not be sent here; undefined when they should. */
  notReady(): string | undefined;
  /** Why this process should be restarted; undefined when it should not. */
  notAlive(): string | undefined;
}

/** HR-15: a person, or a script, wants a snapshot now. */
export type TakeSnapshot = () => Promise<StoredSnapshotMeta>;

export interface HttpServer {
  close(): Promise<void>;
}

export async function serveHttp(
  listenUrls: readonly string[],
  source: HealthSource,
  metrics: NodeMetrics,
  takeSnapshot: TakeSnapshot,
): Promise<HttpServer> {
  const servers: { close(): Promise<unknown> }[] = [];
  for (const url of listenUrls) {
    const app = Fastify({ logger: false, forceCloseConnections: true });
    app.get<{ Querystring: HealthQuery }>('/health', async ({ query }, reply) => {
      const reason = await ill(source, query);
      return reply.code(reason === '' ? 200 : 503).send({ health: reason === '' ? 'true' : 'false', reason });
    });
    app.get('/readyz', (_, reply) => plain(reply, 'readyz', source.notReady()));
    app.get('/livez', (_, reply) => plain(reply, 'livez', source.notAlive()));
    app.get('/version', () => ({
      etcdserver: etcdApiVersion,
      etcdcluster: etcdApiVersion,
      storage: etcdApiVersion,
      raftsman: version,
    }));
    app.get('/metrics', async (_, reply) =>
      reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
    );
    app.post('/snapshot', async (_, reply) => {
      try {
        const { id, index, term, size } = await takeSnapshot();
        return { id, index, term, sizeBytes: size };
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        return reply.code(statusOf(code)).send({ error: message, code });
      }
    });
    try {
      await app.listen(hostAndPort(url));
    } catch (error) {
      for (const server of servers) await server.close();
      throw new NodeError(
        'NODE_LISTEN_FAILED',
        `cannot listen for HTTP on ${url}: ${(error as Error).message}`,
        1,
        error,
      );
    }
    servers.push(app);
  }
  return { close: async () => void (await Promise.all(servers.map((server) => server.close()))) };
}

/** 409: not in the state that it is in now. 503: not by this process any more. */
function statusOf(code: string | undefined): number {
  switch (code) {
    case 'RAFT_SNAPSHOT_REFUSED':
      return 409;
    case 'SNAPSHOT_STOPPED':
      return 503;
    default:
      return 500;
  }
}

interface HealthQuery {
  readonly serializable?: string;
  /** Alarms to look over. */
  readonly exclude?: string | readonly string[];
}

/** As etcd: no alarm, a leader, and unless told otherwise a linearizable read. */
async function ill(source: HealthSource, { serializable, exclude = [] }: HealthQuery): Promise<string> {
  const alarm = source.alarms().find((name) => ![exclude].flat().includes(name));
  if (alarm !== undefined) return `ALARM ${alarm}`;
  if (!source.hasLeader()) return 'RAFT NO LEADER';
  if (serializable === 'true') return '';
  try {
    await source.linearize();
    return '';
  } catch (error) {
    return `QGET ERROR:${(error as Error).message}`;
  }
}

function plain(reply: FastifyReply, check: string, reason: string | undefined): FastifyReply {
  reply.type('text/plain; charset=utf-8');
  return reason === undefined ? reply.send('ok\n') : reply.code(503).send(`[-]${check} failed: ${reason}\n`);
}
