/** The naive model: a copy of the whole state for every revision, and nothing clever. */
import {
  type Compare,
  type DeleteOperation,
  type KeyRange,
  type KeyRecord,
  MvccError,
  type PutOperation,
  type RangeOperation,
  type RangeResult,
  type Result,
  type TxnOperation,
} from '../../src/mvcc/types.ts';

type State = Map<string, KeyRecord>;
type Planned = PutOperation | DeleteOperation | RangeOperation | Plan;
interface Plan {
  readonly succeeded: boolean;
  readonly inner: readonly Planned[];
}

const text = (value: Uint8Array): string => Buffer.from(value).toString('latin1');

function inside(range: KeyRange, key: string): boolean {
  switch (range.kind) {
    case 'one':
      return key === range.key;
    case 'span':
      return key >= range.from && key < range.to;
    case 'from':
      return key >= range.from;
  }
}

function field(compare: Compare, record: KeyRecord | undefined): bigint | string | undefined {
  switch (compare.target.kind) {
    case 'version':
      return BigInt(record?.version ?? 0);
    case 'create':
      return BigInt(record?.createRevision ?? 0);
    case 'mod':
      return BigInt(record?.modRevision ?? 0);
    case 'lease':
      return BigInt(record?.lease ?? 0);
    case 'value':
      return record && text(record.value);
  }
}

function truth(compare: Compare, record: KeyRecord | undefined): boolean {
  const left = field(compare, record);
  if (left === undefined) return false;
  const than = compare.target.than;
  const right = than instanceof Uint8Array ? text(than) : BigInt(than);
  switch (compare.result) {
    case 'equal':
      return left === right;
    case 'notEqual':
      return left !== right;
    case 'greater':
      return left > right;
    case 'less':
      return left < right;
  }
}

export class Model {
  states: State[] = [new Map(), new Map()];
  compactRevision = -1;
  #writing: State | undefined;

  get revision(): number {
    return this.states.length - 1;
  }

