/** What certificates are called, and what for. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import { clusterNames } from '../names.ts';
import type { Role } from './inspect.ts';
import type { Leaf } from './x509.ts';

/** The Secrets of a cluster that are ours, or cert-manager's. */
export const secretNames = {
  authority: (cluster: string) => `${cluster}-ca`,
  server: (cluster: string) => `${cluster}-server-tls`,
  peer: (cluster: string) => `${cluster}-peer-tls`,
  client: (cluster: string) => `${cluster}-client-tls`,
} as const;

/** The Secret of each role, whoever fills it. */
export function secretsOf({ metadata, spec }: RaftCluster): Readonly<Record<Role, string>> {
  const { name } = metadata;
  return (
    spec.tls.secrets ?? {
      server: secretNames.server(name),
      peer: secretNames.peer(name),
      client: secretNames.client(name),
    }
  );
}

/** One name for all members: who comes and goes needs no new certificate. */
export function memberHosts(cluster: string, namespace: string): string {
  return `*.${clusterNames(cluster).peers}.${namespace}.svc`;
}

/** Most clusters' own domain is this; where it is another, clients use the names that end with `.svc`. */
const DOMAIN = 'cluster.local';

export function leafOf(role: Role, cluster: string, namespace: string): Leaf {
  const members = memberHosts(cluster, namespace);
  const service = `${clusterNames(cluster).client}.${namespace}.svc`;
  switch (role) {
    case 'server':
      return {
        commonName: cluster,
        hosts: [
          members,
          `${members}.${DOMAIN}`,
          service,
          `${service}.${DOMAIN}`,
          `${clusterNames(cluster).client}.${namespace}`,
          clusterNames(cluster).client,
          'localhost',
        ],
        // etcd calls itself with this certificate for its HTTP gateway.
        usages: ['server', 'client'],
      };
    case 'peer':
      return { commonName: `${cluster}-peer`, hosts: [members], usages: ['server', 'client'] };
    case 'client':
      // Without a host: etcd would look one up for it.
      return { commonName: `${cluster}-client`, hosts: [], usages: ['client'] };
  }
}
