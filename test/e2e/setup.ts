/** One node with the operator installed for all end-to-end tests of a run; each test file has namespaces of its own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startCluster } from '../kubernetes/cluster.ts';
import { etcdImage } from '../kubernetes/etcd-image.ts';
import { tool } from '../kubernetes/go-build.ts';
import { buildImage } from '../kubernetes/image-build.ts';
import { etcdVersions } from '../kubernetes/parts.ts';
import { toStderr } from '../kubernetes/progress.ts';
import { install } from './install.ts';
import { Kubectl } from './kubectl.ts';

const root = join(import.meta.dirname, '../..');
export const image = 'raftsman:e2e';

/** Of this run alone, so that it stands beside a demo's cluster and another run's. */
export default async function setup(): Promise<void> {
  const progress = toStderr();
  const name = `e2e-${process.pid}`;
  const bundled = promisify(execFile)(process.execPath, ['esbuild.config.js'], { cwd: root });
  bundled.catch(() => {}); // reported where it is awaited
  const cluster = await startCluster(name, { depth: 'node', ephemeral: true, progress });
  (globalThis as { raftsmanStop?: () => Promise<void> }).raftsmanStop = () => cluster.stop();
  try {
    await bundled;
    await buildImage({ name, file: join(root, 'Dockerfile'), tag: image }, progress);
    for (const version of etcdVersions) await etcdImage(name, version, progress);
    const kubectlPath = await tool('kubectl');
    const helm = await tool('helm');
    const kubectl = new Kubectl({ kubectl: kubectlPath, kubeconfig: cluster.kubeconfig, namespace: 'default' });
    await install({ helm, kubeconfig: cluster.kubeconfig, kubectl, image, values: ['etcd.repository=etcd'] });
    process.env['RAFTSMAN_E2E_KUBECONFIG'] = cluster.kubeconfig;
    process.env['RAFTSMAN_E2E_KUBECTL'] = kubectlPath;
    process.env['RAFTSMAN_E2E_HELM'] = helm;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}
