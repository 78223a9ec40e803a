/** What is known of each member: from its pod, and from the member itself. Pure. */
import type { MemberState, RaftCluster } from '../../api/cluster.ts';
import type { Crash, Member, MemberStatus, Unavailable } from '../../engines/engine.ts';
import type { ContainerStatus, Pod } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import { obstacleOf } from '../job.ts';
import { memberNames, memberOfUrl } from '../names.ts';

/** The last answers of one member. */
export interface MemberView {
  /** The last good answer, of the pod that now bears the name. */
  readonly status?: MemberStatus;
  /** The last good answers took long. */
  readonly late?: boolean;
  /** When it came, on any clock that all members share, in milliseconds. */
  readonly at?: number;
  /** How often in a row it has not answered since. */
  readonly failures: number;
  readonly error?: string;
  /** How it did not answer. */
  readonly reason?: Unavailable;
}

export type MemberViews = ReadonlyMap<string, MemberView>;

/** One silent poll may be chance; a member that missed two is hung or cut off, whatever its pod's condition says. */
export const SILENT_AFTER = 2;
/** A member so many entries behind has fallen behind: etcd itself lets no more than this wait to be applied. */
const LAG_ENTRIES = 5_000;
/**
 * A disk that was tried again this often and could not be read is not going to be (the kubelet waits 10, 20, 40 seconds between
 * tries). Starts that did not end at once may be years apart, or take long over a large log: then only more of them count.
 */
const TRIES_UNTIL_LOST = { atOnce: 2, ever: 4 } as const;
/** A process that has run for so long does not end for what it runs. */
export const STEADY_MS = 60_000;

export interface MemberObserved {
  readonly name: string;
  readonly ordinal: number;
  readonly pod?: Live<Pod>;
  /** Its pod is ready and it answers. */
  readonly ready: boolean;
  readonly state: MemberState;
  /** It is slow because its answers take long, and for no other reason: it is up to date. */
  readonly late?: boolean;
  /** Its last answer, unless it has been silent since. */
  readonly status?: MemberStatus;
  /** What keeps it from serving. */
  readonly message?: string;
}

export interface MembersInput {
  readonly cluster: Live<RaftCluster>;
  readonly size: number;
  readonly pods: readonly Live<Pod>[];
  readonly views: MemberViews;
  /** Whether the cluster has once been complete: a member that is away is dead then, and not just starting. */
  readonly formed: boolean;
  readonly list?: readonly Member[];
  /** What a container left when it ended means to the engine. */
  readonly crash: (message: string | undefined) => Crash;
}

export function podReady(pod: Live<Pod>): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return pod.status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false;
}

export function observeMembers(input: MembersInput): MemberObserved[] {
  const byName = new Map(input.pods.map((pod) => [pod.metadata.name, pod]));
  const newest = newestAnswer(input.views);
  return memberNames(input.cluster.metadata.name, input.size).map((name, ordinal) => {
    const pod = byName.get(name);
    const view = input.views.get(name);
    const said = stateOf(input, name, pod, view, newest);
    const answers = view?.status !== undefined && view.failures < SILENT_AFTER;
    const ready = pod !== undefined && podReady(pod) && answers && ['Serving', 'Slow'].includes(said.state);
    const waits = said.state === 'Serving' && !ready ? 'its pod is not ready yet' : undefined;
    const message = said.message ?? waits;
    return {
      name,
      ordinal,
      ...(pod === undefined ? {} : { pod }),
      ready,
      state: said.state,
      ...(said.late ? { late: true } : {}),
      ...(answers ? { status: view.status } : {}),
      ...(message === undefined ? {} : { message }),
    };
  });
}

interface Said {
  readonly state: MemberState;
  readonly late?: boolean;
  readonly message?: string;
}

