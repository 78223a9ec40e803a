/**
 * A cluster as plans of its membership see it, and as it really is beneath: which disk holds whose data, who serves. Steps
 * are performed on it as members would perform them, and whatever could cost data or a quorum throws.
 */
import type { MemberState } from '../../../src/api/cluster.ts';
import type { MemberObserved, MemberViews } from '../../../src/controllers/cluster/members.ts';
import {
  type MembershipInput,
  type MembershipPlan,
  newcomersOf,
  planMembership,
  sizeOf,
} from '../../../src/controllers/cluster/membership.ts';
import type { ClusterStep } from '../../../src/controllers/cluster/step.ts';
import { MEMBER } from '../../../src/controllers/labels.ts';
import type { Member, MemberStatus } from '../../../src/engines/engine.ts';
import { clusterOf, diskOf, listOf, memberPod, viewsOf } from '../objects.ts';

interface Seat {
  readonly id: string;
  readonly ordinal: number;
  isLearner: boolean;
  started: boolean;
}

interface Disk {
  readonly uid: string;
  /** The member whose data are really on it. */
  holds?: string | undefined;
  /** The member whose data the operator takes them for. */
  mark?: string | undefined;
}

/** What the operator has just done when it is killed: `half`: added the first of two. */
export type Killed = 'marks' | 'config' | 'half';

const quorumOf = (voters: number) => Math.floor(voters / 2) + 1;

export class MemberModel {
  wanted: number;
  size: number;
  /** What the status remembers of it. */
  recorded: number;
  seats: Seat[];
  leader: string;
  /** What the ConfigMap says: who may start on an empty disk, and whom etcd has to find in the list when it does. */
  joining: readonly string[] = [];
  names: readonly string[];
  readonly disks = new Map<number, Disk>();
  readonly down = new Set<number>();
  readonly deletesDisks: boolean;
  /** False: the members refuse a second learner, for whatever reason. */
  takesTwo = true;
  readonly done: ClusterStep['kind'][] = [];
  #next = 0;

