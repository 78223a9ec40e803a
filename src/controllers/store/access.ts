/** How a pod reaches a RaftSnapshotStore: its description and credentials in the environment, a volume as a mount. */
import type { RaftSnapshotStoreSpec } from '../../api/store.ts';
import type { StoreSpec } from '../../stores/store.ts';

/** Where a `volume` store is mounted. */
export const STORE_MOUNT = '/store';
const VOLUME = 'store';

type Json = Readonly<Record<string, unknown>>;

/** The spec without its credentials: what a store is opened with, and what a pod is told. */
export function plainSpec(spec: RaftSnapshotStoreSpec): StoreSpec {
  if (spec.volume) return { volume: spec.volume };
  const { credentialsSecret: _, ...s3 } = spec.s3;
  return { s3 };
}

/**
 * The environment that `raftsman job` reads its store from. With `optionalSecret` a pod starts without the Secret: a
 * member that has its data must not depend on a Secret that only its first start needed.
 */
export function storeEnvironment(spec: RaftSnapshotStoreSpec, optionalSecret = false): Json[] {
  const environment: Json[] = [{ name: 'RAFTSMAN_STORE', value: JSON.stringify(plainSpec(spec)) }];
  const secret = spec.s3?.credentialsSecret;
  if (!secret) return environment;
  const fromSecret = (name: string, key: string): Json => ({
    name,
    valueFrom: { secretKeyRef: { name: secret.name, key, ...(optionalSecret ? { optional: true } : {}) } },
  });
  environment.push(
    fromSecret('AWS_ACCESS_KEY_ID', secret.accessKeyIdKey),
    fromSecret('AWS_SECRET_ACCESS_KEY', secret.secretAccessKeyKey),
  );
  if (secret.sessionTokenKey !== undefined) environment.push(fromSecret('AWS_SESSION_TOKEN', secret.sessionTokenKey));
  return environment;
}

export function storeMounts(spec: RaftSnapshotStoreSpec, readOnly: boolean): Json[] {
  return spec.volume ? [{ name: VOLUME, mountPath: STORE_MOUNT, ...(readOnly ? { readOnly } : {}) }] : [];
}

export function storeVolumes(spec: RaftSnapshotStoreSpec): Json[] {
  return spec.volume ? [{ name: VOLUME, persistentVolumeClaim: { claimName: spec.volume.claimName } }] : [];
}
