/** The Kubernetes objects of a RaftCluster, as pure functions of it. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { RaftSnapshotStoreSpec } from '../../api/store.ts';
import type { Member, MemberArchive } from '../../engines/engine.ts';
import { profileOf } from '../../engines/open.ts';
import type { Manifest, OwnerReference } from '../../kube/objects.ts';
import { checksumOfHex } from '../job.ts';
import { memberSelector, objectLabels, podLabels, RESTORE_TEMPLATE, TEMPLATE, TOKEN, TRUST } from '../labels.ts';
import { hashOf } from '../manifests.ts';
import { clusterNames, DISK, memberHost, memberNames, ordinalOf, PORTS, schemeOf } from '../names.ts';
import { containerSecurityContext, type PodSettings, podBasics } from '../restricted.ts';
import { storeEnvironment, storeMounts, storeVolumes } from '../store/access.ts';
import { certificatesAt, certificatesMount, certificatesVolume } from '../tls/resources.ts';
import { placement } from './placement.ts';
import { disruptionBudgetSpec, networkPolicySpec } from './protection.ts';

type Json = Readonly<Record<string, unknown>>;

/** The archive that members start from, until the cluster has formed. */
export interface Bootstrap {
  readonly store: RaftSnapshotStoreSpec;
  readonly key: string;
  /** SHA-256 in hex. */
  readonly checksum?: string;
}

export interface ClusterInput {
  readonly cluster: RaftCluster;
  readonly owner: OwnerReference;
  readonly settings: PodSettings;
  /** The initial-cluster token under which the members' data was or will be written. */
  readonly token: string;
  /** Every member has once been ready: an empty disk is a lost member from now on. */
  readonly formed: boolean;
  /** How many pods there are: not `spec.replicas` while members come and go. */
  readonly size: number;
  /** Pods of members that were removed have yet to go. */
  readonly shrinks?: boolean;
  /** The member list, while a member says it. */
  readonly list?: readonly Member[];
  /** Whom a new member has to find in its configuration, by name: once the cluster has formed. */
  readonly names?: readonly string[];
  /** The members that may start on an empty disk although the cluster has formed. */
  readonly joining?: readonly string[];
  /** Absent for a cluster that starts empty, and once it has formed. */
  readonly bootstrap?: Bootstrap;
  /** A hash of the CAs that members trust, where they have certificates. */
  readonly trust?: string;
  /** The size in the StatefulSet's template of disks, which cannot change while it lives. Absent: what spec says. */
  readonly templateSize?: string;
  /** What the StatefulSet goes on making members of, for as long as they must not get what spec asks for. */
  readonly keptTemplate?: unknown;
}

export interface ClusterObjects {
  readonly config: Manifest;
  readonly peers: Manifest;
  readonly client: Manifest;
  readonly disruptionBudget: Manifest;
  /** Absent where the spec wants none. */
  readonly networkPolicy?: Manifest;
  readonly statefulSet: Manifest;
}

export function clusterObjects(input: ClusterInput): ClusterObjects {
  return {
    config: config(input),
    peers: peers(input),
    client: client(input),
    disruptionBudget: disruptionBudget(input),
    ...(input.cluster.spec.networkPolicy.enabled ? { networkPolicy: networkPolicy(input) } : {}),
    statefulSet: statefulSet(input),
  };
}

function head(input: ClusterInput, apiVersion: string, kind: string, name: string, annotations?: Json) {
  const { metadata } = input.cluster;
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      namespace: metadata.namespace ?? 'default',
      labels: objectLabels(metadata.name, 'member'),
      ...(annotations === undefined ? {} : { annotations: annotations as Record<string, string> }),
      ownerReferences: [input.owner],
    },
  };
}

/**
 * What changes once the cluster has formed. Members read it through their environment, so that a restarted container
 * sees the new value although its pod stays as it is.
 */
