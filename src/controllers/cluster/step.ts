/**
 * The one change at a time that a cluster's members go through. A plan names at most one; it is performed on facts that
 * are read anew (steps.ts), so that a plan from an old view does no harm.
 */
import type { Operation } from '../../api/cluster.ts';
import type { Manifest } from '../../kube/objects.ts';

export type ClusterStep =
  /** Adds a learner under the name of a free ordinal. */
  | { readonly kind: 'addMember'; readonly member: string; readonly peerUrl: string }
  | { readonly kind: 'promoteMember'; readonly member: string; readonly id: string }
  | { readonly kind: 'removeMember'; readonly member: string; readonly id: string }
  | { readonly kind: 'moveLeader'; readonly from: string; readonly to: string; readonly toId: string }
  /** Deletes the disk of a member that was removed, and the pod that holds it: its name has a new member. */
  | {
      readonly kind: 'renewDisk';
      readonly disk: string;
      readonly uid: string;
      readonly clusterId: string;
      /** The removed member whose data the disk holds. */
      readonly memberId: string;
      readonly pod?: { readonly name: string; readonly uid: string };
    }
  /** Deletes a pod that does not run what spec says: the StatefulSet makes it anew. */
  | { readonly kind: 'replaceMember'; readonly pod: string; readonly uid: string }
  /** Creates a RaftSnapshot ahead of a change of version. */
  | { readonly kind: 'createSnapshot'; readonly snapshot: Manifest };

/** Why the next step waits, for `Progressing`. */
export interface Held {
  readonly reason: string;
  readonly message: string;
}

/** What is going on, or must wait, in one matter (members, updates, disks). */
export interface Matter {
  readonly step?: ClusterStep;
  /** What is underway, even while it only waits for something. */
  readonly operation?: Pick<Operation, 'type' | 'member' | 'message'>;
  readonly held?: Held;
  /** When to look again at something that no watch or poll tells of. */
  readonly recheckMs?: number;
}
