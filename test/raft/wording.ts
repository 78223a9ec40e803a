/** One line for each command and message, for stories: positions read `index@term`. */
import { decodeConfiguration } from '../../src/raft/membership.ts';
import type {
  Configuration,
  ConfigurationChange,
  Entry,
  Message,
  Proposal,
  RaftCommand,
  SnapshotMeta,
} from '../../src/raft/types.ts';
import { text } from './member.ts';

export function entryWords(entry: Entry): string {
  return `${entry.index}@${entry.term}:${entryContent(entry)}`;
}

function entryContent({ kind, data }: Entry): string {
  switch (kind) {
    case 'normal':
      return data.length > 12 ? `${data.length}B` : text(data);
    case 'noop':
      return kind;
    case 'configuration': {
      const decoded = decodeConfiguration(data);
      return decoded === null ? 'nonsense' : `{${configurationWords(decoded.configuration)}}`;
    }
  }
}

export function configurationWords(configuration: Configuration): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = configuration;
  const words = [`voters ${voters.join(' ')}`];
  if (votersOutgoing.length > 0) words.push(`and ${votersOutgoing.join(' ')}`);
  if (learners.length > 0) words.push(`learners ${learners.join(' ')}`);
  if (learnersNext.length > 0) words.push(`then learners ${learnersNext.join(' ')}`);
  if (autoLeave) words.push('until committed');
  return words.join(' ');
}

function changeWords(change: ConfigurationChange): string {
  switch (change.type) {
    case 'single':
      return `${change.suffrage}:${change.member}`;
    case 'joint': {
      const changes = change.changes.map(({ member, suffrage }) => `${suffrage}:${member}`).join(' ');
      return `joint ${changes}${change.autoLeave ? '' : ' explicit'}`;
    }
    case 'leaveJoint':
      return 'leave joint';
  }
}

const proposalWords = (proposal: Proposal): string =>
  `#${proposal.id}:${proposal.kind === 'normal' ? text(proposal.data) : changeWords(proposal.change)}`;

const list = (entries: readonly Entry[]): string => `[${entries.map(entryWords).join(' ')}]`;
const metaWords = ({ index, term }: SnapshotMeta): string => `${index}@${term}`;

export function messageWords(message: Message): string {
  const { from, to, term } = message;
  return `${from}->${to} t${term} ${body(message)}`;
}

function body(message: Message): string {
  switch (message.type) {
    case 'vote':
      return `${message.preVote ? 'pre-vote' : 'vote'}${message.transfer ? ' at the leader’s word' : ''} last ${message.lastIndex}@${message.lastTerm}`;
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
    case 'timeoutNow':
      return 'stand now';
    case 'snapshot':
      return `snapshot ${metaWords(message.meta)}`;
    case 'propose':
      return `propose ${message.proposals.map(proposalWords).join(' ')}`;
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
    case 'transferEnded':
      return [`transfer to ${command.to} ${command.failure === null ? 'done' : `failed: ${command.failure}`}`];
    case 'configurationChanged':
      return [`configuration ${command.configurationIndex}: ${configurationWords(command.configuration)}`];
    case 'ignored':
      return [`ignored from ${command.from}: ${command.reason}`];
  }
}
