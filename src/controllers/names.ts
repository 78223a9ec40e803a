/**
 * The names of everything that is made for a resource. They are a function of the resource alone, so that a retry, a
 * restarted operator or a second leader arrives at the same object and never at a duplicate.
 */

export interface ClusterNames {
  readonly statefulSet: string;
  /** Headless: gives each member its DNS name, ready or not. */
  readonly peers: string;
  readonly client: string;
  readonly disruptionBudget: string;
  readonly networkPolicy: string;
  readonly config: string;
}

export function clusterNames(cluster: string): ClusterNames {
  return {
    statefulSet: cluster,
    peers: `${cluster}-peers`,
    client: `${cluster}-client`,
    disruptionBudget: cluster,
    networkPolicy: cluster,
    config: `${cluster}-config`,
  };
}

/** The volume claim template's name: disks are called `data-<cluster>-<ordinal>`. */
export const DISK = 'data';

export const PORTS = { client: 2379, peer: 2380, metrics: 2381, progress: 8082 } as const;

export function memberNames(cluster: string, replicas: number): string[] {
  return Array.from({ length: replicas }, (_, ordinal) => `${cluster}-${ordinal}`);
}

export function diskNames(cluster: string, replicas: number): string[] {
  return memberNames(cluster, replicas).map((member) => `${DISK}-${member}`);
}

/** The ordinal in a member's or disk's name, or undefined when the name is not one of `cluster`'s. */
export function ordinalOf(cluster: string, name: string, prefix = ''): number | undefined {
  const head = `${prefix}${cluster}-`;
  if (!name.startsWith(head)) return undefined;
  const digits = name.slice(head.length);
  return /^(0|[1-9]\d{0,3})$/.test(digits) ? Number(digits) : undefined;
}

/**
 * A member's stable address. `.svc` resolves through the pod's search path, so the cluster's DNS domain need not be
 * known.
 */
export function memberHost(cluster: string, namespace: string, member: string): string {
  return `${member}.${clusterNames(cluster).peers}.${namespace}.svc`;
}

/** The member whose peer address this is: known before it has published its name. */
export function memberOfUrl(cluster: string, peerUrls: readonly string[]): string | undefined {
  for (const url of peerUrls) {
    const host = URL.canParse(url) ? (new URL(url).hostname.split('.')[0] ?? '') : '';
    if (ordinalOf(cluster, host) !== undefined) return host;
  }
  return undefined;
}

export type Scheme = 'http' | 'https';

/** The scheme of a cluster's client and peer addresses. Metrics and probes are plain http. */
export function schemeOf({ spec }: { readonly spec: { readonly tls: { readonly mode: string } } }): Scheme {
  return spec.tls.mode === 'Disabled' ? 'http' : 'https';
}

export function memberEndpoints(cluster: string, namespace: string, replicas: number, scheme: Scheme): string[] {
  return memberNames(cluster, replicas).map(
    (member) => `${scheme}://${memberHost(cluster, namespace, member)}:${PORTS.client}`,
  );
}

/**
 * Where a snapshot's archive lies in its store. The object's uid is in it, so that a snapshot never writes over an
 * archive that another one wrote, even after it was deleted and made again under the same name.
 */
export function archiveKey(snapshot: { namespace: string; cluster: string; name: string; uid: string }): string {
  return `${snapshot.namespace}/${snapshot.cluster}/${snapshot.name}-${snapshot.uid.slice(0, 8)}.snap`;
}

/**
 * The names of the Jobs of a snapshot or restore. The API bounds the names of these to 52 characters, so that a Job's
 * fits into the label that its pods bear.
 */
export const jobNames = {
  save: (snapshot: string) => `${snapshot}-save`,
  /** A Job whose result was lost is run once more, under a name of its own. */
  saveAgain: (snapshot: string) => `${snapshot}-save-2`,
  remove: (snapshot: string) => `${snapshot}-delete`,
  verify: (restore: string) => `${restore}-verify`,
  verifyAgain: (restore: string) => `${restore}-verify-2`,
} as const;

/** Where the operator reaches a member: its pod's own address, so that no Service stands between. */
export function memberUrl(podIP: string, scheme: Scheme = 'http'): string {
  return `${scheme}://${podIP.includes(':') ? `[${podIP}]` : podIP}:${PORTS.client}`;
}
