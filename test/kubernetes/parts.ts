/** What the local Kubernetes is made of, and which versions. A changed version gets a place of its own in the cache. */
export const versions = {
  kubernetes: '1.36.3',
  etcd: '3.6.8',
  coredns: '1.15.0',
  helm: '4.3.1',
  versitygw: '1.8.0',
} as const;

/** The etcds that members run in tests: what an upgrade begins from comes after the one that everything else uses. */
export const etcdVersions = [versions.etcd, '3.6.5', '3.5.35'] as const;

export type EtcdVersion = (typeof etcdVersions)[number];
type OlderEtcd = Exclude<EtcdVersion, typeof versions.etcd>;

/** What a public etcd image holds. */
export const etcdPrograms = ['etcd', 'etcdctl', 'etcdutl'] as const;

export type EtcdProgram = (typeof etcdPrograms)[number];

export interface GoPart {
  /** The folder with its go.mod, beside this file; `build` unless told. */
  readonly module?: string;
  /** What `go build` is given, within that folder. */
  readonly package: string;
  /** The name that `go build` gives the binary. */
  readonly output: string;
  readonly version: string;
  /** The names the binary is called by; the first is the file, the others are links to it. */
  readonly names: readonly [string, ...string[]];
}

/**
 * The programs of an older etcd, unmodified. Their own go.mod takes shared dependencies at the versions of `build`, as far as they
 * fit, so that few packages compile twice.
 */
function olderEtcd<V extends OlderEtcd>(version: V): Record<`${EtcdProgram}-${V}`, GoPart> {
  const parts = etcdPrograms.map((name): [string, GoPart] => {
    const output = name === 'etcd' ? 'server' : name;
    const of = { package: `go.etcd.io/etcd/${output}/v3`, output, version, names: [name] } as const;
    return [`${name}-${version}`, { ...of, module: `build-etcd-${version}` }];
  });
  return Object.fromEntries(parts) as Record<`${EtcdProgram}-${V}`, GoPart>;
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
  ...olderEtcd('3.6.5'),
  ...olderEtcd('3.5.35'),
} as const satisfies Record<string, GoPart>;

export type GoPartName = keyof typeof goParts;

export const isGoPart = (name: string): name is GoPartName => Object.hasOwn(goParts, name);

/** In the order in which they are needed; what nothing needs to come up (helm, etcdctl, the load generator) is built on demand. */
export const partsFor = {
  'control-plane': ['etcd', 'kubernetes'],
  node: ['etcd', 'kubernetes', 'coredns', 'versitygw'],
} as const satisfies Record<string, readonly GoPartName[]>;

export type Depth = keyof typeof partsFor;

/** Which part has this program of this etcd. */
export const etcdPart = (program: EtcdProgram, version: EtcdVersion): GoPartName =>
  version === versions.etcd ? program : `${program}-${version}`;

export type ToolName =
  | Exclude<GoPartName, 'kubernetes' | `${EtcdProgram}-${OlderEtcd}`>
  | 'kubectl'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kubelet'
  | 'kube-proxy'
  | 'kube-scheduler'
  | 'local-provisioner';

/** Which part has the tool of this name; of etcd's own programs the newest. */
export function partOf(tool: string): GoPartName | undefined {
  return (Object.keys(goParts) as GoPartName[]).find((name) => {
    const part: GoPart = goParts[name];
    return part.module === undefined && part.names.includes(tool);
  });
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
