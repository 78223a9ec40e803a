/**
 * Which disks go when their cluster is deleted: those that it owns. It is not left to the StatefulSet, which would take all
 * disks with it when somebody deletes the StatefulSet alone. Pure.
 */
import type { RaftCluster } from '../../api/cluster.ts';
import type { PersistentVolumeClaim } from '../../kube/kinds.ts';
import { type Live, type OwnerReference, ownedBy } from '../../kube/objects.ts';
import { TOKEN } from '../labels.ts';
import { isDisk } from './origin.ts';

export interface DiskOwners {
  readonly name: string;
  readonly uid: string;
  /** A list is written whole: not over what somebody else wrote meanwhile. */
  readonly resourceVersion: string;
  readonly ownerReferences: readonly OwnerReference[];
}

/** The disks of this very cluster whose owners are not what `spec.storage.retention.whenDeleted` asks for. */
export function diskOwners(
  cluster: Live<RaftCluster>,
  disks: readonly Live<PersistentVolumeClaim>[],
  token: string,
): DiskOwners[] {
  const goes = cluster.spec.storage.retention.whenDeleted === 'Delete';
  const { controller: _, blockOwnerDeletion: __, ...owner } = ownedBy(cluster);
  return disks
    .filter(({ metadata }) => isDisk(cluster, metadata.name) && metadata.deletionTimestamp === undefined)
    .filter(({ metadata }) => metadata.annotations?.[TOKEN] === token)
    .flatMap(({ metadata: { name, uid, resourceVersion, ownerReferences = [] } }) => {
      const others = ownerReferences.filter((one) => one.uid !== owner.uid);
      if (goes === others.length < ownerReferences.length) return [];
      return { name, uid, resourceVersion, ownerReferences: goes ? [...others, owner] : others };
    });
}
