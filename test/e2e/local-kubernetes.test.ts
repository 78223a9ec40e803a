import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Kubectl, type KubectlError } from './kubectl.ts';

/** What the operator's tests rest on: volumes, Pod Security, exec, logs, names and routes of the local Kubernetes itself. */
const kubeconfig = process.env['RAFTSMAN_E2E_KUBECONFIG']!;
const namespace = 'local-kubernetes';
const kubectl = new Kubectl({ kubectl: process.env['RAFTSMAN_E2E_KUBECTL']!, kubeconfig, namespace });

const program = `
require('node:fs').writeFileSync('/data/kept', 'written by ' + process.getuid());
console.log('written');
require('node:http').createServer((_, answer) => answer.end('hello')).listen(8080);
process.on('SIGTERM', () => process.exit(0));
`;

const manifest = JSON.stringify(
  {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
      },
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'writer', namespace },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'writer', namespace },
        spec: { selector: { app: 'writer' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'writer', namespace, labels: { app: 'writer' } },
        spec: {
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 5,
          securityContext: {
            fsGroup: 65532,
            runAsNonRoot: true,
            runAsUser: 65532,
            runAsGroup: 65532,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          containers: [
            {
              name: 'writer',
              image: 'raftsman:e2e',
              command: ['node', '-e', program],
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ['ALL'] },
              },
              readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
              volumeMounts: [{ name: 'data', mountPath: '/data' }],
            },
          ],
          volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'writer' } }],
        },
      },
    ],
  },
  null,
  2,
);

beforeAll(async () => {
  await kubectl.apply(manifest);
  await kubectl.run(['wait', '--for=condition=Ready', 'pod/writer', '--timeout=90s']);
}, 120_000);

afterAll(() => kubectl.run(['delete', 'namespace', namespace, '--ignore-not-found', '--wait=false']));

test('logs and exec reach a pod, and it resolves names of services', async () => {
  expect(await kubectl.run(['logs', 'writer'])).toContain('written');
  const ask = `fetch('http://writer.${namespace}.svc').then((answer) => answer.text()).then(console.log)`;
  // A Service refuses connections until its ready pod has reached the node's rules.
  const said = await kubectl.until('the Service to have its endpoint', 30_000, () =>
    kubectl.run(['exec', 'writer', '--', 'node', '-e', ask]).catch((error: KubectlError) => {
      if (error.stderr.includes('ECONNREFUSED')) return undefined;
      throw error;
    }),
  );
  expect(said).toContain('hello');
  const bucket = "fetch('http://s3.s3.svc:7070/health').then((answer) => console.log(answer.status))";
  expect(await kubectl.run(['exec', 'writer', '--', 'node', '-e', bucket])).toContain('200');
});

test('the host reaches pods and services by their addresses', async () => {
  const pod = await kubectl.run(['get', 'pod', 'writer', '--output=jsonpath={.status.podIP}']);
  const service = await kubectl.run(['get', 'service', 'writer', '--output=jsonpath={.spec.clusterIP}']);
  expect(await (await fetch(`http://${pod}:8080/`)).text()).toBe('hello');
  expect(await (await fetch(`http://${service}/`)).text()).toBe('hello');
});

test('Pod Security admission refuses in a restricted namespace what upstream refuses', async () => {
  await expect(kubectl.run(['run', 'bad', '--image=anything'])).rejects.toThrow(/violates PodSecurity "restricted/);
});

test('a pod that is not root wrote to its volume, and the data goes with the claim', async () => {
  const volume = await kubectl.run(['get', 'pvc', 'writer', '--output=jsonpath={.spec.volumeName}']);
  const folder = join(dirname(kubeconfig), 'volumes', volume);
  expect(readFileSync(join(folder, 'kept'), 'utf8')).toBe('written by 65532');
  await kubectl.run(['delete', 'pod/writer', 'pvc/writer', '--timeout=60s']);
  await kubectl.run(['wait', '--for=delete', `persistentvolume/${volume}`, '--timeout=30s']);
  expect(existsSync(folder)).toBe(false);
}, 120_000);
