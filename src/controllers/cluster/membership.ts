/**
 * Who belongs to a cluster, and which member comes or goes next. The member list is the truth: every step follows from it
 * and from what is wanted, so that a change of mind midway needs no undoing. Pure.
 */
import type { Operation, RaftCluster } from '../../api/cluster.ts';
import type { Member } from '../../engines/engine.ts';
import type { PersistentVolumeClaim } from '../../kube/kinds.ts';
import type { Live } from '../../kube/objects.ts';
import { MEMBER, TEMPLATE } from '../labels.ts';
import { DISK, memberOfUrl, ordinalOf } from '../names.ts';
import { type MemberObserved, type MemberViews, SILENT_AFTER } from './members.ts';
import { quorumOf } from './quorum.ts';
import type { ClusterStep, Held, Matter } from './step.ts';

export interface MembershipInput {
  readonly cluster: Live<RaftCluster>;
  readonly members: readonly MemberObserved[];
  /** The member list as the members say it; absent while none answers that knows a leader. */
  readonly list?: readonly Member[];
  /** Absent until a member has said it. */
  readonly clusterId: string | undefined;
  readonly disks: readonly Live<PersistentVolumeClaim>[];
  /** How many ordinals have pods. */
  readonly size: number;
  readonly formed: boolean;
  /** How many learners members of a version take at once. */
  readonly maxLearners: (version: string) => number;
}

export interface MembershipPlan extends Matter {
  /** Disks whose member is known from now on, to be recorded before the step. */
  readonly marks: readonly DiskMark[];
  /** The members that may start on an empty disk although the cluster has formed. */
  readonly joining: readonly string[];
  /** The members by name, lowest ordinal first; absent while the list is unknown. */
  readonly names?: readonly string[];
  /** Those of them that vote. */
  readonly voters?: readonly string[];
}

export interface DiskMark {
  readonly disk: string;
  /** `<cluster id>/<member id>`. */
  readonly member: string;
}

/** How soon a step that the cluster refused for now is tried again, in milliseconds. Costs no API request. */
export const STEP_RETRY_MS = 200;

/** The list of the answer of the newest term that knows a leader, best the leader's own: it may be behind, never ahead. */
export function memberList(views: MemberViews, clusterId?: string): readonly Member[] | undefined {
  const answers = [...views.values()].flatMap(({ status, failures }) => {
    if (status?.leaderId === undefined || failures >= SILENT_AFTER || status.members.length === 0) return [];
    return clusterId === undefined || status.clusterId === clusterId ? [status] : [];
  });
  const leads = (status: (typeof answers)[number]) => (status.memberId === status.leaderId ? 1 : 0);
  answers.sort((a, b) => b.term - a.term || leads(b) - leads(a) || b.appliedIndex - a.appliedIndex);
  return answers[0]?.members;
}

export interface SizeInput {
  readonly cluster: Live<RaftCluster>;
  readonly formed: boolean;
  readonly list?: readonly Member[];
  /** What members say that know no leader. */
  readonly views: MemberViews;
  /** Of the StatefulSet; absent before there is one. */
  readonly running: number | undefined;
  readonly disks: readonly Live<PersistentVolumeClaim>[];
}

/**
 * How many ordinals have pods while the cluster runs: those of the list, and those between that are about to get a member
 * again. A cluster that has not formed keeps the size that it began with: its members know each other by it.
 */
export function sizeOf({ cluster, formed, list, views, running, disks }: SizeInput): number {
  const { metadata, spec, status } = cluster;
  // The StatefulSet may have been scaled by somebody else, and the status may be late: too many pods do no harm.
  const present = Math.max(running ?? 0, status?.size ?? 0) || spec.replicas;
  if (!formed) return present;
  const highest = (members: readonly Member[]) =>
    Math.max(-1, ...members.flatMap(({ peerUrls }) => ordinalOfUrls(metadata.name, peerUrls) ?? []));
  if (list === undefined) {
    // Nobody leads: that may be for want of members that the others know of, wanted or not. None can leave until one leads.
    const known = [...views.values()].map(({ status: said }) => highest(said?.members ?? []));
    return Math.max(present, 1 + Math.max(-1, ...known));
  }
  const needed = Math.max(1 + highest(list), Math.min(present, spec.replicas));
  for (let ordinal = present; ordinal < needed; ordinal++) {
    const member = list.find(({ peerUrls }) => ordinalOfUrls(metadata.name, peerUrls) === ordinal);
    const disk = disks.find((each) => ordinalOf(metadata.name, each.metadata.name, `${DISK}-`) === ordinal);
    // No pod before the disk of the member that was removed is gone: it would start as that one. Where none has its place yet,
    // the disk stays, and members above must not wait for it.
    if (disk && member && (disk.metadata.deletionTimestamp !== undefined || !mayHold(disk, member.id))) return ordinal;
  }
  return needed;
}

