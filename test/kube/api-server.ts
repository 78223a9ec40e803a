import { randomBytes } from 'node:crypto';
import { createClient } from '../../src/kube/client.ts';
import { type Connection, connect } from '../../src/kube/connection.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { namespaces } from '../../src/kube/kinds.ts';

export interface ApiServer {
  readonly kubeconfig: string;
  readonly connection: Connection;
  readonly client: KubeClient;
  /** A namespace of this run's own, so that runs beside one another do not meet. */
  namespace(name: string): Promise<string>;
  stop(): Promise<void>;
}

/**
 * A real API server for one test file: the one of `RAFTSMAN_TEST_KUBECONFIG` when that is set (quick while developing),
 * otherwise a control plane of its own.
 */
export async function apiServer(name: string): Promise<ApiServer> {
  const given = process.env['RAFTSMAN_TEST_KUBECONFIG'];
  const plane = given === undefined ? await start(name) : { kubeconfig: given, stop: async () => {} };
  const connection = await connect({ kubeconfig: plane.kubeconfig });
  const client = createClient(connection);
  const run = randomBytes(3).toString('hex');
  const made: string[] = [];
  return {
    kubeconfig: plane.kubeconfig,
    connection,
    client,
    async namespace(wanted) {
      const full = `${wanted}-${run}`;
      await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: full } });
      made.push(full);
      return full;
    },
    async stop() {
      for (const one of made) await client.delete(namespaces, { name: one }).catch(() => false);
      client.close();
      await plane.stop();
    },
  };
}

async function start(name: string): Promise<{ kubeconfig: string; stop(): Promise<void> }> {
  const { startControlPlane } = await import('../kubernetes/control-plane.ts');
  return await startControlPlane(name);
}