  constructor(voters: number, deletesDisks = false) {
    this.wanted = voters;
    this.size = voters;
    this.recorded = voters;
    this.deletesDisks = deletesDisks;
    this.seats = Array.from({ length: voters }, (_, ordinal) => this.#seat(ordinal, false));
    for (const { ordinal, id } of this.seats) {
      this.disks.set(ordinal, { uid: this.#name('disk'), holds: id, mark: id });
      this.seats[ordinal]!.started = true;
    }
    this.names = this.seats.map(({ ordinal }) => `c-${ordinal}`);
    this.leader = this.seats[0]!.id;
  }

  get voters(): Seat[] {
    return this.seats.filter(({ isLearner }) => !isLearner);
  }

  serves({ ordinal, id }: Seat): boolean {
    return ordinal < this.#pods && !this.down.has(ordinal) && this.disks.get(ordinal)?.holds === id;
  }

  /** None while it hibernates. */
  get #pods(): number {
    return this.wanted === 0 ? 0 : this.size;
  }

  get hasQuorum(): boolean {
    return this.voters.filter((seat) => this.serves(seat)).length >= quorumOf(this.voters.length);
  }

  /** Whether a quorum is left when this ordinal has lost its data. */
  canLose(ordinal: number): boolean {
    const left = this.voters.filter(
      (seat) => seat.ordinal !== ordinal && this.disks.get(seat.ordinal)?.holds === seat.id,
    );
    return left.length >= quorumOf(this.voters.length);
  }

  lose(ordinal: number): void {
    const disk = this.disks.get(ordinal);
    if (disk) disk.holds = undefined;
  }

  /** The pod and its disk are gone; both are made anew, empty. */
  loseDisk(ordinal: number): void {
    this.disks.delete(ordinal);
  }

  /** Somebody scales the StatefulSet by hand. */
  takePods(left: number): void {
    // Kubernetes would delete their disks as well: nothing mends that.
    if (!this.deletesDisks) this.size = Math.min(this.size, left);
  }

  /** Pods start, leaders are elected, the operator looks once and does what its plan says, unless it is killed over it. */
  tick(killed?: Killed): MembershipPlan {
    for (let ordinal = 0; ordinal < this.#pods; ordinal++) this.#start(ordinal);
    const serving = this.voters.filter((seat) => this.serves(seat));
    if (!serving.some(({ id }) => id === this.leader) && serving[0]) this.leader = serving[0].id;
    const input = this.look();
    const plan = planMembership(input);
    for (const { disk, member } of plan.marks) {
      const marked = this.disks.get(Number(disk.split('-').at(-1)));
      if (!marked || `cafe/${marked.holds}` !== member) throw new Error(`${disk} is marked as ${member}`);
      marked.mark = marked.holds;
    }
    if (killed === 'marks') return plan;
    const comes = newcomersOf(plan.step);
    this.joining = [...plan.joining, ...comes];
    if (plan.names) this.names = [...plan.names, ...comes];
    if (killed === 'config') return plan;
    if (plan.step) this.#perform(plan.step, killed === 'half');
    if (killed === 'half') return plan;
    this.#resize();
    return plan;
  }

  look(): MembershipInput {
    const members = Array.from({ length: this.size }, (_, ordinal) => this.#observed(ordinal));
    const cluster = clusterOf('c', { replicas: this.wanted }, { size: this.size });
    return {
      cluster,
      members,
      ...(this.hasQuorum ? { list: this.#list } : {}),
      clusterId: 'cafe',
      disks: this.#claims,
      size: this.size,
      formed: true,
      maxLearners: () => 2,
    };
  }

  get #list(): Member[] {
    return this.seats.map(({ id, ordinal, isLearner, started }) => {
      const [member] = listOf('c', [ordinal]);
      return { ...member!, id, isLearner, name: started ? member!.name : '' };
    });
  }

  get #claims() {
    return [...this.disks].map(([ordinal, { uid, mark }]) => {
      const annotations = mark === undefined ? {} : { [MEMBER]: `cafe/${mark}` };
      return diskOf('c', ordinal, 't', false, { uid, annotations });
    });
  }

  #name(what: string): string {
    this.#next += 1;
    return `${what}${this.#next.toString(16)}`;
  }

  #seat(ordinal: number, isLearner: boolean): Seat {
    return { id: this.#name('a'), ordinal, isLearner, started: false };
  }

  #start(ordinal: number): void {
    const disk = this.disks.get(ordinal) ?? { uid: this.#name('disk') };
    this.disks.set(ordinal, disk);
    const seat = this.seats.find((each) => each.ordinal === ordinal);
    if (this.down.has(ordinal) || disk.holds !== undefined || !seat) return;
    if (!this.joining.includes(`c-${ordinal}`)) return;
    const listed = new Set(this.seats.map((each) => `c-${each.ordinal}`));
    if (this.names.length !== listed.size || !this.names.every((name) => listed.has(name))) return;
    if (!seat.isLearner) throw new Error(`voter c-${ordinal} starts on an empty disk`);
    disk.holds = seat.id;
    seat.started = true;
  }

  #observed(ordinal: number): MemberObserved {
    const name = `c-${ordinal}`;
    const pod = memberPod('c', ordinal);
    const seat = this.seats.find((each) => each.ordinal === ordinal);
    const said = (state: MemberState) => ({ name, ordinal, pod, ready: false, state });
    if (this.down.has(ordinal) || !seat) return said('Dead');
    const disk = this.disks.get(ordinal);
    if (disk?.holds === undefined) return said(seat.isLearner && !seat.started ? 'Starting' : 'Lost');
    if (disk.holds !== seat.id) return said('Dead');
    const status: MemberStatus = {
      ...viewsOf('c').get('c-0')!.status!,
      memberId: seat.id,
      isLearner: seat.isLearner,
      ...(this.hasQuorum ? { leaderId: this.leader } : {}),
    };
    return { ...said(seat.isLearner ? 'Learning' : this.hasQuorum ? 'Serving' : 'Slow'), ready: true, status };
  }

  #perform(step: ClusterStep, half: boolean): void {
    this.done.push(step.kind);
    if (!this.hasQuorum) throw new Error(`${step.kind} without a quorum`);
    switch (step.kind) {
      case 'addMember':
        this.#add(step.member);
        if (step.next && this.takesTwo && !half) this.#add(step.next.member);
        return;
      case 'promoteMember': {
        if (step.next && this.takesTwo) this.#add(step.next.member);
        if (half) return;
        const seat = this.seats.find(({ id }) => id === step.id);
        if (!seat?.isLearner || !this.serves(seat))
          throw new Error(`${step.member} is given a vote and does not serve`);
        if (this.disks.get(seat.ordinal)?.mark !== seat.id)
          throw new Error(`the disk of voter ${step.member} is not marked`);
        seat.isLearner = false;
        break;
      }
      case 'removeMember': {
        const seat = this.seats.find(({ id }) => id === step.id);
        if (!seat) throw new Error(`${step.member} is no member`);
        const stay = this.voters.filter((each) => each !== seat);
        if (!seat.isLearner && stay.filter((each) => this.serves(each)).length < quorumOf(stay.length))
          throw new Error(`without ${step.member} there is no quorum`);
        if (seat.id === this.leader) throw new Error('the leader is removed');
        const disk = this.disks.get(seat.ordinal);
        if (seat.isLearner && disk) disk.mark ??= seat.id;
        this.seats = this.seats.filter((each) => each !== seat);
        break;
      }
      case 'moveLeader': {
        const heir = this.voters.find(({ id }) => id === step.toId);
        if (!heir || !this.serves(heir)) throw new Error(`${step.to} cannot lead`);
        this.leader = heir.id;
        return;
      }
      case 'renewDisk': {
        const ordinal = Number(step.disk.split('-').at(-1));
        const disk = this.disks.get(ordinal);
        if (disk?.uid !== step.uid) throw new Error(`${step.disk} is another disk`);
        if (this.seats.some(({ id }) => id === disk.holds)) throw new Error(`${step.disk} holds a member's data`);
        this.disks.delete(ordinal);
        return;
      }
      default:
        throw new Error(`${step.kind} is no step of the membership`);
    }
    if (!this.hasQuorum) throw new Error(`${step.kind} has cost the quorum`);
  }

  #add(member: string): void {
    const ordinal = Number(member.split('-').at(-1));
    if (this.seats.some((seat) => seat.ordinal === ordinal)) throw new Error(`${member} is a member already`);
    const learners = this.seats.filter(({ isLearner }) => isLearner);
    if (learners.length > 1) throw new Error('three learners');
    this.seats.push(this.#seat(ordinal, true));
  }

  #resize(): void {
    const { list, disks } = this.look();
    const cluster = clusterOf('c', { replicas: this.wanted }, { size: this.recorded });
    const views: MemberViews = new Map();
    const size = sizeOf({ cluster, formed: true, ...(list ? { list } : {}), views, running: this.size, disks });
    for (const { ordinal } of this.seats)
      if (list && ordinal >= size && size < this.size) throw new Error(`the pod of member c-${ordinal} is taken away`);
    if (this.deletesDisks) for (let ordinal = size; ordinal < this.size; ordinal++) this.disks.delete(ordinal);
    // A disk that nobody uses goes at once when it is deleted.
    this.size = size;
    this.recorded = size;
  }
}
