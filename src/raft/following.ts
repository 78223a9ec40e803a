/** A follower's side: appends, heartbeats and snapshots of the current leader. Terms are settled before. */
import type { Core } from './core.ts';
import { asIndex, asTerm, type Message, type SnapshotMessage } from './types.ts';

type Append = Extract<Message, { type: 'append' }>;
type Heartbeat = Extract<Message, { type: 'heartbeat' }>;

export function onAppend(core: Core, message: Append): void {
  const { log } = core;
  const { prevIndex, prevTerm, entries } = message;
  if (prevIndex < log.commit) {
    // Committed entries are the leader's as well, whatever an old message says of them (GR-17).
    acknowledge(core, log.commit);
    return;
  }
  if (!log.matches(prevIndex, prevTerm)) {
    const hint = log.meetingPoint(prevIndex, prevTerm);
    core.send({
      type: 'appendResponse',
      to: message.from,
      accepted: false,
      index: prevIndex,
      hintIndex: hint.index,
      hintTerm: hint.term,
    });
    return;
  }
  const missing = log.firstMissing(entries);
  if (missing !== undefined) {
    if (missing.index <= log.last) core.truncate(missing.index);
    for (let k = missing.index - prevIndex - 1; k < entries.length; k++) core.push(entries[k]!);
  }
  const matching = asIndex(prevIndex + entries.length);
  core.commitTo(asIndex(Math.min(message.commit, matching)));
  acknowledge(core, matching);
}

function acknowledge(core: Core, through: typeof core.log.last): void {
  if (core.acknowledge === null || core.acknowledge < through) core.acknowledge = through;
}

/** One acknowledgement per batch, and only once it is durable. */
export function flushAcknowledgement(core: Core): void {
  const { acknowledge: index, leader } = core;
  core.acknowledge = null;
  if (index === null || leader === null || leader === core.id) return;
  core.sendAfterPersist({
    type: 'appendResponse',
    to: leader,
    accepted: true,
    index,
    hintIndex: asIndex(0),
    hintTerm: asTerm(0),
  });
}

/** Needs no durability: it says who leads, and promises nothing about the log. */
export function onHeartbeat(core: Core, message: Heartbeat): void {
  core.commitTo(message.commit);
  if (core.settings.leaseReads) core.silence = core.settings.electionTicks;
  core.send({ type: 'heartbeatResponse', to: message.from, round: message.round });
}

/** GR-28: whoever has the snapshot's last entry has everything in it, and keeps what follows. */
function hasSnapshot(core: Core, message: SnapshotMessage): boolean {
  const { index, term } = message.meta;
  if (index > core.log.commit && !core.log.matches(index, term)) return false;
  core.commitTo(index);
  acknowledge(core, core.log.commit);
  return true;
}

export function onSnapshotOffered(core: Core, message: SnapshotMessage): void {
  if (hasSnapshot(core, message)) {
    core.emit({ type: 'refuseSnapshot', message, reason: 'the log holds everything in it' });
  } else {
    core.emit({ type: 'receiveSnapshot', message });
  }
}

/**
 * Thesis §5: a snapshot of committed state replaces a log that does not contain its last entry. Safe whatever happened to
 * the sender's term meanwhile, since a log that lacks a committed entry holds nothing committed after it.
 */
export function onSnapshotReceived(core: Core, message: SnapshotMessage): void {
  if (hasSnapshot(core, message)) {
    core.emit({ type: 'refuseSnapshot', message, reason: 'the log holds everything in it' });
    return;
  }
  const { meta } = message;
  core.persists.truncated(asIndex(1));
  core.log.reset(meta);
  core.snapshot = meta;
  core.configurations.reset(meta);
  core.emit({ type: 'installSnapshot', id: core.persists.issue(core.term, meta.index), meta });
  acknowledge(core, meta.index);
}
