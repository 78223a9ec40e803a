/** The Secrets of a cluster's certificates, and how pods get at them. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { Secret } from '../../kube/kinds.ts';
import { type Live, ownedBy } from '../../kube/objects.ts';
import { objectLabels } from '../labels.ts';
import { type AuthorityState, encode, writeAuthority } from './authority.ts';
import type { Role } from './inspect.ts';
import { secretNames, secretsOf } from './names.ts';
import type { Pair } from './x509.ts';

type Json = Readonly<Record<string, unknown>>;

function secret(
  cluster: Live<RaftCluster>,
  name: string,
  type: string,
  data: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>> = {},
): Secret & Json {
  const { metadata } = cluster;
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name,
      namespace: metadata.namespace ?? 'default',
      labels: objectLabels(metadata.name, 'member'),
      annotations,
      ownerReferences: [ownedBy(cluster)],
    },
    type,
    data,
  };
}

export function authoritySecret(cluster: Live<RaftCluster>, state: AuthorityState): Secret & Json {
  const { data, annotations } = writeAuthority(state);
  return secret(cluster, secretNames.authority(cluster.metadata.name), 'Opaque', data, annotations);
}

export function leafSecret(cluster: Live<RaftCluster>, role: Role, pair: Pair, bundle: string): Secret & Json {
  return secret(cluster, secretNames[role](cluster.metadata.name), 'kubernetes.io/tls', {
    'tls.crt': encode(pair.certificate),
    'tls.key': encode(pair.key),
    'ca.crt': encode(bundle),
  });
}

/** Where pods find certificates: a folder with tls.crt, tls.key and ca.crt for each role. */
export const CERTIFICATES = '/etc/raftsman/tls';
export const certificatesAt = (role: Role) => `${CERTIFICATES}/${role}`;

const VOLUME = 'certificates';

/**
 * One volume for all roles of a pod, so that kubelet changes their files in one go: a member that shows what it has in the
 * one has it in the others.
 */
export function certificatesVolume(cluster: RaftCluster, roles: readonly Role[]): Json {
  const names = secretsOf(cluster);
  const items = ['tls.crt', 'tls.key', 'ca.crt'];
  return {
    name: VOLUME,
    projected: {
      // Readable by the pod's own group alone.
      defaultMode: 0o440,
      sources: roles.map((role) => ({
        secret: { name: names[role], items: items.map((key) => ({ key, path: `${role}/${key}` })) },
      })),
    },
  };
}

export const certificatesMount: Json = { name: VOLUME, mountPath: CERTIFICATES, readOnly: true };
