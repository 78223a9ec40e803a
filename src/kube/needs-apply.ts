import { FIELD_MANAGER } from './contract.ts';
import type { KubeObject, Live } from './objects.ts';
import { quantity } from './quantity.ts';

/**
 * Would a server-side apply of `desired` change anything? Pure, so that a reconcile with nothing to do sends nothing.
 *
 * The live object's managedFields say which fields our last apply contained. An apply is needed when a desired value
 * differs from the live one, when a desired field is not ours yet, or when a field is ours that is no longer desired.
 * What others own and what the server defaulted is not looked at. In doubt the answer is true: `Applier` keeps a doubt
 * that never goes away (a value that the server writes in another way than we do) from becoming a request per look.
 */
export function needsApply(
  desired: KubeObject,
  live: Live | undefined,
  options: { readonly fieldManager?: string; readonly subresource?: 'status' } = {},
): boolean {
  if (live === undefined) return true;
  const owned = ownedFields(live, options.fieldManager ?? FIELD_MANAGER, options.subresource);
  if (owned === undefined) return true;
  if (options.subresource === 'status') {
    const { status } = desired as { status?: unknown };
    return differs(status, (live as { status?: unknown }).status, asNode(owned['f:status']), ['status']);
  }
  return differs(withoutIdentity(desired), withoutIdentity(live), owned, []);
}

type Node = Readonly<Record<string, unknown>>;
type Path = readonly string[];

/** What of an object SSA never records as owned: it names the object or is the server's alone. */
const IDENTITY = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'selfLink',
  'managedFields',
  'generateName',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
]);

/** Fields that the server adds inside atomic values, where managedFields cannot tell ours from its own. */
const DEFAULTS: readonly { readonly under: string; readonly field: string; readonly value?: unknown }[] = [
  { under: 'fieldRef', field: 'apiVersion', value: 'v1' },
  { under: 'resourceFieldRef', field: 'divisor', value: '0' },
  { under: 'volumeClaimTemplates', field: 'apiVersion', value: 'v1' },
  { under: 'volumeClaimTemplates', field: 'kind', value: 'PersistentVolumeClaim' },
  { under: 'volumeClaimTemplates', field: 'status' },
  { under: 'spec', field: 'volumeMode', value: 'Filesystem' },
];

/** The union of what `manager` owns by apply, as a FieldsV1 tree; `undefined` when it never applied. */
export function ownedFields(live: KubeObject, manager: string, subresource?: string): Node | undefined {
  let owned: Node | undefined;
  for (const entry of live.metadata.managedFields ?? []) {
    if (entry.manager !== manager || entry.operation !== 'Apply' || entry.subresource !== subresource) continue;
    owned = owned === undefined ? (entry.fieldsV1 ?? {}) : union(owned, entry.fieldsV1 ?? {});
  }
  return owned;
}

/** The part of a live object's values that a FieldsV1 tree covers: what can be compared between two looks. */
export function ownedValues(live: unknown, owned: Node): unknown {
  const keys = Object.keys(owned).filter((key) => key !== '.');
  if (keys.length === 0) return live;
  if (Array.isArray(live)) {
    return keys.map((key) => {
      const item = live.find((candidate) => matches(key, candidate));
      return item === undefined ? null : [key, ownedValues(item, asNode(owned[key]))];
    });
  }
  if (!isRecord(live)) return live;
  const values: Record<string, unknown> = {};
  for (const key of keys) if (key.startsWith('f:')) values[key] = ownedValues(live[key.slice(2)], asNode(owned[key]));
  return values;
}

function differs(desired: unknown, live: unknown, owned: Node, path: Path): boolean {
  const keys = Object.keys(owned).filter((key) => key !== '.');
  if (isRecord(desired)) {
    if (!isRecord(live)) return !isEmpty(desired);
    // Nothing below is recorded: one atomic value, to be had whole.
    if (keys.length === 0) return !sameAtomic(desired, live, path);
    for (const [field, value] of Object.entries(desired)) {
      if (value === undefined) continue;
      const node = owned[`f:${field}`];
      const at = [...path, field];
      if (
        node === undefined ? !(isEmpty(value) && isEmpty(live[field])) : differs(value, live[field], asNode(node), at)
      ) {
        return true;
      }
    }
    return keys.some((key) => desired[key.slice(2)] === undefined || desired[key.slice(2)] === null);
  }
  if (Array.isArray(desired)) {
    if (!Array.isArray(live)) return desired.length > 0;
    if (keys.length === 0) return !sameAtomic(desired, live, path);
    return listDiffers(desired, live, owned, keys, path);
  }
  return !sameScalar(desired, live, path);
}

