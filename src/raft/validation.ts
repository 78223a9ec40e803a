/**
 * What no correct peer sends. A member ignores it and says so (`ignored`), since nothing from outside may crash or bend it.
 * Bounds of frames and types of fields are the transport's; here it is sense.
 */
import { configurationFrom, decodeConfiguration } from './membership.ts';
import type { Entry, MemberId, Message } from './types.ts';

/** Keeps `term + 1` an exact number for ever, whatever somebody claims. */
const highestTerm = 2 ** 52;

const isPosition = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
const isTerm = (value: number): boolean => Number.isSafeInteger(value) && value >= 0 && value <= highestTerm;

/** The reason to ignore the message, or null when there is none. */
export function nonsense(self: MemberId, message: Message): string | null {
  if (message.to !== self) return 'addressed to another member';
  if (message.from === self) return 'claims to come from this member';
  if (!isTerm(message.term)) return 'impossible term';
  switch (message.type) {
    case 'vote':
      if (message.term === 0) return 'vote asked for term 0';
      return isPosition(message.lastIndex) && isTerm(message.lastTerm) ? null : 'impossible position';
    case 'append':
      if (!isPosition(message.prevIndex) || !isTerm(message.prevTerm)) return 'impossible position';
      if (!isPosition(message.commit)) return 'impossible position';
      return nonsenseEntries(message.prevIndex, message.prevTerm, message.term, message.entries);
    case 'appendResponse':
      if (!isPosition(message.index) || !isPosition(message.hintIndex)) return 'impossible position';
      return isTerm(message.hintTerm) ? null : 'impossible term';
    case 'heartbeat':
      return isPosition(message.commit) && isPosition(message.round) ? null : 'impossible position';
    case 'commit':
      return isPosition(message.commit) ? null : 'impossible position';
    case 'snapshot':
      if (!isPosition(message.meta.index) || message.meta.index === 0) return 'impossible position';
      if (!isTerm(message.meta.term) || message.meta.term > message.term) return 'impossible term';
      if (configurationFrom(message.meta.configuration) === null) return 'a configuration without sense';
      return null;
    case 'proposeResponse':
      return message.firstIndex === null || isPosition(message.firstIndex) ? null : 'impossible position';
    case 'readIndexResponse':
      return message.index === null || isPosition(message.index) ? null : 'impossible position';
    case 'voteResponse':
    case 'timeoutNow':
    case 'heartbeatResponse':
    case 'propose':
    case 'readIndex':
      return null;
  }
}

function nonsenseEntries(prevIndex: number, prevTerm: number, term: number, entries: readonly Entry[]): string | null {
  let index = prevIndex;
  let lowest = prevTerm;
  for (const entry of entries) {
    index++;
    if (entry.index !== index) return 'entries with a gap';
    if (!(entry.term >= lowest && entry.term <= term)) return 'entries with impossible terms';
    lowest = entry.term;
    if (entry.kind === 'configuration' && decodeConfiguration(entry.data) === null)
      return 'a configuration without sense';
  }
  return null;
}
