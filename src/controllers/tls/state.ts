/** What is known of the certificates of every cluster, for all who speak with members. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { Observation } from '../../api/conditions.ts';
import type { Endpoint } from '../../engines/engine.ts';
import type { Pod } from '../../kube/kinds.ts';
import { type Key, keyOf, type Live } from '../../kube/objects.ts';
import { same } from '../manifests.ts';
import { memberHost, memberUrl } from '../names.ts';

/** By which the operator and members accept each other, PEM. */
export interface Credentials {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface CertificatesReport extends Omit<Observation, 'type' | 'observedGeneration'> {
  /** When the first of them ends. RFC 3339. */
  readonly expires?: string;
}

export type TlsState =
  /** Plain text. */
  | { readonly kind: 'off' }
  | {
      readonly kind: 'on';
      /** Absent: no member can be asked. */
      readonly credentials?: Credentials;
      /** A hash of the CAs that members trust. Absent: nobody knows, and no member may be made or changed. */
      readonly trust?: string;
      readonly report: CertificatesReport;
    };

export class Certificates {
  readonly #states = new Map<Key, { readonly uid: string; readonly state: TlsState }>();

  /** Undefined until it is known. */
  of(cluster: Live<RaftCluster>): TlsState | undefined {
    if (cluster.spec.tls.mode === 'Disabled') return { kind: 'off' };
    const known = this.#states.get(keyOf(cluster));
    return known?.uid === cluster.metadata.uid ? known.state : undefined;
  }

  /** True when it says something new. */
  set(cluster: Live<RaftCluster>, state: TlsState): boolean {
    const before = this.of(cluster);
    this.#states.set(keyOf(cluster), { uid: cluster.metadata.uid, state });
    return !same(before, state);
  }

  forget(key: Key): void {
    this.#states.delete(key);
  }

  /** Where the operator reaches a member, which has to prove its name. Undefined while it has no address, or goes. */
  endpoint(cluster: Live<RaftCluster>, pod: Live<Pod>): Endpoint | undefined {
    // A member serves before kubelet has told that its container runs.
    const ended = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
    if (ended || pod.metadata.deletionTimestamp !== undefined) return undefined;
    const state = this.of(cluster);
    if (state?.kind === 'off') return endpointOf(cluster, pod);
    return state?.credentials && endpointOf(cluster, pod, state.credentials);
  }
}

export function endpointOf(cluster: RaftCluster, pod: Live<Pod>, credentials?: Credentials): Endpoint | undefined {
  const ip = pod.status?.podIP;
  if (!ip) return undefined;
  if (!credentials) return { url: memberUrl(ip) };
  const { name, namespace = 'default' } = cluster.metadata;
  const bytes = (text: string) => new TextEncoder().encode(text);
  return {
    url: memberUrl(ip, 'https'),
    tls: {
      ca: bytes(credentials.ca),
      cert: bytes(credentials.cert),
      key: bytes(credentials.key),
      serverName: memberHost(name, namespace, pod.metadata.name),
    },
  };
}
