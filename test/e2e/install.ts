/** The operator from its chart, as a user installs it. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Kubectl } from './kubectl.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

export const systemNamespace = 'raftsman-system';

export interface Release {
  readonly helm: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly kubectl: Kubectl;
}

export interface Installation extends Release {
  /** `name:tag` */
  readonly image: string;
  /** More of `--set`. */
  readonly values?: readonly string[];
}

function helm({ helm, kubeconfig, context }: Release, args: readonly string[]): Promise<{ stdout: string }> {
  return run(
    helm,
    [...(context === undefined ? [] : ['--kube-context', context]), '--namespace', systemNamespace, ...args],
    {
      env: { ...process.env, ...(kubeconfig === undefined ? {} : { KUBECONFIG: kubeconfig }) },
      maxBuffer: 1 << 24,
    },
  );
}

/** Installs or upgrades, and waits until the operator is ready. */
export async function install(installation: Installation): Promise<void> {
  await upgrade(installation);
  await operatorReady(installation.kubectl);
}

/** Installs or upgrades, and waits until the API server serves the CRDs. Returns the chart's NOTES. */
export async function upgrade(installation: Installation): Promise<string> {
  const { kubectl, image, values = [] } = installation;
  const colon = image.lastIndexOf(':');
  const { stdout } = await helm(installation, [
    'upgrade',
    '--install',
    'raftsman',
    join(root, 'charts/raftsman'),
    '--create-namespace',
    `--set=image.repository=${image.slice(0, colon)}`,
    `--set=image.tag=${image.slice(colon + 1)}`,
    ...values.map((value) => `--set=${value}`),
  ]);
  await kubectl.run([
    'wait',
    '--for=condition=Established',
    'crd',
    '-l',
    'app.kubernetes.io/name=raftsman',
    '--timeout=60s',
  ]);
  return stdout;
}

export async function operatorReady(kubectl: Kubectl): Promise<void> {
  await kubectl
    .in(systemNamespace)
    .run(['rollout', 'status', 'deployment/raftsman', '--timeout=120s'])
    .catch(async (error: Error) => {
      const logs = await kubectl
        .in(systemNamespace)
        .run(['logs', 'deployment/raftsman', '--tail=20'])
        .catch(() => '');
      throw new Error(`${error.message}\n${logs}`);
    });
}

/** Removes the release, then the CRDs, which a release keeps. */
export async function uninstall(release: Release): Promise<void> {
  await helm(release, ['uninstall', 'raftsman', '--ignore-not-found', '--wait']);
  for (const file of readdirSync(join(root, 'crds'))) {
    await release.kubectl.run(['delete', '-f', join(root, 'crds', file), '--ignore-not-found']);
  }
  await release.kubectl.run(['delete', 'namespace', systemNamespace, '--ignore-not-found']);
}
