/** Whose data the disks of a RaftCluster hold, and whether everything of its name is ours to manage. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../../kube/kinds.ts';
import { controllerOf, type KubeObject, type Live } from '../../kube/objects.ts';
import { FORMED, TOKEN } from '../labels.ts';
import { DISK, ordinalOf } from '../names.ts';
import type { ClusterObserved } from './plan.ts';
import type { Blocked } from './status.ts';

type OriginInput = Pick<ClusterObserved, 'cluster' | 'children' | 'disks' | 'foreignDisks'>;

export interface Origin {
  readonly token: string;
  readonly formed: boolean;
  readonly blocked?: Blocked;
}

/** Whose data the disks hold, and whether everything of this name is ours to manage. */
export function originOf(input: OriginInput): Origin {
  const { cluster, children, disks } = input;
  const { metadata, status } = cluster;
  const fresh = `${metadata.namespace ?? 'default'}-${metadata.name}-${metadata.uid}`;
  const kept = disks.filter((disk) => isDisk(cluster, disk.metadata.name));
  const tokenOf = (object: KubeObject) => object.metadata.annotations?.[TOKEN];
  const tokens = [...new Set(kept.flatMap((disk) => tokenOf(disk) ?? []))];
  const config = children.config && isOurs(cluster, children.config) ? children.config : undefined;
  const born = children.statefulSet && isOurs(cluster, children.statefulSet) && diskToken(children.statefulSet);
  const token = born || (tokens[0] ?? (config && tokenOf(config)) ?? fresh);
  const blocked = inTheWay(input, { kept, tokens, usesOld: token !== fresh });
  const formed =
    status?.formed === true ||
    config?.data?.['initial-cluster-state'] === 'existing' ||
    // Disks that this cluster does not start from say nothing of it.
    (blocked === undefined && kept.some((disk) => disk.metadata.annotations?.[FORMED] === token));
  return { token, formed, ...(blocked === undefined ? {} : { blocked }) };
}

/** What keeps a cluster from being made of what there is, or changed. */
function inTheWay(
  { cluster, children, foreignDisks = [] }: OriginInput,
  {
    kept,
    tokens,
    usesOld,
  }: { kept: readonly Live<PersistentVolumeClaim>[]; tokens: readonly string[]; usesOld: boolean },
): Blocked | undefined {
  const { statefulSet } = children;
  const foreign = Object.values(children).find((child) => child !== undefined && !isOurs(cluster, child));
  if (foreign) return foreignObject(cluster, foreign);
  const begins = statefulSet === undefined && !cluster.status?.formed;
  const going = begins ? kept.filter((disk) => isGoing(cluster, disk)) : [];
  if (going.length > 0) return disksGo(going);
  if (foreignDisks.length > 0 && statefulSet === undefined) return foreignDisk(foreignDisks);
  if (tokens.length > 1) return mixedDisks(kept);
  if (begins && usesOld && (cluster.spec.bootstrap || onlyAbove(cluster, kept))) return usedDisks(cluster, kept);
  return plainText(cluster, statefulSet);
}

/** The token in the StatefulSet's own disk template, which can never change. */
function diskToken({ spec }: Live<StatefulSet>): string | undefined {
  const templates = spec['volumeClaimTemplates'] as readonly { metadata?: { annotations?: Record<string, string> } }[];
  return templates?.[0]?.metadata?.annotations?.[TOKEN];
}

/** Members from before their cluster was to have certificates: replaced one by one they would be cut off from each other. */
function plainText({ spec }: Live<RaftCluster>, statefulSet: Live<StatefulSet> | undefined): Blocked | undefined {
  if (spec.tls.mode === 'Disabled') return undefined;
  const template = statefulSet?.spec['template'] as
    | { spec?: { containers?: readonly { args?: readonly string[] }[] } }
    | undefined;
  const plain = template?.spec?.containers?.some(({ args = [] }) =>
    args.some((arg) => arg.startsWith('--listen-client-urls=http:')),
  );
  if (!plain) return undefined;
  return {
    reason: 'PlainTextMembers',
    message: `spec.tls.mode is ${spec.tls.mode}, and the members were made without certificates: they are left as they are; restore a snapshot of theirs into a new cluster`,
  };
}

