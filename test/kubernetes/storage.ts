import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest } from './api.ts';
import { NODE_NAME, pki } from './credentials.ts';
import { toolPath } from './go-build.ts';
import { cachedInside, inside } from './places.ts';
import { type Part, type Sandbox, startPart } from './sandbox.ts';

const PROVISIONER = 'local.raftsman.dev/folder';

/** The default StorageClass: a folder per volume, made at once for each claim, and removed with its data after it. */
export const storageClass: Manifest = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name: 'standard', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
  provisioner: PROVISIONER,
  reclaimPolicy: 'Delete',
  volumeBindingMode: 'Immediate',
};

export function startProvisioner(sandbox: Sandbox, folder: string): Part {
  mkdirSync(join(folder, 'volumes'), { recursive: true });
  return startPart(sandbox, folder, 'local-provisioner', [
    cachedInside(toolPath('local-provisioner')),
    `--name=${PROVISIONER}`,
    `--class=${storageClass.metadata.name}`,
    `--node=${NODE_NAME}`,
    `--folder=${inside.state}/volumes`,
    `--kubeconfig=${pki.kubeconfig('storage')}`,
  ]);
}
