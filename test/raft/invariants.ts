/**
 * What a cluster promises, asserted on everything that its members do (thesis §3.2, §4, §6.4). Majorities are counted here once
 * more, in the plainest way and on what is really on the disks, so that a mistake in the core's arithmetic is not made twice.
 */
import { membersOf } from '../../src/raft/configuration.ts';
import { decodeConfiguration, equalConfigurations } from '../../src/raft/membership.ts';
import type { Configuration, Entry, Message, RaftCommand, SnapshotMeta } from '../../src/raft/types.ts';
import { isConfiguration, majorities } from './majorities.ts';
import { type Member, overwrite, text } from './member.ts';

export class SafetyViolation extends Error {}

type Persist = Extract<RaftCommand, { type: 'persist' }>;

/** What a proposal can be known by: its value, or the context of a change. Empty for what nobody proposed. */
function content({ kind, data }: Entry): string {
  return kind === 'configuration' ? (decodeConfiguration(data)?.context ?? '') : text(data);
}

/** What a member may say only when it is durable: a candidacy, a vote, an acknowledgement. */
function isPromise(message: Message): boolean {
  switch (message.type) {
    case 'vote':
      return !message.preVote;
    case 'voteResponse':
      return message.granted && !message.preVote;
    case 'appendResponse':
      return message.accepted;
    default:
      return false;
  }
}

export class Invariants {
  readonly #members: ReadonlyMap<string, Member>;
  #leaders = new Map<number, string>();
  #votes = new Map<string, string>();
  /** The term in which each member last promised something that had to be durable. */
  #promises = new Map<string, number>();
  /** Every entry that was ever in a log, by position and term: its value and the term before it. */
  #written = new Map<string, string>();
  /** Where each leader's commit index was when it was elected. */
  #inherited = new Map<number, number>();
  /** A leader's term and how far it has written its log. */
  #tails = new Map<string, { term: number; last: number }>();
  /** What was handed out for apply anywhere, by position. */
  readonly committed = new Map<number, Entry>();
  /** The term in which that was seen: a leader of this term or an earlier one need not have the entry. */
  #committedIn = new Map<number, number>();
  #highestCommitted = 0;
  /** Own proposals by position and term, waiting for their outcome. */
  #waiting = new Map<string, string>();
  #proposed = new Map<number, string>();
  #dropped = new Set<string>();
  readonly acknowledged = new Map<number, string>();
  /** For each read under way, what was committed when it was asked. */
  #reads = new Map<number, number>();
  /** How often each mechanism was at work. */
  readonly seen = {
    elections: 0,
    installs: 0,
    reads: 0,
    changes: 0,
    joint: 0,
    transfers: 0,
    truncatedChanges: 0,
    removedLeaders: 0,
  };

  constructor(members: ReadonlyMap<string, Member>) {
    this.#members = members;
  }

  proposed(id: number, value: string): void {
    this.#proposed.set(id, value);
  }

  readAsked(id: number): void {
    this.#reads.set(id, this.#highestCommitted);
  }

  /** The newest configuration that is committed anywhere, with the position of its entry. */
  newestConfiguration(): { configuration: Configuration; index: number } | null {
    let newest: Entry | null = null;
    for (const entry of this.committed.values()) {
      if (isConfiguration(entry) && (newest === null || entry.index > newest.index)) newest = entry;
    }
    return newest === null ? null : { index: newest.index, ...decodeConfiguration(newest.data)! };
  }

  /** One vote per member and term, and no promise in an earlier term than the last one's, crashes included (D1, D5). */
  sent(message: Message): void {
    if (isPromise(message)) {
      const { from, term } = message;
      const before = this.#promises.get(from) ?? 0;
      if (term < before) throw new SafetyViolation(`${from} makes a promise in term ${term} after one in ${before}`);
      this.#promises.set(from, term);
    }
    if (message.type !== 'voteResponse' || message.preVote || !message.granted) return;
    const key = `${message.from} in ${message.term}`;
    const before = this.#votes.get(key);
    if (before !== undefined && before !== message.to) throw new SafetyViolation(`${key} voted twice`);
    this.#votes.set(key, message.to);
  }

