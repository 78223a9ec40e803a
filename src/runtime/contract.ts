import type { Registry } from 'prom-client';
import type { Selection } from '../kube/contract.ts';
import type { ElectionOptions } from '../kube/lease.ts';
import type { Key, KubeObject, Live, ResourceType } from '../kube/objects.ts';
import type { Log } from '../log.ts';
import type { Clock } from './clock.ts';

/** A read-only view of a cached kind. Objects are shared: never change one. */
export interface Store<T extends KubeObject> {
  get(key: Key): Live<T> | undefined;
  list(): readonly Live<T>[];
  keys(): readonly Key[];
  /** The objects whose index function returned `value`. Throws when the cache has no index of that name. */
  byIndex(index: string, value: string): readonly Live<T>[];
  readonly size: number;
}

export type IndexFunctions<T extends KubeObject> = Readonly<Record<string, (object: Live<T>) => readonly string[]>>;

export interface CacheOptions<T extends KubeObject> extends Selection {
  readonly indexes?: IndexFunctions<T>;
  /** Drops what nobody reads before an object is kept (memory). Must keep metadata's name, namespace, uid, version. */
  readonly transform?: (object: Live<T>) => Live<T>;
}

/** A store that a reflector keeps equal to the server, and that tells of every change. */
export interface Cache<T extends KubeObject> extends Store<T> {
  readonly type: ResourceType<T>;
  /** True from the first complete list on. */
  readonly synced: boolean;
  /** Called on every change: `before` is absent for a new object, `after` for a deleted one. Returns the way out. */
  subscribe(listener: (before: Live<T> | undefined, after: Live<T> | undefined) => void): () => void;
}

/** What a reconcile returns: `{}` when all is done until something changes. */
export interface ReconcileResult {
  /** Look again after this many milliseconds even if nothing changes. */
  readonly requeueAfterMs?: number;
}

export interface ReconcileContext {
  readonly log: Log;
  readonly clock: Clock;
  /** Wall time at the start of this reconcile: hand it to `plan`. */
  readonly now: number;
  /** Aborted when the process stops or leadership is lost. */
  readonly signal: AbortSignal;
}

/** One kind whose changes wake the controller. Caches with the same kind and selection are shared. */
export interface Watch<T extends KubeObject = KubeObject> {
  readonly kind: ResourceType<T>;
  readonly selector?: Selection;
  /** The reconcile keys that a change of `object` concerns. Both the old and the new object are asked. */
  keys(object: Live<T>): readonly Key[];
  /** False leaves a change unnoticed, e.g. one of the status only. Every change counts when absent. */
  changed?(before: Live<T>, after: Live<T>): boolean;
}

export interface ControllerDefinition<T extends KubeObject = KubeObject> {
  /** Lower-case word for logs and metrics, such as `cluster`. */
  readonly name: string;
  /** The kind that is reconciled; its own changes wake it under its own key. */
  readonly kind: ResourceType<T>;
  /** Narrows `kind`. */
  readonly selector?: Selection;
  readonly watches?: readonly Watch[];
  /** As a watch's `changed`, of the kind itself. */
  changed?(before: Live<T>, after: Live<T>): boolean;
  /** Keys reconciled side by side (never one key twice at a time). 4 unless told. */
  readonly workers?: number;
  /**
   * Makes the world as the object says; called with a key whose object may be gone. A throw is counted, logged and tried
   * again with exponential delay (5 ms … 1000 s); an ApiError's `retryAfterMs` is honoured.
   */
  reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult>;
}

/** A running process part beside the controllers; stops when `signal` aborts. */
export type Runnable = (signal: AbortSignal) => Promise<void>;

export type LeaderOptions = Pick<
  ElectionOptions,
  'namespace' | 'name' | 'identity' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'
>;

export interface Manager {
  /** The cache of a kind; made (and started with the manager) at the first call, shared by kind and selection. */
  cache<T extends KubeObject>(type: ResourceType<T>, options?: CacheOptions<T>): Cache<T>;
  add<T extends KubeObject>(controller: ControllerDefinition<T>): void;
  /** Runs while this process leads (or always, without election). */
  run(name: string, runnable: Runnable): void;
  /** Asks a controller to look at a key again, e.g. when something outside Kubernetes changed. */
  enqueue(controller: string, key: Key, afterMs?: number): void;
  /**
   * Starts health and metrics, caches, election, and once leading the controllers. Resolves after `signal` aborted and
   * all is drained; rejects with `LEADERSHIP_LOST` when the lease was lost (the process must then exit).
   */
  start(signal: AbortSignal): Promise<void>;
  readonly metrics: Registry;
}
