/** The shape of Kubernetes objects as raw JSON: nothing is dropped, renamed or turned into a class instance. */

import type { OwnerReference, ObjectMeta as ResourceMeta } from '../api/meta.ts';

export type { OwnerReference };

export interface ManagedFieldsEntry {
  readonly manager?: string;
  readonly operation?: 'Apply' | 'Update' | (string & {});
  readonly apiVersion?: string;
  readonly time?: string;
  readonly fieldsType?: string;
  readonly fieldsV1?: Readonly<Record<string, unknown>>;
  readonly subresource?: string;
}

export interface ObjectMeta extends ResourceMeta {
  readonly deletionGracePeriodSeconds?: number;
  readonly managedFields?: readonly ManagedFieldsEntry[];
}

/** The least that every object has. Typed kinds extend it; unknown fields of raw JSON simply stay. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

/** An object as the API server returned it: identity and version are there. */
export type Live<T extends KubeObject = KubeObject> = T & {
  readonly metadata: { readonly uid: string; readonly resourceVersion: string; readonly creationTimestamp: string };
};

/** A manifest that we wrote: any fields beside the metadata. */
export type Manifest = KubeObject & Readonly<Record<string, unknown>>;

/** Names a kind to the API server; `T` is the shape of its objects. */
export interface ResourceType<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Lower-case plural, as in the URL. */
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never set: carries the type only. */
  readonly shape?: T;
}

export interface ObjectRef {
  /** Absent for objects that belong to no namespace. */
  readonly namespace?: string;
  readonly name: string;
}

/** A key of the cache and the queue: `namespace/name`, or `name` where there is no namespace. */
export type Key = string;

export function apiVersionOf(type: ResourceType): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

export function keyOf(object: { readonly metadata: ObjectMeta } | ObjectRef): Key {
  const { namespace, name } = 'metadata' in object ? object.metadata : object;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

export function refOf(key: Key): ObjectRef {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** The controlling owner, if any. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((reference) => reference.controller === true);
}

/** The reference that makes `owner` the controller of another object of its namespace. */
export function ownedBy(owner: Live): OwnerReference {
  const { apiVersion, kind, metadata } = owner;
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true, blockOwnerDeletion: true };
}

/** Versions of a kind come and go; its group stays. The core group has none in its `v1`. */
function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}

/** The keys for a watch that wakes the controller of an object: its controlling owner of `type`. */
export function controllerKeys(type: ResourceType): (object: KubeObject) => readonly Key[] {
  return (object) => {
    const owner = controllerOf(object);
    if (owner?.kind !== type.kind || groupOf(owner.apiVersion) !== type.group) return [];
    const { namespace } = object.metadata;
    return [keyOf(namespace === undefined ? { name: owner.name } : { namespace, name: owner.name })];
  };
}

/**
 * Orders two resource versions (-1, 0, 1). From Kubernetes 1.35 on they are decimal integers of any length that may be
 * compared (KEP-5504); `undefined` when one of them is something else.
 */
export function compareVersions(a: string, b: string): -1 | 0 | 1 | undefined {
  if (!/^(0|[1-9]\d*)$/.test(a) || !/^(0|[1-9]\d*)$/.test(b)) return undefined;
  if (a.length !== b.length) return a.length < b.length ? -1 : 1;
  return a === b ? 0 : a < b ? -1 : 1;
}
