/**
 * How every run ends: all faults are over, all members are there again. Within a bounded time one leads, all have applied the same,
 * each of them serves, nothing that was acknowledged is lost, and all states are the one that the log makes.
 */
import { membersOf } from '../../src/raft/configuration.ts';
import { isJoint } from '../../src/raft/membership.ts';
import { all, range } from '../mvcc/operations.ts';
import { type Calls, heldOf } from './calls.ts';
import type { Held } from './history.ts';
import type { Member, Running } from './member.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/**
 * Far more than is needed: five seconds pass before a connection is given up whose other end lost its power, and a second try may
 * meet the same.
 */
const patienceMs = 30_000;
const lookEveryMs = 100;
/** More than the time after which a call is given up. */
const answersMs = 6000;

type Serving = Member & { readonly running: Running };

export class Ending {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #deadline: number;
  isOver = false;

  constructor(world: World, calls: Calls) {
    this.#world = world;
    this.#calls = calls;
    this.#deadline = world.clock.now + patienceMs;
  }

  begin(): void {
    const world = this.#world;
    world.note(() => 'all faults are over');
    world.network.isCalm = true;
    world.network.mendAll();
    for (const member of world.present) {
      member.diskSlowMs = 0;
      member.disk.fails = undefined;
      member.disk.capacity = Number.POSITIVE_INFINITY;
      if (member.life) world.clock.goOn(member.life);
      else member.start();
    }
    this.#look();
  }

  #look(): void {
    const world = this.#world;
    const members = this.#converged();
    if (members) {
      world.note(() => 'all members agree');
      void this.#ask(members);
      return;
    }
    if (world.clock.now > this.#deadline) {
      if (this.#isBeyondHelp()) this.isOver = true;
      else world.violate(new Violation(`the cluster does not get well: ${this.#why()}`));
      return;
    }
    world.clock.after(lookEveryMs, undefined, () => this.#look());
  }

  /** Those that count, once they agree. */
  #converged(): Serving[] | undefined {
    const world = this.#world;
    const leader = world.members
      .filter(({ running }) => running?.driver.status().role === 'leader')
      .sort((one, other) => other.driver.term - one.driver.term)[0];
    if (!leader) return undefined;
    const status = leader.driver.status();
    const { configuration, configurationIndex, committedConfigurationIndex, lastIndex } = status;
    if (isJoint(configuration) || configurationIndex !== committedConfigurationIndex) return undefined;
    if (!configuration.voters.includes(leader.id!)) return undefined;
    const members = membersOf(configuration).map((id) => world.byId(id));
    const agree = members.every(
      (member): member is Serving =>
        member?.running !== undefined &&
        member.running.keyValues.appliedIndex === lastIndex &&
        member.driver.leader === leader.id,
    );
    return agree ? (members as Serving[]) : undefined;
  }