function config(input: ClusterInput): Manifest {
  return {
    ...head(input, 'v1', 'ConfigMap', clusterNames(input.cluster.metadata.name).config, { [TOKEN]: input.token }),
    data: {
      'initial-cluster-state': input.formed ? 'existing' : 'new',
      'initial-cluster': initialCluster(input),
      joining: (input.joining ?? []).join(','),
      formed: String(input.formed),
    },
  };
}

/** Who a member without data asks, and whom it believes to be with: the list as it is, in the order of ordinals. */
function initialCluster({ cluster, names, size }: ClusterInput): string {
  const { name, namespace = 'default' } = cluster.metadata;
  const scheme = schemeOf(cluster);
  const urlOf = (member: string) => `${scheme}://${memberHost(name, namespace, member)}:${PORTS.peer}`;
  const ordinal = (member: string) => ordinalOf(name, member) ?? 0;
  const members = names ? [...names].sort((a, b) => ordinal(a) - ordinal(b)) : memberNames(name, size);
  return members.map((member) => `${member}=${urlOf(member)}`).join(',');
}

/** Members find each other through it before they are ready, or none would ever be. */
function peers(input: ClusterInput): Manifest {
  const name = input.cluster.metadata.name;
  return {
    ...head(input, 'v1', 'Service', clusterNames(name).peers),
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: memberSelector(name),
      ports: [port('client', PORTS.client), port('peer', PORTS.peer), port('metrics', PORTS.metrics)],
    },
  };
}

function client(input: ClusterInput): Manifest {
  const name = input.cluster.metadata.name;
  return {
    ...head(input, 'v1', 'Service', clusterNames(name).client),
    spec: { type: 'ClusterIP', selector: memberSelector(name), ports: [port('client', PORTS.client)] },
  };
}

function port(name: string, number: number) {
  return { name, port: number, targetPort: name, protocol: 'TCP' };
}

function disruptionBudget(input: ClusterInput): Manifest {
  const { cluster, list, size } = input;
  const { name } = cluster.metadata;
  const voters = list?.filter(({ isLearner }) => !isLearner).length ?? size;
  return {
    ...head(input, 'policy/v1', 'PodDisruptionBudget', clusterNames(name).disruptionBudget),
    spec: disruptionBudgetSpec(name, voters, cluster.spec.replicas),
  };
}

function networkPolicy(input: ClusterInput): Manifest {
  const { metadata, spec } = input.cluster;
  return {
    ...head(input, 'networking.k8s.io/v1', 'NetworkPolicy', clusterNames(metadata.name).networkPolicy),
    spec: networkPolicySpec(metadata.name, spec.networkPolicy.clients, input.settings.operatorNamespace),
  };
}

function statefulSet(input: ClusterInput): Manifest {
  const { metadata, spec } = input.cluster;
  const { storage } = spec;
  const hibernated = spec.replicas === 0;
  return {
    ...head(input, 'apps/v1', 'StatefulSet', clusterNames(metadata.name).statefulSet),
    spec: {
      replicas: hibernated ? 0 : input.size,
      serviceName: clusterNames(metadata.name).peers,
      // All at once: members wait for each other, not for Kubernetes' order.
      podManagementPolicy: 'Parallel',
      // Raftsman replaces outdated members itself: followers first, the leader last, one at a time.
      updateStrategy: { type: 'OnDelete' },
      // No disk goes for what somebody does to the StatefulSet, which may be scaled or deleted by hand, nor with hibernation, to
      // Kubernetes a scale-down of all members: only with pods of members that were removed, and with the cluster, which owns
      // the disks that go with it (retention.ts).
      persistentVolumeClaimRetentionPolicy: {
        whenScaled: input.shrinks === true && !hibernated ? storage.retention.whenScaled : 'Retain',
        whenDeleted: 'Retain',
      },
      revisionHistoryLimit: 3,
      selector: { matchLabels: memberSelector(metadata.name) },
      template: input.keptTemplate ?? memberTemplate(input),
      volumeClaimTemplates: [
        {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: {
            name: DISK,
            labels: podLabels(metadata.name, 'member'),
            // Left on the disk when the cluster is deleted: a cluster that takes it over again knows whose data it is.
            annotations: { [TOKEN]: input.token },
          },
          spec: {
            accessModes: ['ReadWriteOnce'],
            ...(storage.storageClassName === undefined ? {} : { storageClassName: storage.storageClassName }),
            resources: { requests: { storage: input.templateSize ?? String(storage.size) } },
          },
        },
      ],
    },
  };
}

