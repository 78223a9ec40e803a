/** What every controller is given: the API server, its caches, the members' engines, the stores. */

import type { RaftCluster } from '../api/cluster.ts';
import type { RaftCompaction, RaftCompactionPolicy } from '../api/compaction.ts';
import {
  raftCluster,
  raftCompaction,
  raftCompactionPolicy,
  raftRestore,
  raftSnapshot,
  raftSnapshotPolicy,
  raftSnapshotStore,
} from '../api/kinds.ts';
import type { RaftSnapshotPolicy } from '../api/policy.ts';
import type { RaftRestore } from '../api/restore.ts';
import type { RaftSnapshot } from '../api/snapshot.ts';
import type { RaftSnapshotStore } from '../api/store.ts';
import type { Engine, EngineType } from '../engines/engine.ts';
import type { Applier } from '../kube/apply.ts';
import type { EventRecorder, KubeClient } from '../kube/contract.ts';
import {
  type ConfigMap,
  configMaps,
  type Job,
  jobs,
  networkPolicies,
  type PersistentVolumeClaim,
  type Pod,
  persistentVolumeClaims,
  podDisruptionBudgets,
  pods,
  type Secret,
  type StatefulSet,
  secrets,
  services,
  statefulSets,
} from '../kube/kinds.ts';
import {
  type Key,
  type KubeObject,
  keyOf,
  type Live,
  type Manifest,
  type ResourceType,
  refOf,
} from '../kube/objects.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Manager, Store } from '../runtime/contract.ts';
import type { Store as ArchiveStore, S3Credentials, StoreSpec } from '../stores/store.ts';
import { CLUSTER, MANAGED_SELECTOR, POLICY, RESTORE, SNAPSHOT } from './labels.ts';
import { Latest } from './latest.ts';
import type { PodSettings } from './restricted.ts';
import type { Certificates } from './tls/state.ts';

export interface World {
  readonly client: KubeClient;
  readonly applier: Applier;
  readonly events: EventRecorder;
  readonly manager: Manager;
  readonly clock: Clock;
  readonly settings: PodSettings;
  readonly views: Views;
  readonly certificates: Certificates;
  engine(type: EngineType): Engine;
  openStore(spec: StoreSpec, credentials?: S3Credentials): Promise<ArchiveStore>;
  /** Reads a running Job's progress: one GET, whose body it returns. */
  fetchProgress(url: string, signal: AbortSignal): Promise<string>;
  readonly workers: number;
  /** One namespace, or every one when absent. */
  readonly namespace?: string;
}

export interface Views {
  readonly clusters: Latest<RaftCluster>;
  readonly stores: Latest<RaftSnapshotStore>;
  readonly snapshots: Latest<RaftSnapshot>;
  readonly policies: Latest<RaftSnapshotPolicy>;
  readonly restores: Latest<RaftRestore>;
  readonly compactions: Latest<RaftCompaction>;
  readonly compactionPolicies: Latest<RaftCompactionPolicy>;
  readonly statefulSets: Latest<StatefulSet>;
  readonly services: Latest<Manifest>;
  readonly configMaps: Latest<ConfigMap>;
  readonly disruptionBudgets: Latest<Manifest>;
  /** Those that bear our labels: no other Secret is ever held. */
  readonly secrets: Latest<Secret>;
  readonly networkPolicies: Latest<Manifest>;
  readonly jobs: Latest<Job>;
  /** Pods of members and of Jobs. */
  readonly pods: Store<Pod>;
  /** Disks of members. */
  readonly disks: Store<PersistentVolumeClaim>;
}

export interface Selections {
  readonly own: { readonly namespace?: string };
  readonly managed: { readonly namespace?: string; readonly labelSelector: string };
}

export function selections(namespace: string | undefined): Selections {
  const own = namespace === undefined ? {} : { namespace };
  return { own, managed: { ...own, labelSelector: MANAGED_SELECTOR } };
}

