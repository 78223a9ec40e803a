import type { KubeClient } from './contract.ts';
import { ApiError, isNotFound } from './errors.ts';
import { type KubeObject, keyOf, type Live, type ResourceType, refOf } from './objects.ts';

/** So often the list is read again when someone else changed it under us. */
const TRIES = 5;

export function hasFinalizer(object: KubeObject, finalizer: string): boolean {
  return object.metadata.finalizers?.includes(finalizer) ?? false;
}

/**
 * Puts our finalizer on an object; returns the object with it. No request when it is there; none either when the object
 * is already being deleted (the server forbids new finalizers then).
 */
export async function addFinalizer<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  object: Live<T>,
  finalizer: string,
): Promise<Live<T>> {
  if (object.metadata.deletionTimestamp !== undefined) return object;
  return (
    (await edit(client, type, object, (list) => (list.includes(finalizer) ? list : [...list, finalizer]))) ?? object
  );
}

/** Takes our finalizer off, so that a deleted object may go. An object that is gone already is as good. */
export async function removeFinalizer<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  object: Live<T>,
  finalizer: string,
): Promise<void> {
  await edit(client, type, object, (list) => list.filter((other) => other !== finalizer));
}

/** Changes the list under two tests: of the uid, so that no namesake is touched, and of the list as we knew it. */
async function edit<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  object: Live<T>,
  change: (finalizers: readonly string[]) => readonly string[],
): Promise<Live<T> | undefined> {
  const path = '/metadata/finalizers';
  let current: Live<T> | undefined = object;
  for (let attempt = 1; current !== undefined; attempt++) {
    if (current.metadata.uid !== object.metadata.uid) return undefined;
    const before: readonly string[] = current.metadata.finalizers ?? [];
    const after = change(before);
    if (after === before || after.length === before.length) return current;
    try {
      return await client.patch(type, refOf(keyOf(object)), [
        { op: 'test', path: '/metadata/uid', value: object.metadata.uid },
        ...(before.length > 0 ? [{ op: 'test' as const, path, value: before }] : []),
        // Without the list, "the list as we knew it" can only be told by the version.
        ...(before.length > 0
          ? []
          : [{ op: 'test' as const, path: '/metadata/resourceVersion', value: current.metadata.resourceVersion }]),
        after.length > 0 ? { op: 'add', path, value: after } : { op: 'remove', path },
      ]);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      // A test that did not hold is 422; a write in between is 409.
      const raced = error instanceof ApiError && (error.status === 422 || error.status === 409);
      if (!raced || attempt >= TRIES) throw error;
      current = await client.find(type, refOf(keyOf(object)));
    }
  }
  return undefined;
}