/**
 * The pod template with two hashes of itself: of what members always run, and of what they restore from. The latter
 * leaves the template once the cluster has formed, and no member is restarted for that.
 */
export function memberTemplate(input: ClusterInput) {
  const { pod, parts, reloadsTrust } = memberPod(input);
  const { initContainers, restore } = parts;
  const template = input.cluster.spec.podTemplate?.metadata;
  const secured = schemeOf(input.cluster) === 'https';
  const container = secured ? withMount(parts.container) : parts.container;
  // A member that reads once whom it trusts is replaced when that changes.
  const trust: Readonly<Record<string, string>> =
    input.trust === undefined || reloadsTrust ? {} : { [TRUST]: input.trust };
  const hashes = {
    ...trust,
    [TEMPLATE]: hashOf([{ pod, container, initContainers, ...trust }, template]),
    ...(restore ? { [RESTORE_TEMPLATE]: hashOf(restore) } : {}),
  };
  const init = [...(restore?.initContainers ?? []), ...initContainers];
  const volumes = [
    ...(secured ? [certificatesVolume(input.cluster, ['server', 'peer'])] : []),
    ...(restore?.volumes ?? []),
  ];
  return {
    metadata: {
      labels: { ...template?.labels, ...podLabels(input.cluster.metadata.name, 'member') },
      annotations: { ...template?.annotations, ...hashes },
    },
    spec: {
      ...pod,
      ...(init.length > 0 ? { initContainers: init } : {}),
      containers: [restore ? { ...container, args: [...container.args, ...restore.args] } : container],
      ...(volumes.length > 0 ? { volumes } : {}),
    },
  };
}

function withMount<C extends Json>(container: C): C {
  const mounts = (container['volumeMounts'] ?? []) as readonly Json[];
  return { ...container, volumeMounts: [...mounts, certificatesMount] };
}

function memberPod({ cluster, settings, token, bootstrap }: ClusterInput) {
  const { metadata, spec } = cluster;
  const name = metadata.name;
  const { podTemplate: template } = spec;
  const defined = (fields: Json): Json =>
    Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  const pod = {
    ...podBasics,
    terminationGracePeriodSeconds: 20,
    ...defined({
      nodeSelector: template?.nodeSelector,
      tolerations: template?.tolerations,
      priorityClassName: template?.priorityClassName,
      imagePullSecrets: template?.imagePullSecrets,
      serviceAccountName: template?.serviceAccountName,
    }),
    ...placement(name, template),
  };
  const profile = profileOf(spec.engine.type);
  const parts = profile.member({
    spec,
    settings,
    host: memberHost(name, metadata.namespace ?? 'default', '$(POD_NAME)'),
    token,
    config: clusterNames(name).config,
    disk: DISK,
    containerSecurityContext,
    ...(schemeOf(cluster) === 'https'
      ? { tls: { server: certificatesAt('server'), peer: certificatesAt('peer') } }
      : {}),
    ...(bootstrap ? { archive: archiveOf(bootstrap) } : {}),
  });
  return { pod, parts, reloadsTrust: profile.reloadsTrust };
}

function archiveOf({ store, key, checksum }: Bootstrap): MemberArchive {
  return {
    key,
    ...(checksum === undefined ? {} : { checksum: checksumOfHex(checksum) }),
    env: storeEnvironment(store, true),
    volumeMounts: storeMounts(store, true),
    volumes: storeVolumes(store),
  };
}
