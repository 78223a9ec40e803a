/**
 * What a Raft cluster promises (thesis §3.2, §4, §6.4), asserted on every command that the core gives and every message that
 * leaves, before anything is done about it. Majorities are counted in the plainest way, on what is really on the disks.
 */
import { decodeConfiguration, equalConfigurations } from '../../src/raft/membership.ts';
import type { Configuration, Entry, Message, RaftCommand, RaftStatus, SnapshotMeta } from '../../src/raft/types.ts';
import type { SnapshotMark } from '../../src/storage/types.ts';
import { isConfiguration, majorities } from '../raft/majorities.ts';
import type { CoreLog } from './core-log.ts';
import type { DurableLog } from './durable.ts';
import { Violation } from './violation.ts';

/** A member as it is seen here. */
export interface Seen {
  readonly name: string;
  /** Undefined as long as nobody has told it. */
  readonly id: string | undefined;
  readonly durable: DurableLog;
  readonly log: CoreLog;
  readonly driver: {
    readonly term: number;
    readonly commit: number;
    readonly configuration: Configuration;
    status(): RaftStatus;
  };
}

type Persist = Extract<RaftCommand, { type: 'persist' }>;

interface Written {
  readonly data: Uint8Array;
  /** Undefined where it was not seen. */
  before: number | undefined;
}

interface Reign {
  readonly leader: string;
  readonly inherited: number;
  last: number | undefined;
  checked: number;
}

const same = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;

export class Invariants {
  readonly counts = { elections: 0, installs: 0, changes: 0, commits: 0 };
  readonly #durable: (id: string) => DurableLog | undefined;
  readonly #onCommitted: (entry: Entry) => void;
  readonly #reigns = new Map<number, Reign>();
  /** Votes as they are on disks, and as they were sent. */
  readonly #votes = new Map<string, string>();
  readonly #written = new Map<string, Written>();
  /** What was handed out for apply anywhere, by position, and the lowest term in which it was. */
  readonly #committed: { readonly entry: Entry; readonly term: number }[] = [];
  readonly #configurations: Entry[] = [];

  constructor(durable: (id: string) => DurableLog | undefined, onCommitted: (entry: Entry) => void) {
    this.#durable = durable;
    this.#onCommitted = onCommitted;
  }

  /** All that is committed, in order. */
  get committed(): Entry[] {
    return this.#committed.slice(1).map(({ entry }) => entry);
  }

  /** One vote per member and term, crashes included (D1). */
  voted(id: string | undefined, term: number, vote: string): void {
    const key = `${id}@${term}`;
    const before = this.#votes.get(key);
    if (before !== undefined && before !== vote) {
      throw new Violation(`member ${id} voted twice in term ${term}: for ${before} and for ${vote}`);
    }
    this.#votes.set(key, vote);
  }

  /** What a member says it has on its disk must be there. */
  sent(member: Seen, message: Message): void {
    if (message.type === 'voteResponse' && message.granted && !message.preVote) {
      // A later term on the disk does as well: nothing can be voted any more in this one.
      const { durable, id, name } = member;
      const isThere = durable.term > message.term || this.#votes.get(`${id}@${message.term}`) === message.to;
      if (!isThere) throw new Violation(`${name} sends a vote for term ${message.term} that is not on its disk`);
      this.voted(id, message.term, message.to);
    } else if (message.type === 'appendResponse' && message.accepted && message.term === member.driver.term) {
      const term = member.log.term(message.index);
      if (term !== undefined && !member.durable.holds(message.index, term))
        throw new Violation(`${member.name} acknowledges ${message.index}@${term}, which is not on its disk`);
    } else if (message.type === 'vote' && !message.preVote && member.durable.term < message.term) {
      throw new Violation(`${member.name} asks for votes in term ${message.term}, which is not on its disk`);
    }
  }

