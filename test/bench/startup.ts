/**
 * From `kubectl apply` to all members ready: a RaftCluster beside a bare StatefulSet of the same image with the same
 * volumes and probes, in turn. The bare one is what Kubernetes itself needs; the difference is ours.
 */
import { performance } from 'node:perf_hooks';
import type { Kubectl } from '../e2e/kubectl.ts';
import { median, row } from './table.ts';

const bare = (name: string, image: string) => `apiVersion: v1
kind: Service
metadata:
  name: ${name}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {app: ${name}}
  ports: [{port: 8080}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: ${name}
spec:
  serviceName: ${name}
  replicas: 3
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
  selector:
    matchLabels: {app: ${name}}
  template:
    metadata:
      labels: {app: ${name}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      containers:
        - name: server
          image: ${image}
          imagePullPolicy: IfNotPresent
          command: [node, -e, "require('http').createServer((_, r) => r.end('ok')).listen(8080)"]
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 64Mi}}
`;

const cluster = (name: string) => `apiVersion: raftsman.dev/v1alpha1
kind: RaftCluster
metadata:
  name: ${name}
spec:
  replicas: 3
  storage:
    size: 64Mi
`;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

export async function measureStartup(
  kubectl: Kubectl,
  image: string,
  rounds: number,
): Promise<{ ours: number; bare: number; ratio: number }> {
  const pairs: { ours: number; bare: number }[] = [];
  for (let round = 0; round <= rounds; round++) {
    const bareName = `bench-bare-${round}`;
    const bareSeconds = await timed(async () => {
      await kubectl.apply(bare(bareName, image));
      await kubectl.run([
        'wait',
        '--for=jsonpath={.status.readyReplicas}=3',
        `statefulset/${bareName}`,
        '--timeout=120s',
      ]);
    });
    await kubectl.run(['delete', 'statefulset,service', bareName, '--wait=true']);
    await kubectl.run(['wait', '--for=delete', 'pod', '-l', `app=${bareName}`, '--timeout=60s']);

    const name = `bench-raft-${round}`;
    const ours = await timed(async () => {
      await kubectl.apply(cluster(name));
      await kubectl.run(['wait', '--for=condition=Ready', `raftcluster/${name}`, '--timeout=120s']);
    });
    const members = await kubectl.get('statefulset', name);
    if (members?.status?.['readyReplicas'] !== 3)
      throw new Error(`raftcluster/${name} was Ready with ${members?.status?.['readyReplicas']} of 3 members ready`);
    await kubectl.run(['delete', 'raftcluster', name, '--wait=true']);
    await kubectl.run(['wait', '--for=delete', 'pod', '-l', `raftsman.dev/cluster=${name}`, '--timeout=60s']);
    await kubectl.run(['delete', 'pvc', '-l', `raftsman.dev/cluster=${name}`]);
    if (round > 0) pairs.push({ ours, bare: bareSeconds }); // the first one warms up
  }
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    bare: median(pairs.map((pair) => pair.bare)),
    ratio: median(pairs.map((pair) => pair.ours / pair.bare)),
  };
}

export async function benchStartup(kubectl: Kubectl, image: string, rounds: number): Promise<void> {
  console.log(`\nfrom apply to all three members ready, ${rounds} rounds in turn\n`);
  const { ours, bare: theirs, ratio } = await measureStartup(kubectl, image, rounds);
  row('', 'RaftCluster', 'bare', 'ratio');
  row('seconds', ours.toFixed(2), theirs.toFixed(2), ratio.toFixed(2));
}