function isOurs(cluster: Live<RaftCluster>, child: KubeObject): boolean {
  return controllerOf(child)?.uid === cluster.metadata.uid;
}

function foreignObject(cluster: Live<RaftCluster>, foreign: Live<KubeObject>): Blocked {
  const owner = controllerOf(foreign);
  const what = `${foreign.kind} ${foreign.metadata.name}`;
  if (owner?.kind === 'RaftCluster' && owner.name === cluster.metadata.name)
    return {
      reason: 'WaitingForRemoval',
      message: `${what} of an earlier cluster of this name is still being removed: waiting until it is gone`,
    };
  return {
    reason: 'NameTaken',
    message: `${what} is in the way and belongs to ${owner ? `${owner.kind} ${owner.name}` : 'somebody else'}: delete it, or give this cluster another name`,
    recheck: true,
  };
}

/** It goes with an earlier cluster of the same name, or is about to. */
function isGoing({ metadata: { uid } }: Live<RaftCluster>, { metadata }: Live<PersistentVolumeClaim>): boolean {
  const owners = metadata.ownerReferences?.filter(({ kind }) => kind === 'RaftCluster') ?? [];
  return metadata.deletionTimestamp !== undefined || owners.some((owner) => owner.uid !== uid);
}

/** Started on them, members would lose them; taken for kept ones, they would make their empty successors lost members. */
function disksGo(disks: readonly Live<PersistentVolumeClaim>[]): Blocked {
  return {
    reason: 'WaitingForRemoval',
    message: `PersistentVolumeClaim ${disks.map(({ metadata }) => metadata.name).join(', ')} of an earlier cluster of this name is still being removed: waiting until it is gone`,
  };
}

/** A disk that members would take for theirs, although we have not made it. */
export function foreignDisk(names: readonly string[]): Blocked {
  return {
    reason: 'NameTaken',
    message: `PersistentVolumeClaim ${names.join(', ')} is in the way and belongs to somebody else: delete it, or give this cluster another name`,
    recheck: true,
  };
}

function mixedDisks(disks: readonly Live<PersistentVolumeClaim>[]): Blocked {
  const list = disks.map(({ metadata }) => `${metadata.name} (${metadata.annotations?.[TOKEN] ?? 'unknown'})`);
  return {
    reason: 'DisksDiffer',
    message: `the PersistentVolumeClaims hold data of different clusters: ${list.join(', ')}: delete those that do not belong here`,
  };
}

/** Left by members that an earlier cluster had removed, or had more of than this one: too few of them, at least, to start from. */
function onlyAbove({ metadata, spec }: Live<RaftCluster>, disks: readonly Live<PersistentVolumeClaim>[]): boolean {
  const ordinals = disks.map((disk) => ordinalOf(metadata.name, disk.metadata.name, `${DISK}-`) ?? 0);
  return spec.replicas > 0 && ordinals.length > 0 && ordinals.every((ordinal) => ordinal >= spec.replicas);
}

function usedDisks({ spec }: Live<RaftCluster>, disks: readonly Live<PersistentVolumeClaim>[]): Blocked {
  const why = spec.bootstrap ? 'spec.bootstrap.restore needs empty disks' : 'no member asked for has a disk with data';
  return {
    reason: 'DisksInUse',
    message: `${why}, and an earlier cluster has left ${disks.map(({ metadata }) => metadata.name).join(', ')}: delete these PersistentVolumeClaims if their data is not needed, or give this cluster another name`,
  };
}

export function isDisk({ metadata }: Live<RaftCluster>, name: string): boolean {
  return ordinalOf(metadata.name, name, `${DISK}-`) !== undefined;
}