  observe(member: Member, command: RaftCommand): void {
    switch (command.type) {
      case 'roleChanged':
        if (command.role === 'leader') this.#elected(member, command.term);
        return;
      case 'persist':
        this.#persists(member, command);
        return;
      case 'apply':
        for (const entry of command.entries) this.#commits(member, entry);
        return;
      case 'proposalsAccepted':
        command.ids.forEach((id, at) => {
          this.#waiting.set(`${command.firstIndex + at}@${command.term}`, this.#proposed.get(id)!);
          this.#settle(command.firstIndex + at);
        });
        return;
      case 'proposalsDropped':
        for (const id of command.ids) this.#drop(this.#proposed.get(id)!);
        return;
      case 'readReady':
        for (const id of command.ids) {
          this.seen.reads++;
          const floor = this.#reads.get(id) ?? 0;
          if (command.index < floor) throw new SafetyViolation(`read ${id} at ${command.index} misses ${floor}`);
        }
        return;
      case 'installSnapshot':
        this.#installs(member, command.meta);
        return;
      case 'transferEnded':
        if (command.failure !== null || command.to === member.id) return;
        this.seen.transfers++;
        if (![...this.#leaders.values()].includes(command.to)) throw new SafetyViolation(`${command.to} never led`);
        return;
      case 'ignored':
        throw new SafetyViolation(`${member.id} ignored ${command.from}: ${command.reason}`);
      default:
        return;
    }
  }

  /** Election Safety, a majority of real votes in both halves, Leader Completeness. */
  #elected(member: Member, term: number): void {
    this.seen.elections++;
    const before = this.#leaders.get(term);
    if (before !== undefined && before !== member.id) {
      throw new SafetyViolation(`term ${term}: ${before} and ${member.id}`);
    }
    this.#leaders.set(term, member.id);
    this.#inherited.set(term, member.raft.commit);
    const { firstIndex, configuration } = member.raft.status();
    const { hardState } = member;
    const votedFor = (id: string): boolean =>
      id === member.id
        ? hardState.term === term && hardState.vote === id
        : this.#votes.get(`${id} in ${term}`) === member.id;
    if (!majorities(configuration, votedFor))
      throw new SafetyViolation(`${member.id} leads ${term} without a majority`);
    const log = new Map(member.log.map((entry) => [entry.index as number, entry]));
    for (const [index, entry] of this.committed) {
      if (this.#committedIn.get(index)! >= term || index < firstIndex) continue;
      if (log.get(index)?.term !== entry.term) {
        throw new SafetyViolation(`leader ${member.id} of term ${term} lacks committed entry ${index}`);
      }
    }
  }

  #persists(member: Member, { entries, hardState }: Persist): void {
    for (const entry of entries) this.#write(member, entry, entries);
    const { role, term } = member.raft;
    if (entries.length > 0) {
      const lost = member.log.some((entry) => entry.index >= entries[0]!.index && isConfiguration(entry));
      if (lost) this.seen.truncatedChanges++;
      this.#configurationCounts(member, overwrite(member.log, entries));
    }
    if (role !== 'leader') return;
    if (entries.length > 0) this.#appends(member, entries);
    if (hardState !== null && this.#leaders.get(term) === member.id) this.#leaderCommits(member);
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
      const at = known.indexOf(':');
      const [knownTerm, knownValue] = [known.slice(0, at), known.slice(at + 1)];
      if (knownValue !== value) throw new SafetyViolation(`${key} is ${knownValue} and ${value}`);
      if (before !== undefined && knownTerm !== '?' && knownTerm !== String(before.term)) {
        throw new SafetyViolation(`${key} follows terms ${knownTerm} and ${before.term}`);
      }
    }
    const committed = this.committed.get(entry.index);
    if (committed !== undefined && committed.term !== entry.term && member.raft.commit >= entry.index) {
      throw new SafetyViolation(`${member.id} overwrites committed ${key}`);
    }
  }

  /** A configuration counts from its append, and the one before it when that is cut off (D9). */
  #configurationCounts(member: Member, log: readonly Entry[]): void {
    const installing = member.diskQueue.findLast((work) => work.type === 'installSnapshot');
    const base = installing?.meta ?? member.newestSnapshot.meta;
    const newest = log.findLast(isConfiguration);
    const expected = Math.max(newest?.index ?? 0, base.configurationIndex);
    const { configurationIndex } = member.raft.status();
    if (configurationIndex !== expected) {
      throw new SafetyViolation(`${member.id} counts configuration ${configurationIndex} instead of ${expected}`);
    }
  }