  #now(): State {
    return this.#writing ?? this.states.at(-1)!;
  }

  #select(state: State, range: KeyRange): KeyRecord[] {
    return [...state.values()].filter(({ key }) => inside(range, key)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  range(operation: RangeOperation): RangeResult {
    const current = this.revision + (this.#writing ? 1 : 0);
    if (operation.revision > current) throw new MvccError('MVCC_FUTURE_REVISION', '');
    const at = operation.revision > 0 ? operation.revision : current;
    if (at < this.compactRevision) throw new MvccError('MVCC_COMPACTED', '');
    const found = this.#select(at === current ? this.#now() : this.states[at]!, operation.range);
    const base = { kind: 'range' as const, revision: current, count: found.length };
    if (operation.countOnly) return { ...base, records: [], more: false };
    const { limit, sortOrder, sortTarget } = operation;
    const bounds = [
      [operation.minModRevision, (r: KeyRecord) => r.modRevision >= operation.minModRevision],
      [operation.maxModRevision, (r: KeyRecord) => r.modRevision <= operation.maxModRevision],
      [operation.minCreateRevision, (r: KeyRecord) => r.createRevision >= operation.minCreateRevision],
      [operation.maxCreateRevision, (r: KeyRecord) => r.createRevision <= operation.maxCreateRevision],
    ] as const;
    const bounded = bounds.filter(([bound]) => bound !== 0);
    let records = found;
    if (limit > 0 && sortOrder === 'none' && bounded.length === 0) records = records.slice(0, limit + 1);
    records = records.filter((record) => bounded.every(([, keep]) => keep(record)));
    const rank = (r: KeyRecord): string | number => {
      switch (sortTarget) {
        case 'key':
          return r.key;
        case 'version':
          return r.version;
        case 'create':
          return r.createRevision;
        case 'mod':
          return r.modRevision;
        case 'value':
          return text(r.value);
      }
    };
    const sign = sortOrder === 'descend' ? -1 : 1;
    records = [...records].sort((a, b) => (rank(a) < rank(b) ? -sign : rank(a) > rank(b) ? sign : 0));
    const more = limit > 0 && records.length > limit;
    if (more) records = records.slice(0, limit);
    if (operation.keysOnly) records = records.map((record) => ({ ...record, value: new Uint8Array(0) }));
    return { ...base, records, more };
  }

  #change(): State {
    this.#writing ??= new Map(this.states.at(-1)!);
    return this.#writing;
  }

  #end(): number {
    if (this.#writing) this.states.push(this.#writing);
    this.#writing = undefined;
    return this.revision;
  }

  #check(operation: PutOperation): void {
    const needed = operation.ignoreValue || operation.ignoreLease;
    if (needed && !this.states.at(-1)!.has(operation.key)) throw new MvccError('MVCC_KEY_NOT_FOUND', '');
    if (operation.lease !== '0') throw new MvccError('MVCC_LEASE_NOT_FOUND', '');
  }

  #put(operation: PutOperation): Result {
    const before = this.#now().get(operation.key);
    const revision = this.revision + 1;
    this.#change().set(operation.key, {
      key: operation.key,
      createRevision: before?.createRevision ?? revision,
      modRevision: revision,
      version: (before?.version ?? 0) + 1,
      lease: '0',
      value: operation.ignoreValue ? before!.value : operation.value,
    });
    return { kind: 'put', revision, ...(operation.previous && before ? { previous: before } : {}) };
  }

  #delete(operation: DeleteOperation): Result {
    const found = this.#select(this.#now(), operation.range);
    if (found.length > 0) for (const { key } of found) this.#change().delete(key);
    return {
      kind: 'delete',
      revision: this.revision + (this.#writing ? 1 : 0),
      deleted: found.length,
      previous: operation.previous ? found : [],
    };
  }

  #truths(operation: TxnOperation): Plan {
    const state = this.states.at(-1)!;
    const succeeded = operation.compare.every((compare) => {
      const records = this.#select(state, compare.range);
      return records.length === 0 ? truth(compare, undefined) : records.every((record) => truth(compare, record));
    });
    const chosen = succeeded ? operation.success : operation.failure;
    const inner: Planned[] = [];
    for (const child of chosen) {
      if (child.kind === 'txn') {
        inner.push(this.#truths(child));
        continue;
      }
      inner.push(child);
      if (child.kind === 'put') this.#check(child);
      if (child.kind === 'range' && child.revision !== 0) {
        if (child.revision > this.revision) throw new MvccError('MVCC_FUTURE_REVISION', '');
        if (child.revision < this.compactRevision) throw new MvccError('MVCC_COMPACTED', '');
      }
    }
    return { succeeded, inner };
  }

  #perform({ succeeded, inner }: Plan): Result {
    const results: Result[] = [];
    for (const child of inner) {
      if (!('kind' in child)) results.push(this.#perform(child));
      else if (child.kind === 'put') results.push(this.#put(child));
      else if (child.kind === 'delete') results.push(this.#delete(child));
      else results.push(this.range(child));
    }
    return { kind: 'txn', revision: 0, succeeded, results };
  }

  apply(operation: PutOperation | DeleteOperation | TxnOperation): Result {
    switch (operation.kind) {
      case 'put': {
        this.#checkAlone(operation);
        const result = this.#put(operation);
        this.#end();
        return result;
      }
      case 'delete': {
        const result = this.#delete(operation);
        this.#end();
        return result;
      }
      case 'txn': {
        const truths = this.#truths(operation);
        const result = this.#perform(truths);
        return { ...result, revision: this.#end() };
      }
    }
  }

  /** Alone, a put's lease is looked at before its key. */
  #checkAlone(operation: PutOperation): void {
    if (operation.lease !== '0') throw new MvccError('MVCC_LEASE_NOT_FOUND', '');
    this.#check(operation);
  }

  compact(revision: number): void {
    if (revision <= this.compactRevision) throw new MvccError('MVCC_COMPACTED', '');
    if (revision > this.revision) throw new MvccError('MVCC_FUTURE_REVISION', '');
    this.compactRevision = revision;
  }
}
