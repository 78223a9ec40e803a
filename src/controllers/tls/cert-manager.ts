/** The Certificates that cert-manager fills our Secrets by. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition } from '../../api/conditions.ts';
import type { Condition } from '../../kube/kinds.ts';
import type { KubeObject, Live, Manifest, ResourceType } from '../../kube/objects.ts';
import { ownedBy } from '../../kube/objects.ts';
import { objectLabels } from '../labels.ts';
import type { Role } from './inspect.ts';
import { leafOf, secretNames } from './names.ts';

interface Certificate extends KubeObject {
  readonly status?: { readonly conditions?: readonly Condition[] };
}

export const certificates: ResourceType<Certificate> = {
  group: 'cert-manager.io',
  version: 'v1',
  kind: 'Certificate',
  plural: 'certificates',
  namespaced: true,
};

const usageNames = { server: 'server auth', client: 'client auth' } as const;

export function certificateOf(role: Role, cluster: Live<RaftCluster>): Manifest {
  const { name, namespace = 'default' } = cluster.metadata;
  const { issuerRef, certificateDays, renewBeforeDays } = cluster.spec.tls.certManager!;
  const { commonName, hosts, usages } = leafOf(role, name, namespace);
  const labels = objectLabels(name, 'member');
  const secretName = secretNames[role](name);
  return {
    apiVersion: 'cert-manager.io/v1',
    kind: 'Certificate',
    metadata: { name: secretName, namespace, labels, ownerReferences: [ownedBy(cluster)] },
    spec: {
      secretName,
      // By these the operator finds the Secret again.
      secretTemplate: { labels },
      commonName,
      ...(hosts.length === 0 ? {} : { dnsNames: [...hosts] }),
      usages: ['digital signature', ...usages.map((usage) => usageNames[usage])],
      duration: `${certificateDays * 24}h0m0s`,
      renewBefore: `${renewBeforeDays * 24}h0m0s`,
      privateKey: { algorithm: 'ECDSA', size: 256, encoding: 'PKCS8', rotationPolicy: 'Always' },
      issuerRef: { ...issuerRef },
    },
  };
}

/** Why cert-manager has not filled the Secret yet, in its own words. */
export function whyNotIssued(certificate: Live<Certificate> | undefined, name: string): string {
  const said = findCondition(certificate?.status?.conditions, 'Ready')?.message;
  return `cert-manager has not issued Certificate ${name} yet${said ? `: ${said}` : ': is it running, and is there the issuer that spec.tls.certManager.issuerRef names?'}`;
}
