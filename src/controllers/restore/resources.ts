/** What a RaftRestore creates: the Job that verifies, and then the cluster. */
import { apiVersion } from '../../api/meta.ts';
import type { RaftRestore, RaftRestoreStatus } from '../../api/restore.ts';
import type { RaftSnapshotStoreSpec } from '../../api/store.ts';
import type { Live, Manifest, OwnerReference } from '../../kube/objects.ts';
import { checksumOfHex, jobManifest } from '../job.ts';
import { RESTORE, RESTORE_REVISION, RESTORE_UID } from '../labels.ts';
import type { PodSettings } from '../restricted.ts';

export interface VerifyInput {
  readonly name: string;
  readonly restore: RaftRestore;
  readonly owner: OwnerReference;
  readonly store: RaftSnapshotStoreSpec;
  readonly key: string;
  /** SHA-256 in hex, where the source says what the archive must be. */
  readonly checksum?: string;
  readonly settings: PodSettings;
}

export function verifyJob({ name, restore, owner, store, key, checksum, settings }: VerifyInput): Manifest {
  const { newCluster } = restore.spec.target;
  return jobManifest({
    name,
    namespace: restore.metadata.namespace ?? 'default',
    owner,
    cluster: newCluster.name,
    component: 'restore',
    labels: { [RESTORE]: restore.metadata.name },
    verb: 'verify',
    args: [
      `--key=${key}`,
      `--engine=${newCluster.spec.engine.type}`,
      ...(checksum === undefined ? [] : [`--checksum=${checksumOfHex(checksum)}`]),
    ],
    store,
    settings,
  });
}

/**
 * The cluster of a verified archive. It has no owner: it outlives the record of how it came to be. The checksum holds it
 * to the very archive that was verified.
 */
export function restoredCluster(
  restore: Live<RaftRestore>,
  archive: NonNullable<RaftRestoreStatus['archive']>,
): Manifest {
  const { name, spec } = restore.spec.target.newCluster;
  const { storeName, key, checksum, revision } = archive;
  return {
    apiVersion,
    kind: 'RaftCluster',
    metadata: {
      name,
      namespace: restore.metadata.namespace ?? 'default',
      annotations: {
        [RESTORE]: restore.metadata.name,
        [RESTORE_UID]: restore.metadata.uid,
        ...(revision === undefined ? {} : { [RESTORE_REVISION]: String(revision) }),
      },
    },
    spec: {
      ...spec,
      bootstrap: { restore: { storeName, key, ...(checksum === undefined ? {} : { checksum }) } },
    },
  };
}
