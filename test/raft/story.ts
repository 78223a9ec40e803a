/**
 * The small cluster that stories run on, and their format: comments that say why the story exists, then blocks of a command,
 * `----`, and the exact outcome up to an empty line.
 *
 *   nodes 1 2 3 [learners=4,5] [key=value ...]  a new cluster; keys are numbers or booleans of RaftConfig. Election timeouts are
 *                                    10 ticks for the first member and evenly more, below 20, for the others
 *   join N                           a new member, which knows how the cluster began and is no part of it
 *   campaign|tick N [times]          events of member N
 *   change N voter|learner|none M    a single change of membership, proposed at N
 *   joint N voter:4 none:1 [explicit] / leave N
 *   transfer N M / timelost N
 *   propose N text                   a proposal; ids count up from 1
 *   read N
 *   deliver N [from=M] [count=K] [type=T]  what is under way to N, as one batch
 *   again N                          the last delivered batch once more
 *   drop N [from=M] [type=T]         loses it
 *   persist N [count]                disk work, in order; all of it by default
 *   apply N
 *   settle [N ...] [ticks=K]         everything among these members until nothing is left, silently
 *   crash N [torn] / restart N
 *   snapshot N
 *   stream M N [lost]                the snapshot under way from M to N: stored and installed, or lost
 *   unreachable N M / ended N M      what N's transport says of M
 *   log N / status [N] / members [N] / network / state [N]
 */
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import {
  asMemberId,
  type ConfigurationChange,
  type MemberChange,
  type MemberId,
  type Message,
  type RaftCommand,
  type SnapshotMessage,
  type Suffrage,
} from '../../src/raft/types.ts';
import { bytes, Member, type StoredSnapshot } from './member.ts';
import { commandWords, configurationWords, entryWords, messageWords } from './wording.ts';

export interface Block {
  readonly command: string;
  readonly outcome: string;
}

export function parseStory(story: string): { why: string; blocks: Block[] } {
  const [why = '', ...parts] = story.trimEnd().split('\n\n');
  const blocks = parts.map((part) => {
    const [command = '', outcome = ''] = part.split('\n----\n');
    return { command: command.replace(/\n----$/, ''), outcome: outcome.trimEnd() };
  });
  return { why, blocks };
}

export const writeStory = (why: string, blocks: readonly Block[]): string =>
  `${why}\n\n${blocks.map(({ command, outcome }) => `${command}\n----\n${outcome}`).join('\n\n')}\n`;

interface Words {
  readonly positional: readonly string[];
  readonly named: ReadonlyMap<string, string>;
}

function words(parts: readonly string[]): Words {
  const named = new Map<string, string>();
  const positional: string[] = [];
  for (const part of parts) {
    const at = part.indexOf('=');
    if (at < 0) positional.push(part);
    else named.set(part.slice(0, at), part.slice(at + 1));
  }
  return { positional, named };
}

export class StoryCluster {
  readonly members = new Map<string, Member>();
  #network: Message[] = [];
  #streams: { message: SnapshotMessage; stored: StoredSnapshot }[] = [];
  #lastBatch = new Map<string, Message[]>();
  #nextId = 1;
  #settings: Record<string, unknown> = {};
  #genesis = configurationOf([]);