  /** Leader Append-Only; one uncommitted configuration at a time, none before a commit of the own term. */
  #appends(member: Member, entries: readonly Entry[]): void {
    const { term, commit } = member.raft;
    const tail = this.#tails.get(member.id);
    const first = entries[0]!.index;
    if (tail?.term === term && first !== tail.last + 1) {
      throw new SafetyViolation(`leader ${member.id} of ${term} writes ${first} after ${tail.last}`);
    }
    this.#tails.set(member.id, { term, last: entries.at(-1)!.index });
    const log = overwrite(member.log, entries);
    for (const entry of entries) {
      if (!isConfiguration(entry) || entry.term !== term) continue;
      this.seen.changes++;
      const { configuration } = decodeConfiguration(entry.data)!;
      if (configuration.votersOutgoing.length > 0) this.seen.joint++;
      const pending = log.find((one) => isConfiguration(one) && one.index < entry.index && one.index > commit);
      if (pending !== undefined) {
        throw new SafetyViolation(`${member.id} changes at ${entry.index} while ${pending.index} is not committed`);
      }
      const last = log.find(({ index }) => index === commit)?.term ?? member.newestSnapshot.meta.term;
      if (last !== term) throw new SafetyViolation(`${member.id} changes members before it committed in ${term}`);
    }
  }

  /** What a leader commits is of its own term and on the disks of a majority of both halves, its own counted like others. */
  #leaderCommits(member: Member): void {
    const { commit, configuration } = member.raft.status();
    const entry = member.log.find(({ index }) => index === commit);
    const { term } = member.raft;
    if (entry === undefined || commit <= this.#inherited.get(term)!) return;
    if (entry.term !== term)
      throw new SafetyViolation(`leader ${member.id} of ${term} commits ${commit}@${entry.term}`);
    const holds = (id: string): boolean => {
      const one = this.#members.get(id);
      if (one === undefined) return false;
      return (
        one.newestSnapshot.meta.index >= commit ||
        one.entries.some(({ index, term }) => index === commit && term === entry.term)
      );
    };
    if (!majorities(configuration, holds)) throw new SafetyViolation(`${member.id} commits ${commit} of a minority`);
    if (!membersOf(configuration).includes(member.id)) this.seen.removedLeaders++;
  }

  /** State Machine Safety. */
  #commits(member: Member, entry: Entry): void {
    const known = this.committed.get(entry.index);
    if (known === undefined) {
      this.committed.set(entry.index, entry);
      this.#committedIn.set(entry.index, member.raft.term);
      this.#highestCommitted = Math.max(this.#highestCommitted, entry.index);
      if (this.#dropped.has(content(entry)))
        throw new SafetyViolation(`${content(entry)} was dropped and is committed`);
      this.#settle(entry.index);
    } else if (known.term !== entry.term || text(known.data) !== text(entry.data)) {
      throw new SafetyViolation(
        `${member.id} applies ${entry.index}@${entry.term}, another ${known.index}@${known.term}`,
      );
    }
  }

  /** The entry is about to change the state. */
  applied(member: Member, entry: Entry): void {
    if (member.durableLast < entry.index) throw new SafetyViolation(`${member.id} applies ${entry.index}, not durable`);
  }

  #installs(member: Member, meta: SnapshotMeta): void {
    this.seen.installs++;
    this.#isOfItsPosition(`${member.id} installs`, meta);
  }

  /** A member is about to keep a snapshot of its own. */
  snapshotTaken(member: Member, meta: SnapshotMeta): void {
    this.#isOfItsPosition(`${member.id} takes`, meta);
  }

  /** A snapshot is of what was committed, with the configuration of that position (HR-03, HR-19, HR-20). */
  #isOfItsPosition(who: string, meta: SnapshotMeta): void {
    const last = this.committed.get(meta.index);
    if (last?.term !== meta.term) throw new SafetyViolation(`${who} snapshot ${meta.index}@${meta.term}`);
    for (let index: number = meta.index; index > 0; index--) {
      const entry = this.committed.get(index);
      if (entry === undefined || !isConfiguration(entry)) continue;
      const { configuration } = decodeConfiguration(entry.data)!;
      if (meta.configurationIndex !== index || !equalConfigurations(configuration, meta.configuration)) {
        throw new SafetyViolation(`${who} a snapshot with configuration ${meta.configurationIndex}, not ${index}`);
      }
      return;
    }
    if (meta.configurationIndex !== 0) throw new SafetyViolation(`${who} a snapshot with a configuration of nowhere`);
  }

  #settle(index: number): void {
    const entry = this.committed.get(index);
    const value = entry === undefined ? undefined : this.#waiting.get(`${index}@${entry.term}`);
    if (entry === undefined || value === undefined) return;
    if (content(entry) !== value) throw new SafetyViolation(`${index} was promised to ${value}`);
    this.acknowledged.set(index, value);
  }

  #drop(value: string): void {
    this.#dropped.add(value);
    for (const entry of this.committed.values()) {
      if (content(entry) === value) throw new SafetyViolation(`${value} was dropped and is committed`);
    }
  }

  /** Nobody of these lost anything that was committed or acknowledged. */
  nothingLost(members: readonly Member[]): void {
    for (const { id, state, raft } of members) {
      for (const [index, entry] of this.committed) {
        if (entry.kind !== 'normal' || index > raft.status().applied) continue;
        if (state.get(index) !== text(entry.data)) throw new SafetyViolation(`${id} lost ${index}`);
      }
      for (const [index, value] of this.acknowledged) {
        if (this.committed.get(index)?.kind === 'normal' && state.get(index) !== value) {
          throw new SafetyViolation(`${id} lost acknowledged ${value}`);
        }
      }
    }
  }
}
