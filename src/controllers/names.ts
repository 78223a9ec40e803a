/**
 * The names of everything that is made for a resource. They are a function of the resource alone, so that a retry, a
 * restarted operator or a second leader arrives at the same object and never at a duplicate.
 */
import { createHash } from 'node:crypto';

/** Pods copy a Job's or StatefulSet's name into a label value, which Kubernetes limits to 63 characters. */
const LABEL_LIMIT = 63;

export function shortHash(text: string, length = 10): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length);
}

/** `base-suffix`, cut to `limit` characters with a hash of the whole in place of what was cut. */
export function childName(base: string, suffix: string, limit = LABEL_LIMIT): string {
  const plain = `${base}-${suffix}`;
  if (plain.length <= limit && !base.includes('.')) return plain;
  const hash = shortHash(base);
  const room = limit - suffix.length - hash.length - 2;
  const head = base
    .replaceAll('.', '-')
    .slice(0, room)
    .replace(/[^a-z0-9]+$/, '');
  return `${head}-${hash}-${suffix}`;
}

/** A label value for a resource's name: names may have 253 characters, label values only 63. */
export function labelValue(name: string): string {
  if (name.length <= LABEL_LIMIT) return name;
  const hash = shortHash(name);
  return `${name.slice(0, LABEL_LIMIT - hash.length - 1).replace(/[^A-Za-z0-9]+$/, '')}-${hash}`;
}

export interface ClusterNames {
  readonly statefulSet: string;
  /** Headless: gives each member its DNS name, ready or not. */
  readonly peers: string;
  readonly client: string;
  readonly disruptionBudget: string;
  readonly config: string;
}

export function clusterNames(cluster: string): ClusterNames {
  return {
    statefulSet: cluster,
    peers: `${cluster}-peers`,
    client: `${cluster}-client`,
    disruptionBudget: cluster,
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

export function memberEndpoints(cluster: string, namespace: string, replicas: number): string[] {
  return memberNames(cluster, replicas).map(
    (member) => `http://${memberHost(cluster, namespace, member)}:${PORTS.client}`,
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
 * The name of a policy's snapshot of one scheduled minute. Derived from that minute alone: whoever creates it twice
 * gets AlreadyExists the second time.
 */
export function scheduledName(policy: string, scheduled: Date): string {
  const stamp = scheduled.toISOString().slice(0, 16).replace(/[-:]/g, '').replace('T', '-');
  return childName(policy, stamp);
}
