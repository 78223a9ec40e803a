/**
 * Comparing what we want with what there is, so that a reconcile with nothing to do makes no request: the API server
 * fills in defaults and rewrites quantities, and neither is a difference.
 */
import type { KubeObject, Live, Manifest } from '../kube/objects.ts';
import { APPLIED } from './labels.ts';
import { shortHash } from './names.ts';

type Json = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON with sorted keys: equal values give equal text. Undefined fields do not count. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    isRecord(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

export function hashOf(value: unknown): string {
  return shortHash(canonical(value), 16);
}

const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A Kubernetes quantity as a number; undefined when it is none. */
export function quantityOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string') return undefined;
  const match = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)$/.exec(value);
  const factor = suffixes[match?.[2] ?? '?'];
  const figure = Number(match?.[1]);
  return factor === undefined || Number.isNaN(figure) ? undefined : figure * factor;
}

/** Items of a list that have a name (containers, volumes, ports, env) are matched by it, wherever they stand. */
function namedItems(list: readonly unknown[]): ReadonlyMap<string, unknown> | undefined {
  const items = new Map<string, unknown>();
  for (const item of list) {
    if (!isRecord(item) || typeof item['name'] !== 'string') return undefined;
    items.set(item['name'], item);
  }
  return items.size === list.length ? items : undefined;
}

/** Whether everything that `desired` says also holds in `observed`, which may say more. */
export function covers(desired: unknown, observed: unknown, quantities = false): boolean {
  if (desired === undefined || desired === null || desired === observed) return true;
  if (Array.isArray(desired)) {
    if (!Array.isArray(observed)) return desired.length === 0 && observed === undefined;
    const names = namedItems(desired);
    const there = names && namedItems(observed);
    if (names && there) return [...names].every(([name, item]) => there.has(name) && covers(item, there.get(name)));
    return desired.length === observed.length && desired.every((item, at) => covers(item, observed[at], quantities));
  }
  if (isRecord(desired)) {
    if (!isRecord(observed)) return false;
    return Object.entries(desired).every(([key, value]) =>
      covers(value, observed[key], quantities || key === 'requests' || key === 'limits'),
    );
  }
  if (!quantities) return false;
  const wanted = quantityOf(desired);
  return wanted !== undefined && wanted === quantityOf(observed);
}

/** The manifest with the hash of itself in an annotation. */
export function stamped(manifest: Manifest): Manifest {
  const { metadata } = manifest;
  return {
    ...manifest,
    metadata: { ...metadata, annotations: { ...metadata.annotations, [APPLIED]: hashOf(manifest) } },
  };
}

/**
 * Whether `observed` already is what a stamped manifest says. The stamp shows what left the manifest since it was last
 * applied; the comparison shows what somebody else changed.
 */
export function upToDate(manifest: Manifest, observed: Live<KubeObject> | undefined): boolean {
  return observed !== undefined && covers(manifest, observed);
}

/** JSON equality, whatever the order of fields; a missing field equals an undefined one. */
export function same(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}
