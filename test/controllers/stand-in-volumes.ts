/** The storage of the stand-in node: a volume for each claim, bound by Kubernetes' own controller before a pod starts. */
import { setTimeout as delay } from 'node:timers/promises';
import type { KubeClient } from '../../src/kube/contract.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../src/kube/kinds.ts';
import type { Live, Manifest, ResourceType } from '../../src/kube/objects.ts';

const persistentVolumes: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'PersistentVolume',
  plural: 'persistentvolumes',
  namespaced: false,
};

export interface StandInVolumes {
  /** Gives the claim's uid once it is bound; an empty one where there is no such claim. */
  bound(name: string): Promise<string>;
  stop(): Promise<void>;
}

export function standInVolumes(client: KubeClient, namespace: string, signal: AbortSignal): StandInVolumes {
  const made = new Set<string>();

  const provision = async ({ metadata, spec }: Live<PersistentVolumeClaim>): Promise<void> => {
    const name = `stand-in-${metadata.uid}`;
    if (made.has(name)) return;
    made.add(name);
    const { accessModes, storageClassName, resources } = spec as PersistentVolumeClaim['spec'] & {
      accessModes: readonly string[];
    };
    await client.create(persistentVolumes, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        accessModes,
        capacity: resources?.requests,
        claimRef: {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          namespace,
          name: metadata.name,
          uid: metadata.uid,
        },
        hostPath: { path: '/nobody/mounts/it' },
        persistentVolumeReclaimPolicy: 'Retain',
        ...(storageClassName === undefined ? {} : { storageClassName }),
      },
    } as Manifest as never);
  };

  return {
    async bound(name) {
      for (;;) {
        const claim = await client.find(persistentVolumeClaims, { namespace, name });
        if (claim?.status?.phase !== 'Pending' || signal.aborted) return claim?.metadata.uid ?? '';
        await provision(claim);
        await delay(20, undefined, { signal }).catch(() => {});
      }
    },
    async stop() {
      await Promise.all(
        [...made].map((name) =>
          client.delete(persistentVolumes, { name }).catch((error) => {
            if (!isNotFound(error)) throw error;
          }),
        ),
      );
    },
  };
}
