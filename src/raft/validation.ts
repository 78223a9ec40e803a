/**
 * What no correct peer sends. A member ignores it and says so (`ignored`), since nothing from outside may crash or bend it.
 * Bounds of frames and types of fields are the transport's; here it is sense.
 */
import { configurationFrom, decodeConfiguration } from './membership.ts';
import type { Entry, MemberId, Message, Term } from './types.ts';

/** Keeps `term + 1` and `index + 1` exact numbers for ever, whatever somebody claims. */
const highest = 2 ** 52;

/** More elections than can have been missed: adopting a term that far ahead would use terms up. */
const furthestLeap = 2 ** 32;

const isPosition = (value: number): boolean => Number.isSafeInteger(value) && value >= 0 && value <= highest;
const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** The reason to ignore the message, or null when there is none. Constant for its kind, so that it can be logged once. */
export function nonsense(self: MemberId, term: Term, message: Message): string | null {
  if (message.to !== self) return 'addressed to another member';
  if (message.from === self) return 'claims to come from this member';
  if (!isPosition(message.term) || message.term - term > furthestLeap) return 'impossible term';
  switch (message.type) {
    case 'vote':
      if (message.term === 0) return 'vote asked for term 0';
      if (!isPosition(message.lastIndex) || !isPosition(message.lastTerm)) return 'impossible position';
      // Whoever stands has raised its term above those of its entries.
      return message.lastTerm < message.term ? null : 'a candidate whose log is of its own term or a later one';
    case 'append':
      if (message.term === 0) return 'leads term 0';
      if (!isPosition(message.prevIndex) || !isPosition(message.prevTerm)) return 'impossible position';
      if (!isPosition(message.commit)) return 'impossible position';
      return nonsenseEntries(message.prevIndex, message.prevTerm, message.term, message.entries);
    case 'appendResponse':
      if (!isPosition(message.index) || !isPosition(message.hintIndex)) return 'impossible position';
      return isPosition(message.hintTerm) ? null : 'impossible term';
    case 'heartbeat':
      if (message.term === 0) return 'leads term 0';
      return isPosition(message.commit) && isCount(message.round) ? null : 'impossible position';
    case 'commit':
      if (message.term === 0) return 'leads term 0';
      return isPosition(message.commit) ? null : 'impossible position';
    case 'timeoutNow':
      return message.term === 0 ? 'leads term 0' : null;
    case 'snapshot': {
      const { index, term, configurationIndex } = message.meta;
      if (message.term === 0) return 'leads term 0';
      if (!isPosition(index) || index === 0) return 'impossible position';
      if (!isPosition(configurationIndex) || configurationIndex > index) return 'impossible position';
      if (!isPosition(term) || term > message.term) return 'impossible term';
      if (configurationFrom(message.meta.configuration) === null) return 'a configuration without sense';
      return null;
    }
    case 'proposeResponse':
      return message.firstIndex === null || isPosition(message.firstIndex) ? null : 'impossible position';
    case 'readIndexResponse':
      return message.index === null || isPosition(message.index) ? null : 'impossible position';
    case 'heartbeatResponse':
      return isCount(message.round) ? null : 'impossible position';
    case 'voteResponse':
    case 'propose':
    case 'readIndex':
      return null;
  }
}

function nonsenseEntries(prevIndex: number, prevTerm: number, term: number, entries: readonly Entry[]): string | null {
  if (prevTerm > term) return 'entries with impossible terms';
  if (!isPosition(prevIndex + entries.length)) return 'impossible position';
  let index = prevIndex;
  let lowest = Math.max(1, prevTerm);
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
