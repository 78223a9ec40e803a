/**
 * Which member is replaced next by one that runs what spec says: one at a time, followers first, the leader last and only
 * once another member leads. Pure.
 */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition } from '../../api/conditions.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Pod, StatefulSet } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import { warning } from '../events.ts';
import { obstacleOf } from '../job.ts';
import { RESTORE_TEMPLATE, TEMPLATE } from '../labels.ts';
import { type MemberObserved, podReady, STEADY_MS } from './members.ts';
import { NEAR_ENTRIES, quorumOf } from './quorum.ts';
import type { Held, Matter } from './step.ts';
import { planVersion, type VersionPlan, type VersionRules } from './version.ts';

export interface UpdateInput {
  readonly cluster: Live<RaftCluster>;
  readonly profile: VersionRules;
  readonly members: readonly MemberObserved[];
  readonly statefulSet?: Live<StatefulSet>;
  /** The annotations of the template that members should run. */
  readonly template: Readonly<Record<string, string>>;
  /** The image in that template. */
  readonly image: string;
  readonly leader?: string;
  readonly formed: boolean;
  readonly snapshots: readonly Live<RaftSnapshot>[];
  readonly policies: readonly Live<RaftSnapshotPolicy>[];
  readonly now: Date;
}

export interface UpdatePlan extends Matter {
  /** Members that do not run what spec says. */
  readonly outdated: readonly string[];
  /** Spec asks for a version that the members must not get: nothing is made with it. */
  readonly refused?: Held;
  /** The StatefulSet keeps the template that it has: a member that starts by chance must not get the new one yet. */
  readonly keepsTemplate?: boolean;
}

/** How long a cluster must have been without a quorum before members that still run are taken down to mend it. */
export const LOST_AFTER_MS = 15_000;

export function planUpdate(input: UpdateInput): UpdatePlan {
  const { members, template, formed, cluster, statefulSet } = input;
  if (formed && statefulSet && members.every(({ pod }) => pod === undefined)) return planAsleep(input, statefulSet);
  const old = members.filter(({ pod }) => pod && outdated(pod, template, formed));
  const names = old.map(({ name }) => name);
  const version = versionOf(input, old);
  switch (version.kind) {
    case 'refused':
      return { outdated: names, keepsTemplate: true, refused: version.held, held: version.held };
    case 'failed':
      return { outdated: names, keepsTemplate: true, held: version.held };
    case 'snapshot': {
      const { message, make } = version;
      const step = make && { step: { kind: 'createSnapshot', snapshot: make } as const };
      return { outdated: names, keepsTemplate: true, operation: { type: 'Update', message }, ...step };
    }
    case 'free':
      break;
  }
  if (old.length > 0) {
    const events = version.note === undefined ? [] : [warning('NoSnapshot', 'TakeSnapshot', version.note)];
    return { outdated: names, ...replaceNext(input, old, version.note, events) };
  }
  // The last one is not done with before it has caught up: others must not begin until then.
  const underway = cluster.status?.operation;
  const waits = members.map((member) => unfit(member, input)).find((one) => one !== undefined);
  if (underway?.type !== 'Update' || underway.holder !== undefined || !waits) return { outdated: [] };
  return { outdated: [], ...waitFor(waits) };
}

/**
 * No member runs, as while the cluster hibernates. They come back as the version that they were, so that there can be a
 * snapshot before they change; whatever else has changed they come back with.
 */
function planAsleep(input: UpdateInput, { spec }: Live<StatefulSet>): UpdatePlan {
  const image = imageOf(spec['template'] as { readonly spec?: Live<Pod>['spec'] });
  const slept = { name: input.cluster.metadata.name, outdated: true, ...(image === undefined ? {} : { image }) };
  const version = planVersion({ ...input, quorum: false, members: [slept] });
  if (version.kind === 'refused')
    return { outdated: [], keepsTemplate: true, refused: version.held, held: version.held };
  return { outdated: [], ...(version.kind === 'free' && version.note === undefined ? {} : { keepsTemplate: true }) };
}

