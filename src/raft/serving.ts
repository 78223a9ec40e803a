/** Proposals and reads of clients, taken on any member and settled by the leader. */
import { voteResult } from './configuration.ts';
import type { Core } from './core.ts';
import { changed, encodeConfiguration, equalConfigurations, isJoint } from './membership.ts';
import type { ReadRequest } from './reads.ts';
import { broadcastHeartbeat } from './replication.ts';
import {
  asIndex,
  type Configuration,
  type DropReason,
  type Index,
  type MemberId,
  type Message,
  type Proposal,
} from './types.ts';

type ChangeProposal = Extract<Proposal, { kind: 'change' }>;
type Propose = Extract<Message, { type: 'propose' }>;
type ProposeResponse = Extract<Message, { type: 'proposeResponse' }>;
type ReadIndexResponse = Extract<Message, { type: 'readIndexResponse' }>;

/** How far a learner may be behind when it becomes a voter: etcd's nine tenths of the log, and never more than this. */
const maxLearnerLag = 1000;

/** A leader's bound of uncommitted bytes; one proposal always fits, or it could never be taken. */
function hasRoom(core: Core, data: Uint8Array): boolean {
  return core.uncommittedBytes === 0 || core.uncommittedBytes + data.length <= core.settings.maxUncommittedBytes;
}

/** Why a leader does not take this proposal now, or null. */
function refusal(core: Core, proposal: Proposal): DropReason | null {
  if (core.transfer !== null) return 'transferring';
  switch (proposal.kind) {
    case 'normal':
      return hasRoom(core, proposal.data) ? null : 'tooManyUncommitted';
    case 'change':
      return changeRefusal(core, proposal);
  }
}

/**
 * One change at a time (§4.1), and none before this leader has committed in its own term: two leaders that each take a single
 * change from an older one could otherwise have quorums apart (Ongaro, raft-dev 2015).
 */
function changeRefusal(core: Core, { change, basedOn }: ChangeProposal): DropReason | null {
  const { committed, latest } = core.configurations;
  if (!core.committedInTerm) return 'termNotCommitted';
  if (committed !== latest) return 'changePending';
  if (basedOn !== undefined && basedOn !== latest.index) return 'changeInvalid';
  let after: Configuration;
  try {
    after = changed(latest.configuration, change);
  } catch {
    return 'changeInvalid';
  }
  const settled = change.type === 'joint' ? changed(after, { type: 'leaveJoint' }) : after;
  if (equalConfigurations(settled, latest.configuration)) return 'changeInvalid';
  const promoted = after.voters.filter((id) => latest.configuration.learners.includes(id));
  return promoted.every((id) => hasCaughtUp(core, id)) ? null : 'learnerBehind';
}

function hasCaughtUp(core: Core, member: MemberId): boolean {
  const progress = core.progress.get(member);
  if (progress?.state !== 'replicate') return false;
  const behind = core.log.last - progress.match;
  return behind <= maxLearnerLag && progress.match >= 0.9 * core.log.last;
}

function take(core: Core, proposal: Proposal): Index {
  switch (proposal.kind) {
    case 'normal':
      return core.append('normal', proposal.data);
    case 'change': {
      const after = changed(core.configuration, proposal.change);
      return core.append('configuration', encodeConfiguration(after, proposal.context));
    }
  }
}

/** §4.3: once the joint configuration is committed, whoever leads leaves it. */
export function leaveJoint(core: Core): void {
  const { committed, latest } = core.configurations;
  if (core.role !== 'leader' || !core.committedInTerm || committed !== latest) return;
  if (!isJoint(latest.configuration) || !latest.configuration.autoLeave) return;
  core.append('configuration', encodeConfiguration(changed(latest.configuration, { type: 'leaveJoint' }), ''));
}

export function propose(core: Core, proposal: Proposal): void {
  if (core.role === 'leader') {
    const reason = refusal(core, proposal);
    if (reason === null) accept(core, proposal.id, take(core, proposal));
    else drop(core, [proposal.id], reason);
  } else if (core.leader !== null) {
    core.forwardProposals.push(proposal);
  } else {
    drop(core, [proposal.id], 'noLeader');
  }
}

function drop(core: Core, ids: readonly number[], reason: DropReason): void {
  core.emit({ type: 'proposalsDropped', ids, reason });
}

/** Neighbouring positions are told together. */
function accept(core: Core, id: number, index: Index): void {
  const { accepted } = core;
  if (accepted !== null && accepted.term === core.term && accepted.firstIndex + accepted.ids.length === index) {
    accepted.ids.push(id);
    return;
  }
  flushAccepted(core);
  core.accepted = { term: core.term, firstIndex: index, ids: [id] };
}

export function flushAccepted(core: Core): void {
  if (core.accepted === null) return;
  core.emit({ type: 'proposalsAccepted', ...core.accepted });
  core.accepted = null;
}

