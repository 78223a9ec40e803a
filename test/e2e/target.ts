/** How to reach a cluster as its clients do: an address, and the certificates that its Secret for clients holds. */
import { secretNames } from '../../src/controllers/tls/names.ts';
import type { ClientTls } from '../../src/etcd/security.ts';
import type { Kubectl } from './kubectl.ts';

export interface Target {
  readonly url: string;
  readonly tls?: ClientTls;
}

/** The name in the members' certificates that is good for every address of the cluster. */
export const serverName = (cluster: string, namespace: string): string => `${cluster}-client.${namespace}.svc`;

/** What a Secret of certificates holds, for a client of that cluster. */
export function clientTls(
  data: Readonly<Record<string, string>>,
  cluster: string,
  namespace: string,
): ClientTls | undefined {
  const file = (name: string) => Buffer.from(data[name] ?? '', 'base64');
  if (!data['tls.crt'] || !data['ca.crt']) return undefined;
  return {
    ca: file('ca.crt'),
    cert: file('tls.crt'),
    key: file('tls.key'),
    serverName: serverName(cluster, namespace),
  };
}

/** Runs `work` with a cluster's client Service, forwarded to this machine. */
export async function onCluster<T>(
  kubectl: Kubectl,
  cluster: string,
  work: (target: Target) => Promise<T>,
): Promise<T> {
  const secret = await kubectl.get('secret', secretNames.client(cluster));
  const tls = secret?.data && clientTls(secret.data, cluster, kubectl.namespace);
  const forward = await kubectl.forward(`service/${cluster}-client`, 2379);
  try {
    return await work(tls ? { url: forward.url.replace('http:', 'https:'), tls } : { url: forward.url });
  } finally {
    forward.close();
  }
}