function mayHold({ metadata }: Live<PersistentVolumeClaim>, id: string): boolean {
  const holds = metadata.annotations?.[MEMBER];
  return holds === undefined || holds.split('/')[1] === id;
}

function ordinalOfUrls(cluster: string, peerUrls: readonly string[]): number | undefined {
  const name = memberOfUrl(cluster, peerUrls);
  return name === undefined ? undefined : ordinalOf(cluster, name);
}

/** A member of the list, and what is known of it. */
interface Seat {
  readonly id: string;
  readonly name: string;
  readonly ordinal: number;
  readonly peerUrls: readonly string[];
  readonly votes: boolean;
  /** It has been there: its name is known. */
  readonly started: boolean;
  readonly observed?: MemberObserved;
  readonly disk?: Live<PersistentVolumeClaim>;
}

interface Look {
  readonly input: MembershipInput;
  readonly clusterId: string;
  readonly seats: readonly Seat[];
  readonly voters: readonly Seat[];
  readonly learners: readonly Seat[];
  /** Voters that answer, are up to date and know a leader. */
  readonly good: readonly Seat[];
  /** Ordinals that are wanted and have no member, lowest first. */
  readonly missing: readonly number[];
  /** Members that are not wanted, in the order in which they go. */
  readonly surplus: readonly Seat[];
  /** Members of disks once what is to be recorded now is recorded. */
  readonly holds: ReadonlyMap<string, string>;
}

export function planMembership(input: MembershipInput): MembershipPlan {
  const { cluster, list, clusterId, formed } = input;
  if (!formed || cluster.spec.replicas === 0) return { marks: [], joining: [] };
  if (list === undefined || clusterId === undefined) return { marks: [], joining: [], ...leaderless(input) };
  const seats = list.flatMap((member) => seatOf(input, member) ?? []).sort((a, b) => a.ordinal - b.ordinal);
  const marks = seats.flatMap((seat) => markOf(seat, clusterId) ?? []);
  const look = lookAt(input, clusterId, seats, marks);
  const matter = next(look, list.length - seats.length);
  const joining = look.learners.filter((seat) => !seat.started && !holdsOwn(look, seat)).map(({ name }) => name);
  const names = seats.map(({ name }) => name);
  const voters = look.voters.map(({ name }) => name);
  return { ...matter, marks, names, voters, joining };
}

/** The members that a step adds: what they have to find in their configuration is written before. */
export function newcomersOf(step: ClusterStep | undefined): string[] {
  switch (step?.kind) {
    case 'addMember':
      return [step.member, ...(step.next ? [step.next.member] : [])];
    case 'promoteMember':
      return step.next ? [step.next.member] : [];
    default:
      return [];
  }
}

const diskOf = (member: string) => `${DISK}-${member}`;

/** Its disk is known to hold its data. */
function holdsOwn({ holds, clusterId }: Look, { name, id }: Seat): boolean {
  return holds.get(diskOf(name)) === `${clusterId}/${id}`;
}

function seatOf({ cluster, members, disks }: MembershipInput, member: Member): Seat | undefined {
  const name = memberOfUrl(cluster.metadata.name, member.peerUrls);
  const ordinal = name === undefined ? undefined : ordinalOf(cluster.metadata.name, name);
  if (name === undefined || ordinal === undefined) return undefined;
  const observed = members.find((each) => each.name === name);
  const disk = disks.find(({ metadata }) => metadata.name === diskOf(name));
  return {
    id: member.id,
    name,
    ordinal,
    peerUrls: member.peerUrls,
    votes: !member.isLearner,
    started: member.name !== '',
    ...(observed ? { observed } : {}),
    ...(disk ? { disk } : {}),
  };
}

/** What a disk holds is known when its pod answers as the member that the list has for its name. */
function markOf({ id, name, observed, disk }: Seat, clusterId: string): DiskMark | undefined {
  const { pod, status } = observed ?? {};
  if (!pod || !disk || status?.memberId !== id || status.clusterId !== clusterId) return undefined;
  if (pod.metadata.deletionTimestamp !== undefined || disk.metadata.deletionTimestamp !== undefined) return undefined;
  // A disk that is younger than the pod's start on its machine is not the one that the pod has.
  if (disk.metadata.creationTimestamp > (pod.status?.startTime ?? pod.metadata.creationTimestamp)) return undefined;
  const member = `${clusterId}/${id}`;
  return disk.metadata.annotations?.[MEMBER] === member ? undefined : { disk: diskOf(name), member };
}

