/** What an operation selects: bounds and order of a read, conditions of a transaction. Free of the store's structure. */
import type { Compare, KeyRange, KeyRecord, RangeOperation } from './types.ts';

const nothing = new Uint8Array(0);

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function compareLeases(a: string, b: string): number {
  if (a === b) return 0;
  return BigInt(a) < BigInt(b) ? -1 : 1;
}

/**
 * Whether all of a range's records must be read before the limit can be applied. A sort target without an order is not
 * among the reasons: etcd then sorts only the first `limit` keys.
 */
export function readsWholeRange(operation: RangeOperation): boolean {
  return (
    operation.sortOrder !== 'none' ||
    operation.minModRevision !== 0 ||
    operation.maxModRevision !== 0 ||
    operation.minCreateRevision !== 0 ||
    operation.maxCreateRevision !== 0
  );
}

function comparator(operation: RangeOperation): (a: KeyRecord, b: KeyRecord) => number {
  switch (operation.sortTarget) {
    case 'key':
      return (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
    case 'version':
      return (a, b) => a.version - b.version;
    case 'create':
      return (a, b) => a.createRevision - b.createRevision;
    case 'mod':
      return (a, b) => a.modRevision - b.modRevision;
    case 'value':
      return (a, b) => compareBytes(a.value, b.value);
  }
}

/** Filters and sorts records that come in the order of their keys. May change and return the array it was given. */
export function filterAndSort(records: KeyRecord[], operation: RangeOperation): KeyRecord[] {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = operation;
  let kept = records;
  if (minModRevision !== 0 || maxModRevision !== 0 || minCreateRevision !== 0 || maxCreateRevision !== 0) {
    kept = records.filter(
      ({ modRevision, createRevision }) =>
        (maxModRevision === 0 || modRevision <= maxModRevision) &&
        (minModRevision === 0 || modRevision >= minModRevision) &&
        (maxCreateRevision === 0 || createRevision <= maxCreateRevision) &&
        (minCreateRevision === 0 || createRevision >= minCreateRevision),
    );
  }
  const order = operation.sortOrder;
  if (operation.sortTarget === 'key' && order !== 'descend') return kept;
  const ascending = comparator(operation);
  return kept.sort(order === 'descend' ? (a, b) => ascending(b, a) : ascending);
}

export function withoutValue(record: KeyRecord): KeyRecord {
  const { key, createRevision, modRevision, version, lease } = record;
  return { key, createRevision, modRevision, version, lease, value: nothing };
}

function matches(compare: Compare, record: KeyRecord | undefined): boolean {
  const { target } = compare;
  let order: number;
  switch (target.kind) {
    case 'value':
      // A key without a value cannot be told from an absent one on the wire: comparing values of nothing always fails.
      if (record === undefined) return false;
      order = compareBytes(record.value, target.than);
      break;
    case 'version':
      order = (record?.version ?? 0) - target.than;
      break;
    case 'create':
      order = (record?.createRevision ?? 0) - target.than;
      break;
    case 'mod':
      order = (record?.modRevision ?? 0) - target.than;
      break;
    case 'lease':
      order = compareLeases(record?.lease ?? '0', target.than);
      break;
  }
  switch (compare.result) {
    case 'equal':
      return order === 0;
    case 'notEqual':
      return order !== 0;
    case 'greater':
      return order > 0;
    case 'less':
      return order < 0;
  }
}

/** Whether a condition holds for all records of its range. */
export function holds(compare: Compare, read: (range: KeyRange) => readonly KeyRecord[]): boolean {
  const records = read(compare.range);
  return records.length === 0 ? matches(compare, undefined) : records.every((record) => matches(compare, record));
}
