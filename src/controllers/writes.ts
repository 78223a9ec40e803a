/** How controllers write: only what differs, and never over an object that belongs to somebody else. */

import type { KubeClient } from '../kube/contract.ts';
import { ApiError, isAlreadyExists, isNotFound } from '../kube/errors.ts';
import { type Job, jobs } from '../kube/kinds.ts';
import {
  controllerOf,
  type Key,
  type KubeObject,
  keyOf,
  type Live,
  type Manifest,
  type ObjectRef,
  ownedBy,
  type ResourceType,
  refOf,
} from '../kube/objects.ts';
import type { ReconcileResult } from '../runtime/contract.ts';
import type { Latest } from './latest.ts';

/** An object of the name that we need belongs to somebody else. */
export class NameTakenError extends Error {
  readonly code = 'CONTROLLER_NAME_TAKEN';
  constructor(object: KubeObject) {
    const owner = controllerOf(object);
    super(
      `${object.kind} ${object.metadata.name} is in the way and belongs to ${owner ? `${owner.kind} ${owner.name}` : 'somebody else'}: delete it, or use another name`,
    );
    this.name = 'NameTakenError';
  }
}

interface WithStatus<S> extends KubeObject {
  readonly status?: S;
}

/** Replaces the status of `object` as we know it; refused by the server (409 Conflict) where somebody wrote meanwhile. */
export async function writeStatus<S, T extends WithStatus<S>>(
  client: KubeClient,
  type: ResourceType<T>,
  latest: Latest<T>,
  object: Live<T>,
  status: S,
): Promise<Live<T>> {
  const written = await client.replace<T>(type, { ...object, status }, { subresource: 'status' });
  latest.wrote(written);
  return written;
}

/** Creates an object once. One that is there already counts as made, if it is of the same owner. */
export async function createOnce<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  latest: Latest<T>,
  owner: Live,
  manifest: Manifest,
): Promise<'created' | 'there'> {
  try {
    latest.wrote(await client.create<T>(type, manifest as unknown as T));
    return 'created';
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const there = await client.find<T>(type, refOf(keyOf(manifest)));
    // Gone between the two: the next look creates it.
    if (there === undefined) throw error;
    if (controllerOf(there)?.uid !== ownedBy(owner).uid) throw new NameTakenError(there);
    latest.wrote(there);
    return 'there';
  }
}

/** The API server will not have this object: it is invalid, forbidden by admission, or over a quota. */
export function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && [400, 403, 413, 422].includes(error.status);
}

/** How soon what was refused is tried again: a quota may have grown. */
export const REFUSED_RETRY_MS = 15_000;

/** What could not be made for an object, in words, until it is made or nobody wants it any more. */
export class Refusals {
  readonly #reasons = new Map<Key, string>();

  /** As the plan wants to see it. */
  of(key: Key): { readonly refused?: string } {
    const refused = this.#reasons.get(key);
    return refused === undefined ? {} : { refused };
  }

  /** Notes it, and when to look again: at once, so that the plan says it, then from time to time. Other errors go on. */
  note(key: Key, error: unknown): ReconcileResult {
    if (!(error instanceof NameTakenError) && !isRefusal(error)) throw error;
    const told = this.#reasons.get(key) === messageOf(error);
    this.#reasons.set(key, messageOf(error));
    return { requeueAfterMs: told ? REFUSED_RETRY_MS : 1 };
  }

  forget(key: Key): void {
    this.#reasons.delete(key);
  }
}

/** A namespace that is being deleted takes nothing new. */
export function namespaceEnds(error: unknown): boolean {
  if (!(error instanceof ApiError) || error.status !== 403) return false;
  return error.body?.details?.causes?.some(({ reason }) => reason === 'NamespaceTerminating') ?? false;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Lets a finished Job go after `seconds`. One that is gone already is as good. */
export async function expireJob(
  client: KubeClient,
  latest: Latest<Job>,
  ref: ObjectRef,
  seconds: number,
): Promise<void> {
  try {
    latest.wrote(await client.patch(jobs, ref, { spec: { ttlSecondsAfterFinished: seconds } }));
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
