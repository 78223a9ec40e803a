import { createHash } from 'node:crypto';
import { type ApplyOptions, FIELD_MANAGER, type KubeClient } from './contract.ts';
import { needsApply, ownedFields, ownedValues } from './needs-apply.ts';
import { type KubeObject, keyOf, type Live, type ResourceType } from './objects.ts';

/** Server-side apply that sends a request only when it would change something. */
export interface Applier {
  /** Makes the desired fields so; `live` is the cached object, `undefined` when there is none. True if it was sent. */
  apply<T extends KubeObject>(
    type: ResourceType<T>,
    desired: T,
    live: Live | undefined,
    options?: ApplyOptions,
  ): Promise<boolean>;
  /** The same for `status`; `live` must exist. */
  applyStatus<T extends KubeObject>(
    type: ResourceType<T>,
    desired: T,
    live: Live,
    options?: ApplyOptions,
  ): Promise<boolean>;
}

/**
 * What we last applied and what the server made of it, one digest each. When the desired fields are the same, and our
 * fields of the live object still have the values that our apply left, another apply would do the same again: that
 * settles every doubt of `needsApply` (a quantity or default that the server writes in its own way) after one request.
 */
export function createApplier(client: KubeClient, remembered = 10_000): Applier {
  const memory = new Map<string, { readonly desired: string; readonly result: string }>();

  const ensure = async <T extends KubeObject>(
    type: ResourceType<T>,
    desired: T,
    live: Live | undefined,
    options: ApplyOptions,
    subresource?: 'status',
  ): Promise<boolean> => {
    const fieldManager = options.fieldManager ?? FIELD_MANAGER;
    const how = subresource === undefined ? { fieldManager } : { fieldManager, subresource };
    if (!needsApply(desired, live, how)) return false;
    const slot = `${type.group}/${type.plural}/${keyOf(desired)}/${fieldManager}/${subresource ?? ''}`;
    const wanted = digest(subresource === undefined ? desired : (desired as { status?: unknown }).status);
    const known = memory.get(slot);
    if (live !== undefined && known?.desired === wanted && known.result === outcome(live, fieldManager, subresource)) {
      return false;
    }
    const applied =
      subresource === undefined
        ? await client.apply(type, desired, options)
        : await client.applyStatus(type, desired, options);
    memory.delete(slot);
    memory.set(slot, { desired: wanted, result: outcome(applied, fieldManager, subresource) });
    // The oldest goes first; forgetting costs one request at most.
    if (memory.size > remembered) memory.delete(memory.keys().next().value!);
    return true;
  };

  return {
    apply: (type, desired, live, options = {}) => ensure(type, desired, live, options),
    applyStatus: (type, desired, live, options = {}) => ensure(type, desired, live, options, 'status'),
  };
}

/** The object (a namesake is another), what we own of it, and the values there. */
function outcome(live: Live, fieldManager: string, subresource: string | undefined): string {
  const owned = ownedFields(live, fieldManager, subresource);
  return digest([live.metadata.uid, owned ?? null, owned === undefined ? null : ownedValues(live, owned)]);
}

function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value) ?? '')
    .digest('base64');
}