function stateOf(
  input: MembersInput,
  name: string,
  pod: Live<Pod> | undefined,
  view: MemberView | undefined,
  newest: (Required<Pick<MemberView, 'status'>> & MemberView) | undefined,
): Said {
  const away = input.formed ? 'Dead' : 'Starting';
  if (!pod) return { state: away, message: 'its pod is not there' };
  if (pod.metadata.deletionTimestamp !== undefined) return { state: away, message: 'its pod is being deleted' };
  const answered = view?.status;
  if (answered && view.failures === 0) return ofAnswer(input, name, view, answered, newest);
  const end = endOf(pod);
  // One that runs again and has answered since has that behind it: now it is silent for another reason.
  if (end && (end.waits || !answered)) {
    const { text, verdict } = input.crash(end.message);
    const words = `it ended with status ${end.exitCode}${text === '' ? '' : `: ${text}`}`;
    const often = end.restarts >= TRIES_UNTIL_LOST[end.atOnce ? 'atOnce' : 'ever'];
    // The first start of a learner may have come before its time, and it has no data to lose yet.
    const lost = neverStarted(input, name) ? verdict !== undefined && often : verdict === 'lost' || (verdict && often);
    if (lost) return { state: 'Lost', message: words };
    if (end.waits) return { state: away, message: words };
    return { state: 'Starting', message: `it was started again: ${words}` };
  }
  const obstacle = obstacleOf(pod);
  if (obstacle !== undefined) return { state: away, message: obstacle };
  if ((pod.status?.phase ?? 'Pending') === 'Pending') return { state: 'Starting', message: 'its pod is starting' };
  if (answered && view.failures < SILENT_AFTER) return ofAnswer(input, name, view, answered, newest);
  const failed = (view?.failures ?? 0) >= SILENT_AFTER;
  // A log is read before a member serves: until it has been ready or has answered, its silence says nothing. Nor has a probe's
  // answer said more while nobody leads: etcd keeps clients waiting for a leader then.
  const leads = input.list !== undefined;
  const started = leads && (pod.status?.containerStatuses?.every(hasStarted) ?? false);
  const wasUp = answered !== undefined || podReady(pod) || started;
  if (!failed || !wasUp) return { state: 'Starting', message: 'it is not ready yet' };
  const said = view?.error ?? 'no reason given';
  switch (view?.reason) {
    case 'timeout':
    case 'noLeader':
    case 'cancelled':
    case undefined:
      return { state: 'Hung', message: `it holds its port and does not answer: ${said}` };
    case 'refused':
    case 'unreachable':
    case 'interrupted':
      return { state: away, message: `it cannot be reached: ${said}` };
    case 'tls':
      return { state: 'Dead', message: `its certificates do not fit: ${said}` };
  }
}

function ofAnswer(
  { cluster }: MembersInput,
  name: string,
  view: MemberView,
  status: MemberStatus,
  newest: MemberView | undefined,
): Said {
  const { clusterId = status.clusterId, members: before } = cluster.status ?? {};
  if (status.clusterId !== clusterId)
    return {
      state: 'Dead',
      message: `it belongs to another cluster, ${status.clusterId}: its disk is not this cluster's`,
    };
  if (status.isLearner) return { state: 'Learning', message: 'it learns, and votes once it has caught up' };
  if (status.leaderId === undefined) return { state: 'Slow', message: 'it answers, and knows no leader' };
  const unapplied = status.index - status.appliedIndex;
  if (unapplied > LAG_ENTRIES)
    return { state: 'Slow', message: 'it has not applied the newest entries of its log yet' };
  const behind = (newest?.status?.index ?? 0) - status.index;
  // Of two answers under load the later one is ahead; only one that is later and behind all the same has fallen behind.
  const comparable = (view.at ?? 0) >= (newest?.at ?? 0);
  const was = before?.find((member) => member.name === name)?.state === 'Slow';
  if (behind > LAG_ENTRIES && (comparable || was))
    return { state: 'Slow', message: 'it answers, but has fallen behind the leader' };
  if (view.late) return { state: 'Slow', late: true, message: 'it answers, but takes more than a second' };
  return { state: 'Serving' };
}

/** The answer that is furthest along. */
function newestAnswer(views: MemberViews): (MemberView & { readonly status: MemberStatus }) | undefined {
  const answers = [...views.values()].flatMap((view) =>
    view.status === undefined || view.failures >= SILENT_AFTER ? [] : [{ ...view, status: view.status }],
  );
  return answers.sort((a, b) => b.status.index - a.status.index)[0];
}

function neverStarted({ cluster, list }: MembersInput, name: string): boolean {
  const listed = list?.find(({ peerUrls }) => memberOfUrl(cluster.metadata.name, peerUrls) === name);
  return listed?.isLearner === true && listed.name === '';
}

interface End {
  readonly exitCode: number;
  readonly message?: string;
  readonly restarts: number;
  /** It had only just begun. */
  readonly atOnce: boolean;
  /** It has not been started again yet. */
  readonly waits: boolean;
}

/** How the member, or what prepares its disk, last ended, unless all is well with it since. */
function endOf(pod: Live<Pod>): End | undefined {
  if (podReady(pod)) return undefined;
  const { initContainerStatuses: inits = [], containerStatuses: mains = [] } = pod.status ?? {};
  // An init container that has ended well is done; a member never is. One that has started has its end behind it.
  const unwell = [
    ...inits.filter(({ state }) => state?.terminated?.exitCode !== 0),
    ...mains.filter((main) => !hasStarted(main)),
  ];
  for (const { state, lastState, restartCount } of unwell) {
    const ended = state?.terminated ?? lastState?.terminated;
    if (!ended) continue;
    const { exitCode, message, startedAt = '', finishedAt = '' } = ended;
    const atOnce = Date.parse(finishedAt) - Date.parse(startedAt) < STEADY_MS;
    const waits = state?.running === undefined;
    return { exitCode, ...(message === undefined ? {} : { message }), restarts: restartCount ?? 0, atOnce, waits };
  }
  return undefined;
}

function hasStarted({ state, started }: ContainerStatus): boolean {
  return state?.running !== undefined && started === true;
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
