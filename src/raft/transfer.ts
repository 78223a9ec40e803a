/**
 * Handing leadership over (thesis §3.10): the leader stops taking proposals, brings the target up to date, and asks it to
 * stand at once. Within an election timeout it has happened, or the leader goes on as before.
 */
import { isVoter } from './configuration.ts';
import type { Core } from './core.ts';
import { stand } from './election.ts';
import type { MemberId, Message, TransferFailure } from './types.ts';

export function transferLeadership(core: Core, to: MemberId): void {
  const failure = refusal(core, to);
  if (failure !== null || to === core.id) {
    core.emit({ type: 'transferEnded', to, failure });
    return;
  }
  // Asked for again: both callers hear of the one outcome.
  if (core.transfer !== null) return;
  core.transfer = { to, term: core.term, elapsed: 0 };
  urge(core, to);
}

function refusal(core: Core, to: MemberId): TransferFailure | null {
  if (core.role !== 'leader') return 'notLeader';
  if (to !== core.id && !core.configuration.voters.includes(to)) return 'notVoter';
  return core.transfer !== null && core.transfer.to !== to ? 'busy' : null;
}

/** `from` answered: if it is the one to take over and has the whole log, it is time. A lost message is repeated so. */
export function urge(core: Core, from: MemberId): void {
  if (core.transfer?.to !== from || core.progress.get(from)?.match !== core.log.last) return;
  timeoutNow(core, from);
}

function timeoutNow(core: Core, to: MemberId): void {
  core.reads.forswearLease();
  core.send({ type: 'timeoutNow', to });
}

/** The target stands without asking first: that the leader is alive is no reason against it. */
export function onTimeoutNow(core: Core, { from, term }: Extract<Message, { type: 'timeoutNow' }>): void {
  const current = term === core.term && (core.leader === null || core.leader === from);
  if (current && core.role === 'follower' && core.configurations.mayLead(core.id)) stand(core, true);
}

export function tickTransfer(core: Core): void {
  const { transfer } = core;
  if (transfer === null) return;
  transfer.elapsed++;
  if (transfer.elapsed >= core.settings.electionTicks) end(core, core.role === 'leader' ? 'timedOut' : 'deposed');
}

/** A later term's leader is known: did it become whom we wanted? */
export function settleTransfer(core: Core): void {
  const { transfer, leader } = core;
  if (transfer === null || core.term === transfer.term || leader === null) return;
  end(core, leader === transfer.to ? null : 'deposed');
}

function end(core: Core, failure: TransferFailure | null): void {
  const { to } = core.transfer!;
  core.transfer = null;
  core.emit({ type: 'transferEnded', to, failure });
}

/**
 * §4.2.2: a leader that is no voter any more has done its part when that is committed. Whoever is furthest along takes over at
 * once, so that nobody has to wait for an election timeout.
 */
export function stepDownWhenRemoved(core: Core): void {
  const { committed, latest } = core.configurations;
  if (core.role !== 'leader' || committed !== latest || isVoter(latest.configuration, core.id)) return;
  let heir: MemberId | null = null;
  for (const member of latest.configuration.voters) {
    const match = core.progress.get(member)?.match ?? 0;
    if (heir === null || match > core.progress.get(heir)!.match) heir = member;
  }
  if (heir !== null) timeoutNow(core, heir);
  core.becomeFollower(core.term, null);
}
