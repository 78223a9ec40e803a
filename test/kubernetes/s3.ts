import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Addresses } from './addresses.ts';
import type { Api, Manifest } from './api.ts';
import { until } from './command.ts';
import { S3_IMAGE } from './images.ts';
import { inside } from './places.ts';

/** The S3 server of a whole node: `http://s3.s3.svc:7070`, path style, region us-east-1. */
export const s3 = {
  namespace: 's3',
  service: 's3',
  port: 7070,
  bucket: 'raftsman',
  /** In namespace `s3`, with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. */
  secret: 's3-credentials',
  accessKeyId: 'raftsman',
  secretAccessKey: 'raftsman-local-kubernetes',
} as const;

/** The server's disk is a folder of the cluster; a folder in it is a bucket. */
export function prepareObjectStore(folder: string): void {
  mkdirSync(join(folder, 's3', 'data', s3.bucket), { recursive: true });
  mkdirSync(join(folder, 's3', 'metadata'), { recursive: true });
}

/** An address of the Service's range that is the same in each cluster, so that the host, which has no cluster DNS, knows it. */
export const s3Address = (addresses: Addresses): string => addresses.firstService.replace(/\.1$/, '.7');

export const objectStore = (addresses: Addresses): Manifest[] => {
  const labels = { 'app.kubernetes.io/name': 's3' };
  const metadata = { name: s3.service, namespace: s3.namespace, labels };
  const fromSecret = (variable: string, key: string) => ({
    name: variable,
    valueFrom: { secretKeyRef: { name: s3.secret, key } },
  });
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: s3.namespace } },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { ...metadata, name: s3.secret },
      stringData: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { clusterIP: s3Address(addresses), selector: labels, ports: [{ name: 's3', port: s3.port }] },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        replicas: 1,
        strategy: { type: 'Recreate' },
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            containers: [
              {
                name: 'versitygw',
                image: S3_IMAGE,
                imagePullPolicy: 'Never',
                args: [`-listen=:${s3.port}`, '-data=/s3/data', '-metadata=/s3/metadata'],
                env: [
                  fromSecret('ROOT_ACCESS_KEY', 'AWS_ACCESS_KEY_ID'),
                  fromSecret('ROOT_SECRET_KEY', 'AWS_SECRET_ACCESS_KEY'),
                ],
                ports: [{ name: 's3', containerPort: s3.port }],
                readinessProbe: { httpGet: { path: '/health', port: s3.port }, periodSeconds: 1 },
                volumeMounts: [{ name: 's3', mountPath: '/s3' }],
              },
            ],
            volumes: [{ name: 's3', hostPath: { path: `${inside.state}/s3` } }],
          },
        },
      },
    },
  ];
};

/** Until the server answers at its Service's address, from the host: pods, routes and service rules all work then. */
export const objectStoreReady = (api: Api, addresses: Addresses, check: () => void): Promise<void> =>
  until(
    'the S3 server to be ready',
    async () => {
      const answer = await api.request('GET', `/apis/apps/v1/namespaces/${s3.namespace}/deployments/${s3.service}`);
      const deployment = JSON.parse(answer.body) as { status?: { readyReplicas?: number } };
      if ((deployment.status?.readyReplicas ?? 0) < 1) return false;
      const url = `http://${s3Address(addresses)}:${s3.port}/health`;
      return fetch(url, { signal: AbortSignal.timeout(1000) }).then(
        (response) => response.ok,
        () => false,
      );
    },
    { timeoutMs: 90_000, everyMs: 50, check },
  );
