/**
 * The key-value state machine of one member, and the etcd services on top of it. (Types first: implementation follows.)
 *
 * How the driver uses it: it makes one `KeyValues` (empty, or from a snapshot's bytes), calls `apply` for every committed
 * entry in order, `snapshot` when it wants one, and gives `createBackend(keyValues, member)` to `serveEtcd`.
 */

import type { EtcdError } from '../etcd/errors.ts';
import type { Member } from '../etcd/gen/rpc.ts';
import type { SnapshotMember } from '../etcd/maintenance-stream.ts';
import type { EtcdBackend } from '../etcd/server.ts';
import type { Snapshot } from '../mvcc/types.ts';

/** A member's name and client URLs, as it made them known through the log. */
export interface MemberAttributes {
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** What the services ask of the member's driver. Ids are lowercase hex. */
export interface MemberDriver {
  readonly clusterId: string;
  readonly memberId: string;
  term(): number;
  commitIndex(): number;
  /** undefined: none known. */
  leaderId(): string | undefined;
  isLearner(): boolean;
  /**
   * Proposes an entry with these bytes. Success shows when the entry reaches `KeyValues.apply`, so nothing is reported
   * here; `lost` is called at most once, when the entry is certain not to be applied or when the driver gives up.
   * May throw an `EtcdError` at once (no leader, too many requests).
   */
  propose(data: Uint8Array, lost: (error: EtcdError) => void): void;
  /** Resolves when the state is at least as new as every write acknowledged before the call (ReadIndex, then applied). */
  linearize(): Promise<void>;
  /** The members, voters and learners, with published attributes filled in (`KeyValues.attributes`). */
  members(): readonly Member[];
  /** For the head of a snapshot stream. */
  configuration(): { readonly members: readonly SnapshotMember[]; readonly index: number };
}

export interface KeyValuesShape {
  /** Index and term of the last entry applied. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly revision: number;
  /** Published attributes by member id (hex); part of the replicated state and of snapshots. */
  readonly attributes: ReadonlyMap<string, MemberAttributes>;
  /**
   * Applies one committed entry. Give every entry: those of kind noop and configuration with empty `data`.
   * Throws `KV_OUT_OF_ORDER` or `KV_UNKNOWN_ENTRY`: the member must stop.
   */
  apply(index: number, term: number, data: Uint8Array): void;
  /** The state after the last entry applied; cheap, and unaffected by what is applied afterwards. */
  snapshot(): Snapshot;
  /** Replaces the whole state by a snapshot's (all or nothing). Waiting proposals go on waiting. */
  restore(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void>;
}

/** Bytes of a log entry that publishes a member's attributes: `driver.propose(publishEntry(...), lost)`. */
export type PublishEntry = (memberId: string, attributes: MemberAttributes) => Uint8Array;
export type CreateBackend = (keyValues: KeyValuesShape, member: MemberDriver) => EtcdBackend;
