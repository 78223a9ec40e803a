import { statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Addresses } from './addresses.ts';
import type { Api } from './api.ts';
import { cgroupOf, isVersion2, makeCgroups } from './cgroups.ts';
import { until } from './command.ts';
import { NODE_NAME, pki } from './credentials.ts';
import { debianEnvironment, unpackDebian } from './debian.ts';
import { toolPath } from './go-build.ts';
import { importArchive, PAUSE_IMAGE, pauseArchive, s3Archive } from './images.ts';
import { cachedInside, inside } from './places.ts';
import type { Progress } from './progress.ts';
import { objectStore, objectStoreReady, prepareObjectStore } from './s3.ts';
import { checkAll, type Part, type Sandbox, startPart } from './sandbox.ts';
import { startProvisioner, storageClass } from './storage.ts';

export interface NodeContext {
  readonly name: string;
  readonly sandbox: Sandbox;
  /** The cluster's folder as the host sees it. */
  readonly folder: string;
  readonly addresses: Addresses;
  readonly api: Api;
  readonly progress: Progress;
}

export interface StartedNode {
  /** Call when the API serves: starts what talks to it. */
  join(): Promise<void>;
  /** Waits until pods run, names resolve, volumes are made and the S3 server answers. */
  ready(): Promise<void>;
}

export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';
const OVERLAYFS_MAGIC = 0x794c7630;

const program = (name: Parameters<typeof toolPath>[0]): string => cachedInside(toolPath(name));
const configFile = (name: string): string => `${inside.state}/config/${name}`;

/**
 * The API server learns of a pod's disks and Secrets no sooner than the kubelet does of the pod: under load the kubelet asks
 * too early, is refused, and asks again after ten seconds. Here it may always read them, by the role that is there for it.
 */
const nodeReads = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: 'raftsman:nodes' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:node' },
  subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:nodes' }],
};

/** What a node needs beside the Go parts. May run while those compile. */
export async function prepareNode(progress: Progress): Promise<void> {
  await unpackDebian('node', progress);
}

export async function startNodeParts(context: NodeContext): Promise<StartedNode> {
  const { name, sandbox, folder, api, progress } = context;
  const root = await unpackDebian('node', progress);
  const debian = cachedInside(root);
  const { PATH, LD_LIBRARY_PATH } = debianEnvironment(debian);
  const env = { PATH: `${PATH}:${process.env['PATH'] ?? ''}`, LD_LIBRARY_PATH };

  makeCgroups(name);
  writeConfigs(context, debian);
  const parts: Part[] = [
    startPart(
      sandbox,
      folder,
      'containerd',
      [`${debian}/usr/bin/containerd`, `--config=${configFile('containerd.toml')}`],
      env,
    ),
  ];
  const check = () => checkAll(parts);
  const images = (async () => {
    const archives = await Promise.all([pauseArchive(root), s3Archive()]);
    for (const archive of archives) await importArchive(sandbox, debian, archive, check);
  })();
  images.catch(() => {});

  const startOthers = () => {
    parts.push(
      startPart(
        sandbox,
        folder,
        'kubelet',
        [
          program('kubelet'),
          `--config=${configFile('kubelet.yaml')}`,
          `--kubeconfig=${pki.kubeconfig('node')}`,
          `--hostname-override=${NODE_NAME}`,
          `--node-ip=${context.addresses.node}`,
        ],
        env,
      ),
      startPart(
        sandbox,
        folder,
        'kube-proxy',
        [program('kube-proxy'), `--config=${configFile('kube-proxy.yaml')}`],
        env,
      ),
      startPart(sandbox, folder, 'kube-scheduler', [
        program('kube-scheduler'),
        `--kubeconfig=${pki.kubeconfig('scheduler')}`,
        `--authentication-kubeconfig=${pki.kubeconfig('scheduler')}`,
        `--authorization-kubeconfig=${pki.kubeconfig('scheduler')}`,
        '--leader-elect=false',
      ]),
      startPart(sandbox, folder, 'coredns', [program('coredns'), `-conf=${configFile('Corefile')}`]),
      startProvisioner(sandbox, folder),
    );
  };

  return {
    async join() {
      await images;
      startOthers();
      prepareObjectStore(folder);
      for (const manifest of [storageClass, nodeReads, ...objectStore(context.addresses)]) await api.apply(manifest);
    },
    async ready() {
      await progress.step('node (containerd, kubelet)', () =>
        until('the node to be ready', () => nodeIsReady(api), { timeoutMs: 120_000, everyMs: 50, check }),
      );
      await progress.step('DNS', () =>
        until('CoreDNS to be ready', () => answers(`http://${context.addresses.dns}:8181/ready`), {
          timeoutMs: 60_000,
          check,
        }),
      );
      await progress.step('S3 server', () => objectStoreReady(api, context.addresses, check));
    },
  };
}