function lookAt(input: MembershipInput, clusterId: string, seats: readonly Seat[], marks: readonly DiskMark[]): Look {
  const { replicas } = input.cluster.spec;
  const voters = seats.filter(({ votes }) => votes);
  const good = voters.filter(serves);
  const wanted = Array.from({ length: replicas }, (_, ordinal) => ordinal);
  const holds = new Map<string, string>();
  for (const { metadata } of input.disks) {
    const member = metadata.annotations?.[MEMBER];
    if (member !== undefined) holds.set(metadata.name, member);
  }
  for (const { disk, member } of marks) holds.set(disk, member);
  // Whoever does not vote goes first, then whoever does not serve: their leaving costs nothing.
  const cost = (seat: Seat) => (!seat.votes ? 0 : serves(seat) ? 2 : 1);
  return {
    input,
    clusterId,
    seats,
    voters,
    learners: seats.filter(({ votes }) => !votes),
    good,
    missing: wanted.filter((ordinal) => !seats.some((seat) => seat.ordinal === ordinal)),
    surplus: seats
      .filter(({ ordinal }) => ordinal >= replicas)
      .sort((a, b) => cost(a) - cost(b) || b.ordinal - a.ordinal),
    holds,
  };
}

function serves({ id, observed }: Seat): boolean {
  return (observed?.state === 'Serving' || observed?.late === true) && observed.status?.memberId === id;
}

function leads({ id, observed }: Seat): boolean {
  return observed?.status?.leaderId === id && observed.status.memberId === id;
}

/** Nobody answers that knows a leader: nothing can be changed. */
function leaderless({ cluster, members, size }: MembershipInput): Matter {
  const [newest] = members
    .flatMap(({ status }) => (status && status.members.length > 0 ? [status] : []))
    .sort((a, b) => b.appliedIndex - a.appliedIndex);
  const votes = ({ name }: MemberObserved) =>
    newest?.members.some(
      ({ isLearner, peerUrls }) => !isLearner && memberOfUrl(cluster.metadata.name, peerUrls) === name,
    ) ?? true;
  const voters = members.filter(votes);
  const lost = voters.filter(({ state }) => state === 'Lost');
  const before = cluster.status?.operation;
  const changes =
    before?.holder === undefined && before && ['ScaleUp', 'ScaleDown', 'ReplaceMember'].includes(before.type);
  // Until a member says who votes, those without data may be learners that never had any.
  const unsure = newest === undefined && (changes || members.some(({ state }) => state === 'Starting'));
  if (lost.length > 0 && voters.length - lost.length < quorumOf(voters.length) && !unsure)
    return { held: { reason: 'DataLost', message: `${lostWords(lost)}. ${RESTORE}` } };
  if (changes) {
    const { type, member } = before;
    return { operation: { type, ...(member === undefined ? {} : { member }), message: 'waits until a member leads' } };
  }
  const away = members.some(({ state, status }) => state !== 'Starting' && status?.leaderId === undefined);
  return size !== cluster.spec.replicas && away
    ? { held: { reason: 'QuorumLost', message: 'members cannot come or go: none answers that knows a leader' } }
    : {};
}

const RESTORE =
  'Too few others are left to agree on a new one, and an empty disk must not forget what was acknowledged: restore a snapshot into a new cluster';

function lostWords(lost: readonly MemberObserved[]): string {
  return lost.map(({ name, message }) => `the data of ${name} are lost${message ? ` (${message})` : ''}`).join(', ');
}

