/** The core's settings with their defaults, and what a configuration and a restored state must satisfy. */
import { defaultTrailingLogs } from './compaction.ts';
import { Log } from './log.ts';
import { asIndex, asTerm, type MemberId, type RaftConfig, RaftError, type RestoredState, type Term } from './types.ts';

export type Settings = Required<RaftConfig>;

const mebibyte = 1024 * 1024;
export const defaultMaxUncommittedBytes = 64 * mebibyte;

export function settingsOf(config: RaftConfig): Settings {
  const settings: Settings = {
    electionTicks: 10,
    heartbeatTicks: 1,
    maxMessageBytes: mebibyte,
    maxInflightMessages: 256,
    maxInflightBytes: 16 * mebibyte,
    maxUncommittedBytes: defaultMaxUncommittedBytes,
    maxApplyingBytes: 16 * mebibyte,
    trailingLogs: defaultTrailingLogs,
    preVote: true,
    checkQuorum: true,
    leaseReads: false,
    ...config,
  };
  const { electionTicks, heartbeatTicks, maxMessageBytes, maxInflightMessages } = settings;
  const invalid = (message: string) => new RaftError('RAFT_CONFIG_INVALID', message);
  for (const [name, value] of Object.entries({
    electionTicks,
    heartbeatTicks,
    maxMessageBytes,
    maxInflightMessages,
    maxInflightBytes: settings.maxInflightBytes,
    maxUncommittedBytes: settings.maxUncommittedBytes,
    maxApplyingBytes: settings.maxApplyingBytes,
  })) {
    if (!Number.isSafeInteger(value) || value < 1) throw invalid(`${name} must be a positive integer, not ${value}`);
  }
  if (!Number.isSafeInteger(settings.trailingLogs) || settings.trailingLogs < 0) {
    throw invalid(`trailingLogs must be an integer of at least 0, not ${settings.trailingLogs}`);
  }
  if (heartbeatTicks >= electionTicks) {
    throw invalid(`heartbeatTicks (${heartbeatTicks}) must be less than electionTicks (${electionTicks})`);
  }
  if (settings.leaseReads && !settings.checkQuorum) throw invalid('leaseReads needs checkQuorum');
  if (settings.id === '') throw invalid('id must not be empty');
  return settings;
}

/** The log, term and vote to start with. Refuses what no crash can leave behind: entries gone, gaps, a foreign history. */
export function restore(restored: RestoredState): { log: Log; term: Term; vote: MemberId | null } {
  const { hardState, snapshot, entries } = restored;
  const invalid = (message: string) => new RaftError('RAFT_STATE_INVALID', message);
  for (let k = 1; k < entries.length; k++) {
    const [before, entry] = [entries[k - 1]!, entries[k]!];
    if (entry.index !== before.index + 1) throw invalid(`entry ${entry.index} follows entry ${before.index}`);
    if (entry.term < before.term) throw invalid(`entry ${entry.index} has a lower term than the one before it`);
  }
  const head = entries[0];
  const tail = entries[entries.length - 1];
  if (head !== undefined && head.index > snapshot.index + 1) {
    throw invalid(`entries between the snapshot at ${snapshot.index} and entry ${head.index} are missing`);
  }
  const atSnapshot = head === undefined ? undefined : entries[snapshot.index - head.index];
  if (atSnapshot !== undefined && atSnapshot.term !== snapshot.term) {
    throw invalid(`entry ${snapshot.index} has term ${atSnapshot.term}, the snapshot of it has ${snapshot.term}`);
  }
  const last = Math.max(snapshot.index, tail?.index ?? 0);
  if (hardState.commit > last) {
    throw invalid(`commit index ${hardState.commit} is beyond the last entry ${last}: committed entries are missing`);
  }
  // A crash inside a batch may leave entries without the hard state that was written after them. Terms never go back (D5),
  // and no vote can have been given in a term that was not durable.
  const lastTerm = Math.max(snapshot.term, tail?.term ?? 0);
  const raised = lastTerm > hardState.term;
  const term = raised ? asTerm(lastTerm) : hardState.term;
  const vote = raised ? null : hardState.vote;
  const commit = asIndex(Math.max(hardState.commit, snapshot.index));
  // The oldest trailing entry becomes the base, since the term before it is unknown.
  const trailing = atSnapshot !== undefined;
  const log = trailing
    ? new Log(head!.index, head!.term, entries.slice(1), commit, snapshot.index)
    : new Log(
        snapshot.index,
        snapshot.term,
        tail !== undefined && tail.index > snapshot.index ? entries : [],
        commit,
        snapshot.index,
      );
  return { log, term, vote };
}
