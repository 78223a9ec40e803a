/** The one lock of a cluster, `status.operation`, where another object than the cluster itself holds it. */
import type { RaftCluster } from '../api/cluster.ts';
import type { ScheduledRun } from '../api/scheduled.ts';
import { type KubeObject, keyOf, type Live } from '../kube/objects.ts';
import type { Views } from './world.ts';

/** How a holder is written down. */
export function holderName({ kind, metadata }: KubeObject): string {
  return `${kind}/${metadata.name}`;
}

/** Whether the holder is gone or has ended without letting go of the lock: it was deleted while no operator ran. */
export function holderEnded({ metadata, status }: Live<RaftCluster>, views: Views): boolean {
  const [kind = '', name = ''] = status?.operation?.holder?.split('/') ?? [];
  const key = keyOf({ namespace: metadata.namespace ?? '', name });
  const ended = (holder: ScheduledRun | undefined) =>
    holder === undefined || holder.status?.completionTime !== undefined;
  switch (kind) {
    case 'RaftCompaction':
      return ended(views.compactions.get(key));
    case 'RaftRestore':
      return ended(views.restores.get(key));
    case 'RaftSnapshot':
      return ended(views.snapshots.get(key));
    default:
      return false;
  }
}
