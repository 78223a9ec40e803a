/** Who belongs to a cluster, and which member comes or goes next. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { Member } from '../../engines/engine.ts';
import type { PersistentVolumeClaim } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import type { MemberObserved, MemberViews } from './members.ts';
import type { Matter } from './step.ts';

export interface MembershipInput {
  readonly cluster: Live<RaftCluster>;
  readonly members: readonly MemberObserved[];
  /** The member list as the members say it; absent while none answers. */
  readonly list?: readonly Member[];
  readonly disks: readonly Live<PersistentVolumeClaim>[];
  readonly formed: boolean;
  readonly now: Date;
}

export interface MembershipPlan extends Matter {
  /** The member that may start on an empty disk although the cluster has formed. */
  readonly joining?: string;
}

/** The list of the answer of the newest term that knows a leader. */
export function memberList(_views: MemberViews): readonly Member[] | undefined {
  return undefined;
}

/** How many ordinals have pods while the cluster runs. */
export function sizeOf(
  { spec, status, metadata: _ }: Live<RaftCluster>,
  formed: boolean,
  _list: readonly Member[] | undefined,
): number {
  return formed ? (status?.size ?? spec.replicas) : spec.replicas;
}

export function planMembership(_input: MembershipInput): MembershipPlan {
  return {};
}
