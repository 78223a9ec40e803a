/** Elections: timeouts, pre-votes, votes and who may be refused one (thesis §3.4, §4.2.3, §9.6; GR-09..15). */
import { voteResult } from './configuration.ts';
import type { Core } from './core.ts';
import { compareIds } from './membership.ts';
import { asTerm, type MemberId, type Message } from './types.ts';

type Vote = Extract<Message, { type: 'vote' }>;
type VoteResponse = Extract<Message, { type: 'voteResponse' }>;

export function tickElection(core: Core): void {
  core.early = null;
  core.electionElapsed++;
  if (core.electionElapsed >= core.electionTimeout && mayStand(core)) campaign(core);
}

/**
 * The leader that this member follows has most likely ended: nothing can be gained from waiting for longer than the others
 * keep faith with it (§4.2.3). Chance keeps candidates apart when nobody knows of anything; who knows of this takes turns, one tick
 * apart, and the first a tick after that time, so that all others' is over as well.
 */
export function onUnreachable(core: Core, member: MemberId): void {
  if (core.role !== 'follower' || member !== core.leader) return;
  const turn = turnAfter(core, member);
  if (turn >= 0) core.electionTimeout = core.settings.electionTicks + 1 + turn;
}

/**
 * The process that this member follows has ended: nobody is kept in office by waiting for the minimum election timeout
 * (§4.2.3). A lease that was vouched for is kept all the same, and nothing else rests on that time. Takes turns as above; whoever
 * heard of it first may have asked already.
 */
export function onEnded(core: Core, member: MemberId): void {
  if (core.role !== 'follower' || member !== core.leader) return;
  const turn = turnAfter(core, member);
  core.becomeFollower(core.term, null);
  if (turn >= 0) {
    core.electionTimeout = core.electionElapsed + 1 + turn;
    core.isOrphan = true;
  }
  if (core.early !== null && core.silence === 0) answerVote(core, core.early);
  if (turn === 0) takeTurn(core);
}

/** At once, unless somebody else was faster. */
function takeTurn(core: Core): void {
  if (core.isOrphan && core.role === 'follower' && mayStand(core)) campaign(core);
}

/** The place of this member among those that may lead when `member` does no more; -1 when it is none of them. */
function turnAfter({ id: self, configuration: { voters, votersOutgoing } }: Core, member: MemberId): number {
  const others = [...new Set([...voters, ...votersOutgoing])].filter((id) => id !== member).sort(compareIds);
  return others.indexOf(self);
}

/** By its own decision, which is neither to break its word nor to ask for votes that it may not have. */
export const mayStand = (core: Core): boolean => core.silence === 0 && core.configurations.mayLead(core.id);

export function campaign(core: Core): void {
  if (core.settings.preVote) {
    core.becomePreCandidate();
    requestVotes(core, true);
    countVotes(core);
  } else {
    stand(core);
  }
}

/** `transfer`: at the leader's word (§3.10), so that nobody refuses because a leader is alive. */
export function stand(core: Core, transfer = false): void {
  core.becomeCandidate();
  requestVotes(core, false, transfer);
}

function requestVotes(core: Core, preVote: boolean, transfer = false): void {
  const term = preVote ? asTerm(core.term + 1) : core.term;
  const { last: lastIndex, lastTerm } = core.log;
  const voters = new Set([...core.configuration.voters, ...core.configuration.votersOutgoing]);
  for (const to of voters) {
    if (to === core.id) continue;
    const request = { type: 'vote', to, term, preVote, transfer, lastIndex, lastTerm } as const;
    // A real candidacy promises its log: a vote for entries that a crash then took away would elect a member without them.
    if (preVote) core.send(request);
    else core.sendAfterPersist(request);
  }
}

/** The own vote is durable, and with it the candidacy's term. */
export function ownVoteDurable(core: Core): void {
  if (core.votes.has(core.id)) return;
  core.votes.set(core.id, true);
  countVotes(core);
}

function countVotes(core: Core): void {
  switch (voteResult(core.configuration, (id) => core.votes.get(id))) {
    case 'pending':
      return;
    case 'lost':
      core.becomeFollower(core.term, null);
      return;
    case 'won':
      if (core.role === 'preCandidate') stand(core);
      else core.becomeLeader();
  }
}

/**
 * §4.2.3: who has heard of a leader within the minimum election timeout refuses to help replace it, and does not even adopt
 * the term. A leader counts its quorum in the same rhythm. Who has vouched for a lease refuses whether it still knows that leader
 * or not.
 */
export function isInTouchWithLeader(core: Core): boolean {
  if (core.silence > 0) return true;
  return core.settings.checkQuorum && core.leader !== null && core.electionElapsed < core.settings.electionTicks;
}

/** Terms are settled before: a real vote's term is not above ours any more. Learners vote as well: see CONFORMANCE. */
export function answerVote(core: Core, message: Vote): void {
  const { from: to, preVote } = message;
  const free = core.silence === 0 || message.transfer;
  const open = core.vote === message.from || (free && core.vote === null && core.leader === null);
  const eligible = message.term >= core.term && (open || (preVote && message.term > core.term));
  if (!eligible || !core.log.isUpToDate(message.lastIndex, message.lastTerm)) {
    core.send({ type: 'voteResponse', to, preVote, granted: false });
    // Nobody whose log is behind this one can win with too few others: they need not wait for each other's turns.
    if (eligible && preVote) takeTurn(core);
    return;
  }
  if (preVote) {
    core.send({ type: 'voteResponse', to, term: message.term, preVote, granted: true });
    return;
  }
  core.vote = message.from;
  core.resetElectionTimer();
  core.sendAfterPersist({ type: 'voteResponse', to, preVote, granted: true });
}

export function countAnswer(core: Core, message: VoteResponse): void {
  const asked = message.preVote ? 'preCandidate' : 'candidate';
  if (core.role !== asked) return;
  // A granted pre-vote carries the term that was asked for; everything else the voter's own.
  const expected = message.preVote && message.granted ? core.term + 1 : core.term;
  if (message.term !== expected) return;
  recordVote(core, message.from, message.granted);
}

function recordVote(core: Core, from: MemberId, granted: boolean): void {
  if (core.votes.has(from)) return;
  core.votes.set(from, granted);
  countVotes(core);
}