  observe(member: Seen, command: RaftCommand): void {
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
      case 'installSnapshot':
        this.counts.installs++;
        this.#snapshot(member, command.meta);
        member.log.reset(command.meta);
        return;
      case 'ignored':
        throw new Violation(`${member.name} ignores what ${command.from} sent: ${command.reason}`);
      default:
        return;
    }
  }

  /** A record of a snapshot has become durable. */
  marked(name: string, mark: SnapshotMark): void {
    if (mark.index > 0) this.#snapshot({ name }, mark as unknown as SnapshotMeta);
  }

  /** Election Safety, a majority of votes on disks in both halves, Leader Completeness. */
  #elected(member: Seen, term: number): void {
    this.counts.elections++;
    const before = this.#reigns.get(term);
    if (before !== undefined) throw new Violation(`term ${term} has two leaders: ${before.leader} and ${member.name}`);
    const { commit, configuration } = member.driver;
    this.#reigns.set(term, { leader: member.name, inherited: commit, last: undefined, checked: commit });
    if (!majorities(configuration, (id) => this.#votes.get(`${id}@${term}`) === member.id))
      throw new Violation(`${member.name} leads term ${term} without a majority of votes`);
    for (let index = member.log.base + 1; index < this.#committed.length; index++) {
      const known = this.#committed[index];
      if (known === undefined || known.term >= term || member.log.term(index) === known.entry.term) continue;
      throw new Violation(`${member.name}, leader of term ${term}, lacks committed entry ${index}@${known.entry.term}`);
    }
  }

  #persists(member: Seen, { entries, hardState }: Persist): void {
    const [first] = entries;
    const { term, commit } = member.driver;
    if (first !== undefined) {
      for (const entry of entries) this.#write(member, entry, commit);
      const reign = this.#reigns.get(term);
      const leads = reign?.leader === member.name && entries.at(-1)!.term === term;
      if (leads) this.#appends(member, entries, reign);
      if (member.log.append(entries)) this.#configurationCounts(member);
    }
    if (hardState !== null) this.#leaderCommits(member, hardState.commit, entries.some(isConfiguration));
  }

  /** Log Matching: whoever holds a position and term holds the same there, after the same term. */
  #write({ name, log }: Seen, { index, term, data }: Entry, commit: number): void {
    const before = log.pending?.index === index - 1 ? log.pending.term : log.term(index - 1);
    log.pending = { index, term };
    const key = `${index}@${term}`;
    const known = this.#written.get(key);
    if (known === undefined) this.#written.set(key, { data, before });
    else {
      if (!same(known.data, data)) throw new Violation(`${key} is one thing and, on ${name}, another`);
      if (before !== undefined && known.before !== undefined && known.before !== before)
        throw new Violation(`${key} follows term ${known.before} and, on ${name}, term ${before}`);
      known.before ??= before;
    }
    const committed = this.#committed[index];
    if (committed !== undefined && committed.entry.term !== term && commit >= index)
      throw new Violation(`${name} overwrites committed ${index}@${committed.entry.term} by ${key}`);
  }

  /** Leader Append-Only; one configuration at a time, and none before a commit of the own term. */
  #appends({ name, log, driver }: Seen, entries: readonly Entry[], reign: Reign): void {
    const first = entries[0]!.index;
    const { term, commit } = driver;
    if (reign.last !== undefined && first !== reign.last + 1)
      throw new Violation(`${name}, leader of term ${term}, writes ${first} after ${reign.last}`);
    reign.last = entries.at(-1)!.index;
    for (const entry of entries) {
      if (!isConfiguration(entry) || entry.term !== term) continue;
      this.counts.changes++;
      const others = [...log.configurations, ...entries.filter(isConfiguration).map(({ index }) => index)];
      const pending = others.find((index) => index > commit && index < entry.index);
      if (pending !== undefined)
        throw new Violation(`${name} changes members at ${entry.index} while ${pending} is not committed`);
      if (commit >= entry.index || log.term(commit) !== term)
        throw new Violation(`${name} changes members before it committed anything in term ${term}`);
    }
  }

  /** A configuration counts from its append, and the one before it when that is cut off (D9). */
  #configurationCounts({ name, log, driver }: Seen): void {
    const expected = log.configurations.at(-1) ?? log.baseConfiguration;
    const { configurationIndex } = driver.status();
    if (configurationIndex !== expected)
      throw new Violation(`${name} counts the configuration at ${configurationIndex} instead of ${expected}`);
  }

  /**
   * What a leader commits is of its own term, and on the disks of a majority of both halves: by the configuration that counts, or
   * the one before, if that counted until this very batch. (A majority of either meets all majorities of the other.)
   */
  #leaderCommits({ name, log, driver }: Seen, commit: number, isChanged: boolean): void {
    const { term } = driver;
    const reign = this.#reigns.get(term);
    if (reign?.leader !== name || commit <= reign.checked) return;
    reign.checked = commit;
    this.counts.commits++;
    const entryTerm = log.term(commit);
    if (entryTerm !== term) throw new Violation(`${name}, leader of term ${term}, commits ${commit}@${entryTerm}`);
    const counting = isChanged
      ? [driver.status().committedConfiguration, driver.configuration]
      : [driver.configuration];
    const holds = (id: string): boolean => this.#durable(id)?.holds(commit, term) === true;
    if (!counting.some((configuration) => majorities(configuration, holds)))
      throw new Violation(`${name} commits ${commit}@${term}, which is on the disks of a minority`);
  }

  /** State Machine Safety. */
  #commits({ name, driver, durable }: Seen, entry: Entry): void {
    const { index, term, data } = entry;
    if (!durable.holds(index, term)) throw new Violation(`${name} applies ${index}@${term}, which is not on its disk`);
    const known = this.#committed[index]?.entry;
    if (known !== undefined) {
      if (known.term !== term || !same(known.data, data))
        throw new Violation(`${name} applies ${index}@${term}, and another applied ${index}@${known.term}`);
      return;
    }
    this.#committed[index] = { entry, term: driver.term };
    if (isConfiguration(entry)) this.#configurations.push(entry);
    this.#onCommitted(entry);
  }

  /** A snapshot is of what was committed, with the configuration of that position (HR-03, HR-19). */
  #snapshot({ name }: Pick<Seen, 'name'>, { index, term, configuration, configurationIndex }: SnapshotMeta): void {
    const last = this.#committed[index]?.entry;
    if (last?.term !== term) throw new Violation(`${name} has a snapshot at ${index}@${term}, which is not committed`);
    const newest = this.#configurations.filter((entry) => entry.index <= index).at(-1);
    if (configurationIndex !== (newest?.index ?? 0))
      throw new Violation(`${name} has a snapshot at ${index} with the configuration at ${configurationIndex}`);
    if (newest && !equalConfigurations(decodeConfiguration(newest.data)!.configuration, configuration))
      throw new Violation(`${name} has a snapshot at ${index} with a wrong configuration`);
  }
}
