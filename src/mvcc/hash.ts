/**
 * The hash of the state as etcd's HashKV takes it (server/storage/mvcc/hash.go): CRC-32C over the name of etcd's bucket
 * and then, for each change in the order of revisions, its key in that bucket and its record as protobuf. So members
 * agree whatever their memory looks like, and an etcd with the same history agrees too.
 */
import { crc32c } from './crc32c.ts';
import { writeKey, writeLease, writeVarint } from './encoding.ts';
import { type Change, changesOf, type HistoryView, survives } from './history.ts';
import { noLease, type StateHash } from './types.ts';

export type HashSteps = Generator<undefined, StateHash>;

const bytesPerStep = 262_144;
/** Key in the bucket: 8 bytes revision, `_`, 8 bytes sub-revision, `t` on deletions. */
const bucketKeyBytes = 18;
const fieldOverhead = 6 * 11;

function writeUint64(bytes: Uint8Array, at: number, value: number): number {
  const high = Math.floor(value / 4_294_967_296);
  const low = value >>> 0;
  for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = (high >>> shift) & 255;
  for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = (low >>> shift) & 255;
  return at;
}

/** Protobuf tags of mvccpb.KeyValue. */
const tag = { key: 10, createRevision: 16, modRevision: 24, version: 32, value: 42, lease: 48 } as const;

function writeHead(bytes: Uint8Array, change: Change): number {
  let at = writeUint64(bytes, 0, change.modRevision);
  bytes[at++] = 0x5f;
  at = writeUint64(bytes, at, change.sub);
  if (change.version === 0) bytes[at++] = 0x74;
  bytes[at++] = tag.key;
  at = writeVarint(bytes, at, change.key.length);
  at = writeKey(bytes, at, change.key);
  if (change.version === 0) return at;
  bytes[at++] = tag.createRevision;
  at = writeVarint(bytes, at, change.createRevision);
  bytes[at++] = tag.modRevision;
  at = writeVarint(bytes, at, change.modRevision);
  bytes[at++] = tag.version;
  at = writeVarint(bytes, at, change.version);
  if (change.size > 0) {
    bytes[at++] = tag.value;
    at = writeVarint(bytes, at, change.size);
  }
  return at;
}

/** Whether any key exists at `revision`. */
function anyLive(view: HistoryView, revision: number): boolean {
  for (const change of changesOf(view)) {
    if (change.modRevision > revision) return false;
    if (change.version !== 0 && (change.next === undefined || change.next.modRevision > revision)) return true;
  }
  return false;
}

/** Yields between steps of some hundred kilobytes; `compactRevision <= revision`. */
export function* hashSteps(view: HistoryView, revision: number, compactRevision: number): HashSteps {
  let crc = crc32c(0, new Uint8Array([0x6b, 0x65, 0x79])); // "key", the bucket's name
  let scratch = new Uint8Array(4_096);
  let work = 0;
  // Of what is compacted, etcd hashes only what is still some key's state at `revision`, so that it does not matter
  // how far the removal has come; and all that compaction leaves when no key exists at `revision` at all.
  const skip = compactRevision >= 0 && anyLive(view, revision);
  for (const change of changesOf(view)) {
    if (change.modRevision > revision) break;
    work += 64;
    if (work > bytesPerStep) {
      yield undefined;
      work = 0;
    }
    const deletion = change.version === 0;
    if (change.modRevision <= compactRevision) {
      if (deletion) continue;
      const superseded = change.next === undefined ? Number.POSITIVE_INFINITY : change.next.modRevision;
      if (skip ? superseded <= revision : !survives(change, compactRevision)) continue;
    }
    const room = bucketKeyBytes + fieldOverhead + change.key.length;
    if (scratch.length < room) scratch = new Uint8Array(room * 2);
    crc = crc32c(crc, scratch, 0, writeHead(scratch, change));
    crc = crc32c(crc, change.slab.bytes, change.at, change.at + change.size);
    if (change.lease !== noLease) {
      scratch[0] = tag.lease;
      crc = crc32c(crc, scratch, 0, writeLease(scratch, 1, change.lease));
    }
    work += room + change.size;
  }
  return { hash: crc, hashRevision: revision, compactRevision };
}

/** All steps at once: for tests and for stores that nobody is waiting for. */
export function finish(steps: HashSteps): StateHash {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
