/** What the containers of members have in common, whatever the engine. Pure. */
import type { Json, MemberInput } from './profile.ts';

export const memberContainer = 'member';
export const fetchContainer = 'fetch';
/** Where a member's disk is mounted. */
export const dataFolder = '/var/lib/raftsman';
export const ports = { client: 2379, peer: 2380, metrics: 2381 } as const;
/** Of a container that fetches an archive: `GET /progress`. */
const progressPort = 8082;

export const podName: Json = {
  name: 'POD_NAME',
  valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } },
};

/** A value of the cluster's ConfigMap, read whenever a container starts. */
export function fromConfig(name: string, config: string, key: string): Json {
  return { name, valueFrom: { configMapKeyRef: { name: config, key } } };
}

export const memberPorts: readonly Json[] = Object.entries(ports).map(([name, containerPort]) => ({
  name,
  containerPort,
  protocol: 'TCP',
}));

export function probe(path: string, limits: Json): Json {
  return { httpGet: { path, port: 'metrics', scheme: 'HTTP' }, ...limits };
}

/** The disk, and whatever else every container of a member gets. */
export function basics({ settings, containerSecurityContext, disk }: MemberInput) {
  return {
    imagePullPolicy: settings.imagePullPolicy,
    // A container that refuses to go on says why in its last line, and the cluster's conditions repeat it.
    terminationMessagePolicy: 'FallbackToLogsOnError',
    securityContext: containerSecurityContext,
    volumeMounts: [{ name: disk, mountPath: dataFolder }],
  };
}

/** An init container that verifies the archive while it writes to the disk, as a file or its state alone. */
export function fetching(input: MemberInput, flags: readonly string[], env: readonly Json[] = []): Json[] {
  const { archive, settings } = input;
  if (archive === undefined) return [];
  const { volumeMounts, ...base } = basics(input);
  return [
    {
      name: fetchContainer,
      image: settings.image,
      args: [
        'job',
        'fetch',
        `--key=${archive.key}`,
        ...flags,
        `--engine=${input.spec.engine.type}`,
        ...(archive.checksum === undefined ? [] : [`--checksum=${archive.checksum}`]),
      ],
      env: [...archive.env, ...env],
      ports: [{ name: 'progress', containerPort: progressPort, protocol: 'TCP' }],
      resources: smallResources,
      ...base,
      // Its outcome is a file, as that of every Job.
      terminationMessagePolicy: 'File',
      volumeMounts: [...volumeMounts, ...archive.volumeMounts],
    },
  ];
}

export const memberResources = { requests: { cpu: '100m', memory: '128Mi' } };
export const smallResources = { requests: { cpu: '50m', memory: '128Mi' } };

export function extraFlags(flags: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(flags ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `--${name}=${value}`);
}

/** The certificates' flags, which are etcd's, and the schemes of the addresses. */
export function tlsOf({ tls }: MemberInput): { readonly scheme: 'http' | 'https'; readonly flags: readonly string[] } {
  if (tls === undefined) return { scheme: 'http', flags: [] };
  const of = (prefix: '' | 'peer-', folder: string) => [
    `--${prefix}cert-file=${folder}/tls.crt`,
    `--${prefix}key-file=${folder}/tls.key`,
    `--${prefix}trusted-ca-file=${folder}/ca.crt`,
    `--${prefix}client-cert-auth=true`,
  ];
  return { scheme: 'https', flags: [...of('', tls.server), ...of('peer-', tls.peer)] };
}