  /** Of the voters that are left no majority has its data, by the configuration that is committed or by the one that counts. */
  #isBeyondHelp(): boolean {
    const world = this.#world;
    if (!world.members.some(({ isDamaged, isGone }) => isDamaged && isGone)) return false;
    const there = world.present.flatMap(({ running }) => running ?? []);
    const isBeyond = ({ driver }: Running): boolean => {
      const { configuration, committedConfiguration } = driver.status();
      return [configuration, committedConfiguration].some(
        ({ voters }) => 2 * voters.filter((id) => world.byId(id)?.running).length <= voters.length,
      );
    };
    if (there.length > 0 && !there.some(isBeyond)) return false;
    world.count('beyond help');
    return true;
  }

  #why(): string {
    return this.#world.present
      .map(({ name, running, life }) => {
        if (!running) return `${name} ${life ? 'is starting' : 'is down'}`;
        const { role, term, commit, lastIndex, configuration } = running.driver.status();
        const { appliedIndex } = running.keyValues;
        const where = `term ${term}, last ${lastIndex}, commit ${commit}, applied ${appliedIndex}`;
        return `${name} ${role} (${where}, ${this.#world.describe(configuration)})`;
      })
      .join('; ');
  }

  /** Whoever serves can write and read. */
  async #ask(members: readonly Serving[]): Promise<void> {
    const world = this.#world;
    let isSettled = false;
    // A member that ends meanwhile, since its removal is known now, does not answer.
    world.clock.after(answersMs, undefined, () => {
      if (isSettled) return;
      isSettled = true;
      this.#look();
    });
    const voters = members.filter(({ running }) => !running.membership.isLearner);
    const asked = voters.map(({ running }) => running);
    const answers = await Promise.all(
      voters.flatMap((member, at) => [this.#make(member, 'put', at), this.#make(member, 'read', at)]),
    );
    if (isSettled) return;
    isSettled = true;
    // Whoever was told to end before all was over does it now.
    if (voters.some(({ running, isStopping }, at) => isStopping || running !== asked[at])) {
      this.#look();
      return;
    }
    const silent = answers.find(({ ok }) => !ok);
    if (silent) world.violate(new Violation(`${silent.name} answers no ${silent.call} in a cluster that is well`));
    this.#settle();
  }

  /** Each in an event of its own: what a member does belongs to nobody else. */
  #make(member: Member, call: 'put' | 'read', which: number): Promise<{ ok: boolean; call: string; name: string }> {
    return new Promise((resolve) => {
      this.#world.clock.after(1, undefined, () => {
        void this.#calls.make(member, call, which).then((ok) => resolve({ ok, call, name: member.name }));
      });
    });
  }

  /** Once more, since the last answers may be ahead of some members. */
  #settle(): void {
    const world = this.#world;
    const members = this.#converged();
    if (members) {
      void this.#compare(members).catch((error: unknown) => {
        world.violate(error instanceof Violation ? error : new Violation(String((error as Error).stack)));
      });
    } else if (world.clock.now > this.#deadline) {
      world.violate(new Violation(`the cluster does not stay well: ${this.#why()}`));
    } else {
      world.clock.after(lookEveryMs, undefined, () => this.#settle());
    }
  }

  async #compare(members: readonly Serving[]): Promise<void> {
    const { invariants, history } = this.#world;
    const entries = invariants.committed;
    const model = history.replay(entries);
    const hashes = new Map<string, string>();
    for (const { name, running } of members) {
      const { keyValues } = running;
      if (keyValues.appliedIndex !== entries.length)
        throw new Violation(
          `${name} has applied ${keyValues.appliedIndex}, and ${entries.length} entries are committed`,
        );
      if (keyValues.revision !== model.revision)
        throw new Violation(`${name} is at revision ${keyValues.revision}, where the log makes ${model.revision}`);
      checkState(name, keyValues, model.keys);
    }
    const at = Math.max(...members.map(({ running }) => running.keyValues.store.compactRevision), model.revision);
    for (const { name, running } of members) {
      const { hash, compactRevision } = await running.keyValues.hash(at);
      hashes.set(name, `${hash} (compacted at ${compactRevision})`);
    }
    if (new Set(hashes.values()).size > 1)
      throw new Violation(`the states differ: ${[...hashes].map((pair) => pair.join(' has ')).join(', ')}`);
    const books = members.map(({ running }) => JSON.stringify([...running.keyValues.book.members].sort()));
    if (new Set(books).size > 1) throw new Violation(`the lists of members differ: ${books.join(' and ')}`);
    this.isOver = true;
  }
}

function checkState(name: string, { store }: Running['keyValues'], expected: ReadonlyMap<string, Held>): void {
  const { records } = store.range(range(all));
  const found = new Map(records.map((record) => [record.key, heldOf(record)]));
  for (const key of new Set([...found.keys(), ...expected.keys()])) {
    const [has, should] = [found.get(key), expected.get(key)].map((held) => JSON.stringify(held ?? null));
    if (has !== should) throw new Violation(`${name} has ${key} as ${has}, where the log makes ${should}`);
  }
}
