/** What is known of each member: from its pod, and from the member itself. Pure. */
import type { MemberStatus } from '../../engines/engine.ts';
import type { Pod } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import { lastLine, obstacleOf } from '../job.ts';
import { memberNames } from '../names.ts';

/** The last answers of one member. */
export interface MemberView {
  /** The last good answer, of the pod that now bears the name. */
  readonly status?: MemberStatus;
  /** How often in a row it has not answered since. */
  readonly failures: number;
  readonly error?: string;
}

export type MemberViews = ReadonlyMap<string, MemberView>;

/** One silent poll may be chance; a member that missed two is hung or cut off, whatever its pod's condition says. */
const SILENT_AFTER = 2;

export interface MemberObserved {
  readonly name: string;
  readonly ordinal: number;
  readonly pod?: Live<Pod>;
  readonly ready: boolean;
  readonly status?: MemberStatus;
  /** What keeps it from serving. */
  readonly message?: string;
}

export function podReady(pod: Live<Pod>): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return pod.status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false;
}

export function observeMembers(
  cluster: string,
  size: number,
  pods: readonly Live<Pod>[],
  views: MemberViews,
): MemberObserved[] {
  const byName = new Map(pods.map((pod) => [pod.metadata.name, pod]));
  return memberNames(cluster, size).map((name, ordinal) => {
    const pod = byName.get(name);
    if (!pod) return { name, ordinal, ready: false, message: 'its pod is not there' };
    const view = views.get(name);
    const silent = (view?.failures ?? 0) >= SILENT_AFTER;
    const ready = podReady(pod) && !silent;
    const status = silent ? undefined : view?.status;
    const message = ready ? undefined : reasonOf(pod, view);
    return {
      name,
      ordinal,
      pod,
      ready,
      ...(status === undefined ? {} : { status }),
      ...(message === undefined ? {} : { message }),
    };
  });
}

function reasonOf(pod: Live<Pod>, view: MemberView | undefined): string {
  if (pod.metadata.deletionTimestamp !== undefined) return 'its pod is being deleted';
  const obstacle = obstacleOf(pod);
  if (obstacle !== undefined) return obstacle;
  if (podReady(pod)) return `it does not answer: ${view?.error ?? 'no reason given'}`;
  const phase = pod.status?.phase ?? 'Pending';
  if (phase === 'Pending') return 'its pod is starting';
  const last = pod.status?.containerStatuses?.[0]?.lastState?.terminated;
  if (last) return `it restarted after status ${last.exitCode}${lastLine(last.message)}`;
  return 'it is not ready yet';
}

export interface Leadership {
  readonly leader?: string;
  readonly clusterId?: string;
  readonly term?: number;
  readonly revision?: number;
  readonly version?: string;
}

/** What the members say of the cluster. The answer of the newest term counts: older ones are of a past leader. */
export function leadership(members: readonly MemberObserved[]): Leadership {
  const answers = members.flatMap(({ name, status }) => (status ? [{ name, status }] : []));
  if (answers.length === 0) return {};
  const term = Math.max(...answers.map(({ status }) => status.term));
  const newest = answers.filter(({ status }) => status.term === term);
  const leaderId = newest.find(({ status }) => status.leaderId !== undefined)?.status.leaderId;
  const leader = answers.find(({ status }) => status.memberId === leaderId)?.name;
  const versions = [...new Set(answers.map(({ status }) => status.version))].sort();
  return {
    ...(leader === undefined ? {} : { leader }),
    ...(newest[0]?.status.clusterId ? { clusterId: newest[0].status.clusterId } : {}),
    term,
    revision: Math.max(...answers.map(({ status }) => status.revision)),
    ...(versions[0] === undefined ? {} : { version: versions.join(', ') }),
  };
}
