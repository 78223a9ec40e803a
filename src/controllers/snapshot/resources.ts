/** The Jobs of a RaftSnapshot. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStoreSpec } from '../../api/store.ts';
import type { Manifest, OwnerReference } from '../../kube/objects.ts';
import { jobManifest } from '../job.ts';
import { SNAPSHOT } from '../labels.ts';
import { memberEndpoints, schemeOf } from '../names.ts';
import type { PodSettings } from '../restricted.ts';

export interface SnapshotJobInput {
  readonly name: string;
  readonly snapshot: RaftSnapshot;
  readonly owner: OwnerReference;
  /** Needed to save, not to delete. */
  readonly cluster?: RaftCluster;
  readonly store: RaftSnapshotStoreSpec;
  readonly key: string;
  readonly settings: PodSettings;
}

export function saveJob(input: SnapshotJobInput): Manifest {
  const { snapshot, cluster, key } = input;
  const { clusterName } = snapshot.spec;
  // Those that there are, which are not those that spec asks for while members come and go.
  const replicas = cluster?.status?.size ?? cluster?.spec.replicas ?? 1;
  const scheme = cluster ? schemeOf(cluster) : 'http';
  const endpoints = memberEndpoints(clusterName, snapshot.metadata.namespace ?? 'default', replicas, scheme);
  return job(input, 'save', [
    `--endpoints=${endpoints.join(',')}`,
    `--engine=${cluster?.spec.engine.type ?? 'Embedded'}`,
    `--cluster=${clusterName}`,
    `--key=${key}`,
  ]);
}

export function deleteJob(input: SnapshotJobInput): Manifest {
  return job(input, 'delete', [`--key=${input.key}`]);
}

function job(
  { name, snapshot, owner, cluster, store, settings }: SnapshotJobInput,
  verb: 'save' | 'delete',
  args: readonly string[],
): Manifest {
  return jobManifest({
    name,
    namespace: snapshot.metadata.namespace ?? 'default',
    owner,
    cluster: snapshot.spec.clusterName,
    component: 'snapshot',
    labels: { [SNAPSHOT]: snapshot.metadata.name },
    verb,
    args,
    store,
    ...(verb === 'save' && cluster ? { speaksWith: cluster } : {}),
    settings,
  });
}