/** `namespace/value` of a label: an index by what an object belongs to. */
export function byLabel(label: string): (object: Live<KubeObject>) => readonly string[] {
  return ({ metadata }) => {
    const value = metadata.labels?.[label];
    return value === undefined ? [] : [keyOf({ namespace: metadata.namespace ?? '', name: value })];
  };
}

function byName<T extends KubeObject>(nameOf: (object: Live<T>) => string | undefined) {
  return (object: Live<T>): readonly string[] => {
    const name = nameOf(object);
    return name === undefined ? [] : [keyOf({ namespace: object.metadata.namespace ?? '', name })];
  };
}

/** Makes every cache with every index before a controller asks for one. */
export function createViews(manager: Manager, clock: Clock, namespace?: string): Views {
  const { own, managed } = selections(namespace);
  const latest = <T extends KubeObject>(
    type: ResourceType<T>,
    selection: typeof own,
    indexes: Readonly<Record<string, (object: Live<T>) => readonly string[]>> = {},
  ) => new Latest(manager.cache(type, { ...selection, indexes }), clock);
  const cluster = byLabel(CLUSTER);
  return {
    clusters: latest<RaftCluster>(raftCluster, own, {
      store: byName(({ spec }) => spec.bootstrap?.restore.storeName),
    }),
    stores: latest<RaftSnapshotStore>(raftSnapshotStore, own),
    snapshots: latest<RaftSnapshot>(raftSnapshot, own, {
      cluster: byName(({ spec }) => spec.clusterName),
      store: byName(({ spec }) => spec.storeName),
      policy: byLabel(POLICY),
    }),
    policies: latest<RaftSnapshotPolicy>(raftSnapshotPolicy, own, {
      cluster: byName(({ spec }) => spec.clusterName),
      store: byName(({ spec }) => spec.storeName),
    }),
    restores: latest<RaftRestore>(raftRestore, own, {
      snapshot: byName(({ spec }) => spec.source.snapshotName),
      store: byName(({ spec, status }) => status?.archive?.storeName ?? spec.source.archive?.storeName),
      target: byName(({ spec }) => spec.target.newCluster.name),
    }),
    compactions: latest<RaftCompaction>(raftCompaction, own, {
      cluster: byName(({ spec }) => spec.clusterName),
      policy: byLabel(POLICY),
    }),
    compactionPolicies: latest<RaftCompactionPolicy>(raftCompactionPolicy, own, {
      cluster: byName(({ spec }) => spec.clusterName),
    }),
    statefulSets: latest<StatefulSet>(statefulSets, managed, { cluster }),
    services: latest<Manifest>(services, managed),
    configMaps: latest<ConfigMap>(configMaps, managed),
    disruptionBudgets: latest<Manifest>(podDisruptionBudgets, managed),
    secrets: latest<Secret>(secrets, managed),
    networkPolicies: latest<Manifest>(networkPolicies, managed),
    jobs: latest<Job>(jobs, managed, { snapshot: byLabel(SNAPSHOT), restore: byLabel(RESTORE) }),
    pods: manager.cache<Pod>(pods, {
      ...managed,
      indexes: { cluster, snapshot: byLabel(SNAPSHOT), restore: byLabel(RESTORE) },
    }),
    disks: manager.cache<PersistentVolumeClaim>(persistentVolumeClaims, { ...managed, indexes: { cluster } }),
  };
}

/**
 * The Jobs of an object of this key: those that the watch shows, and those that we made a moment ago. `names` are the
 * names that its Jobs may have.
 */
export function jobsOf(
  { jobs }: Views,
  index: 'snapshot' | 'restore',
  key: Key,
  names: readonly ((of: string) => string)[],
): readonly Live<Job>[] {
  const { namespace = '', name: of } = refOf(key);
  const keys = new Set(jobs.cache.byIndex(index, key).map((job) => keyOf(job)));
  for (const name of names) keys.add(keyOf({ namespace, name: name(of) }));
  return [...keys].flatMap((each) => jobs.get(each) ?? []);
}
