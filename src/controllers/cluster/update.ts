/** Which member is replaced next by one that runs what spec says. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { Pod, StatefulSet } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import { RESTORE_TEMPLATE, TEMPLATE } from '../labels.ts';
import type { MemberObserved } from './members.ts';
import type { Matter } from './step.ts';

export interface UpdateInput {
  readonly cluster: Live<RaftCluster>;
  readonly members: readonly MemberObserved[];
  readonly statefulSet?: Live<StatefulSet>;
  /** The annotations of the template that members should run. */
  readonly template: Readonly<Record<string, string>>;
  readonly leader?: string;
  readonly formed: boolean;
  readonly snapshots: readonly Live<RaftSnapshot>[];
  readonly policies: readonly Live<RaftSnapshotPolicy>[];
  readonly now: Date;
}

export interface UpdatePlan extends Matter {
  /** Members that do not run what spec says. */
  readonly outdated: readonly string[];
}

export function planUpdate(input: UpdateInput): UpdatePlan {
  const { members, statefulSet, template, leader, formed } = input;
  const outdatedMembers = members.filter(({ pod }) => pod && outdated(pod, template, formed)).map(({ name }) => name);
  if (outdatedMembers.length === 0) return { outdated: [] };
  const next = settled(statefulSet, template) ? nextToReplace(members, template, leader, formed) : undefined;
  return {
    outdated: outdatedMembers,
    operation: { type: 'Update', ...(next ? { member: next.name } : {}) },
    ...(next?.pod ? { step: { kind: 'replaceMember', pod: next.name, uid: next.pod.metadata.uid } } : {}),
  };
}

/** Whether a pod runs something else than the template says. */
export function outdated(pod: Live<Pod>, template: Readonly<Record<string, string>>, formed: boolean): boolean {
  const has = pod.metadata.annotations ?? {};
  if (has[TEMPLATE] !== template[TEMPLATE]) return true;
  return !formed && has[RESTORE_TEMPLATE] !== template[RESTORE_TEMPLATE];
}

/**
 * The one member to replace next, if any: one that does not serve anyway and is outdated, else, when all serve, the
 * outdated follower of the highest ordinal, and the leader last. While an up-to-date member does not serve, none: a
 * bad template stops after one member.
 */
export function nextToReplace(
  members: readonly MemberObserved[],
  template: Readonly<Record<string, string>>,
  leader: string | undefined,
  formed: boolean,
): MemberObserved | undefined {
  if (members.some(({ pod }) => pod === undefined || pod.metadata.deletionTimestamp !== undefined)) return undefined;
  const old = members.filter(({ pod }) => outdated(pod!, template, formed)).toReversed();
  const down = members.filter(({ ready }) => !ready);
  if (down.length > 0) return old.find(({ ready }) => !ready);
  return old.find(({ name }) => name !== leader) ?? old[0];
}

/** The controller of StatefulSets has seen the template: a member that is deleted now comes back with it. */
function settled(statefulSet: Live<StatefulSet> | undefined, template: Readonly<Record<string, string>>): boolean {
  const seen = statefulSet?.status?.observedGeneration;
  if (!statefulSet || seen === undefined || seen !== statefulSet.metadata.generation) return false;
  const { metadata } = statefulSet.spec['template'] as { metadata?: { annotations?: Record<string, string> } };
  return [TEMPLATE, RESTORE_TEMPLATE].every((hash) => metadata?.annotations?.[hash] === template[hash]);
}