function versionOf(input: UpdateInput, old: readonly MemberObserved[]): VersionPlan {
  return planVersion({
    ...input,
    quorum: !quorumLost(input),
    members: input.members.map((member) => {
      const image = member.pod && imageOf(member.pod);
      return {
        name: member.name,
        outdated: old.includes(member),
        ...(member.status === undefined ? {} : { version: member.status.version }),
        ...(image === undefined ? {} : { image }),
      };
    }),
  });
}

/** The image of the member's own container, as the template names it. */
function imageOf({ spec }: { readonly spec?: Live<Pod>['spec'] }): string | undefined {
  return (spec?.['containers'] as readonly { readonly image?: string }[] | undefined)?.[0]?.image;
}

function replaceNext(
  input: UpdateInput,
  old: readonly MemberObserved[],
  note: string | undefined,
  events: readonly EventInput[],
): Matter {
  const { members, statefulSet, template, leader } = input;
  const left = `still to be replaced: ${old.map(({ name }) => name).join(', ')}${note === undefined ? '' : ` (${note})`}`;
  if (!settled(statefulSet, template)) return { operation: { type: 'Update', message: left } };
  const troubles = members.map((member) => unfit(member, input));
  const away = troubles.find((one) => one?.kind === 'away');
  if (away) return waitFor(away, left);
  const next = firstOf(old, input);
  const hinders = hindrance(input, next, old, troubles);
  if (hinders) return waitFor(hinders, left);
  const operation = { type: 'Update', member: next.name, message: left } as const;
  const mayLead = members.length === 1 || next.status === undefined || quorumLost(input);
  if (mayLead || next.name !== leader)
    return {
      operation,
      step: { kind: 'replaceMember', pod: next.name, uid: next.pod!.metadata.uid, mayLead },
      events,
    };
  const heir = heirOf(input, next);
  return { operation, step: { kind: 'moveLeader', from: next.name, to: heir.name, toId: heir.status!.memberId } };
}

/**
 * What serves least goes first, so that a member that a bad template broke is the first to get the mended one; then
 * followers, the highest ordinal first; the leader last.
 */
function firstOf(old: readonly MemberObserved[], input: UpdateInput): MemberObserved {
  const rank = (member: MemberObserved) =>
    !alive(member) ? 0 : unfit(member, input) ? 1 : member.name === input.leader ? 3 : 2;
  return old.toSorted((a, b) => rank(a) - rank(b) || b.ordinal - a.ordinal)[0]!;
}

/**
 * Which other member keeps `next` from being replaced, if any. A member that serves goes only while all others do. One
 * that does not serve takes nothing away with it, but waits for those that were replaced before: a bad template stops
 * after one member. Where there is no quorum anyway, members cannot get ready before most of them are mended: then only
 * one that was replaced and cannot start holds up the next.
 */
function hindrance(
  input: UpdateInput,
  next: MemberObserved,
  old: readonly MemberObserved[],
  troubles: readonly (Trouble | undefined)[],
): Trouble | undefined {
  const others = troubles.filter((one) => one !== undefined).filter(({ member }) => member !== next);
  const replaced = others.filter(({ member }) => !old.includes(member));
  const broken = replaced.find(({ kind }) => kind === 'broken');
  if (broken) return broken;
  if (quorumLost(input)) return undefined;
  return replaced[0] ?? (alive(next) ? others[0] : undefined);
}

/** Who leads next: a member that need not be replaced any more, and the one that is furthest. All others are fit. */
function heirOf({ members, template, formed }: UpdateInput, leader: MemberObserved): MemberObserved {
  const old = ({ pod }: MemberObserved) => Number(outdated(pod!, template, formed));
  return members
    .filter((member) => member !== leader)
    .toSorted(
      (a, b) => old(a) - old(b) || b.status!.appliedIndex - a.status!.appliedIndex || a.ordinal - b.ordinal,
    )[0]!;
}

/** What keeps a member from doing its part. */
interface Trouble {
  readonly member: MemberObserved;
  /** Away: its pod is not there, or is going. Broken: it cannot start. Slow: it runs, and is not there yet. */
  readonly kind: 'away' | 'broken' | 'slow';
  readonly why: string;
}

