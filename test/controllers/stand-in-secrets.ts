/** Stands in for kubelet's volumes of Secrets: files that are there before a pod starts, and change with their Secrets. */
import { mkdirSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { KubeClient } from '../../src/kube/contract.ts';
import { type Pod, type Secret, secrets } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import { createReflector } from '../../src/kube/reflector.ts';
import { createLog } from '../../src/log.ts';

interface Volume {
  readonly name: string;
  readonly projected?: { readonly sources: readonly { readonly secret?: Source }[] };
}

interface Source {
  readonly name: string;
  readonly items: readonly { readonly key: string; readonly path: string }[];
}

export interface SecretVolumes {
  /** Resolves once all files are there: a pod waits for its Secrets. */
  provide(pod: Live<Pod>): Promise<void>;
  /** Where the files of a volume of this pod are; undefined where it is none of Secrets. */
  folderOf(pod: Live<Pod>, volume: string): string | undefined;
  forget(uid: string): void;
  /** Follows the Secrets of the namespace until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const sourcesOf = ({ projected }: Volume): Source[] => projected?.sources.flatMap(({ secret }) => secret ?? []) ?? [];
const volumesOf = (pod: Live<Pod>): Volume[] =>
  ((pod.spec as { volumes?: Volume[] }).volumes ?? []).filter((volume) => sourcesOf(volume).length > 0);

export function secretVolumes(client: KubeClient, namespace: string, folder: string): SecretVolumes {
  const pods = new Map<string, Live<Pod>>();
  let stopped = false;
  const at = (pod: Live<Pod>, volume: string): string => join(folder, `secrets-${pod.metadata.uid}-${volume}`);

  /** False while something is missing. All files change in one go, as kubelet does it. */
  const project = async (pod: Live<Pod>, volume: Volume): Promise<boolean> => {
    const next = mkdtempSync(join(folder, 'projected-'));
    for (const { name, items } of sourcesOf(volume)) {
      const secret = await client.find(secrets, { namespace, name });
      for (const { key, path } of items) {
        const value = secret?.data?.[key];
        if (value === undefined) return false;
        mkdirSync(join(next, dirname(path)), { recursive: true });
        writeFileSync(join(next, path), Buffer.from(value, 'base64'));
      }
    }
    const link = `${next}.link`;
    symlinkSync(next, link);
    renameSync(link, at(pod, volume.name));
    return true;
  };

  const changed = async ({ metadata }: Live<Secret>): Promise<void> => {
    for (const pod of pods.values())
      for (const volume of volumesOf(pod))
        if (sourcesOf(volume).some(({ name }) => name === metadata.name)) await project(pod, volume);
  };

  return {
    async provide(pod) {
      for (const volume of volumesOf(pod))
        while (!stopped && !(await project(pod, volume))) await new Promise((done) => setTimeout(done, 100));
      pods.set(pod.metadata.uid, pod);
    },
    folderOf: (pod, name) => (volumesOf(pod).some((volume) => volume.name === name) ? at(pod, name) : undefined),
    forget: (uid) => void pods.delete(uid),
    async run(signal) {
      let last: Promise<unknown> = Promise.resolve();
      const follow = (secret: Live<Secret>): void => {
        last = last.then(() => changed(secret)).catch(() => {});
      };
      const log = createLog({ level: 'error' });
      const sink = { replace: (all: readonly Live<Secret>[]) => all.forEach(follow), upsert: follow, remove: () => {} };
      await createReflector<Secret>({ client, type: secrets, selection: { namespace }, log, sink }).run(signal);
      stopped = true;
      await last;
    },
  };
}
