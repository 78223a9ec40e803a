/**
 * A cluster in a hostile world, driven by a list of small numbers, so that a failing run shrinks to few steps. Messages are
 * lost, doubled and reordered; links are cut, also one way; disks are slow; members crash, lose what was not durable (or all
 * but a part of the write under way) and come back, or stand still for a while; snapshots are taken, streamed and lost; members
 * join, learn, vote and go, one by one or several at once; leadership is handed over. `invariants.ts` watches every step.
 */
import { configurationOf, initialState, membersOf } from '../../src/raft/configuration.ts';
import { isJoint } from '../../src/raft/membership.ts';
import {
  asMemberId,
  type ConfigurationChange,
  type MemberChange,
  type MemberId,
  type Message,
  RaftError,
  type SnapshotMessage,
  type Suffrage,
} from '../../src/raft/types.ts';
import { Invariants, SafetyViolation } from './invariants.ts';
import { Links } from './links.ts';
import { bytes, Member, type StoredSnapshot } from './member.ts';
import { type Move, seeded, type World } from './moves.ts';

const suffrages = ['voter', 'voter', 'learner', 'none'] as const satisfies readonly Suffrage[];

interface Stream {
  readonly message: SnapshotMessage;
  readonly stored: StoredSnapshot;
}

export class Simulation {
  readonly #byId = new Map<string, Member>();
  readonly invariants = new Invariants(this.#byId);
  readonly #world: World;
  readonly #random: () => number;
  readonly #genesis: readonly MemberId[];
  #network: Message[] = [];
  /** What everybody takes for lost, and comes when nobody thinks of it any more. */
  #late: Message[] = [];
  #streams: Stream[] = [];
  /** Of which the receiver has a part. */
  #spooling: Stream[] = [];
  readonly links = new Links();
  /** Rounds for which a member stands still. */
  #still = new Map<string, number>();
  /** Who ticked in this round of steady clocks. */
  #ticked = new Set<string>();
  #nextId = 1;
  #nextMember: number;

  constructor(world: World) {
    this.#world = world;
    this.#random = seeded(world.seed);
    this.#genesis = Array.from({ length: world.members }, (_, at) => asMemberId(String(at + 1)));
    this.#nextMember = world.members + 1;
    for (const id of this.#genesis) this.#add(id);
    for (const member of this.members) member.take();
  }

  get members(): Member[] {
    return [...this.#byId.values()];
  }

  #add(id: MemberId): Member {
    const { settings, steadyClocks } = this.#world;
    const limits = { electionTicks: 5, trailingLogs: 3, maxInflightMessages: 4, maxMessageBytes: 120 };
    const member = new Member(
      { id, random: steadyClocks === true ? () => this.#random() ** 4 : this.#random, ...limits, ...settings },
      initialState(configurationOf(this.#genesis)),
      {
        send: (message) => {
          this.invariants.sent(message);
          this.#network.push(message);
        },
        sendSnapshot: (message, stored) => this.#streams.push({ message, stored }),
        observe: (one, command) => this.invariants.observe(one, command),
        applied: (one, entry) => this.invariants.applied(one, entry),
        snapshotTaken: (one, meta) => this.invariants.snapshotTaken(one, meta),
      },
    );
    this.#byId.set(id, member);
    return member;
  }

  move([what, whom, which]: Move): void {
    const { members } = this;
    const member = members[whom % members.length]!;
    if (what >= 1000) this.#moveMembers(what, member, which);
    else if (what < 420) this.#deliver(which);
    else if (what < 620)
      this.#work(
        member,
        (one) => one.diskQueue.length > 0,
        (one) => one.persistOne(),
      );
    else if (what < 700)
      this.#work(
        member,
        (one) => one.applyQueue.length > 0,
        (one) => one.applyOne(),
      );
    else if (what < 800) this.#tick(member);
    else if (what < 870) this.#propose(member);
    else if (what < 890) this.#read(member);
    else if (what < 910) this.#lose(which);
    else if (what < 920) this.#double(which);
    else if (what < 945) this.#stream(which, what < 925);
    else if (what < 965) this.#snapshot(member);
    else if (what < 970) this.crash(member, which % 3, (at) => Math.floor(which / 3) % 2 ** (at + 1) >= 2 ** at);
    else if (what < 990) this.#restart(member);
    else if (what < 992) this.links.isolate(member, members);
    else if (what < 994) this.links.mend();
    else this.#leap(member);
  }

  #moveMembers(what: number, member: Member, which: number): void {
    if (what < 1030) this.#changeSomewhere(which, { type: 'single', ...this.#someChange(which) });
    else if (what < 1050) this.#joint(which);
    else if (what < 1060) this.#changeSomewhere(which, { type: 'leaveJoint' });
    else if (what < 1075) this.#transfer(which);
    else if (what < 1080) this.links.cutOneWay(member, this.#anybody(which));
    else if (what < 1085) this.links.besiege(this.#leader() ?? member, this.#anybody(which), this.members);
    else if (what < 1090) this.#join(which);
    else if (what < 1092) this.#destroyRemoved();
    else if (what < 1093) this.#act(member, () => member.step({ type: 'campaign' }));
    else if (what < 1095) {
      // True or not: whoever believes it may be a nuisance, and breaks nothing.
      const down = this.members.filter((one) => one.down);
      if (which % 3 === 0)
        this.#act(member, () => member.step({ type: 'unreachable', member: this.#anybody(which).id }));
      else if (which % 3 === 1 || down.length === 0) this.#rumour(member, which);
      else this.hears(member, down[which % down.length]!);
    } else this.#readFromLeader(which);
  }

  /** Time in which everything happens that can. */
  pass(ticks: number): void {
    for (let tick = 0; tick < ticks; tick++) {
      for (const member of this.members) this.#tick(member);
      this.#quiet();
    }
  }

  /** Mostly of the leader; some rumours reach everybody. */
  #rumour(member: Member, which: number): void {
    const about = (which % 4 > 0 ? this.#leader() : undefined) ?? this.#anybody(which);
    for (const one of which % 2 === 0 ? this.members : [member]) this.hears(one, about);
  }

  /** That the other's process has ended, as its machine says; true or not. */
  hears(member: Member, other: Member): void {
    this.#act(member, () => member.step({ type: 'ended', member: other.id }));
  }

  /** Heals everything and runs until all members agree; throws when they do not within a bounded time. */
  heal(): void {
    this.links.mend();
    this.#still.clear();
    for (const member of this.members) this.#restart(member);
    for (let round = 0; round < 300; round++) {
      this.#quiet();
      if (round > 2 && this.#converged()) return;
      for (const member of this.members) this.#tick(member);
      if (round % 10 === 5) this.#propose(this.members[round % this.members.length]!);
      const leader = this.#leader();
      if (round % 10 === 7 && leader !== undefined) this.#change(leader, { type: 'leaveJoint' });
      // Without pre-votes whoever was removed and does not know it is a nuisance until somebody ends it.
      if (this.#world.settings?.['preVote'] === false) this.#destroyRemoved();
    }
    throw new SafetyViolation(
      `not converged: ${this.members.map((one) => JSON.stringify(one.raft.status())).join('\n')}`,
    );
  }

  /** The members that count in the end. */
  get current(): Member[] {
    const leader = this.#leader();
    return leader === undefined ? [] : membersOf(leader.raft.status().configuration).map((id) => this.#byId.get(id)!);
  }

  #leader(): Member | undefined {
    const leaders = this.members.filter(({ raft }) => raft.role === 'leader');
    return leaders.sort((one, other) => other.raft.term - one.raft.term)[0];
  }

  #converged(): boolean {
    const leader = this.#leader();
    if (leader === undefined) return false;
    const { configuration, configurationIndex, committedConfigurationIndex, lastIndex } = leader.raft.status();
    if (isJoint(configuration) || configurationIndex !== committedConfigurationIndex) return false;
    if (!configuration.voters.includes(leader.id)) return false;
    return this.current.every(({ raft }) => raft.status().applied === lastIndex && raft.leader === leader.id);
  }

  nothingLost(): void {
    this.invariants.nothingLost(this.current);
  }

  /** Everything that can happen without time passing. */
  #quiet(): void {
    for (let busy = true, rounds = 0; busy && rounds < 200; rounds++) {
      busy = false;
      for (const member of this.members) {
        while (member.persistOne() !== null) busy = true;
        while (member.applyOne() !== null) busy = true;
      }
      while (this.#streams.length + this.#spooling.length > 0) this.#stream(0, false);
      const batch = this.#network;
      this.#network = [];
      if (batch.length > 0) busy = true;
      for (const message of batch) this.#receive(message);
    }
  }

  #isIdle({ id, down }: Member): boolean {
    return down || this.#still.has(id);
  }

  #act(member: Member, act: () => unknown): void {
    if (!this.#isIdle(member)) act();
  }

  /** The next member, from this one on, that has such work. */
  #work(from: Member, hasWork: (member: Member) => boolean, work: (member: Member) => unknown): void {
    const { members } = this;
    const at = members.indexOf(from);
    const next = [...members.slice(at), ...members.slice(0, at)].find((one) => !this.#isIdle(one) && hasWork(one));
    if (next !== undefined) work(next);
  }

  #deliver(which: number): void {
    if (which % 100 === 0 && this.#late.length > 0) {
      this.#receive(this.#late.splice(which % this.#late.length, 1)[0]!);
      return;
    }
    if (this.#network.length === 0) return;
    // Mostly among the oldest, so that order is disturbed but traffic gets through.
    const [message] = this.#network.splice(which % Math.min(this.#network.length, 6), 1);
    if (this.#still.has(message!.to)) this.#network.push(message!);
    else this.#receive(message!);
  }

  #receive(message: Message): void {
    const to = this.#byId.get(message.to);
    if (to === undefined || to.down || message.type === 'snapshot') return;
    if (!this.links.loses(message.from, message.to)) to.step({ type: 'receive', message });
  }

  #tick(member: Member): void {
    if (this.#world.steadyClocks !== true) {
      this.#act(member, () => member.step({ type: 'tick' }));
      return;
    }
    const { members } = this;
    const from = members.indexOf(member);
    const due = [...members.slice(from), ...members.slice(0, from)].find(
      (one) => !one.down && !this.#ticked.has(one.id),
    );
    if (due !== undefined) {
      this.#ticked.add(due.id);
      this.#act(due, () => due.step({ type: 'tick' }));
      return;
    }
    this.#ticked.clear();
    for (const [id, rounds] of this.#still) {
      if (rounds > 1) this.#still.set(id, rounds - 1);
      else this.#goOn(id);
    }
  }

  #goOn(id: string): void {
    this.#still.delete(id);
    const member = this.#byId.get(id);
    if (member === undefined || member.down) return;
    member.step({ type: 'timeLost' });
    this.#read(member);
  }

  /** Time passes differently for one member: fast, or, where clocks are steady, not at all while its process stands still. */
  #leap(member: Member): void {
    if (this.#world.steadyClocks === true) this.#still.set(member.id, 20);
    else for (let ticks = 0; ticks < 10; ticks++) this.#tick(member);
  }

  #propose(member: Member): void {
    this.#act(member, () => {
      const id = this.#nextId++;
      this.invariants.proposed(id, `v${id}`);
      member.step({ type: 'propose', id, data: bytes(`v${id}`) });
    });
  }

  #change(member: Member, change: ConfigurationChange): void {
    this.#act(member, () => {
      const id = this.#nextId++;
      this.invariants.proposed(id, `c${id}`);
      member.step({ type: 'change', id, change, context: `c${id}` });
    });
  }

  #read(member: Member): void {
    this.#act(member, () => {
      const id = this.#nextId++;
      this.invariants.readAsked(id);
      member.step({ type: 'readIndex', id });
    });
  }

  /** Of which there may be two, the older one not knowing it yet. */
  #readFromLeader(which: number): void {
    const leaders = this.members.filter(({ raft }) => raft.role === 'leader');
    if (leaders.length > 0) this.#read(leaders[which % leaders.length]!);
  }

  #anybody(which: number): Member {
    const { members } = this;
    return members[which % members.length]!;
  }

  #someChange(which: number): MemberChange {
    return { member: this.#anybody(which).id, suffrage: suffrages[Math.floor(which / 7) % suffrages.length]! };
  }

  #joint(which: number): void {
    const changes = Array.from({ length: 1 + (which % 3) }, (_, at) => this.#someChange(which * (at + 1)));
    this.#changeSomewhere(which, { type: 'joint', changes, autoLeave: Math.floor(which / 3) % 4 > 0 });
  }

  #transfer(which: number): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    this.#act(leader, () => leader.step({ type: 'transferLeadership', to: this.#anybody(which).id }));
  }

  /** A new member, and the wish that it belongs to the cluster. */
  #join(which: number): void {
    if (this.#byId.size >= this.#world.members + 2) return;
    const { id } = this.#add(asMemberId((this.#nextMember++).toString(16)));
    this.#changeSomewhere(which, { type: 'single', member: id, suffrage: which % 2 === 0 ? 'voter' : 'learner' });
  }

  /** Mostly where it can be decided. */
  #changeSomewhere(which: number, change: ConfigurationChange): void {
    this.#change((which % 4 > 0 ? this.#leader() : undefined) ?? this.#anybody(which), change);
  }

  /** Whoever was a member, and is in no configuration that may still count, is ended for good. */
  #destroyRemoved(): void {
    const newest = this.invariants.newestConfiguration();
    if (newest === null) return;
    const needed = new Set<string>(membersOf(newest.configuration));
    const statuses = this.members.map(({ raft }) => raft.status());
    for (const { configuration, configurationIndex } of statuses) {
      if (configurationIndex > newest.index) for (const id of membersOf(configuration)) needed.add(id);
    }
    const isNew = (id: MemberId): boolean => !this.#genesis.includes(id) && this.#byId.get(id)!.raft.commit === 0;
    for (const { id } of statuses) if (!needed.has(id) && !isNew(id)) this.#destroy(id);
  }

  /** Nobody asks any more to add it. */
  #destroy(id: MemberId): void {
    this.#byId.delete(id);
    this.#network = this.#network.filter(
      (message) => message.type !== 'propose' || message.proposals.every(({ kind }) => kind === 'normal'),
    );
  }

  #lose(which: number): void {
    if (this.#network.length === 0) return;
    const [message] = this.#network.splice(which % this.#network.length, 1);
    if (which % 3 > 0 && message!.type !== 'propose') this.#late.push(message!);
  }

  #double(which: number): void {
    const message = this.#network[which % Math.max(1, this.#network.length)];
    if (message !== undefined && message.type !== 'propose') this.#network.push(message);
  }

  /** A stream begins, or one that has begun comes to its end: in between anything may happen. */
  #stream(which: number, lost: boolean): void {
    const under = [...this.#streams, ...this.#spooling];
    const stream = under[which % Math.max(1, under.length)];
    if (stream === undefined) return;
    const begins = this.#streams.includes(stream);
    this.#streams = this.#streams.filter((one) => one !== stream);
    this.#spooling = this.#spooling.filter((one) => one !== stream);
    const { message, stored } = begins ? this.#opened(stream) : stream;
    const [from, to] = [this.#byId.get(message.from), this.#byId.get(message.to)];
    const ok = !lost && to !== undefined && !this.#isIdle(to) && !this.links.loses(message.from, message.to);
    if (ok && begins) {
      const wanted = to.step({ type: 'snapshotOffered', message }).some(({ type }) => type === 'receiveSnapshot');
      if (wanted) {
        this.#spooling.push({ message, stored });
        return;
      }
    } else if (ok) {
      to.spooled.set(message.meta.index, stored);
      to.step({ type: 'snapshotReceived', message });
    }
    if (from !== undefined && !from.down) from.step({ type: 'snapshotSent', to: message.to, ok });
  }

  /** The sender may have a newer one by now, and sends that if it is none of a later leader. */
  #opened(stream: Stream): Stream {
    const newest = this.#byId.get(stream.message.from)?.newestSnapshot;
    if (newest === undefined || newest.meta.index <= stream.stored.meta.index) return stream;
    if (newest.meta.term > stream.message.term) return stream;
    return { message: { ...stream.message, meta: newest.meta }, stored: newest };
  }

  #snapshot(member: Member): void {
    // The driver takes none while an install is under way.
    if (this.#isIdle(member) || member.applyQueue.some(({ type }) => type === 'installSnapshot')) return;
    try {
      member.snapshot();
    } catch (error) {
      if (!(error instanceof RaftError && error.code === 'RAFT_SNAPSHOT_REFUSED')) throw error;
    }
  }

  /** What it has of a stream is gone with it, and the sender finds out. `hears`: which of the members are told of the end at once. */
  crash(member: Member, torn = 0, hears: (at: number) => boolean = () => false): void {
    member.crash(torn);
    const broken = this.#spooling.filter(({ message }) => message.to === member.id);
    this.#spooling = this.#spooling.filter((one) => !broken.includes(one));
    for (const { message } of broken) {
      const from = this.#byId.get(message.from);
      if (from !== undefined && !from.down) from.step({ type: 'snapshotSent', to: member.id, ok: false });
    }
    for (const [at, other] of this.members.entries()) if (hears(at)) this.hears(other, member);
  }

  #restart(member: Member): void {
    if (member.down) member.restart();
  }
}
