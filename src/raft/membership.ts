/**
 * Changes of membership as arithmetic over configurations, and the configuration entry that carries the result
 * (thesis §4.1, §4.3). Whether a change may happen now is the leader's to decide: see serving.ts.
 */
import {
  asMemberId,
  type Configuration,
  type ConfigurationChange,
  type MemberChange,
  type MemberId,
  RaftError,
} from './types.ts';

const invalid = (message: string): RaftError => new RaftError('RAFT_CHANGE_INVALID', message);

export const isJoint = (configuration: Configuration): boolean => configuration.votersOutgoing.length > 0;

/** The configuration after a change. Throws `RAFT_CHANGE_INVALID` with the reason. */
export function changed(configuration: Configuration, change: ConfigurationChange): Configuration {
  switch (change.type) {
    case 'single':
      if (isJoint(configuration)) throw invalid('a single change does not fit a joint configuration');
      return withSuffrages(configuration, [change]);
    case 'joint': {
      if (isJoint(configuration)) throw invalid('the configuration is joint already');
      if (configuration.voters.length === 0) throw invalid('a configuration without voters cannot become joint');
      const joint = { ...configuration, votersOutgoing: configuration.voters, autoLeave: change.autoLeave };
      return withSuffrages(joint, change.changes);
    }
    case 'leaveJoint':
      if (!isJoint(configuration)) throw invalid('the configuration is not joint');
      return {
        voters: configuration.voters,
        votersOutgoing: [],
        learners: sorted([...configuration.learners, ...configuration.learnersNext]),
        learnersNext: [],
        autoLeave: false,
      };
  }
}

/** A voter of the outgoing half that is to be a learner waits in `learnersNext`: nobody votes and learns at once. */
function withSuffrages(before: Configuration, changes: readonly MemberChange[]): Configuration {
  const voters = new Set(before.voters);
  const learners = new Set(before.learners);
  const learnersNext = new Set(before.learnersNext);
  for (const { member, suffrage } of changes) {
    voters.delete(member);
    learners.delete(member);
    learnersNext.delete(member);
    switch (suffrage) {
      case 'voter':
        voters.add(member);
        break;
      case 'learner':
        (before.votersOutgoing.includes(member) ? learnersNext : learners).add(member);
        break;
      case 'none':
        break;
    }
  }
  if (voters.size === 0) throw invalid('no voter would be left');
  return { ...before, voters: sorted(voters), learners: sorted(learners), learnersNext: sorted(learnersNext) };
}

/** In the order of the numbers that they are. */
export function compareIds(a: MemberId, b: MemberId): number {
  const [left, right] = [a.padStart(16, '0'), b.padStart(16, '0')];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Equal configurations have equal bytes. */
const sorted = (members: Iterable<MemberId>): MemberId[] => [...new Set(members)].sort(compareIds);

const lists = ['voters', 'votersOutgoing', 'learners', 'learnersNext'] as const;

export const equalConfigurations = (a: Configuration, b: Configuration): boolean =>
  a.autoLeave === b.autoLeave &&
  lists.every((list) => a[list].length === b[list].length && a[list].every((id) => b[list].includes(id)));

/** A configuration entry's data. `context` is the proposer's, and empty when the leader leaves a joint configuration itself. */
export function encodeConfiguration(configuration: Configuration, context: string): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ configuration, context }));
}

/** Null for bytes that no leader wrote. */
export function decodeConfiguration(data: Uint8Array): { configuration: Configuration; context: string } | null {
  const { configuration, context } = parsed(data);
  if (typeof context !== 'string') return null;
  const checked = configurationFrom(configuration);
  return checked === null ? null : { configuration: checked, context };
}

/** A configuration from outside, checked; null when it is none. */
export function configurationFrom(value: unknown): Configuration | null {
  if (typeof value !== 'object' || value === null) return null;
  const fields = value as Readonly<Record<string, unknown>>;
  const [voters, votersOutgoing, learners, learnersNext] = lists.map((list) => membersFrom(fields[list]));
  if (!voters || !votersOutgoing || !learners || !learnersNext || voters.length === 0) return null;
  const autoLeave = fields['autoLeave'];
  return typeof autoLeave === 'boolean' ? { voters, votersOutgoing, learners, learnersNext, autoLeave } : null;
}

/** A change from outside, checked; null when it is none. */
export function changeFrom(value: unknown): ConfigurationChange | null {
  if (typeof value !== 'object' || value === null) return null;
  const { type, changes, autoLeave, ...rest } = value as Readonly<Record<string, unknown>>;
  switch (type) {
    case 'single': {
      const change = memberChangeFrom(rest);
      return change === null ? null : { type, ...change };
    }
    case 'joint': {
      const checked = Array.isArray(changes) ? changes.map(memberChangeFrom) : [null];
      if (typeof autoLeave !== 'boolean' || checked.includes(null)) return null;
      return { type, changes: checked as MemberChange[], autoLeave };
    }
    case 'leaveJoint':
      return { type };
    default:
      return null;
  }
}

function memberChangeFrom(value: unknown): MemberChange | null {
  const { member, suffrage } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (!isId(member)) return null;
  const isKnown = suffrage === 'voter' || suffrage === 'learner' || suffrage === 'none';
  return isKnown ? { member: asMemberId(member), suffrage } : null;
}

/** A uint64 as lowercase hex: what is logged about strangers is short and plain. */
export const isId = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{1,16}$/.test(value);

function membersFrom(value: unknown): MemberId[] | null {
  return Array.isArray(value) && value.every(isId) ? value.map((id) => asMemberId(id)) : null;
}

function parsed(data: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
