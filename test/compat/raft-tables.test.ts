import { beforeAll, describe, expect, test } from '@jest/globals';
import { configurationOf, membersOf, quorumIndex, voteResult } from '../../src/raft/configuration.ts';
import { changed } from '../../src/raft/membership.ts';
import {
  asMemberId,
  type Configuration,
  type MemberChange,
  type MemberId,
  RaftError,
  type Suffrage,
} from '../../src/raft/types.ts';
import { type Case, casesIn } from './etcd-raft.ts';

/** Our arithmetic of quorums and configurations against the cases that etcd's Raft publishes for its own. */

let quorums: Map<string, Case[]>;
let changes: Map<string, Case[]>;

beforeAll(async () => {
  quorums = await casesIn('quorum', 'testdata');
  changes = await casesIn('confchange', 'testdata');
}, 300_000);

const idsOf = (values: readonly string[] | undefined): MemberId[] =>
  (values ?? []).filter((value) => value !== 'zero').map(asMemberId);

/** Their values stand for the members of both halves in the order in which they are named first; `_` is none. */
function valuesBy<T>({ values }: Case, key: string, read: (text: string) => T): Map<MemberId, T> {
  const members = new Set([...idsOf(values.get('cfg')), ...idsOf(values.get('cfgj'))]);
  const given = values.get(key) ?? [];
  return new Map([...members].flatMap((id, at) => (given[at] === '_' ? [] : [[id, read(given[at]!)] as const])));
}

/** As given, the halves exchanged, and a half alone also joint with itself: none of that may make a difference. */
function variants({ values }: Case): Configuration[] {
  const [voters, votersOutgoing] = [idsOf(values.get('cfg')), idsOf(values.get('cfgj'))];
  const given = { ...configurationOf(voters), votersOutgoing };
  const exchanged = { ...given, voters: votersOutgoing, votersOutgoing: voters };
  return votersOutgoing.length > 0 ? [given, exchanged] : [given, exchanged, { ...given, votersOutgoing: voters }];
}

describe('quorums', () => {
  test('RS-14 GR-08 D3 every published case of votes has our result', () => {
    const words = { VoteWon: 'won', VoteLost: 'lost', VotePending: 'pending' } as const;
    let count = 0;
    for (const [file, cases] of quorums) {
      for (const one of cases.filter(({ command }) => command === 'vote')) {
        const votes = valuesBy(one, 'votes', (text) => text === 'y');
        for (const configuration of variants(one)) {
          const result = voteResult(configuration, (id) => votes.get(id));
          expect([file, one.line, result]).toEqual([file, one.line, words[one.outcome.at(-1) as keyof typeof words]]);
        }
        count++;
      }
    }
    expect(count).toBeGreaterThan(50);
  });

  test('RS-14 GR-08 D3 every published case of commit positions has our result', () => {
    let count = 0;
    for (const [file, cases] of quorums) {
      for (const one of cases.filter(({ command }) => command === 'committed')) {
        const held = valuesBy(one, 'idx', Number);
        // Nobody at all commits everything there, and nothing here: no configuration of ours is without voters.
        const theirs = one.outcome.at(-1)!;
        const expected = theirs.endsWith('∞') ? 0 : Number(theirs);
        for (const configuration of variants(one)) {
          const index = quorumIndex(configuration, (id) => held.get(id) ?? 0);
          expect([file, one.line, index]).toEqual([file, one.line, expected]);
        }
        count++;
      }
    }
    expect(count).toBeGreaterThan(50);
  });

  test('no command in those files is left out', () => {
    const commands = new Set([...quorums.values()].flat().map(({ command }) => command));
    expect([...commands].sort()).toEqual(['committed', 'vote']);
  });
});

const suffrages: Readonly<Record<string, Suffrage>> = { v: 'voter', l: 'learner', r: 'none' };

/**
 * What their words ask of us. An update (`u`) changes no configuration: the members' addresses are in the state machine here.
 * Member 0 is theirs for "nobody", and is ignored.
 */
function changesOf({ input }: Case): MemberChange[] {
  return input
    .split(' ')
    .filter((word) => word !== '' && !word.startsWith('u') && word.slice(1) !== '0')
    .map((word) => ({ member: asMemberId(word.slice(1)), suffrage: suffrages[word[0]!]! }));
}

/** One case on a configuration. Theirs takes several members' changes without a joint configuration when one voter changes. */
function perform(before: Configuration, one: Case): Configuration {
  switch (one.command) {
    case 'simple': {
      let after = before;
      for (const change of changesOf(one)) after = changed(after, { type: 'single', ...change });
      return after;
    }
    case 'enter-joint': {
      const autoLeave = one.values.get('autoleave')?.[0] === 'true';
      return changed(before, { type: 'joint', changes: changesOf(one), autoLeave });
    }
    case 'leave-joint':
      return changed(before, { type: 'leaveJoint' });
    default:
      throw new Error(`${one.command} in line ${one.line} is new`);
  }
}

const list = (name: string, members: readonly MemberId[]): string =>
  members.length === 0 ? '' : ` ${name}=(${members.join(' ')})`;

/** In their words: the configuration, then who gets the log and as what. */
function described(configuration: Configuration): string[] {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = configuration;
  const outgoing = votersOutgoing.length === 0 ? '' : `&&(${votersOutgoing.join(' ')})`;
  const rest = `${list('learners', learners)}${list('learners_next', learnersNext)}${autoLeave ? ' autoleave' : ''}`;
  const members = membersOf(configuration).sort((a, b) => Number(a) - Number(b));
  return [
    `voters=(${voters.join(' ')})${outgoing}${rest}`,
    ...members.map((id) => `${id}:${learners.includes(id) ? ' learner' : ''}`),
  ];
}

/** Their outcome without what they note of a member's progress. */
const membersAs = (outcome: readonly string[]): string[] =>
  outcome.map((line) => line.replace(/^(\d+): .*?( learner)?$/, '$1:$2'));

const votersChanged = (before: Configuration, after: Configuration): number =>
  [...new Set([...before.voters, ...after.voters])].filter(
    (id) => before.voters.includes(id) !== after.voters.includes(id),
  ).length;

describe('configurations', () => {
  test('RS-13 RS-14 RS-15 D9 every published case of changes has our result, and what is refused there is refused here', () => {
    let count = 0;
    for (const [file, cases] of changes) {
      let configuration = configurationOf([]);
      for (const one of cases) {
        count++;
        const refused = !one.outcome[0]!.startsWith('voters=');
        // Ours takes one member's change at a time, so that several voters cannot even be asked for without a joint one.
        if (one.outcome[0]!.startsWith('more than one voter')) {
          expect(votersChanged(configuration, perform(configuration, one))).toBeGreaterThan(1);
          continue;
        }
        if (refused) {
          expect(() => perform(configuration, one)).toThrow(RaftError);
          continue;
        }
        configuration = perform(configuration, one);
        expect([file, one.line, ...described(configuration)]).toEqual([file, one.line, ...membersAs(one.outcome)]);
      }
    }
    expect(count).toBeGreaterThan(50);
  });

  test('one change of ours never changes more than one voter without a joint configuration', () => {
    for (const cases of changes.values()) {
      let configuration = configurationOf([]);
      for (const one of cases.filter(({ command }) => command === 'simple')) {
        for (const change of changesOf(one)) {
          let after = configuration;
          try {
            after = changed(configuration, { type: 'single', ...change });
          } catch (error) {
            expect(error).toBeInstanceOf(RaftError);
          }
          expect(votersChanged(configuration, after)).toBeLessThanOrEqual(1);
          configuration = after;
        }
      }
    }
  });
});
