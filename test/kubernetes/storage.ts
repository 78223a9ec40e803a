import type { Manifest } from './api.ts';

/**
 * The default StorageClass. kube-controller-manager itself serves this provisioner: a folder per volume in the cluster's
 * own /tmp/hostpath_pv, made within milliseconds of the claim, writable by every user (the controller manager runs with
 * umask 0, as fsGroup does not apply to hostPath), and removed with its data when the claim is deleted.
 */
export const storageClass: Manifest = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name: 'standard', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
  provisioner: 'kubernetes.io/host-path',
  reclaimPolicy: 'Delete',
  volumeBindingMode: 'Immediate',
};