/** What was meant for the leader goes to whoever leads at the end of the batch; this member itself, if it has just won. */
export function flushForwards(core: Core): void {
  const { forwardProposals: proposals, forwardReads: ids, leader: to } = core;
  core.forwardProposals = [];
  core.forwardReads = [];
  if (proposals.length > 0) {
    if (core.role === 'leader') for (const proposal of proposals) propose(core, proposal);
    else if (to === null)
      drop(
        core,
        proposals.map(({ id }) => id),
        'noLeader',
      );
    else
      for (const part of parts(proposals, core.settings.maxMessageBytes))
        core.send({ type: 'propose', to, proposals: part });
  }
  if (ids.length > 0) {
    if (core.role === 'leader') core.reads.add(null, ids);
    else if (to === null) core.emit({ type: 'readDropped', ids });
    else core.send({ type: 'readIndex', to, ids });
  }
}

const proposalSize = (proposal: Proposal): number =>
  proposal.kind === 'normal' ? proposal.data.length : proposal.context.length;

function* parts(proposals: readonly Proposal[], maxBytes: number): Generator<readonly Proposal[]> {
  let start = 0;
  let bytes = 0;
  for (let at = 0; at < proposals.length; at++) {
    const length = proposalSize(proposals[at]!);
    if (at > start && bytes + length > maxBytes) {
      yield proposals.slice(start, at);
      start = at;
      bytes = 0;
    }
    bytes += length;
  }
  yield start === 0 ? proposals : proposals.slice(start);
}

/** GR-10 for whoever does not lead (any more): the origin learns that nothing was taken. */
export function onPropose(core: Core, { from: to, proposals }: Propose): void {
  if (core.role !== 'leader') {
    const ids = proposals.map(({ id }) => id);
    core.send({ type: 'proposeResponse', to, ids, firstIndex: null, reason: 'notLeader' });
    return;
  }
  const taken: number[] = [];
  const refused = new Map<DropReason, number[]>();
  const firstIndex = asIndex(core.log.last + 1);
  for (const proposal of proposals) {
    // Nothing overtakes what found no room.
    const reason = refused.has('tooManyUncommitted') ? 'tooManyUncommitted' : refusal(core, proposal);
    if (reason === null) {
      take(core, proposal);
      taken.push(proposal.id);
    } else {
      refused.set(reason, [...(refused.get(reason) ?? []), proposal.id]);
    }
  }
  if (taken.length > 0) core.send({ type: 'proposeResponse', to, ids: taken, firstIndex, reason: null });
  for (const [reason, ids] of refused) core.send({ type: 'proposeResponse', to, ids, firstIndex: null, reason });
}

/** True in any term: it says what happened in the sender's. */
export function onProposeResponse(core: Core, { ids, term, firstIndex, reason }: ProposeResponse): void {
  if (firstIndex === null) drop(core, ids, reason ?? 'notLeader');
  else core.emit({ type: 'proposalsAccepted', ids, term, firstIndex });
}

export function readIndex(core: Core, id: number): void {
  if (core.role === 'leader') core.reads.add(null, [id]);
  else if (core.leader !== null) core.forwardReads.push(id);
  else core.emit({ type: 'readDropped', ids: [id] });
}

export function onReadIndex(core: Core, from: MemberId, ids: readonly number[]): void {
  if (core.role === 'leader') core.reads.add(from, ids);
  else core.send({ type: 'readIndexResponse', to: from, ids, index: null });
}

export function onReadIndexResponse(core: Core, { ids, index }: ReadIndexResponse): void {
  core.emit(index === null ? { type: 'readDropped', ids } : { type: 'readReady', ids, index });
}

/** Reads wait until this leader knows what is committed, and share one round (§6.4). */
export function startReadRound(core: Core): void {
  if (core.role !== 'leader' || !core.committedInTerm) return;
  // Whose answer was missing may be gone, and with it whoever could have answered.
  if (core.reads.active !== null) finishReadRound(core);
  if (core.settings.leaseReads) {
    for (const request of core.reads.takeLeased(core.leaderTicks)) answerRead(core, request, core.log.commit);
  }
  if (core.reads.start(core.log.commit, core.id, core.leaderTicks) === null) return;
  if (!finishReadRound(core)) broadcastHeartbeat(core);
}

export function onReadRoundAnswer(core: Core, from: MemberId, round: number): void {
  const { active } = core.reads;
  if (core.role !== 'leader' || active === null || active.round !== round) return;
  active.answered.add(from);
  finishReadRound(core);
}

function finishReadRound(core: Core): boolean {
  const round = core.reads.active!;
  if (voteResult(core.configuration, (id) => (round.answered.has(id) ? true : undefined)) !== 'won') return false;
  const { index } = round;
  for (const request of core.reads.finish(core.settings.electionTicks)) answerRead(core, request, index);
  return true;
}

function answerRead(core: Core, { from, ids }: ReadRequest, index: Index): void {
  if (from === null) core.emit({ type: 'readReady', ids, index });
  else core.send({ type: 'readIndexResponse', to: from, ids, index });
}
