import type { KubeObject, Live, ObjectRef, ResourceType } from './objects.ts';

/** What a list or a watch covers. All are filtered by the server. */
export interface Selection {
  /** One namespace; every namespace when absent. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Whole-request limit in milliseconds; 30 000 unless told. */
  readonly timeoutMs?: number;
}

export interface ListOptions extends Selection, CallOptions {
  readonly limit?: number;
  readonly continue?: string;
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan';
}

export interface Page<T extends KubeObject> {
  readonly items: readonly Live<T>[];
  readonly resourceVersion: string;
  /** Token of the next page, if there is one. */
  readonly continue?: string;
}

export type WatchEvent<T extends KubeObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: Live<T> }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

export interface WatchOptions extends Selection {
  readonly resourceVersion: string;
  /** The server ends the watch after this long. */
  readonly timeoutSeconds?: number;
  readonly signal?: AbortSignal;
}

/** One operation of RFC 6902. `test` makes a patch conditional: 422 `Invalid` when it does not hold. */
export type JsonPatch = readonly (
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string }
)[];

export interface PatchOptions extends CallOptions {
  readonly subresource?: 'status' | 'scale' | (string & {});
}

export interface ApplyOptions extends CallOptions {
  /** `raftsman` unless told: two owners inside the operator need two names. */
  readonly fieldManager?: string;
  /** Validates and answers without storing. */
  readonly dryRun?: boolean;
}

export interface DeleteOptions extends CallOptions {
  /** `Background` unless told. */
  readonly propagationPolicy?: 'Foreground' | 'Background' | 'Orphan';
  readonly gracePeriodSeconds?: number;
  /** Only this very object: 409 `Conflict` when another has taken the name. */
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

/** Raw JSON over one authenticated, kept-alive connection pool. Failures are ApiError or TransportError. */
export interface KubeClient {
  /** Rejects with 404 `NotFound` when there is none. */
  get<T extends KubeObject>(type: ResourceType<T>, ref: ObjectRef, options?: CallOptions): Promise<Live<T>>;
  /** Like `get`, but `undefined` when there is none. */
  find<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    options?: CallOptions,
  ): Promise<Live<T> | undefined>;
  /** One page. */
  list<T extends KubeObject>(type: ResourceType<T>, options?: ListOptions): Promise<Page<T>>;
  /** Every object, page after page of 500, as one consistent list (begins again when the server forgets it midway). */
  listAll<T extends KubeObject>(type: ResourceType<T>, options?: Selection & CallOptions): Promise<Page<T>>;
  create<T extends KubeObject>(type: ResourceType<T>, object: T, options?: CallOptions): Promise<Live<T>>;
  /** PUT: with `metadata.resourceVersion` it is refused (409 `Conflict`) if someone else wrote meanwhile. */
  replace<T extends KubeObject>(type: ResourceType<T>, object: T, options?: PatchOptions): Promise<Live<T>>;
  /** Server-side apply of exactly the fields in `object`, taking conflicting ones over (force). */
  apply<T extends KubeObject>(type: ResourceType<T>, object: T, options?: ApplyOptions): Promise<Live<T>>;
  /** Server-side apply to the status subresource; only `status` of `object` counts. */
  applyStatus<T extends KubeObject>(type: ResourceType<T>, object: T, options?: ApplyOptions): Promise<Live<T>>;
  /** An array is a JSON patch, an object a JSON merge patch. */
  patch<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    patch: JsonPatch | Readonly<Record<string, unknown>>,
    options?: PatchOptions,
  ): Promise<Live<T>>;
  /** False when there was nothing to delete. */
  delete(type: ResourceType, ref: ObjectRef, options?: DeleteOptions): Promise<boolean>;
  /** Ends when the server ends it; throws ApiError (410 Gone as status or event) or TransportError. */
  watch<T extends KubeObject>(type: ResourceType<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
  /** Server version, such as `v1.36.3`. */
  version(options?: CallOptions): Promise<string>;
  /** The namespace of the kubeconfig's context or of our own pod; `default` otherwise. */
  readonly namespace: string;
  /** How many requests were sent so far (watches included): lets a test prove that idle means silent. */
  readonly requests: number;
  /** The same client (and connections) whose every writing request first calls `guard`; a throw keeps it from being sent. */
  fenced(guard: () => void): KubeClient;
  close(): void;
}

/** The field manager of everything that Raftsman applies. */
export const FIELD_MANAGER = 'raftsman';

export interface EventInput {
  /** What a machine matches, CamelCase: `SnapshotSucceeded`. */
  readonly reason: string;
  /** What was done or tried, CamelCase: `TakeSnapshot`. */
  readonly action: string;
  /** For a person: what happened and what to do. Cut at 1 KiB. */
  readonly note: string;
  readonly type?: 'Normal' | 'Warning';
  /** A second object that takes part. */
  readonly related?: Live;
}

/** Records events (events.k8s.io/v1). Never throws and never waits: a lost event must not stop a reconcile. */
export interface EventRecorder {
  record(regarding: Live, event: EventInput): void;
  /** Resolves when everything recorded so far is written or given up. */
  flush(): Promise<void>;
}
