import { join } from 'node:path';
import type { Addresses } from './addresses.ts';
import type { Api } from './api.ts';
import { until } from './command.ts';
import { API_PORT, pki } from './credentials.ts';
import { toolPath } from './go-build.ts';
import { cachedInside, inside } from './places.ts';
import type { Progress } from './progress.ts';
import { checkAll, type Part, type Sandbox, startPart } from './sandbox.ts';

const program = (name: Parameters<typeof toolPath>[0]): string => cachedInside(toolPath(name));

/** Starts etcd, kube-apiserver and kube-controller-manager and waits until the API serves and namespaces work. */
export async function startControlPlaneParts(
  sandbox: Sandbox,
  folder: string,
  addresses: Addresses,
  api: Api,
  progress: Progress,
): Promise<Part[]> {
  const etcd = startEtcd(sandbox, folder);
  const apiserver = startApiServer(sandbox, folder, addresses);
  // It tries until the API serves; by then it has read its flags and certificates.
  const parts = [etcd, apiserver, stubborn(() => startControllerManager(sandbox, folder, addresses))];
  await progress.step('etcd and kube-apiserver', () =>
    until('kube-apiserver to be ready', () => api.answers('/readyz'), {
      timeoutMs: 90_000,
      everyMs: 30,
      check: () => checkAll([etcd, apiserver]),
      detail: () => `see ${join(folder, 'log')}`,
    }),
  );
  return parts;
}

/** kube-controller-manager gives up on an API server that takes its time, as on a busy machine: it is started again. */
function stubborn(start: () => Part): Part {
  let part = start();
  let tries = 5;
  return {
    name: part.name,
    log: part.log,
    check() {
      try {
        part.check();
      } catch (error) {
        if (--tries === 0) throw error;
        part = start();
      }
    },
  };
}

/** Until namespaces get what pods need; the controllers are then at work. */
export const controllersReady = (api: Api, parts: readonly Part[], progress: Progress): Promise<void> =>
  progress.step('kube-controller-manager', () =>
    until(
      'the default service account and the root certificates in namespace default',
      async () =>
        (await api.answers('/api/v1/namespaces/default/serviceaccounts/default')) &&
        (await api.answers('/api/v1/namespaces/default/configmaps/kube-root-ca.crt')),
      { timeoutMs: 120_000, everyMs: 30, check: () => checkAll(parts) },
    ),
  );

function startEtcd(sandbox: Sandbox, folder: string): Part {
  return startPart(sandbox, folder, 'etcd', [
    program('etcd'),
    '--name=etcd',
    `--data-dir=${inside.state}/etcd`,
    '--listen-client-urls=http://127.0.0.1:2379',
    '--advertise-client-urls=http://127.0.0.1:2379',
    '--listen-peer-urls=http://127.0.0.1:2380',
    '--initial-advertise-peer-urls=http://127.0.0.1:2380',
    '--initial-cluster=etcd=http://127.0.0.1:2380',
    // One member elects itself after one election timeout, and this data does not outlive the machine.
    '--heartbeat-interval=10',
    '--election-timeout=100',
    '--unsafe-no-fsync',
    '--log-level=warn',
  ]);
}

function startApiServer(sandbox: Sandbox, folder: string, addresses: Addresses): Part {
  return startPart(sandbox, folder, 'kube-apiserver', [
    program('kube-apiserver'),
    '--etcd-servers=http://127.0.0.1:2379',
    `--secure-port=${API_PORT}`,
    `--advertise-address=${addresses.node}`,
    `--service-cluster-ip-range=${addresses.services}`,
    `--client-ca-file=${pki.authority}`,
    `--tls-cert-file=${pki.certificate('apiserver')}`,
    `--tls-private-key-file=${pki.key('apiserver')}`,
    `--kubelet-client-certificate=${pki.certificate('kubelet-client')}`,
    `--kubelet-client-key=${pki.key('kubelet-client')}`,
    `--kubelet-certificate-authority=${pki.authority}`,
    '--kubelet-preferred-address-types=InternalIP',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${pki.serviceAccountPublicKey}`,
    `--service-account-signing-key-file=${pki.serviceAccountKey}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged=true',
    '--profiling=false',
  ]);
}

function startControllerManager(sandbox: Sandbox, folder: string, addresses: Addresses): Part {
  const kubeconfig = pki.kubeconfig('controller-manager');
  return startPart(sandbox, folder, 'kube-controller-manager', [
    program('kube-controller-manager'),
    `--kubeconfig=${kubeconfig}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    // It starts beside the API server, and this lookup is the one thing that it does not try again.
    '--authentication-skip-lookup=true',
    `--root-ca-file=${pki.authority}`,
    `--service-account-private-key-file=${pki.serviceAccountKey}`,
    `--cluster-cidr=${addresses.pods}`,
    '--leader-elect=false',
    '--profiling=false',
  ]);
}
