/**
 * The byte stream of `Maintenance.Snapshot`: the state, zeros up to a multiple of 512 bytes, then the SHA-256 of all of
 * that. `etcdctl snapshot save` knows by the size modulo 512 that a hash is there, and what it writes is this stream.
 */
import { createHash } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { EtcdError } from './errors.ts';

/** The state at the head of a `Maintenance.Snapshot` stream: initial gRPC metadata `raftsman-snapshot`, as JSON. */
export interface SnapshotMetadata {
  /** Log index and term of the last entry in the snapshot. */
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  /** The Raft configuration in the snapshot, and the index of the entry that made it. */
  readonly configuration: readonly SnapshotMember[];
  readonly configurationIndex: number;
  /** Lowercase hex. */
  readonly clusterId: string;
  /** Of Raftsman. */
  readonly engineVersion: string;
}

export interface SnapshotMember {
  /** Lowercase hex. */
  readonly id: string;
  /** First peer URL. */
  readonly address: string;
  readonly suffrage: 'voter' | 'nonvoter';
}

export const metadataKey = 'raftsman-snapshot';
export const hashBytes = 32;
const blockBytes = 512;

/** Bytes of a state with its padding, without the hash. */
export function paddedSize(stateBytes: number): number {
  return Math.ceil(stateBytes / blockBytes) * blockBytes;
}

export interface StreamPart {
  readonly blob: Uint8Array;
  /** Bytes of the padded state after this part. As in etcd, the hash is not counted. */
  readonly remaining: number;
}

/** The whole stream for a state of `stateBytes` bytes. Fails when `slices` has fewer or more. */
export async function* maintenanceStream(
  slices: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  stateBytes: number,
): AsyncGenerator<StreamPart> {
  const hash = createHash('sha256');
  const total = paddedSize(stateBytes);
  let sent = 0;
  for await (const blob of slices) {
    sent += blob.length;
    if (sent > stateBytes) break;
    hash.update(blob);
    yield { blob, remaining: total - sent };
  }
  if (sent !== stateBytes) {
    throw new EtcdError('ETCD_SNAPSHOT_CORRUPT', status.INTERNAL, `state has ${sent} bytes, announced ${stateBytes}`);
  }
  if (total > sent) {
    const padding = new Uint8Array(total - sent);
    hash.update(padding);
    yield { blob: padding, remaining: 0 };
  }
  yield { blob: hash.digest(), remaining: 0 };
}

function truncated(bytes: number, what: string): EtcdError {
  return new EtcdError(
    'ETCD_SNAPSHOT_TRUNCATED',
    status.DATA_LOSS,
    `snapshot ends after ${bytes} bytes: ${what}; take or fetch it again`,
  );
}

/**
 * The padded state in such a stream (a file that `etcdctl snapshot save` wrote, an archive's state.bin), without the
 * hash. The bytes are tentative until the end, where it fails with `ETCD_SNAPSHOT_TRUNCATED` or `ETCD_SNAPSHOT_CORRUPT`.
 */
export async function* stateOf(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let held = Buffer.alloc(0);
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const known = Math.max(0, bytes.length - hashBytes);
    held = Buffer.from(bytes.subarray(known));
    if (known === 0) continue;
    const state = bytes.subarray(0, known);
    hash.update(state);
    yield state;
  }
  if (size < hashBytes + blockBytes || size % blockBytes !== hashBytes) {
    throw truncated(size, `a whole one is a multiple of ${blockBytes} and ${hashBytes} bytes of hash`);
  }
  if (!hash.digest().equals(held)) {
    throw new EtcdError(
      'ETCD_SNAPSHOT_CORRUPT',
      status.DATA_LOSS,
      `snapshot of ${size} bytes does not bear its SHA-256; take or fetch it again`,
    );
  }
}

/** Passes a stream on as it is, and fails at its end as `stateOf` does, or when it is not `size` bytes long. */
export async function* verified(chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  const state = size - hashBytes;
  const announced = Buffer.alloc(hashBytes);
  let at = 0;
  for await (const chunk of chunks) {
    const ofState = Math.min(chunk.length, Math.max(0, state - at));
    if (ofState > 0) hash.update(chunk.subarray(0, ofState));
    const ofHash = chunk.subarray(ofState);
    const place = at + ofState - state;
    if (ofHash.length > 0 && place + ofHash.length > hashBytes) {
      throw new EtcdError(
        'ETCD_SNAPSHOT_CORRUPT',
        status.DATA_LOSS,
        `snapshot is longer than the ${size} bytes announced`,
      );
    }
    announced.set(ofHash, Math.max(0, place));
    at += chunk.length;
    yield chunk;
  }
  if (at !== size) throw truncated(at, `${size} were announced`);
  if (!hash.digest().equals(announced)) {
    throw new EtcdError('ETCD_SNAPSHOT_CORRUPT', status.DATA_LOSS, 'snapshot does not bear its SHA-256; take it again');
  }
}
