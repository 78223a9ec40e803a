/** Where clients are listened to, secured as the flags say. */
import { type EtcdBackend, type EtcdServer, serveEtcd } from '../etcd/server.ts';
import type { Log } from '../log.ts';
import type { Certificates } from './certificates.ts';
import { NodeError } from './errors.ts';
import { OnceLog } from './once.ts';
import { secureServer } from './secure.ts';

export interface ClientCounters {
  refusedConnections: number;
}

export interface ClientOptions {
  readonly backend: EtcdBackend;
  readonly listenUrls: readonly string[];
  /** Needed for https URLs. */
  readonly certificates: Certificates | undefined;
  readonly counters: ClientCounters;
  readonly log: Log;
}

/** Rejects with NODE_LISTEN_FAILED. */
export async function serveClients(options: ClientOptions): Promise<EtcdServer> {
  const { backend, listenUrls, certificates, counters, log } = options;
  const complaints = new OnceLog(log);
  const onRefused = (address: string, reason: string): void => {
    counters.refusedConnections++;
    complaints.warn('refused a client', { address, reason });
  };
  try {
    return await serveEtcd({
      backend,
      listen: listenUrls,
      ...(certificates && {
        secureServer: (onConnection) => secureServer({ certificates, onConnection, onRefused, protocol: 'h2' }),
      }),
    });
  } catch (error) {
    const why = `cannot listen for clients on ${listenUrls.join(', ')}: ${(error as Error).message}`;
    throw new NodeError('NODE_LISTEN_FAILED', why, 1, error);
  }
}
