/** What a restore's plan is made from, and of. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { RaftRestore, RaftRestoreStatus } from '../../api/restore.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import type { Fingerprint } from '../../engines/engine.ts';
import type { Progress } from '../../jobs/result.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Job, PersistentVolumeClaim, Pod } from '../../kube/kinds.ts';
import type { Live, Manifest } from '../../kube/objects.ts';
import type { ExpireJob } from '../job.ts';
import type { PodSettings } from '../restricted.ts';

/** A member's data at the archive's revision, or why they cannot be had. */
export interface Proof {
  readonly fingerprint?: Fingerprint;
  /** The code of the engine's error. */
  readonly code?: string;
  readonly error?: string;
}

export interface RestoreObserved {
  readonly restore: Live<RaftRestore>;
  readonly snapshot?: Live<RaftSnapshot>;
  /** The store of the source, once that is known. */
  readonly store?: Live<RaftSnapshotStore>;
  readonly jobs: readonly Live<Job>[];
  readonly pods: readonly Live<Pod>[];
  /** The RaftCluster that bears the target's name. */
  readonly target?: Live<RaftCluster>;
  /** Disks that bear the names that the target's would. */
  readonly disks: readonly Live<PersistentVolumeClaim>[];
  readonly progress?: Progress;
  /** By member. Asked for once the restored cluster serves. */
  readonly proofs: ReadonlyMap<string, Proof>;
  /** Why the Job could not be made at the last try. */
  readonly refused?: string;
  readonly settings: PodSettings;
}

export type RestoreAction =
  | { readonly kind: 'createJob'; readonly job: Manifest }
  | ExpireJob
  | { readonly kind: 'createCluster'; readonly cluster: Manifest }
  | { readonly kind: 'status'; readonly status: RaftRestoreStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface RestorePlan {
  readonly actions: readonly RestoreAction[];
  readonly requeueAfterMs?: number;
}

export type Archive = NonNullable<RaftRestoreStatus['archive']>;