  /** Comment lines inside a block's command are for the reader. */
  run(command: string): string {
    const lines: string[] = [];
    for (const line of command.split('\n')) {
      if (line.startsWith('#')) continue;
      const [verb = '', ...rest] = line.split(' ');
      try {
        lines.push(...this.#perform(verb, words(rest)));
      } catch (error) {
        lines.push(`error: ${(error as Error).message}`);
      }
    }
    return lines.length === 0 ? 'ok' : lines.join('\n');
  }

  #perform(verb: string, { positional, named }: Words): string[] {
    const [first = '', second = ''] = positional;
    switch (verb) {
      case 'nodes':
        return this.#create(positional, named);
      case 'campaign':
        return this.#step(first, (member) => member.step({ type: 'campaign' }));
      case 'tick':
        return this.#step(first, (member) => times(Number(second || 1), () => member.step({ type: 'tick' })));
      case 'propose':
        return this.#step(first, (member) =>
          member.step({ type: 'propose', id: this.#nextId++, data: bytes(positional.slice(1).join(' ')) }),
        );
      case 'join':
        return this.#join(first);
      case 'change':
        return this.#change(first, {
          type: 'single',
          member: asMemberId(positional[2] ?? ''),
          suffrage: suffrage(second),
        });
      case 'joint':
        return this.#change(first, {
          type: 'joint',
          changes: positional
            .slice(1)
            .filter((word) => word !== 'explicit')
            .map(memberChange),
          autoLeave: !positional.includes('explicit'),
        });
      case 'leave':
        return this.#change(first, { type: 'leaveJoint' });
      case 'transfer':
        return this.#step(first, (member) => member.step({ type: 'transferLeadership', to: asMemberId(second) }));
      case 'timelost':
        return this.#step(first, (member) => member.step({ type: 'timeLost' }));
      case 'read':
        return this.#step(first, (member) => member.step({ type: 'readIndex', id: this.#nextId++ }));
      case 'deliver':
        return this.#deliver(first, this.#pick(first, named, Number(named.get('count') ?? Number.MAX_SAFE_INTEGER)));
      case 'again':
        return this.#deliver(first, this.#lastBatch.get(first) ?? []);
      case 'drop':
        return this.#pick(first, named, Number.MAX_SAFE_INTEGER).map((message) => `lost ${messageWords(message)}`);
      case 'persist':
        return this.#step(first, (member) =>
          untilNull(Number(second || Number.MAX_SAFE_INTEGER), () => member.persistOne()),
        );
      case 'apply':
        return this.#step(first, (member) => untilNull(Number.MAX_SAFE_INTEGER, () => member.applyOne()));
      case 'settle':
        return this.#settle(positional, Number(named.get('ticks') ?? 0));
      case 'crash':
        this.#member(first).crash(Number(second || 0));
        return [];
      case 'restart':
        return this.#step(first, (member) => member.restart());
      case 'snapshot':
        return this.#step(first, (member) => member.snapshot());
      case 'stream':
        return this.#stream(first, second, positional[2] === 'lost');
      case 'unreachable':
        return this.#step(first, (member) => member.step({ type: 'unreachable', member: asMemberId(second) }));
      case 'ended':
        return this.#step(first, (member) => member.step({ type: 'ended', member: asMemberId(second) }));
      case 'log':
        return [this.#log(this.#member(first))];
      case 'status':
        return first === '' ? [...this.members.values()].flatMap(statusWords) : statusWords(this.#member(first));
      case 'members':
        return (first === '' ? [...this.members.values()] : [this.#member(first)]).map(membersWords);
      case 'network':
        return this.#network.map(messageWords);
      case 'state':
        return (first === '' ? [...this.members.values()] : [this.#member(first)]).map(
          ({ id, state }) => `${id}: ${[...state.values()].join(' ')}`,
        );
      default:
        throw new Error(`unknown verb ${verb}`);
    }
  }

  #create(ids: readonly string[], named: ReadonlyMap<string, string>): string[] {
    this.members.clear();
    this.#network = [];
    this.#streams = [];
    const { learners, ...settings } = Object.fromEntries(named);
    this.#settings = Object.fromEntries(
      Object.entries(settings).map(([key, value]) => [key, JSON.parse(value) as unknown]),
    );
    const voters = ids.map(asMemberId);
    const others = learners === undefined ? [] : learners.split(',').map(asMemberId);
    this.#genesis = { ...configurationOf(voters), learners: others };
    const all = [...voters, ...others];
    for (const [at, id] of all.entries()) this.#add(id, at / all.length);
    return [...this.members.values()].flatMap((member) => member.take().flatMap(commandWords));
  }

  #add(id: MemberId, draw: number): Member {
    const member = new Member({ id, random: () => draw, ...this.#settings }, initialState(this.#genesis), {
      send: (message) => this.#network.push(message),
      sendSnapshot: (message, stored) => this.#streams.push({ message, stored }),
    });
    this.members.set(id, member);
    return member;
  }

  #join(id: string): string[] {
    return this.#add(asMemberId(id), 0.9).take().flatMap(commandWords);
  }

  #change(id: string, change: ConfigurationChange): string[] {
    const event = { type: 'change', id: this.#nextId++, change, context: '' } as const;
    return this.#step(id, (member) => member.step(event));
  }

  #member(id: string): Member {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`no member ${id}`);
    return member;
  }

  #step(id: string, act: (member: Member) => RaftCommand[]): string[] {
    const member = this.#member(id);
    return act(member).flatMap(commandWords);
  }

  #pick(to: string, named: ReadonlyMap<string, string>, count: number): Message[] {
    const [from, type] = [named.get('from'), named.get('type')];
    const picked: Message[] = [];
    this.#network = this.#network.filter((message) => {
      const wanted =
        message.to === to && (from ?? message.from) === message.from && (type ?? message.type) === message.type;
      if (!wanted || picked.length >= count) return true;
      picked.push(message);
      return false;
    });
    return picked;
  }

  #deliver(to: string, batch: readonly Message[]): string[] {
    this.#lastBatch.set(to, [...batch]);
    const member = this.#member(to);
    if (member.down) return [`${to} is down`];
    const events = batch.map((message) => {
      if (message.type === 'snapshot') throw new Error('a snapshot is streamed');
      return { type: 'receive', message } as const;
    });
    return member.step(...events).flatMap(commandWords);
  }

  #stream(from: string, to: string, lost: boolean): string[] {
    const at = this.#streams.findIndex(({ message }) => message.from === from && message.to === to);
    const [stream] = at < 0 ? [] : this.#streams.splice(at, 1);
    if (stream === undefined) throw new Error(`no snapshot under way from ${from} to ${to}`);
    const receiver = this.#member(to);
    const said: string[] = [];
    if (!lost) {
      const offered = receiver.step({ type: 'snapshotOffered', message: stream.message });
      said.push(...offered.flatMap(commandWords).map((line) => `${to}: ${line}`));
      if (offered.some(({ type }) => type === 'receiveSnapshot')) {
        receiver.spooled.set(stream.message.meta.index, stream.stored);
        const received = receiver.step({ type: 'snapshotReceived', message: stream.message });
        said.push(...received.flatMap(commandWords).map((line) => `${to}: ${line}`));
      }
    }
    const sent = this.#member(from).step({ type: 'snapshotSent', to: asMemberId(to), ok: !lost });
    return [...said, ...sent.flatMap(commandWords).map((line) => `${from}: ${line}`)];
  }

  #settle(ids: readonly string[], ticks: number): string[] {
    const among = new Set(ids.length === 0 ? this.members.keys() : ids);
    const members = [...this.members.values()].filter(({ id, down }) => among.has(id) && !down);
    const quiet = (): void => {
      for (let busy = true; busy; ) {
        busy = false;
        for (const member of members) {
          while (member.persistOne() !== null) busy = true;
          while (member.applyOne() !== null) busy = true;
          const batch = this.#network.filter(({ from, to }) => to === member.id && among.has(from));
          if (batch.length > 0) busy = true;
          this.#network = this.#network.filter((message) => !batch.includes(message));
          this.#deliver(member.id, batch);
          for (const { message } of this.#streams.filter((one) => one.message.from === member.id)) {
            if (!among.has(message.to)) continue;
            busy = true;
            this.#stream(message.from, message.to, this.#member(message.to).down);
          }
        }
      }
    };
    quiet();
    for (let tick = 0; tick < ticks; tick++) {
      for (const member of members) member.step({ type: 'tick' });
      quiet();
    }
    return [];
  }

  #log(member: Member): string {
    const { firstIndex, lastIndex } = member.raft.status();
    const on = member.log.filter(({ index }) => index >= firstIndex && index <= lastIndex).map(entryWords);
    return `first ${firstIndex} last ${lastIndex} [${on.join(' ')}]`;
  }
}

