/**
 * The one change at a time that a cluster's members go through. A plan names at most one; it is performed on facts that
 * are read anew (steps.ts), so that a plan from an old view does no harm.
 */
import type { Operation } from '../../api/cluster.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Manifest } from '../../kube/objects.ts';

export interface Newcomer {
  readonly member: string;
  readonly peerUrl: string;
}

export type ClusterStep =
  /** Adds a learner under the name of a free ordinal. `next`: another one right after. */
  | ({ readonly kind: 'addMember'; readonly next?: Newcomer } & Newcomer)
  /** `next`: a learner that is added right before, once this one has caught up. */
  | { readonly kind: 'promoteMember'; readonly member: string; readonly id: string; readonly next?: Newcomer }
  | { readonly kind: 'removeMember'; readonly member: string; readonly id: string }
  | { readonly kind: 'moveLeader'; readonly from: string; readonly to: string; readonly toId: string }
  /** Deletes the disk of a member that was removed, and the pod that holds it: its name has a new member. */
  | {
      readonly kind: 'renewDisk';
      /** The new member of that name. */
      readonly member: string;
      readonly disk: string;
      readonly uid: string;
      readonly resourceVersion: string;
      readonly clusterId: string;
      /** The removed member whose data the disk holds. */
      readonly memberId: string;
      readonly pod?: { readonly name: string; readonly uid: string };
    }
  /** Deletes a pod that does not run what spec says: the StatefulSet makes it anew. */
  | {
      readonly kind: 'replaceMember';
      readonly pod: string;
      readonly uid: string;
      /** False: a member that leads by now stays, because it can hand over first. */
      readonly mayLead: boolean;
      /** For people, where it is not that it does not run what spec says. */
      readonly why?: string;
    }
  /** Creates a RaftSnapshot ahead of a change of version. */
  | { readonly kind: 'createSnapshot'; readonly snapshot: Manifest }
  /** Asks for a larger volume. */
  | {
      readonly kind: 'growDisk';
      readonly disk: string;
      readonly uid: string;
      readonly resourceVersion: string;
      readonly size: string;
    }
  /** Deletes the StatefulSet, whose template of disks cannot change, and nothing of what it made: it is made anew. */
  | { readonly kind: 'renewStatefulSet'; readonly uid: string };

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
  /** What is told once the step is taken. */
  readonly events?: readonly EventInput[];
  /** When to look again at something that no watch or poll tells of. */
  readonly recheckMs?: number;
}
