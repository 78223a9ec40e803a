import type { KubeObject, Manifest, ObjectMeta, ResourceType } from './objects.ts';

/**
 * The built-in kinds that we read or write, each with the fields that someone here reads. Raw JSON carries the rest
 * untouched; what is written is a Manifest.
 */
function kind<T extends KubeObject = Manifest>(
  group: string,
  version: string,
  name: string,
  plural: string,
  namespaced = true,
): ResourceType<T> {
  return { group, version, kind: name, plural, namespaced };
}

/** A kind of our own group; `T` is the type that src/api gives it. */
export function customKind<T extends KubeObject>(version: string, name: string, plural: string): ResourceType<T> {
  return kind<T>('raftsman.dev', version, name, plural);
}

/** `metav1.Condition`. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

export interface ContainerStatus {
  readonly name: string;
  readonly ready?: boolean;
  /** Its startup probe has passed since it was last started. */
  readonly started?: boolean;
  readonly restartCount?: number;
  readonly image?: string;
  readonly state?: ContainerState;
  readonly lastState?: ContainerState;
}

export interface ContainerState {
  readonly waiting?: { readonly reason?: string; readonly message?: string };
  readonly running?: { readonly startedAt?: string };
  readonly terminated?: {
    readonly exitCode: number;
    readonly reason?: string;
    /** What the process left in its termination log. */
    readonly message?: string;
    readonly startedAt?: string;
    readonly finishedAt?: string;
  };
}

export interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string; readonly [field: string]: unknown };
  readonly status?: {
    readonly phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
    readonly reason?: string;
    readonly message?: string;
    readonly podIP?: string;
    readonly hostIP?: string;
    readonly startTime?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason?: string }[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

export interface StatefulSet extends KubeObject {
  readonly spec: { readonly replicas?: number; readonly [field: string]: unknown };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly updatedReplicas?: number;
    readonly currentRevision?: string;
    readonly updateRevision?: string;
  };
}

export interface Job extends KubeObject {
  readonly spec: { readonly suspend?: boolean; readonly backoffLimit?: number; readonly [field: string]: unknown };
  readonly status?: {
    readonly active?: number;
    readonly ready?: number;
    readonly succeeded?: number;
    readonly failed?: number;
    readonly startTime?: string;
    readonly completionTime?: string;
    readonly conditions?: readonly {
      readonly type: 'Complete' | 'Failed' | 'Suspended' | 'FailureTarget' | 'SuccessCriteriaMet' | (string & {});
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
  };
}

export interface PersistentVolumeClaim extends KubeObject {
  readonly spec: {
    readonly volumeName?: string;
    readonly storageClassName?: string;
    readonly resources?: { readonly requests?: Readonly<Record<string, string>> };
    readonly [field: string]: unknown;
  };
  readonly status?: {
    readonly phase?: 'Pending' | 'Bound' | 'Lost';
    readonly capacity?: Readonly<Record<string, string>>;
    readonly allocatedResourceStatuses?: Readonly<Record<string, string>>;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
  };
}

export interface StorageClass extends KubeObject {
  readonly allowVolumeExpansion?: boolean;
}

export interface Secret extends KubeObject {
  readonly type?: string;
  /** Values in base64. */
  readonly data?: Readonly<Record<string, string>>;
}

export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly leaseTransitions?: number;
    /** MicroTime: exactly six fractional digits. */
    readonly acquireTime?: string;
    readonly renewTime?: string;
  };
}

export interface ObjectReference {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** `events.k8s.io/v1`. */
export interface Event extends KubeObject {
  readonly eventTime: string | null;
  readonly type?: 'Normal' | 'Warning';
  readonly reason?: string;
  readonly action?: string;
  readonly note?: string;
  readonly regarding?: ObjectReference;
  readonly related?: ObjectReference;
  readonly reportingController?: string;
  readonly reportingInstance?: string;
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

export interface Namespace extends KubeObject {
  readonly metadata: ObjectMeta;
}

export const pods: ResourceType<Pod> = kind<Pod>('', 'v1', 'Pod', 'pods');
export const services: ResourceType<Manifest> = kind('', 'v1', 'Service', 'services');
export const secrets: ResourceType<Secret> = kind<Secret>('', 'v1', 'Secret', 'secrets');
export const configMaps: ResourceType<ConfigMap> = kind<ConfigMap>('', 'v1', 'ConfigMap', 'configmaps');
export const persistentVolumeClaims: ResourceType<PersistentVolumeClaim> = kind<PersistentVolumeClaim>(
  '',
  'v1',
  'PersistentVolumeClaim',
  'persistentvolumeclaims',
);
export const namespaces: ResourceType<Namespace> = kind<Namespace>('', 'v1', 'Namespace', 'namespaces', false);
export const statefulSets: ResourceType<StatefulSet> = kind<StatefulSet>('apps', 'v1', 'StatefulSet', 'statefulsets');
export const jobs: ResourceType<Job> = kind<Job>('batch', 'v1', 'Job', 'jobs');
export const podDisruptionBudgets: ResourceType<Manifest> = kind(
  'policy',
  'v1',
  'PodDisruptionBudget',
  'poddisruptionbudgets',
);
export const networkPolicies: ResourceType<Manifest> = kind(
  'networking.k8s.io',
  'v1',
  'NetworkPolicy',
  'networkpolicies',
);
export const storageClasses: ResourceType<StorageClass> = kind<StorageClass>(
  'storage.k8s.io',
  'v1',
  'StorageClass',
  'storageclasses',
  false,
);
export const leases: ResourceType<Lease> = kind<Lease>('coordination.k8s.io', 'v1', 'Lease', 'leases');
export const events: ResourceType<Event> = kind<Event>('events.k8s.io', 'v1', 'Event', 'events');