async function nodeIsReady(api: Api): Promise<boolean> {
  const answer = await api.request('GET', `/api/v1/nodes/${NODE_NAME}`);
  if (answer.status !== 200) return false;
  const node = JSON.parse(answer.body) as {
    spec?: { taints?: unknown[] };
    status?: { conditions?: { type: string; status: string }[] };
  };
  const ready = node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
  return ready && (node.spec?.taints ?? []).length === 0;
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok;
  } catch {
    return false;
  }
}

function writeConfigs({ name, folder, addresses }: NodeContext, debian: string): void {
  const write = (file: string, text: string) => writeFileSync(join(folder, 'config', file), text);
  const yaml = (file: string, value: unknown) => write(file, stringify(value, { version: '1.1' }));
  // An overlay on an overlay (this machine is a container itself) is refused: copy whole files then.
  const snapshotter = statfsSync(folder).type === OVERLAYFS_MAGIC ? 'native' : 'overlayfs';
  write('containerd.toml', containerdConfig(snapshotter, debian));
  write('10-pods.conflist', JSON.stringify(podNetwork(addresses)));
  write('resolv.conf', '');
  write('Corefile', corefile(addresses));
  yaml('kubelet.yaml', kubeletConfig(name, addresses));
  yaml('kube-proxy.yaml', proxyConfig(addresses));
}

const containerdConfig = (snapshotter: string, debian: string): string => `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
# Without CAP_SYS_RESOURCE no process may lower its own score.
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "${CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "${debian}/usr/sbin/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${debian}/usr/lib/cni"
    conf_dir = "${inside.state}/config"
`;

/** Every pod has a link of its own to the node and is routed: no bridge, and so no br_netfilter module either. */
const podNetwork = (addresses: Addresses) => ({
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [
    {
      type: 'ptp',
      ipMasq: false,
      ipam: {
        type: 'host-local',
        dataDir: '/run/cni',
        ranges: [[{ subnet: addresses.pods }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    },
  ],
});

/** No cache: the answers come from memory anyway, and a member that has just started must not be "not found" for long. */
const corefile = (addresses: Addresses): string => `.:53 {
  bind ${addresses.dns}
  errors
  ready ${addresses.dns}:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${pki.kubeconfig('dns')}
    pods insecure
    ttl 1
  }
}
`;

const kubeletConfig = (name: string, addresses: Addresses) => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
  cgroupDriver: 'cgroupfs',
  cgroupRoot: `/${cgroupOf(name)}`,
  ...(isVersion2() ? {} : { failCgroupV1: false }),
  enforceNodeAllocatable: [],
  failSwapOn: false,
  makeIPTablesUtilChains: false,
  oomScoreAdj: 0,
  address: '0.0.0.0',
  tlsCertFile: pki.certificate('kubelet'),
  tlsPrivateKeyFile: pki.key('kubelet'),
  authentication: { anonymous: { enabled: false }, webhook: { enabled: false }, x509: { clientCAFile: pki.authority } },
  authorization: { mode: 'AlwaysAllow' },
  clusterDNS: [addresses.dns],
  clusterDomain: 'cluster.local',
  resolvConf: configFile('resolv.conf'),
  // The machine's disk is not ours to judge: only a disk that is really full counts.
  evictionHard: {
    'memory.available': '50Mi',
    'nodefs.available': '1%',
    'nodefs.inodesFree': '1%',
    'imagefs.available': '1%',
    'imagefs.inodesFree': '1%',
  },
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
  serializeImagePulls: false,
  registryPullQPS: 0,
  eventRecordQPS: 0,
  kubeAPIQPS: 200,
  kubeAPIBurst: 400,
  maxPods: 200,
});

const proxyConfig = (addresses: Addresses) => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  mode: 'nftables',
  hostnameOverride: NODE_NAME,
  clusterCIDR: addresses.pods,
  clientConnection: { kubeconfig: pki.kubeconfig('proxy'), qps: 200, burst: 400 },
  nftables: { minSyncPeriod: '0s' },
  // Zero leaves the machine's own connection tracking settings as they are.
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
});
