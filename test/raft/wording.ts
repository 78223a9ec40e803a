/** One line for each command and message, for stories: positions read `index@term`. */
import type { Entry, Message, RaftCommand, SnapshotMeta } from '../../src/raft/types.ts';
import { text } from './member.ts';

export function entryWords({ index, term, kind, data }: Entry): string {
  return `${index}@${term}${kind === 'normal' ? `:${data.length > 12 ? `${data.length}B` : text(data)}` : `:${kind}`}`;
}

const list = (entries: readonly Entry[]): string => `[${entries.map(entryWords).join(' ')}]`;
const metaWords = ({ index, term }: SnapshotMeta): string => `${index}@${term}`;

export function messageWords(message: Message): string {
  const { from, to, term } = message;
  return `${from}->${to} t${term} ${body(message)}`;
}

function body(message: Message): string {
  switch (message.type) {
    case 'vote':
      return `${message.preVote ? 'pre-vote' : 'vote'} last ${message.lastIndex}@${message.lastTerm}`;
    case 'voteResponse':
      return `${message.preVote ? 'pre-vote' : 'vote'} ${message.granted ? 'granted' : 'refused'}`;
    case 'append':
      return `append after ${message.prevIndex}@${message.prevTerm} ${list(message.entries)} commit ${message.commit}`;
    case 'appendResponse':
      return message.accepted
        ? `accepted ${message.index}`
        : `rejected ${message.index} hint ${message.hintIndex}@${message.hintTerm}`;
    case 'heartbeat':
      return `heartbeat commit ${message.commit}${message.round > 0 ? ` round ${message.round}` : ''}`;
    case 'heartbeatResponse':
      return `heartbeat answer${message.round > 0 ? ` round ${message.round}` : ''}`;
    case 'commit':
      return `commit ${message.commit}`;
    case 'snapshot':
      return `snapshot ${metaWords(message.meta)}`;
    case 'propose':
      return `propose ${message.proposals.map(({ id, data }) => `#${id}:${text(data)}`).join(' ')}`;
    case 'proposeResponse':
      return message.firstIndex === null
        ? `proposals ${message.ids.join(' ')} dropped: ${message.reason}`
        : `proposals ${message.ids.join(' ')} at ${message.firstIndex}`;
    case 'readIndex':
      return `read ${message.ids.join(' ')}`;
    case 'readIndexResponse':
      return `reads ${message.ids.join(' ')} ${message.index === null ? 'dropped' : `at ${message.index}`}`;
  }
}

export function commandWords(command: RaftCommand): string[] {
  switch (command.type) {
    case 'persist': {
      const { id, hardState, entries, sync, messages } = command;
      const words = [`persist #${id}`];
      if (hardState !== null) {
        words.push(`term ${hardState.term} vote ${hardState.vote ?? 'nobody'} commit ${hardState.commit}`);
      }
      if (entries.length > 0) words.push(list(entries));
      if (!sync) words.push('no sync');
      return [words.join(' '), ...messages.map((message) => `  then ${messageWords(message)}`)];
    }
    case 'installSnapshot':
      return [`install snapshot ${metaWords(command.meta)} #${command.id}`];
    case 'compact':
      return [`compact through ${command.through}`];
    case 'apply':
      return [`apply ${list(command.entries)}`];
    case 'send':
      return [`send ${messageWords(command.message)}`];
    case 'sendSnapshot':
      return [`stream ${messageWords(command.message)}`];
    case 'receiveSnapshot':
      return [`receive snapshot ${metaWords(command.message.meta)}`];
    case 'refuseSnapshot':
      return [`refuse snapshot ${metaWords(command.message.meta)}: ${command.reason}`];
    case 'proposalsAccepted':
      return [`proposals ${command.ids.join(' ')} at ${command.firstIndex}@${command.term}`];
    case 'proposalsDropped':
      return [`proposals ${command.ids.join(' ')} dropped: ${command.reason}`];
    case 'readReady':
      return [`reads ${command.ids.join(' ')} ready at ${command.index}`];
    case 'readDropped':
      return [`reads ${command.ids.join(' ')} dropped`];
    case 'roleChanged':
      return [`${command.role} of term ${command.term}, leader ${command.leader ?? 'unknown'}`];
    case 'ignored':
      return [`ignored from ${command.from}: ${command.reason}`];
  }
}
