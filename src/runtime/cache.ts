import { compareVersions, type Key, type KubeObject, keyOf, type Live, type ResourceType } from '../kube/objects.ts';
import type { Sink } from '../kube/reflector.ts';
import type { Cache, CacheOptions, IndexFunctions } from './contract.ts';

type Listener<T extends KubeObject> = (before: Live<T> | undefined, after: Live<T> | undefined) => void;

/** A cache and the side by which a reflector fills it. */
export interface FilledCache<T extends KubeObject> extends Cache<T>, Sink<T> {
  /** Adds indexes that a later user needs; an index of the same name is kept as it is. */
  addIndexes(indexes: IndexFunctions<T>): void;
}

/**
 * Objects by key and by index. An object is never replaced by an older version of itself: what a controller has seen
 * once, it sees from then on.
 */
export function createCache<T extends KubeObject>(
  type: ResourceType<T>,
  options: CacheOptions<T> = {},
): FilledCache<T> {
  const objects = new Map<Key, Live<T>>();
  const indexes = new Map<string, { of: (object: Live<T>) => readonly string[]; keys: Map<string, Set<Key>> }>();
  const listeners = new Set<Listener<T>>();
  const { transform = (object: Live<T>) => object } = options;
  let synced = false;

  const unindex = (key: Key, object: Live<T>): void => {
    for (const { of, keys } of indexes.values()) {
      for (const value of of(object)) {
        const set = keys.get(value);
        set?.delete(key);
        if (set?.size === 0) keys.delete(value);
      }
    }
  };

  const intoIndex = (
    index: { of: (object: Live<T>) => readonly string[]; keys: Map<string, Set<Key>> },
    key: Key,
    object: Live<T>,
  ) => {
    for (const value of index.of(object)) {
      const set = index.keys.get(value);
      if (set === undefined) index.keys.set(value, new Set([key]));
      else set.add(key);
    }
  };

  const tell = (before: Live<T> | undefined, after: Live<T> | undefined): void => {
    for (const listener of listeners) listener(before, after);
  };

  const put = (given: Live<T>, rewound: boolean): void => {
    const key = keyOf(given);
    const before = objects.get(key);
    const sameObject = before?.metadata.uid === given.metadata.uid;
    if (before !== undefined) {
      const order = compareVersions(given.metadata.resourceVersion, before.metadata.resourceVersion);
      // The same version again changes nothing; an older one is the past, of this object or of a namesake before it.
      if (sameObject && order === 0) return;
      if (order === -1 && !rewound) return;
      unindex(key, before);
    }
    const object = transform(given);
    objects.set(key, object);
    for (const index of indexes.values()) intoIndex(index, key, object);
    if (before !== undefined && !sameObject) {
      // A namesake: the old one is gone even if nobody saw it go.
      tell(before, undefined);
      tell(undefined, object);
    } else {
      tell(before, object);
    }
  };

  const drop = (key: Key): void => {
    const before = objects.get(key);
    if (before === undefined) return;
    unindex(key, before);
    objects.delete(key);
    tell(before, undefined);
  };

  const addIndexes = (more: IndexFunctions<T>): void => {
    for (const [name, of] of Object.entries(more)) {
      if (indexes.has(name)) continue;
      const index = { of, keys: new Map<string, Set<Key>>() };
      indexes.set(name, index);
      for (const [key, object] of objects) intoIndex(index, key, object);
    }
  };
  addIndexes(options.indexes ?? {});

  return {
    type,
    get synced() {
      return synced;
    },
    get size() {
      return objects.size;
    },
    get: (key) => objects.get(key),
    list: () => [...objects.values()],
    keys: () => [...objects.keys()],
    byIndex(name, value) {
      const index = indexes.get(name);
      if (index === undefined) throw new TypeError(`the cache of ${type.plural} has no index ${name}`);
      return [...(index.keys.get(value) ?? [])].map((key) => objects.get(key)!);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    addIndexes,
    replace(given, rewound) {
      const present = new Set(given.map(keyOf));
      for (const key of [...objects.keys()]) if (!present.has(key)) drop(key);
      for (const object of given) put(object, rewound);
      synced = true;
    },
    upsert: (object) => put(object, false),
    remove(object) {
      const before = objects.get(keyOf(object));
      if (before === undefined) return;
      // The deletion of an earlier namesake says nothing about the one that is there now.
      const order = compareVersions(object.metadata.resourceVersion, before.metadata.resourceVersion);
      if (order === -1) return;
      drop(keyOf(object));
    },
  };
}
