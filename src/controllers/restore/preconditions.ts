/** Which archive a restore is of, and whether its target is free. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition } from '../../api/conditions.ts';
import type { RaftRestore } from '../../api/restore.ts';
import type { Live } from '../../kube/objects.ts';
import { RESTORE_UID } from '../labels.ts';
import { diskNames } from '../names.ts';
import type { Archive, RestoreObserved } from './observed.ts';

export type Source =
  | { readonly kind: 'waits'; readonly reason: string; readonly message: string }
  | { readonly kind: 'rejected'; readonly message: string }
  | { readonly kind: 'archive'; readonly archive: Archive };

/** Which archive. Once it is in the status it stays, whatever becomes of the snapshot that told of it. */
export function sourceOf({ restore, snapshot }: RestoreObserved): Source {
  const known = restore.status?.archive;
  if (known?.storeName !== undefined && known.key !== undefined) return { kind: 'archive', archive: known };
  const { source } = restore.spec;
  if (source.archive) return { kind: 'archive', archive: source.archive };
  const name = source.snapshotName;
  if (!snapshot)
    return {
      kind: 'waits',
      reason: 'SnapshotNotFound',
      message: `spec.source.snapshotName: RaftSnapshot ${name} does not exist: create it, or name the archive in spec.source.archive of another RaftRestore`,
    };
  const { status, spec, metadata } = snapshot;
  if (metadata.deletionTimestamp !== undefined && spec.deletionPolicy === 'Delete')
    return { kind: 'rejected', message: `RaftSnapshot ${name} is being deleted, and its archive with it` };
  const complete = findCondition(status?.conditions, 'Complete');
  if (complete?.status !== 'True' && status?.completionTime !== undefined)
    return { kind: 'rejected', message: `RaftSnapshot ${name} holds no archive: ${complete?.message ?? 'it failed'}` };
  if (complete?.status !== 'True' || status?.key === undefined)
    return { kind: 'waits', reason: 'SnapshotNotComplete', message: `RaftSnapshot ${name} is not complete yet` };
  const { checksum } = status;
  return {
    kind: 'archive',
    archive: { storeName: spec.storeName, key: status.key, ...(checksum === undefined ? {} : { checksum }) },
  };
}

export interface Taken {
  readonly final: boolean;
  readonly reason: string;
  readonly message: string;
}

/** What is in the way of the cluster to be created. What is on its way out is waited for. */
export function takenTarget({ restore, target, disks }: RestoreObserved): Taken | undefined {
  const { name, spec } = restore.spec.target.newCluster;
  if (target && !isOfRestore(restore, target)) {
    if (target.metadata.deletionTimestamp !== undefined)
      return {
        final: false,
        reason: 'TargetTerminating',
        message: `waiting until the old RaftCluster ${name} is gone`,
      };
    return {
      final: true,
      reason: 'TargetExists',
      message: `spec.target.newCluster.name: RaftCluster ${name} exists: a restore never touches an existing cluster. Delete it, or name another; then create another RaftRestore`,
    };
  }
  const own = new Set(diskNames(name, spec.replicas));
  const left = target ? [] : disks.filter(({ metadata }) => own.has(metadata.name));
  if (left.length === 0) return undefined;
  const names = left.map(({ metadata }) => metadata.name).join(', ');
  return left.every(({ metadata }) => metadata.deletionTimestamp !== undefined)
    ? {
        final: false,
        reason: 'TargetTerminating',
        message: `waiting until the old PersistentVolumeClaims ${names} are gone`,
      }
    : {
        final: false,
        reason: 'TargetDisksLeft',
        message: `an earlier RaftCluster ${name} has left its disks: delete PersistentVolumeClaims ${names}, and the restore goes on; or delete this RaftRestore and name another cluster`,
      };
}

export function isOfRestore(restore: Live<RaftRestore>, cluster: RaftCluster): boolean {
  return cluster.metadata.annotations?.[RESTORE_UID] === restore.metadata.uid;
}
