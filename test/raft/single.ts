/** One member and hand-made events: `a` of the cluster a, b, c. */
import { configurationOf, initialState } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import {
  asIndex,
  asMemberId,
  asTerm,
  type Entry,
  type Message,
  type RaftCommand,
  type RaftConfig,
  type SnapshotMessage,
} from '../../src/raft/types.ts';

export const a = asMemberId('a');
export const b = asMemberId('b');
export const c = asMemberId('c');
export const cluster = configurationOf([a, b, c]);

/** A member `a` that answers to hand-made events; random draws come from `draws`, then are 0. */
export function member(config: Partial<RaftConfig> = {}, draws: number[] = []): Raft {
  return new Raft({ id: a, random: () => draws.shift() ?? 0, ...config }, initialState(cluster));
}

export const entry = (index: number, term: number, size = 0): Entry => ({
  index: asIndex(index),
  term: asTerm(term),
  kind: 'normal',
  data: new Uint8Array(size),
});

export type Received = Exclude<Message, SnapshotMessage>;

export const append = (
  term: number,
  prevIndex: number,
  prevTerm: number,
  entries: Entry[] = [],
  commit = 0,
  from = b,
): Received => ({
  type: 'append',
  from,
  to: a,
  term: asTerm(term),
  prevIndex: asIndex(prevIndex),
  prevTerm: asTerm(prevTerm),
  entries,
  commit: asIndex(commit),
});

export const vote = (term: number, lastIndex: number, lastTerm: number, preVote = false, from = c): Received => ({
  type: 'vote',
  from,
  to: a,
  term: asTerm(term),
  lastIndex: asIndex(lastIndex),
  lastTerm: asTerm(lastTerm),
  preVote,
  transfer: false,
});

export function receive(raft: Raft, ...messages: Received[]): RaftCommand[] {
  for (const message of messages) raft.step({ type: 'receive', message });
  return raft.take();
}

/** Completes what is to be written; the messages that waited for it. */
export function persist(raft: Raft, commands: RaftCommand[]): { messages: Message[]; commands: RaftCommand[] } {
  const messages: Message[] = [];
  for (const command of commands) {
    if (command.type !== 'persist') continue;
    messages.push(...command.messages);
    raft.step({ type: 'persisted', id: command.id });
  }
  return { messages, commands: raft.take() };
}

export function ticksUntilCampaign(raft: Raft): number {
  for (let ticks = 1; ticks < 100; ticks++) {
    raft.step({ type: 'tick' });
    if (raft.role !== 'follower') return ticks;
  }
  return Number.POSITIVE_INFINITY;
}

export function tick(raft: Raft, count: number): void {
  for (let at = 0; at < count; at++) raft.step({ type: 'tick' });
}

/** A leader of term 1 whose no-op is durable here. */
export function leader(config: Partial<RaftConfig> = {}): Raft {
  const raft = member({ preVote: false, ...config });
  raft.step({ type: 'campaign' });
  persist(raft, raft.take());
  const granted = { type: 'voteResponse', from: b, to: a, term: asTerm(1), preVote: false, granted: true } as const;
  persist(raft, receive(raft, granted));
  if (raft.role !== 'leader') throw new Error(`${raft.role} instead of leader`);
  return raft;
}

export const accepted = (index: number, from = b): Received => ({
  type: 'appendResponse',
  from,
  to: a,
  term: asTerm(1),
  accepted: true,
  index: asIndex(index),
  hintIndex: asIndex(0),
  hintTerm: asTerm(0),
});