/** A list whose items are recorded one by one: `k:{…}` by key fields, `v:…` by value. */
function listDiffers(desired: unknown[], live: unknown[], owned: Node, keys: string[], path: Path): boolean {
  if (desired.length !== keys.length) return true;
  const left = new Set(keys);
  let last = -1;
  for (const item of desired) {
    const key = [...left].find((candidate) => matches(candidate, item));
    if (key === undefined) return true;
    left.delete(key);
    const at = live.findIndex((candidate) => matches(key, candidate));
    // Order counts among our own items (init containers run in it); others may stand in between.
    if (at <= last) return true;
    last = at;
    if (key.startsWith('k:') && differs(item, live[at], asNode(owned[key]), path)) return true;
  }
  return false;
}

/** Does `item` bear this FieldsV1 key? A key field that the item leaves out was defaulted by the server. */
function matches(key: string, item: unknown): boolean {
  let wanted: unknown;
  try {
    wanted = JSON.parse(key.slice(2));
  } catch {
    return false;
  }
  if (key.startsWith('v:')) return item === wanted;
  if (!key.startsWith('k:') || !isRecord(item) || !isRecord(wanted)) return false;
  const entries = Object.entries(wanted);
  return (
    entries.some(([field]) => item[field] !== undefined) &&
    entries.every(([field, value]) => item[field] === undefined || item[field] === value)
  );
}

function sameAtomic(desired: unknown, live: unknown, path: Path): boolean {
  if (Array.isArray(desired)) {
    return (
      Array.isArray(live) &&
      desired.length === live.length &&
      desired.every((item, i) => sameAtomic(item, live[i], path))
    );
  }
  if (!isRecord(desired)) return sameScalar(desired, live, path);
  if (!isRecord(live)) return isEmpty(desired) && isEmpty(live);
  for (const [field, value] of Object.entries(desired)) {
    if (isEmpty(value) && isEmpty(live[field])) continue;
    if (!sameAtomic(value, live[field], [...path, field])) return false;
  }
  const under = path.at(-1);
  return Object.entries(live).every(
    ([field, value]) =>
      field in desired ||
      isEmpty(value) ||
      DEFAULTS.some((d) => d.under === under && d.field === field && (d.value === undefined || d.value === value)),
  );
}

function sameScalar(desired: unknown, live: unknown, path: Path): boolean {
  if (desired === live || (isEmpty(desired) && isEmpty(live))) return true;
  if (!isQuantity(path)) return false;
  const a = quantity(desired);
  return a !== undefined && a === quantity(live);
}

/** Places whose values are quantities: the server writes `1024Mi` as `1Gi`. */
function isQuantity(path: Path): boolean {
  const [parent, field] = path.slice(-2);
  return (
    ['limits', 'requests', 'capacity', 'hard'].includes(parent ?? '') || field === 'sizeLimit' || field === 'divisor'
  );
}

/** What Go leaves out when it writes an object, so that the live object need not show it. */
function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) && Object.values(value).every((inner) => inner === undefined || inner === null);
}

function withoutIdentity(object: KubeObject): Record<string, unknown> {
  const {
    apiVersion: _version,
    kind: _kind,
    metadata,
    status: _status,
    ...rest
  } = object as KubeObject & { status?: unknown };
  const kept = Object.entries(metadata).filter(([field, value]) => !IDENTITY.has(field) && value !== undefined);
  return kept.length === 0 ? rest : { ...rest, metadata: Object.fromEntries(kept) };
}

function union(a: Node, b: Node): Node {
  const both: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b))
    both[key] = key in both ? union(asNode(both[key]), asNode(value)) : value;
  return both;
}

function asNode(value: unknown): Node {
  return isRecord(value) ? value : {};
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