function next(look: Look, strangers: number): Matter {
  const { voters, good, missing, surplus, learners, seats, input } = look;
  const lost = seats.filter(({ observed }) => observed?.state === 'Lost');
  if (missing.length + surplus.length + learners.length + lost.length === 0) return {};
  if (strangers > 0)
    return held(
      'ForeignMember',
      `the member list has ${strangers} whose addresses are none of this cluster's: remove them`,
    );
  // A learner that was given its vote and has not heard of it yet: in a moment it will have. Cut off from the others it never
  // does, and can still leave.
  const heard = voters.find((seat) => seat.observed?.state === 'Learning' && !surplus.includes(seat));
  if (heard) {
    const operation = arrivalOf(look, heard.ordinal, heard.name, `${heard.name} has its vote`);
    return { operation, recheckMs: STEP_RETRY_MS };
  }
  if (good.length < quorumOf(voters.length)) {
    const others = voters.length - lost.filter(({ votes }) => votes).length;
    if (lost.length > 0 && others < quorumOf(voters.length))
      return held('DataLost', `${lostWords(lost.flatMap(({ observed }) => observed ?? []))}. ${RESTORE}`);
    return held('QuorumLost', `members cannot come or go: ${down(look, voters)}`);
  }
  // No voter leaves before the place of one that is wanted is taken, where that leaves fewer than wanted. A learner is in
  // the way of the one that takes that place.
  const fills = missing.length > 0 && seats.length <= input.cluster.spec.replicas && surplus[0]?.votes !== false;
  const matters = [
    ...renewals(look),
    replacement(look, lost),
    learning(look),
    surplus.length > 0 && !fills ? departure(look) : undefined,
    learners[0] ? waiting(look, learners[0]) : undefined,
    learners.length === 0 && missing[0] !== undefined ? arrival(look, missing[0]) : undefined,
  ].filter((matter) => matter !== undefined);
  return matters.find(({ step }) => step) ?? matters[0] ?? {};
}

function held(reason: string, message: string): { readonly held: Held } {
  return { held: { reason, message } };
}

/** Who of these does not serve, and why. */
function down({ good }: Look, seats: readonly Seat[]): string {
  return seats
    .filter((seat) => !good.includes(seat))
    .map(({ name, observed }) => `${name} is ${wordOf(observed)}${observed?.message ? ` (${observed.message})` : ''}`)
    .join(', ');
}

function wordOf(observed: MemberObserved | undefined): string {
  return observed === undefined || observed.state === 'Serving' ? 'not seen' : observed.state.toLowerCase();
}

/** Learners whose disks hold members that were removed. Disks of voters are never touched. */
function renewals(look: Look): Matter[] {
  return look.learners.flatMap((seat) => renewal(look, seat) ?? []);
}

function renewal(look: Look, { name, id, observed, disk }: Seat): Matter | undefined {
  const { clusterId, seats, holds } = look;
  const [cluster, memberId] = holds.get(diskOf(name))?.split('/') ?? [];
  if (!disk || memberId === undefined || (cluster === clusterId && memberId === id)) return undefined;
  const { metadata } = disk;
  if (cluster !== clusterId)
    return held(
      'DisksDiffer',
      `PersistentVolumeClaim ${metadata.name} holds data of cluster ${cluster}, and this is ${clusterId}: delete it if they are not needed, and ${name} can join`,
    );
  if (seats.some((seat) => seat.id === memberId))
    return held('DisksDiffer', `PersistentVolumeClaim ${metadata.name} holds the data of another member, ${memberId}`);
  const operation = { type: 'ReplaceMember', member: name, message: `the disk of ${name} is made anew` } as const;
  const pod = observed?.pod?.metadata;
  if (metadata.deletionTimestamp !== undefined && (!pod || pod.deletionTimestamp !== undefined)) return { operation };
  return {
    operation,
    step: {
      kind: 'renewDisk',
      member: name,
      disk: metadata.name,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      clusterId,
      memberId,
      ...(pod ? { pod: { name: pod.name, uid: pod.uid } } : {}),
    },
    recheckMs: STEP_RETRY_MS,
  };
}

/** A member that has lost its data leaves when all others serve; its place is then taken like any that is missing. */
function replacement(look: Look, lost: readonly Seat[]): Matter | undefined {
  const seat = lost.find(({ votes }) => !votes) ?? lost[0];
  if (!seat) return undefined;
  const { name, observed } = seat;
  // Several that are lost go one after the other: while a quorum serves, none of them is part of it.
  const others = look.voters.filter((voter) => !lost.includes(voter));
  if (seat.votes && !others.every(serves))
    return held(
      'MemberLost',
      `${lostWords(observed ? [observed] : [])}: it is replaced once all others serve, but ${down(look, others)}`,
    );
  const message = `the data of ${name} are lost: it is removed, and joins again as a new member`;
  return { operation: { type: 'ReplaceMember', member: name, message }, ...removal(seat) };
}

function removal({ name: member, id }: Seat): Pick<Matter, 'step' | 'recheckMs'> {
  return { step: { kind: 'removeMember', member, id }, recheckMs: STEP_RETRY_MS };
}

/**
 * A learner that answers is given its vote once it has caught up. The next one comes right before that and no later: etcd
 * adds none for five seconds after a new voter.
 */
