/** Proposals and reads of clients, taken on any member and settled by the leader. */
import { voteResult } from './configuration.ts';
import type { Core } from './core.ts';
import type { ReadRequest } from './reads.ts';
import { broadcastHeartbeat } from './replication.ts';
import { asIndex, type DropReason, type Index, type MemberId, type Message, type Proposal } from './types.ts';

type Propose = Extract<Message, { type: 'propose' }>;
type ProposeResponse = Extract<Message, { type: 'proposeResponse' }>;
type ReadIndexResponse = Extract<Message, { type: 'readIndexResponse' }>;

/** A leader's bound of uncommitted bytes; one proposal always fits, or it could never be taken. */
function hasRoom(core: Core, data: Uint8Array): boolean {
  return core.uncommittedBytes === 0 || core.uncommittedBytes + data.length <= core.settings.maxUncommittedBytes;
}

export function propose(core: Core, id: number, data: Uint8Array): void {
  if (core.role === 'leader') {
    if (hasRoom(core, data)) accept(core, id, core.append('normal', data));
    else drop(core, [id], 'tooManyUncommitted');
  } else if (core.leader !== null) {
    core.forwardProposals.push({ id, data });
  } else {
    drop(core, [id], 'noLeader');
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
    if (core.role === 'leader') for (const { id, data } of proposals) propose(core, id, data);
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

function* parts(proposals: readonly Proposal[], maxBytes: number): Generator<readonly Proposal[]> {
  let start = 0;
  let bytes = 0;
  for (let at = 0; at < proposals.length; at++) {
    const { length } = proposals[at]!.data;
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
  const refused: number[] = [];
  const firstIndex = asIndex(core.log.last + 1);
  for (const { id, data } of proposals) {
    if (refused.length === 0 && hasRoom(core, data)) {
      core.append('normal', data);
      taken.push(id);
    } else {
      refused.push(id);
    }
  }
  if (taken.length > 0) core.send({ type: 'proposeResponse', to, ids: taken, firstIndex, reason: null });
  if (refused.length > 0) {
    core.send({ type: 'proposeResponse', to, ids: refused, firstIndex: null, reason: 'tooManyUncommitted' });
  }
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
  if (core.reads.start(core.log.commit, core.id) === null) return;
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
  core.reads.active = null;
  for (const request of round.requests) answerRead(core, request, round.index);
  return true;
}

function answerRead(core: Core, { from, ids }: ReadRequest, index: Index): void {
  if (from === null) core.emit({ type: 'readReady', ids, index });
  else core.send({ type: 'readIndexResponse', to: from, ids, index });
}
