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

const memberPorts: readonly Json[] = Object.entries(ports).map(([name, containerPort]) => ({
  name,
  containerPort,
  protocol: 'TCP',
}));

function probe(path: string, limits: Json): Json {
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

/** The flags that both engines take, as etcd has them: who the member is, where, and how its log is kept. */
export function memberFlags(
  input: MemberInput,
  data: string,
  timing: MemberInput['spec']['engine']['embedded' | 'etcd'],
): string[] {
  const { spec, host, token } = input;
  const scheme = schemeOf(input);
  return [
    '--name=$(POD_NAME)',
    `--data-dir=${data}`,
    `--listen-client-urls=${scheme}://0.0.0.0:${ports.client}`,
    `--advertise-client-urls=${scheme}://${host}:${ports.client}`,
    `--listen-peer-urls=${scheme}://0.0.0.0:${ports.peer}`,
    `--initial-advertise-peer-urls=${scheme}://${host}:${ports.peer}`,
    `--listen-metrics-urls=http://0.0.0.0:${ports.metrics}`,
    `--initial-cluster-token=${token}`,
    `--heartbeat-interval=${timing.heartbeatMilliseconds}`,
    `--election-timeout=${timing.electionMilliseconds}`,
    `--snapshot-count=${spec.log.snapshotThreshold}`,
  ];
}

/**
 * What a container that serves as a member gets beside its flags. `readiness`: the limits of that probe. `silentSeconds`: for
 * how long a member that is well may answer nothing, in tens.
 */
export function serving(input: MemberInput, readiness: Json, silentSeconds: number) {
  return {
    ports: memberPorts,
    // A member reads its log before it serves, which may take its time.
    startupProbe: probe('/livez', { periodSeconds: 1, failureThreshold: 1800 }),
    // Asks for no quorum: restarting members that wait for each other would help nobody. The operator shows in seconds that a
    // member hangs.
    livenessProbe: probe('/livez', { periodSeconds: 10, failureThreshold: silentSeconds / 10, timeoutSeconds: 5 }),
    readinessProbe: probe('/readyz', readiness),
    lifecycle: { preStop: { sleep: { seconds: LEAVE_SECONDS } } },
    resources: input.spec.podTemplate?.resources ?? memberResources,
    ...basics(input),
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

/**
 * For how long a pod that is deleted still serves. Services, budgets, and whoever else follows pods get busy at that moment;
 * a leader that hands over when they have learned of it is done sooner, and no client is sent to one that has gone.
 */
const LEAVE_SECONDS = 1;

const memberResources = { requests: { cpu: '100m', memory: '128Mi' } };
export const smallResources = { requests: { cpu: '50m', memory: '128Mi' } };

export function extraFlags(flags: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(flags ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `--${name}=${value}`);
}

export function schemeOf({ tls }: MemberInput): 'http' | 'https' {
  return tls === undefined ? 'http' : 'https';
}

/** The certificates' flags, which are etcd's. */
export function tlsFlags({ tls }: MemberInput): string[] {
  if (tls === undefined) return [];
  const of = (prefix: '' | 'peer-', folder: string) => [
    `--${prefix}cert-file=${folder}/tls.crt`,
    `--${prefix}key-file=${folder}/tls.key`,
    `--${prefix}trusted-ca-file=${folder}/ca.crt`,
    `--${prefix}client-cert-auth=true`,
  ];
  return [...of('', tls.server), ...of('peer-', tls.peer)];
}