/** Ready is not enough: the member knows the leader, votes, and has applied what the leader has. */
function unfit(member: MemberObserved, { members, leader, now }: UpdateInput): Trouble | undefined {
  const { pod, ready, status, message } = member;
  const trouble = (kind: Trouble['kind'], why: string): Trouble => ({ member, kind, why });
  if (pod === undefined || pod.metadata.deletionTimestamp !== undefined)
    return trouble('away', message ?? 'its pod is on its way');
  if (!ready) return trouble(cannotStart(pod, now) ? 'broken' : 'slow', message ?? 'it is not ready yet');
  if (status === undefined) return trouble('slow', 'it has not answered yet');
  if (status.isLearner) return trouble('slow', 'it is a learner');
  const leads = members.find(({ name }) => name === leader)?.status;
  if (status.leaderId === undefined || leads === undefined) return trouble('slow', 'it knows no leader');
  const behind = leads.appliedIndex - status.appliedIndex;
  return behind > NEAR_ENTRIES ? trouble('slow', `it is ${behind} entries behind the leader`) : undefined;
}

/** One that was started again after it ended runs for a moment, each time. */
function cannotStart(pod: Live<Pod>, now: Date): boolean {
  const restless = pod.status?.containerStatuses?.some(({ restartCount = 0, state }) => {
    const since = Date.parse(state?.running?.startedAt ?? '');
    return restartCount > 0 && !(now.getTime() - since >= STEADY_MS);
  });
  return obstacleOf(pod) !== undefined || restless === true;
}

/** It may be serving, or about to: taking it down takes something away. */
function alive({ pod, status }: MemberObserved): boolean {
  return status !== undefined || (pod !== undefined && podReady(pod));
}

function knowingLeader(members: readonly MemberObserved[]): number {
  return members.filter(({ status }) => status?.leaderId !== undefined).length;
}

/** Nobody can write, and not only because a leader is being elected. Before a cluster has formed nobody could. */
function quorumLost({ cluster, members, formed, now }: UpdateInput): boolean {
  if (knowingLeader(members) >= quorumOf(members.length)) return false;
  if (!formed) return true;
  const available = findCondition(cluster.status?.conditions, 'Available');
  return available?.status === 'False' && now.getTime() - Date.parse(available.lastTransitionTime) >= LOST_AFTER_MS;
}

function waitFor({ member, kind, why }: Trouble, left?: string): Matter {
  const said = `${member.name}: ${why}`;
  const message = left === undefined ? `waits for ${said}` : `${left}; waits for ${said}`;
  const operation = { type: 'Update', member: member.name, message } as const;
  // No watch tells when a cluster has been without a quorum for long.
  const recheck = { recheckMs: LOST_AFTER_MS };
  if (kind !== 'broken') return { operation, ...recheck };
  const rest = left === undefined ? '' : `; the others stay as they are (${left})`;
  return {
    operation,
    held: {
      reason: 'MemberNotReady',
      message: `${member.name} was replaced and does not serve: ${why}${rest}: mend spec, or put it back as it was`,
    },
    ...recheck,
  };
}

/** Whether a pod runs something else than the template says. */
export function outdated(pod: Live<Pod>, template: Readonly<Record<string, string>>, formed: boolean): boolean {
  const has = pod.metadata.annotations ?? {};
  if (has[TEMPLATE] !== template[TEMPLATE]) return true;
  return !formed && has[RESTORE_TEMPLATE] !== template[RESTORE_TEMPLATE];
}

/** The controller of StatefulSets has seen the template: a member that is deleted now comes back with it. */
function settled(statefulSet: Live<StatefulSet> | undefined, template: Readonly<Record<string, string>>): boolean {
  const seen = statefulSet?.status?.observedGeneration;
  if (!statefulSet || seen === undefined || seen !== statefulSet.metadata.generation) return false;
  const { metadata } = statefulSet.spec['template'] as { metadata?: { annotations?: Record<string, string> } };
  return [TEMPLATE, RESTORE_TEMPLATE].every((hash) => metadata?.annotations?.[hash] === template[hash]);
}
