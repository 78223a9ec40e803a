/**
 * What Kubernetes itself needs for three members without an operator: a StatefulSet with the same image, volumes and
 * probes, and members whose flags say at once who they are. What a RaftCluster takes beyond it is ours.
 */
import type { StatefulSet } from '../../src/kube/kinds.ts';
import type { Manifest } from '../../src/kube/objects.ts';

export type EngineName = 'Embedded' | 'Etcd';

const security = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
};

export function bare(engine: EngineName, name: string, namespace: string, image: string): [Manifest, StatefulSet] {
  const labels = { app: name };
  const metadata = { name, namespace };
  const host = (pod: string) => `${pod}.${name}.${namespace}.svc`;
  const flags = [
    '--name=$(POD_NAME)',
    '--data-dir=/data/member',
    '--listen-client-urls=http://0.0.0.0:2379',
    `--advertise-client-urls=http://${host('$(POD_NAME)')}:2379`,
    '--listen-peer-urls=http://0.0.0.0:2380',
    `--initial-advertise-peer-urls=http://${host('$(POD_NAME)')}:2380`,
    '--listen-metrics-urls=http://0.0.0.0:2381',
    `--initial-cluster=${[0, 1, 2].map((n) => `${name}-${n}=http://${host(`${name}-${n}`)}:2380`).join(',')}`,
    '--initial-cluster-state=new',
    `--initial-cluster-token=${name}`,
    '--heartbeat-interval=100',
    '--election-timeout=1000',
  ];
  const container = {
    name: 'member',
    image,
    imagePullPolicy: 'IfNotPresent',
    ...(engine === 'Embedded' ? { args: ['node', ...flags] } : { command: ['/usr/local/bin/etcd', ...flags] }),
    env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    readinessProbe: { httpGet: { path: '/readyz', port: 2381 }, periodSeconds: 1 },
    resources: { requests: { cpu: '100m', memory: '128Mi' } },
    securityContext: security,
    volumeMounts: [{ name: 'data', mountPath: '/data' }],
  };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: labels,
        ports: [
          { name: 'client', port: 2379 },
          { name: 'peer', port: 2380 },
        ],
      },
    } as Manifest,
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata,
      spec: {
        serviceName: name,
        replicas: 3,
        podManagementPolicy: 'Parallel',
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' },
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            terminationGracePeriodSeconds: 20,
            securityContext: {
              runAsNonRoot: true,
              runAsUser: 65532,
              runAsGroup: 65532,
              fsGroup: 65532,
              fsGroupChangePolicy: 'OnRootMismatch',
              seccompProfile: { type: 'RuntimeDefault' },
            },
            containers: [container],
          },
        },
        volumeClaimTemplates: [
          {
            metadata: { name: 'data' },
            spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '128Mi' } } },
          },
        ],
      },
    } as unknown as StatefulSet,
  ];
}
