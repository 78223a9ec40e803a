/** A leader's side of replication: what to send to whom, what an answer means, when something is committed. */
import { quorumIndex, voteResult } from './configuration.ts';
import type { Core } from './core.ts';
import type { Progress } from './progress.ts';
import { asIndex, type Entry, type Index, type MemberId, type Message } from './types.ts';

type AppendResponse = Extract<Message, { type: 'appendResponse' }>;

export function tickLeader(core: Core): void {
  core.heartbeatElapsed++;
  core.electionElapsed++;
  core.leaderTicks++;
  if (core.electionElapsed >= core.settings.electionTicks) {
    core.electionElapsed = 0;
    if (!keepsQuorum(core)) return;
  }
  if (core.heartbeatElapsed >= core.settings.heartbeatTicks) broadcastHeartbeat(core);
}

/** CheckQuorum (§6.2): a leader that a quorum did not answer for T ticks steps down, so that clients look elsewhere. */
function keepsQuorum(core: Core): boolean {
  const active = voteResult(core.configuration, (id) => id === core.id || core.progress.get(id)?.recentlyActive);
  for (const progress of core.progress.values()) {
    // The log is not kept for ever for somebody who vanished with a snapshot half received.
    if (!progress.recentlyActive && progress.state !== 'snapshot') progress.snapshotIndex = asIndex(0);
    progress.recentlyActive = false;
  }
  if (active === 'won' || !core.settings.checkQuorum) return true;
  core.becomeFollower(core.term, null);
  return false;
}

export function broadcastHeartbeat(core: Core): void {
  core.heartbeatElapsed = 0;
  const { round } = core.reads;
  for (const [to, progress] of core.progress) {
    // What it has not acknowledged may not be what we have there.
    const commit = asIndex(Math.min(progress.match, core.log.commit));
    core.send({ type: 'heartbeat', to, commit, round });
  }
}

/** One batch's sends: entries to whoever has room, the commit index to whoever would not learn it otherwise. */
export function replicate(core: Core): void {
  for (const [to, progress] of core.progress) {
    switch (progress.state) {
      case 'probe':
        if (!progress.probeSent) progress.probeSent = sendAppend(core, to, progress, true);
        break;
      case 'replicate':
        stream(core, to, progress);
        break;
      case 'snapshot':
        break;
    }
  }
}

function stream(core: Core, to: MemberId, progress: Progress): void {
  const { log } = core;
  while (progress.state === 'replicate' && progress.next <= log.last && !progress.window.full) {
    progress.nudge = false;
    if (!sendAppend(core, to, progress, true)) return;
  }
  if (progress.nudge) {
    progress.nudge = false;
    sendAppend(core, to, progress, false);
  }
  if (progress.state !== 'replicate') return;
  const commit = asIndex(Math.min(progress.match, log.commit));
  if (commit > progress.commitSent) {
    progress.commitSent = commit;
    core.send({ type: 'commit', to, commit });
  }
}

/** False when nothing could be sent: the log does not reach that far back and the member is not there for a snapshot. */
function sendAppend(core: Core, to: MemberId, progress: Progress, withEntries: boolean): boolean {
  const { log } = core;
  const prevIndex = asIndex(progress.next - 1);
  const prevTerm = log.term(prevIndex);
  if (prevTerm === undefined) return sendSnapshot(core, to, progress);
  const entries: readonly Entry[] = withEntries
    ? log.slice(progress.next, log.last, core.settings.maxMessageBytes)
    : [];
  const { commit } = log;
  core.send({ type: 'append', to, prevIndex, prevTerm, entries, commit });
  const end = asIndex(prevIndex + entries.length);
  if (progress.state === 'replicate') {
    if (entries.length > 0) {
      progress.next = asIndex(end + 1);
      progress.window.add(end, log.sizeBetween(prevIndex, end));
    }
    progress.commitSent = asIndex(Math.max(progress.commitSent, Math.min(commit, end)));
  }
  return true;
}

/** GR-30. The driver streams it; nothing else goes to this member until its fate is reported. */
function sendSnapshot(core: Core, to: MemberId, progress: Progress): boolean {
  if (!progress.recentlyActive) return false;
  const meta = core.snapshot;
  progress.becomeSnapshot(meta.index);
  core.emit({ type: 'sendSnapshot', message: { type: 'snapshot', from: core.id, to, term: core.term, meta } });
  return true;
}

export function onAppendResponse(core: Core, message: AppendResponse): void {
  const progress = core.progress.get(message.from);
  if (progress === undefined) return;
  progress.recentlyActive = true;
  const { log } = core;
  if (!message.accepted) {
    const meeting =
      message.hintTerm > 0 ? log.meetingPoint(message.hintIndex, message.hintTerm).index : message.hintIndex;
    progress.rejected(message.index, meeting);
    return;
  }
  if (message.index > log.last) {
    core.emit({ type: 'ignored', from: message.from, reason: 'acknowledged entries that the leader does not have' });
    return;
  }
  progress.accepted(message.index);
  // In the middle of a snapshot it may still turn out that the log suffices.
  if (progress.state === 'snapshot' && (progress.match >= progress.snapshotIndex || progress.match + 1 >= log.first)) {
    progress.becomeReplicate();
  }
  advanceCommit(core);
}

export function onHeartbeatResponse(core: Core, from: MemberId): void {
  const progress = core.progress.get(from);
  if (progress === undefined) return;
  progress.recentlyActive = true;
  progress.probeSent = false;
  // Appends are unanswered while a later heartbeat is not: they may be lost.
  progress.nudge = progress.match < core.log.last;
}

export function onSnapshotSent(core: Core, to: MemberId, ok: boolean): void {
  const progress = core.progress.get(to);
  if (progress?.state === 'snapshot') progress.snapshotDone(ok);
}

export function onUnreachable(core: Core, member: MemberId): void {
  const progress = core.progress.get(member);
  if (progress?.state === 'replicate') progress.becomeProbe();
}

/**
 * GR-18, thesis §3.6.2, D3: the highest position on a quorum, and only if its entry is of this leader's term; older ones are
 * committed with it. The leader counts itself for what is durable here (§10.2.1, D10).
 */
export function advanceCommit(core: Core): void {
  const held = quorumIndex(core.configuration, (id) =>
    id === core.id ? core.log.stable : (core.progress.get(id)?.match ?? 0),
  );
  if (held > core.log.commit && core.log.term(held) === core.term) core.commitTo(held);
}

/** The log may go through `through`, but not what a member needs that is just receiving a snapshot (etcd issue 5317). */
export function heldBack(core: Core, through: Index): Index {
  let allowed: number = through;
  for (const { snapshotIndex } of core.progress.values()) {
    if (snapshotIndex > 0) allowed = Math.min(allowed, snapshotIndex);
  }
  return asIndex(allowed);
}