function learning(look: Look): Matter | undefined {
  const { learners, surplus, missing } = look;
  const seat = learners.find((each) => {
    if (surplus.includes(each) || each.observed?.state !== 'Learning') return false;
    return each.observed.status?.memberId === each.id && holdsOwn(look, each);
  });
  if (!seat) return undefined;
  const ordinal = missing[0];
  const follows = learners.length === 1 && ordinal !== undefined && takesTwo(look, [seat]);
  return {
    operation: arrivalOf(look, seat.ordinal, seat.name, `${seat.name} learns, and votes once it has caught up`),
    step: {
      kind: 'promoteMember',
      member: seat.name,
      id: seat.id,
      ...(follows ? { next: newcomer(look, ordinal) } : {}),
    },
    recheckMs: STEP_RETRY_MS,
  };
}

/**
 * Two learn at once, since learners cost no quorum, where all voters serve and are of a version that takes them. All must
 * have been told the same, too: who was not would leave the second one out of its list while the others take it in.
 */
function takesTwo({ voters, good, surplus, input }: Look, learners: readonly Seat[]): boolean {
  const all = [...voters, ...learners];
  const versions = new Set(all.map(({ observed }) => observed?.status?.version ?? ''));
  const templates = new Set(all.map(({ observed }) => observed?.pod?.metadata.annotations?.[TEMPLATE]));
  const calm = good.length === voters.length && surplus.length === 0;
  return calm && versions.size === 1 && templates.size === 1 && input.maxLearners([...versions][0]!) > 1;
}

function waiting(look: Look, { name, ordinal, observed }: Seat): Matter {
  const why = observed?.message ?? 'its pod is not there yet';
  return { operation: arrivalOf(look, ordinal, name, `${name} joins: ${why}`) };
}

/** A place below one that is taken is that of a member that was replaced. */
function arrivalOf({ input, seats }: Look, ordinal: number, member: string, message: string) {
  const before: Operation | undefined = input.cluster.status?.operation;
  const goesOn = before?.holder === undefined && before?.member === member && before.type === 'ReplaceMember';
  const between = seats.some((seat) => seat.ordinal > ordinal);
  return { type: goesOn || between ? 'ReplaceMember' : 'ScaleUp', member, message } as const;
}

function newcomer({ input, voters }: Look, ordinal: number): { readonly member: string; readonly peerUrl: string } {
  const { name } = input.cluster.metadata;
  const member = `${name}-${ordinal}`;
  // Where the others are, this one is: same scheme, domain and port.
  const { name: known = '', peerUrls = [] } = voters[0] ?? {};
  return { member, peerUrl: (peerUrls[0] ?? '').replace(known, member) };
}

function arrival(look: Look, ordinal: number): Matter {
  const { voters, good, missing } = look;
  const { member, peerUrl } = newcomer(look, ordinal);
  if (good.length < voters.length)
    return held('MemberDown', `${member} is not added while a member is down: ${down(look, voters)}`);
  const second = missing.find((each) => each !== ordinal);
  const next = second !== undefined && takesTwo(look, []) ? newcomer(look, second) : undefined;
  const message = next ? `${member} and ${next.member} are added as learners` : `${member} is added as a learner`;
  return {
    operation: arrivalOf(look, ordinal, member, message),
    step: { kind: 'addMember', member, peerUrl, ...(next ? { next } : {}) },
    recheckMs: STEP_RETRY_MS,
  };
}

/** The leader hands over before it leaves, to the member that is furthest along of those that stay. */
function departure(look: Look): Matter {
  const { surplus, voters, input } = look;
  const seat = surplus[0]!;
  const others = voters.filter((voter) => voter !== seat);
  const operation = { type: 'ScaleDown', member: seat.name, message: `${seat.name} leaves` } as const;
  // Whoever is no part of the quorum that there is can always go; a leader is, however slow.
  if (!serves(seat) && !leads(seat)) return { operation, ...removal(seat) };
  if (others.length === 0 || !others.every(serves))
    return held('MemberDown', `${seat.name} is not removed while a member that stays is down: ${down(look, others)}`);
  if (!leads(seat)) return { operation, ...removal(seat) };
  const rank = ({ ordinal, observed }: Seat) =>
    (ordinal < input.cluster.spec.replicas ? 2 ** 52 : 0) + (observed?.status?.index ?? 0);
  const heir = [...others].sort((a, b) => rank(b) - rank(a))[0]!;
  return {
    operation: { ...operation, message: `${seat.name} hands leadership over to ${heir.name}, and leaves` },
    step: { kind: 'moveLeader', from: seat.name, to: heir.name, toId: heir.id },
    recheckMs: STEP_RETRY_MS,
  };
}
