/** The RaftSnapshot of one scheduled time. */
import { timestamp } from '../../api/conditions.ts';
import { apiVersion } from '../../api/meta.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { Manifest } from '../../kube/objects.ts';
import { CLUSTER, MANAGED_BY, POLICY, SCHEDULED_AT } from '../labels.ts';

/** Without an owner: whoever deletes a policy does not mean to delete the backups. */
export function scheduledSnapshot(policy: RaftSnapshotPolicy, name: string, scheduled: Date): Manifest {
  const { metadata, spec } = policy;
  return {
    apiVersion,
    kind: 'RaftSnapshot',
    metadata: {
      name,
      namespace: metadata.namespace ?? 'default',
      labels: { [MANAGED_BY]: 'raftsman', [POLICY]: metadata.name, [CLUSTER]: spec.clusterName },
      annotations: { [SCHEDULED_AT]: timestamp(scheduled) },
    },
    spec: { clusterName: spec.clusterName, storeName: spec.storeName, deletionPolicy: spec.deletionPolicy },
  };
}
