/** Elections: timeouts, pre-votes, votes and who may be refused one (thesis §3.4, §4.2.3, §9.6; GR-09..15). */
import { voteResult, votersOf } from './configuration.ts';
import type { Core } from './core.ts';
import { compareIds } from './membership.ts';
import { asTerm, type Configuration, type MemberId, type Message } from './types.ts';

type Vote = Extract<Message, { type: 'vote' }>;
type VoteResponse = Extract<Message, { type: 'voteResponse' }>;

export function tickElection(core: Core): void {
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
  const turn = turnAfter(core.configuration, member, core.id);
  if (turn >= 0) core.electionTimeout = core.settings.electionTicks + 1 + turn;
}

/**
 * The process that this follower follows has ended: nobody is kept in office by waiting for the minimum election timeout
 * (§4.2.3). A lease that was vouched for is kept all the same, and nothing else rests on that time. Takes turns as above.
 */
export function onEnded(core: Core, member: MemberId): void {
  core.becomeFollower(core.term, null);
  core.ended = member;
  const turn = turnAfter(core.configuration, member, core.id);
  if (turn >= 0) core.electionTimeout = core.electionElapsed + Math.max(core.silence, 1) + turn;
}

/** At once, when no other's turn comes before. */
export function standFirst(core: Core): void {
  const { ended, configuration, id } = core;
  if (ended !== null && turnAfter(configuration, ended, id) === 0 && mayStand(core)) campaign(core);
}

/**
 * A member asked whose log is behind this one's, so that it cannot win with too few others. Nobody waits then who is next after it,
 * or who has asked already: that one heard too late of the end to grant it.
 */
function standNext(core: Core, asked: MemberId): void {
  const { ended, configuration, role, id } = core;
  if (ended === null || !mayStand(core)) return;
  const isNext = turnAfter(configuration, ended, id) <= turnAfter(configuration, ended, asked) + 1;
  if (role === 'preCandidate' || (role === 'follower' && isNext)) campaign(core);
}

/** Of those that stand because of one end: the longest log, or the first of several. `message` is one that may be granted. */
function isBetter({ ended, log, configuration, id }: Core, { from, lastIndex, lastTerm }: Vote): boolean {
  if (ended === null) return false;
  if (lastIndex !== log.last || lastTerm !== log.lastTerm) return true;
  return turnAfter(configuration, ended, from) < turnAfter(configuration, ended, id);
}

/** Two that are both granted what they ask for would split the votes, and all would wait for a timeout after all. */
function withdraw(core: Core): void {
  core.ended = null;
  core.becomeFollower(core.term, null);
  core.resetElectionTimer();
}

/** Whose turn it is among those that may lead when `member` does no more: 0 for the first, -1 for none of them. */
function turnAfter(configuration: Configuration, member: MemberId, whose: MemberId): number {
  return votersOf(configuration)
    .filter((id) => id !== member)
    .sort(compareIds)
    .indexOf(whose);
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
  for (const to of votersOf(core.configuration)) {
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
    if (eligible && preVote) standNext(core, to);
    return;
  }
  if (preVote) {
    core.send({ type: 'voteResponse', to, term: message.term, preVote, granted: true });
    if (isBetter(core, message)) withdraw(core);
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

/** The first answer counts; but who grants a pre-vote may have refused an attempt before, in the same term, and told late. */
function recordVote(core: Core, from: MemberId, granted: boolean): void {
  const mayChange = granted && core.role === 'preCandidate';
  if (core.votes.has(from) && !mayChange) return;
  core.votes.set(from, granted);
  countVotes(core);
}
