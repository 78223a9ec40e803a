/**
 * A cluster in a hostile world, driven by a list of small numbers, so that a failing run shrinks to few steps. Messages are
 * lost, doubled and reordered; disks are slow; members crash, lose what was not durable (or all but a part of the write under
 * way) and come back; snapshots are taken, streamed and lost. Every step asserts Raft's safety properties (thesis §3.2).
 */
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { asMemberId, type Entry, type Message, type RaftCommand, type SnapshotMessage } from '../../src/raft/types.ts';
import { bytes, Member, type StoredSnapshot, text } from './member.ts';

/** What to do and two numbers that say to whom; both are taken modulo what there is. */
export type Move = readonly [what: number, whom: number, which: number];

export interface World {
  readonly members: number;
  readonly seed: number;
  readonly settings?: Record<string, number | boolean>;
}

/** mulberry32: small, fast and the same everywhere. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class SafetyViolation extends Error {}

export class Simulation {
  readonly members: Member[];
  #network: Message[] = [];
  #streams: { message: SnapshotMessage; stored: StoredSnapshot }[] = [];
  /** Members that neither send nor receive. */
  #cutOff = new Set<string>();
  #nextId = 1;

  #leaders = new Map<number, string>();
  #votes = new Map<string, string>();
  /** Every entry that was ever in a log, by position and term: its value and the term before it. */
  #written = new Map<string, string>();
  /** What was applied anywhere, by position. */
  readonly committed = new Map<number, Entry>();
  #highestCommitted = 0;
  /** Own proposals by position and term, waiting for their outcome. */
  #waiting = new Map<string, string>();
  #proposed = new Map<number, string>();
  readonly acknowledged = new Map<number, string>();
  /** For each read under way, what was committed when it was asked. */
  #reads = new Map<number, number>();
  readsAnswered = 0;
  elections = 0;
  installs = 0;

  constructor({ members, seed, settings }: World) {
    const random = seeded(seed);
    const voters = Array.from({ length: members }, (_, at) => asMemberId(String(at + 1)));
    this.members = voters.map(
      (id) =>
        new Member(
          { id, random, electionTicks: 5, trailingLogs: 3, maxInflightMessages: 4, maxMessageBytes: 120, ...settings },
          initialState(configurationOf(voters)),
          {
            send: (message) => {
              this.#promised(message);
              this.#network.push(message);
            },
            sendSnapshot: (message, stored) => this.#streams.push({ message, stored }),
            observe: (member, command) => this.#observe(member, command),
            applied: (member, entry) => this.#applied(member, entry),
          },
        ),
    );
    for (const member of this.members) member.take();
  }

  move([what, whom, which]: Move): void {
    const member = this.members[whom % this.members.length]!;
    const kind = what % 1000;
    if (kind < 420) this.#deliver(which);
    else if (kind < 620) this.#persist(member);
    else if (kind < 700) member.applyOne();
    else if (kind < 800) this.#tick(member);
    else if (kind < 870) this.#propose(member);
    else if (kind < 890) this.#read(member);
    else if (kind < 910) this.#lose(which);
    else if (kind < 920) this.#double(which);
    else if (kind < 945) this.#stream(which, kind < 925);
    else if (kind < 965) this.#snapshot(member);
    else if (kind < 970) member.crash(which % 3);
    else if (kind < 990) this.#restart(member);
    else if (kind < 992) this.#cutOff.add(member.id);
    else if (kind < 994) this.#cutOff.clear();
    else this.#leap(member);
  }

  /** Heals everything and runs until all members agree; throws when they do not within a bounded time. */
  heal(): void {
    this.#cutOff.clear();
    for (const member of this.members) this.#restart(member);
    for (let round = 0; round < 300; round++) {
      this.#quiet();
      if (round > 2 && this.#converged()) return;
      for (const member of this.members) this.#tick(member);
      if (round % 10 === 5) this.#propose(this.members[round % this.members.length]!);
    }
    throw new SafetyViolation(
      `not converged: ${this.members.map((one) => JSON.stringify(one.raft.status())).join('\n')}`,
    );
  }

  #converged(): boolean {
    const statuses = this.members.map(({ raft }) => raft.status());
    const leader = statuses.find(({ role }) => role === 'leader');
    if (leader === undefined) return false;
    return statuses.every((one) => one.applied === leader.lastIndex && one.leader === leader.id);
  }

  /** Everything that can happen without time passing. */
  #quiet(): void {
    for (let busy = true, rounds = 0; busy && rounds < 200; rounds++) {
      busy = false;
      for (const member of this.members) {
        while (member.persistOne() !== null) busy = true;
        while (member.applyOne() !== null) busy = true;
      }
      while (this.#streams.length > 0) this.#stream(0, false);
      const batch = this.#network;
      this.#network = [];
      if (batch.length > 0) busy = true;
      for (const message of batch) this.#receive(message);
    }
  }

  #deliver(which: number): void {
    if (this.#network.length === 0) return;
    // Mostly among the oldest, so that order is disturbed but traffic gets through.
    const [message] = this.#network.splice(which % Math.min(this.#network.length, 6), 1);
    this.#receive(message!);
  }

  #receive(message: Message): void {
    const to = this.#byId(message.to);
    if (to.down || this.#cutOff.has(message.to) || this.#cutOff.has(message.from) || message.type === 'snapshot')
      return;
    to.step({ type: 'receive', message });
  }

  #byId(id: string): Member {
    return this.members.find((member) => member.id === id)!;
  }

  #persist(member: Member): void {
    if (!member.down) member.persistOne();
  }

  #tick(member: Member): void {
    if (!member.down) member.step({ type: 'tick' });
  }

  /** Time passes for one member alone, as after a pause of its process: leaders change. */
  #leap(member: Member): void {
    for (let ticks = 0; ticks < 10; ticks++) this.#tick(member);
  }

  #propose(member: Member): void {
    if (member.down) return;
    const id = this.#nextId++;
    const value = `v${id}`;
    this.#proposed.set(id, value);
    member.step({ type: 'propose', id, data: bytes(value) });
  }

  #read(member: Member): void {
    if (member.down) return;
    const id = this.#nextId++;
    this.#reads.set(id, this.#highestCommitted);
    member.step({ type: 'readIndex', id });
  }

  #lose(which: number): void {
    if (this.#network.length > 0) this.#network.splice(which % this.#network.length, 1);
  }

  #double(which: number): void {
    const message = this.#network[which % Math.max(1, this.#network.length)];
    if (message !== undefined && message.type !== 'propose') this.#network.push(message);
  }

  #stream(which: number, lost: boolean): void {
    const [stream] = this.#streams.splice(which % Math.max(1, this.#streams.length), 1);
    if (stream === undefined) return;
    const { message, stored } = stream;
    const [from, to] = [this.#byId(message.from), this.#byId(message.to)];
    const ok = !lost && !to.down && !this.#cutOff.has(to.id) && !this.#cutOff.has(from.id);
    if (ok && to.step({ type: 'snapshotOffered', message }).some(({ type }) => type === 'receiveSnapshot')) {
      to.spooled.set(message.meta.index, stored);
      to.step({ type: 'snapshotReceived', message });
    }
    if (!from.down) from.step({ type: 'snapshotSent', to: to.id, ok });
  }

  #snapshot(member: Member): void {
    // The driver snapshots what it applied, and nothing while an install is under way.
    if (member.down || member.applyQueue.length > 0 || member.raft.status().applied === 0) return;
    member.snapshot();
  }

  #restart(member: Member): void {
    if (member.down) member.restart();
  }

  #observe(member: Member, command: RaftCommand): void {
    switch (command.type) {
      case 'roleChanged':
        if (command.role === 'leader') this.#elected(member, command.term);
        return;
      case 'persist':
        for (const entry of command.entries) this.#write(member, entry, command.entries);
        return;
      case 'proposalsAccepted':
        command.ids.forEach((id, at) => {
          const position = `${command.firstIndex + at}@${command.term}`;
          this.#waiting.set(position, this.#proposed.get(id)!);
          this.#settle(command.firstIndex + at);
        });
        return;
      case 'proposalsDropped':
        for (const id of command.ids) this.#dropped(this.#proposed.get(id)!);
        return;
      case 'readReady':
        for (const id of command.ids) {
          this.readsAnswered++;
          const floor = this.#reads.get(id) ?? 0;
          if (command.index < floor) throw new SafetyViolation(`read ${id} at ${command.index} misses ${floor}`);
        }
        return;
      case 'installSnapshot':
        this.installs++;
        return;
      case 'ignored':
        throw new SafetyViolation(`${member.id} ignored ${command.from}: ${command.reason}`);
      default:
        return;
    }
  }

  /** Election Safety, Leader Completeness. */
  #elected(member: Member, term: number): void {
    this.elections++;
    const before = this.#leaders.get(term);
    if (before !== undefined && before !== member.id)
      throw new SafetyViolation(`term ${term}: ${before} and ${member.id}`);
    this.#leaders.set(term, member.id);
    const { firstIndex } = member.raft.status();
    const log = new Map(member.log.map((entry) => [entry.index as number, entry]));
    for (const [index, entry] of this.committed) {
      if (index >= firstIndex && log.get(index)?.term !== entry.term) {
        throw new SafetyViolation(`leader ${member.id} of term ${term} lacks committed entry ${index}`);
      }
    }
  }

  /** Log Matching: whoever holds a position and term holds the same value, after the same term. */
  #write(member: Member, entry: Entry, entries: readonly Entry[]): void {
    const inBatch = entries.find(({ index }) => index === entry.index - 1);
    const before = inBatch ?? member.log.find(({ index }) => index === entry.index - 1);
    const key = `${entry.index}@${entry.term}`;
    const value = text(entry.data);
    const known = this.#written.get(key);
    if (known === undefined) this.#written.set(key, `${before?.term ?? '?'}:${value}`);
    else {
      const [term, known_] = known.split(':');
      if (known_ !== value) throw new SafetyViolation(`${key} is ${known_} and ${value}`);
      if (before !== undefined && term !== '?' && term !== String(before.term)) {
        throw new SafetyViolation(`${key} follows terms ${term} and ${before.term}`);
      }
    }
    const applied = this.committed.get(entry.index);
    if (applied !== undefined && applied.term !== entry.term && member.raft.commit >= entry.index) {
      throw new SafetyViolation(`${member.id} overwrites committed ${key}`);
    }
  }

  /** One vote per member and term, crashes included (D1). */
  #promised(message: Message): void {
    if (message.type !== 'voteResponse' || message.preVote || !message.granted) return;
    const key = `${message.from} in ${message.term}`;
    const before = this.#votes.get(key);
    if (before !== undefined && before !== message.to) throw new SafetyViolation(`${key} voted twice`);
    this.#votes.set(key, message.to);
  }

  /** State Machine Safety. */
  #applied(member: Member, entry: Entry): void {
    const known = this.committed.get(entry.index);
    if (known === undefined) {
      this.committed.set(entry.index, entry);
      this.#highestCommitted = Math.max(this.#highestCommitted, entry.index);
      this.#settle(entry.index);
    } else if (known.term !== entry.term || text(known.data) !== text(entry.data)) {
      throw new SafetyViolation(
        `${member.id} applies ${entry.index}@${entry.term}, another ${known.index}@${known.term}`,
      );
    }
    if (member.durableLast < entry.index) throw new SafetyViolation(`${member.id} applies ${entry.index}, not durable`);
  }

  #settle(index: number): void {
    const entry = this.committed.get(index);
    const value = entry === undefined ? undefined : this.#waiting.get(`${index}@${entry.term}`);
    if (entry === undefined || value === undefined) return;
    if (text(entry.data) !== value) throw new SafetyViolation(`${index} was promised to ${value}`);
    this.acknowledged.set(index, value);
  }

  #dropped(value: string): void {
    for (const entry of this.committed.values()) {
      if (text(entry.data) === value) throw new SafetyViolation(`${value} was dropped and is committed`);
    }
  }

  /** After `heal`: nobody lost anything that was committed or acknowledged. */
  assertNothingLost(): void {
    for (const { id, state, raft } of this.members) {
      for (const [index, entry] of this.committed) {
        if (entry.kind !== 'normal' || index > raft.status().applied) continue;
        if (state.get(index) !== text(entry.data)) throw new SafetyViolation(`${id} lost ${index}`);
      }
      for (const [index, value] of this.acknowledged) {
        if (state.get(index) !== value) throw new SafetyViolation(`${id} lost acknowledged ${value}`);
      }
    }
  }
}
