/** The chart as a user meets it. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { systemNamespace } from './install.ts';
import { Kubectl } from './kubectl.ts';
import { helm, kubeconfig, newNamespace, removeNamespace, root } from './namespace.ts';

const run = promisify(execFile);
const chart = join(root, 'charts/raftsman');

test('helm lint --strict has nothing to say', async () => {
  const { stdout } = await run(helm(), ['lint', '--strict', chart]);
  expect(stdout).toMatch(/0 chart\(s\) failed/);
});

test('a value that is wrong is refused with its name', async () => {
  await expect(run(helm(), ['template', 't', chart, '--set', 'workers=many'])).rejects.toThrow(/workers/);
  await expect(run(helm(), ['template', 't', chart, '--set', 'imagee.tag=x'])).rejects.toThrow(/imagee/);
});

test('the operator may create no pods, delete no Secrets and clusters, and touch nothing outside its kinds', async () => {
  const kubectl = new Kubectl({
    kubectl: process.env['RAFTSMAN_E2E_KUBECTL']!,
    kubeconfig: kubeconfig(),
    namespace: 'default',
  });
  const may = (verb: string, resource: string) =>
    kubectl
      .run(['auth', 'can-i', verb, resource, `--as=system:serviceaccount:${systemNamespace}:raftsman`])
      .then((text) => text.trim())
      .catch(() => 'no');
  expect({
    deleteSecrets: await may('delete', 'secrets'),
    createPods: await may('create', 'pods'),
    execPods: await may('create', 'pods/exec'),
    deleteClusters: await may('delete', 'raftclusters.raftsman.dev'),
    createPersistentVolumeClaims: await may('create', 'persistentvolumeclaims'),
    createRoles: await may('create', 'clusterroles'),
  }).toEqual({
    deleteSecrets: 'no',
    createPods: 'no',
    execPods: 'no',
    deleteClusters: 'no',
    createPersistentVolumeClaims: 'no',
    createRoles: 'no',
  });
  expect(await may('create', 'statefulsets.apps')).toBe('yes');
});

test('the operator logs no refusal of the API server: its rights are all it needs', async () => {
  const kubectl = new Kubectl({
    kubectl: process.env['RAFTSMAN_E2E_KUBECTL']!,
    kubeconfig: kubeconfig(),
    namespace: systemNamespace,
  });
  const logs = await kubectl.run(['logs', 'deployment/raftsman']);
  expect(
    logs.split('\n').filter((line) => /forbidden|cannot (get|list|watch|create|patch|update|delete)/i.test(line)),
  ).toEqual([]);
});

test('uninstalling keeps the CRDs and every RaftCluster; installing again takes them over', async () => {
  const namespace = await newNamespace('e2e-chart');
  const release = ['--kubeconfig', kubeconfig(), '--namespace', 'e2e-chart'];
  try {
    // A second release in a namespace of its own, which watches nothing but that.
    await run(helm(), [
      'install',
      'second',
      chart,
      ...release,
      '--set=crds.install=false',
      '--set=replicas=0',
      '--set=watchNamespace=e2e-chart',
    ]);
    await namespace.apply(`apiVersion: raftsman.dev/v1alpha1
kind: RaftCluster
metadata: {name: kept}
spec: {paused: true, replicas: 1, storage: {size: 64Mi}}
`);
    await run(helm(), ['uninstall', 'second', ...release]);
    expect(await namespace.get('raftcluster', 'kept')).toBeDefined();
    const { stdout } = await run(helm(), ['template', 'raftsman', chart]);
    expect(stdout.match(/helm\.sh\/resource-policy: keep/g)).toHaveLength(7);
  } finally {
    await namespace.run(['delete', 'raftcluster', '--all']);
    await removeNamespace(namespace);
  }
}, 180_000);
