/** Quorum arithmetic over a configuration, joint or not (thesis §4.3): every decision needs both majorities. */
import { asIndex, asTerm, type Configuration, type Index, type MemberId, type RestoredState } from './types.ts';

/** GR-08. */
export const quorumSize = (members: number): number => Math.floor(members / 2) + 1;

export function configurationOf(voters: readonly MemberId[]): Configuration {
  return { voters: [...voters], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
}

/** What a member of a new cluster starts from: a snapshot of nothing at index 0 that holds the configuration. */
export function initialState(configuration: Configuration): RestoredState {
  return {
    hardState: { term: asTerm(0), vote: null, commit: asIndex(0) },
    snapshot: { index: asIndex(0), term: asTerm(0), configuration, configurationIndex: asIndex(0) },
    entries: [],
  };
}

export const isVoter = (configuration: Configuration, id: MemberId): boolean =>
  configuration.voters.includes(id) || configuration.votersOutgoing.includes(id);

export const isSoleVoter = (configuration: Configuration, id: MemberId): boolean =>
  configuration.voters.length === 1 && configuration.voters[0] === id && configuration.votersOutgoing.length === 0;

/** Everybody whose vote counts, each once. */
export function votersOf({ voters, votersOutgoing }: Configuration): MemberId[] {
  return [...new Set([...voters, ...votersOutgoing])];
}

/** Everybody who gets the log, each once. */
export function membersOf(configuration: Configuration): MemberId[] {
  return [...new Set([...configuration.voters, ...configuration.votersOutgoing, ...configuration.learners])];
}

/** The highest position that a majority of `voters` holds; an empty half never holds anything back. */
function majorityIndex(voters: readonly MemberId[], match: (id: MemberId) => number): number {
  if (voters.length === 0) return Number.MAX_SAFE_INTEGER;
  const held: number[] = [];
  for (const id of voters) {
    const value = match(id);
    let at = held.length;
    while (at > 0 && held[at - 1]! < value) at--;
    held.splice(at, 0, value);
  }
  // Descending, so that `quorumSize` members hold at least this (D3: ascending order would take a minority's).
  return held[quorumSize(voters.length) - 1]!;
}

export function quorumIndex(configuration: Configuration, match: (id: MemberId) => number): Index {
  const held = Math.min(majorityIndex(configuration.voters, match), majorityIndex(configuration.votersOutgoing, match));
  return asIndex(held === Number.MAX_SAFE_INTEGER ? 0 : held);
}

export type VoteResult = 'won' | 'lost' | 'pending';

function majorityVote(voters: readonly MemberId[], vote: (id: MemberId) => boolean | undefined): VoteResult {
  if (voters.length === 0) return 'won';
  const quorum = quorumSize(voters.length);
  let granted = 0;
  let refused = 0;
  for (const id of voters) {
    const answer = vote(id);
    if (answer === true) granted++;
    else if (answer === false) refused++;
  }
  if (granted >= quorum) return 'won';
  return refused > voters.length - quorum ? 'lost' : 'pending';
}

/** `vote` returns undefined for those who have not answered. */
export function voteResult(configuration: Configuration, vote: (id: MemberId) => boolean | undefined): VoteResult {
  const incoming = majorityVote(configuration.voters, vote);
  const outgoing = majorityVote(configuration.votersOutgoing, vote);
  if (incoming === 'lost' || outgoing === 'lost') return 'lost';
  return incoming === 'won' && outgoing === 'won' ? 'won' : 'pending';
}