function suffrage(word: string): Suffrage {
  if (word === 'voter' || word === 'learner' || word === 'none') return word;
  throw new Error(`${word} is not voter, learner or none`);
}

function memberChange(word: string): MemberChange {
  const [what = '', member = ''] = word.split(':');
  return { member: asMemberId(member), suffrage: suffrage(what) };
}

function membersWords({ id, raft }: Member): string {
  const { configuration, configurationIndex, committedConfigurationIndex } = raft.status();
  const pending = committedConfigurationIndex === configurationIndex ? '' : ' (not committed)';
  return `${id}: ${configurationIndex}: ${configurationWords(configuration)}${pending}`;
}

function statusWords(member: Member): string[] {
  if (member.down) return [`${member.id}: down`];
  const { role, term, leader, commit, applied, lastIndex, snapshotIndex, progress } = member.raft.status();
  const snapshot = snapshotIndex > 0 ? ` snapshot ${snapshotIndex}` : '';
  return [
    `${member.id}: ${role} of term ${term}, leader ${leader ?? 'unknown'}, last ${lastIndex} commit ${commit} applied ${applied}${snapshot}`,
    ...progress.map(
      (one) =>
        `  ${one.member}: ${one.state} match ${one.match} next ${one.next}${one.inflight > 0 ? ` unanswered ${one.inflight}` : ''}`,
    ),
  ];
}

function times(count: number, act: () => RaftCommand[]): RaftCommand[] {
  const all: RaftCommand[] = [];
  for (let at = 0; at < count; at++) all.push(...act());
  return all;
}

function untilNull(count: number, act: () => RaftCommand[] | null): RaftCommand[] {
  const all: RaftCommand[] = [];
  for (let at = 0; at < count; at++) {
    const commands = act();
    if (commands === null) break;
    all.push(...commands);
  }
  return all;
}
