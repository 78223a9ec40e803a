/** Disks that grow: one after another, where their StorageClass lets volumes grow, while members go on. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import { quantity } from '../../kube/quantity.ts';
import { DISK, ordinalOf } from '../names.ts';
import type { Held, Matter } from './step.ts';

export interface DisksInput {
  readonly cluster: Live<RaftCluster>;
  readonly disks: readonly Live<PersistentVolumeClaim>[];
  /** How many ordinals have members: what removed ones left grows when it is taken again. */
  readonly size: number;
  readonly statefulSet?: Live<StatefulSet>;
  /** Whether a StatefulSet that is made anew would be as this one is: not while it keeps what spec no longer says. */
  readonly renewable: boolean;
  /** Whether volumes of a StorageClass may grow. One that could not be read is absent: the API server knows better. */
  readonly mayGrow: ReadonlyMap<string, boolean>;
}

/** Nothing tells of a StorageClass that was changed. */
const RECHECK_MS = 30_000;

/** What disks of later members are made from. It cannot change while the StatefulSet lives. */
export function templateSize(statefulSet: Live<StatefulSet> | undefined): string | undefined {
  const [template] = (statefulSet?.spec['volumeClaimTemplates'] ?? []) as readonly Pick<
    PersistentVolumeClaim,
    'spec'
  >[];
  return template && requestOf(template);
}

/** StorageClasses of the disks that are smaller than the spec says, for a look whether they may grow. */
export function classesToGrow(input: Disks): string[] {
  return [...new Set(behind(input).flatMap(({ spec }) => spec.storageClassName ?? []))];
}

export function planDisks(input: DisksInput): Matter {
  const { cluster, statefulSet, mayGrow } = input;
  const size = String(cluster.spec.storage.size);
  const wanted = quantity(size) ?? 0;
  const mounted = cluster.spec.replicas > 0;
  const growing = own(input).find(
    (disk) =>
      (quantity(requestOf(disk)) ?? 0) >= wanted &&
      (quantity(capacityOf(disk)) ?? wanted) < wanted &&
      // Without a pod it can get no further: its file system grows when it is mounted.
      (mounted || !disk.status?.conditions?.some(({ type }) => type === 'FileSystemResizePending')),
  );
  if (growing) return { operation: { type: 'GrowDisk', ...underway(growing, size) } };
  const waiting = behind(input);
  const held = waiting.map((disk) => obstacle(disk, mayGrow, size)).find((found) => found !== undefined);
  if (held) return { held, recheckMs: RECHECK_MS };
  const [next] = waiting;
  if (next) {
    const { name, uid, resourceVersion } = next.metadata;
    const step = { kind: 'growDisk', disk: name, uid, resourceVersion, size } as const;
    return { step, operation: { type: 'GrowDisk', ...underway(next, size) } };
  }
  const template = templateSize(statefulSet);
  const renews = input.renewable && statefulSet !== undefined && (quantity(template) ?? wanted) < wanted;
  if (!renews) return {};
  const { uid, deletionTimestamp } = statefulSet.metadata;
  const message = `later members get disks of ${size}: the StatefulSet is made anew, its pods stay`;
  return {
    operation: { type: 'GrowDisk', message },
    ...(deletionTimestamp === undefined ? { step: { kind: 'renewStatefulSet', uid } } : {}),
  };
}

type Disks = Pick<DisksInput, 'cluster' | 'disks' | 'size'>;

/** The disks of the members, by ordinal. */
function own({ cluster: { metadata }, disks, size }: Disks) {
  return disks
    .map((disk) => ({ disk, ordinal: ordinalOf(metadata.name, disk.metadata.name, `${DISK}-`) }))
    .filter(({ disk, ordinal }) => (ordinal ?? size) < size && disk.metadata.deletionTimestamp === undefined)
    .sort((a, b) => a.ordinal! - b.ordinal!)
    .map(({ disk }) => disk);
}

function behind(input: Disks) {
  const wanted = quantity(input.cluster.spec.storage.size) ?? 0;
  return own(input).filter((disk) => (quantity(requestOf(disk)) ?? wanted) < wanted);
}

function obstacle(
  { metadata, spec }: Live<PersistentVolumeClaim>,
  mayGrow: ReadonlyMap<string, boolean>,
  size: string,
): Held | undefined {
  const type = spec.storageClassName;
  if (type && mayGrow.get(type) !== false) return undefined;
  const why = type
    ? `StorageClass ${type} does not let volumes grow (allowVolumeExpansion)`
    : `${metadata.name} has no StorageClass that could let it grow`;
  return {
    reason: 'DiskCannotGrow',
    message: `spec.storage.size is ${size}, and ${why}: nothing was tried. Allow it in the class if its driver can, or restore a snapshot into a new cluster of the size wanted`,
  };
}

/** What kubelet and the driver say of a disk that grows. */
function underway(disk: Live<PersistentVolumeClaim>, size: string) {
  const { name } = disk.metadata;
  const said = disk.status?.conditions?.find(({ status, message }) => status === 'True' && message);
  const infeasible = Object.values(disk.status?.allocatedResourceStatuses ?? {}).find((state) =>
    state.endsWith('Infeasible'),
  );
  const detail = [...(infeasible ? [infeasible] : []), ...(said ? [`${said.type}: ${said.message}`] : [])];
  return {
    member: name.slice(`${DISK}-`.length),
    message: `${name} grows to ${size}${detail.length === 0 ? '' : ` (${detail.join('; ')})`}`.slice(0, 1024),
  };
}

function requestOf({ spec }: Pick<PersistentVolumeClaim, 'spec'>): string | undefined {
  return spec.resources?.requests?.['storage'];
}

function capacityOf({ status }: PersistentVolumeClaim): string | undefined {
  return status?.capacity?.['storage'];
}
