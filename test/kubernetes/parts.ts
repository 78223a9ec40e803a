/** What the local Kubernetes is made of, and which versions. A changed version gets a place of its own in the cache. */
export const versions = {
  kubernetes: '1.36.3',
  etcd: '3.6.8',
  coredns: '1.15.0',
  helm: '4.3.1',
  versitygw: '1.8.0',
} as const;

export interface GoPart {
  /** What `go build` is given, within test/kubernetes/build. */
  readonly package: string;
  /** The name that `go build` gives the binary. */
  readonly output: string;
  readonly version: string;
  /** The names the binary is called by; the first is the file, the others are links to it. */
  readonly names: readonly [string, ...string[]];
}

export const goParts = {
  etcd: { package: 'go.etcd.io/etcd/server/v3', output: 'server', version: versions.etcd, names: ['etcd'] },
  kubernetes: {
    package: './kubernetes',
    output: 'kubernetes',
    version: versions.kubernetes,
    names: [
      'kubernetes',
      'kube-apiserver',
      'kube-controller-manager',
      'kube-scheduler',
      'kube-proxy',
      'kubelet',
      'kubectl',
      'local-provisioner',
    ],
  },
  coredns: { package: './coredns', output: 'coredns', version: versions.coredns, names: ['coredns'] },
  versitygw: {
    package: './s3server',
    output: 's3server',
    version: versions.versitygw,
    names: ['versitygw'],
  },
  helm: { package: 'helm.sh/helm/v4/cmd/helm', output: 'helm', version: versions.helm, names: ['helm'] },
  etcdctl: { package: 'go.etcd.io/etcd/etcdctl/v3', output: 'etcdctl', version: versions.etcd, names: ['etcdctl'] },
  etcdutl: { package: 'go.etcd.io/etcd/etcdutl/v3', output: 'etcdutl', version: versions.etcd, names: ['etcdutl'] },
  benchmark: {
    package: 'go.etcd.io/etcd/v3/tools/benchmark',
    output: 'benchmark',
    version: versions.etcd,
    names: ['benchmark'],
  },
} as const satisfies Record<string, GoPart>;

export type GoPartName = keyof typeof goParts;

export const isGoPart = (name: string): name is GoPartName => Object.hasOwn(goParts, name);

/** In the order in which they are needed; what nothing needs to come up (helm, etcdctl, the load generator) is built on demand. */
export const partsFor = {
  'control-plane': ['etcd', 'kubernetes'],
  node: ['etcd', 'kubernetes', 'coredns', 'versitygw'],
} as const satisfies Record<string, readonly GoPartName[]>;

export type Depth = keyof typeof partsFor;

export type ToolName =
  | Exclude<GoPartName, 'kubernetes'>
  | 'kubectl'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kubelet'
  | 'kube-proxy'
  | 'kube-scheduler'
  | 'local-provisioner';

/** Which part has the tool of this name. */
export function partOf(tool: string): GoPartName | undefined {
  return (Object.keys(goParts) as GoPartName[]).find((part) =>
    (goParts[part].names as readonly string[]).includes(tool),
  );
}

/** Debian packages that are unpacked, with the shared libraries that a minimal machine may lack. */
export const debianPackages = {
  node: [
    'containerd',
    'runc',
    'containernetworking-plugins',
    'nftables',
    'libseccomp2',
    'libnftables1',
    'libnftnl11',
    'libmnl0',
    'libxtables12',
    'libjansson4',
    'libedit2',
    'libgmp10',
    'libbsd0',
    'libmd0',
    'libtinfo6',
    'busybox-static',
  ],
  image: [
    'buildah',
    'libseccomp2',
    'libgpgme11',
    'libassuan0',
    'libgpg-error0',
    'libdevmapper1.02.1',
    'libsubid4',
    'libselinux1',
    'libpcre2-8-0',
    'libudev1',
  ],
} as const;

export type DebianSet = keyof typeof debianPackages;
