/** What each deed of a plan does to a world, and how it is told. */
import { once } from '../storage/memory-disk.ts';
import { type Calls, codeOf } from './calls.ts';
import type { Member, Running } from './member.ts';
import { type Deed, type Fault, isCall } from './plan.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/** Beyond the members that a cluster begins with. */
const moreMembers = 3;

export class Deeds {
  readonly #world: World;
  readonly #calls: Calls;

  constructor(world: World, calls: Calls) {
    this.#world = world;
    this.#calls = calls;
  }

  do(deed: Deed): void {
    const world = this.#world;
    const { present } = world;
    const member = present[deed.whom % present.length];
    if (!member) return;
    if (isCall(deed.what)) void this.#calls.make(member, deed.what, deed.which);
    else this.#fault(deed.what, member, deed);
  }

  #fault(what: Fault, member: Member, { which, long }: Deed): void {
    const world = this.#world;
    const { present } = world;
    const other = present[which % present.length]!;
    const isDown = member.life === undefined;
    switch (what) {
      case 'kill':
        if (isDown) return;
        this.#say(what, `${member.name} is killed, and started again after ${long} ms`);
        world.kill(member);
        world.clock.after(long, undefined, () => member.start());
        return;
      case 'restart':
        if (!member.running) return;
        this.#say(what, `${member.name} ends in good order, and is started again after ${long} ms`);
        world.tell(member, () => {
          void member.stop().then(() => {
            world.kill(member);
            world.clock.after(long, undefined, () => member.start());
          });
        });
        return;
      case 'losePower':
        if (isDown) return;
        this.#say(what, `${member.name} loses its power for ${long} ms`);
        world.losePower(member);
        world.clock.after(long, undefined, () => member.start());
        return;
      case 'losePowerEverywhere':
        this.#say(what, `all lose their power, and get it back within ${long} ms`);
        for (const one of present) {
          world.losePower(one);
          world.clock.after(long * world.chance.next(), undefined, () => one.start());
        }
        return;
      case 'stop':
        this.#stop(member, 2 * long);
        return;
      case 'isolate':
        this.#say(what, `${member.name} is cut off for ${3 * long} ms`);
        for (const one of present) this.#cut(member, one, 3 * long, which);
        return;
      case 'cut':
        if (other === member) return;
        this.#say(what, `${member.name} and ${other.name} are cut off from each other for ${3 * long} ms`);
        this.#cut(member, other, 3 * long, which);
        return;
      case 'cutOneWay':
        if (other === member) return;
        this.#say(what, `nothing from ${member.name} reaches ${other.name} for ${3 * long} ms`);
        this.#cutOneWay(member, other, 3 * long, which);
        return;
      case 'split': {
        const side = present.filter((_, at) => (which >> at) % 2 === 0);
        if (side.length === 0 || side.length === present.length) return;
        this.#say(what, `${side.map(({ name }) => name).join(' ')} are cut off from the rest for ${3 * long} ms`);
        for (const one of side)
          for (const far of present) if (!side.includes(far)) this.#cut(one, far, 3 * long, which);
        return;
      }
      case 'slowLink':
        if (other === member || !member.id || !other.id) return;
        this.#say(what, `what ${member.name} sends to ${other.name} takes long for ${3 * long} ms`);
        this.#slow(world.network.link(member.id, other.id), 3 * long, which);
        return;
      case 'slowDisk':
        this.#say(what, `the disk of ${member.name} is slow for ${2 * long} ms`);
        member.diskSlowMs = 20 + (which % 200);
        world.clock.after(2 * long, undefined, () => {
          member.diskSlowMs = 0;
        });
        return;
      case 'failSync':
        this.#say(what, `the next sync of ${member.name} fails`);
        member.disk.fails = once('sync');
        return;
      case 'fillDisk':
        this.#fill(member, which, 2 * long);
        return;
      case 'damage':
        this.#damage(member, which, long);
        return;
      case 'breakStreams':
        this.#say(what, 'all snapshot streams break');
        world.breakStreams();
        return;
      case 'rumour':
        if (other === member || !other.id) return;
        this.#say(what, `${member.name} hears that ${other.name} has ended`);
        world.tell(member, ({ driver }) =>
          which % 3 === 0 ? driver.onUnreachable(other.id!) : driver.onEnded(other.id!),
        );
        return;
      default:
        this.#wish(what, member, other, which);
    }
  }

  /** What operators ask a member for. */
  #wish(
    what: 'snapshot' | 'transfer' | 'add' | 'addLearner' | 'promote' | 'remove' | 'move',
    member: Member,
    other: Member,
    which: number,
  ): void {
    const world = this.#world;
    switch (what) {
      case 'snapshot':
        this.#ask(what, member, `takes a snapshot`, ({ memberDriver }) => memberDriver.takeSnapshot());
        return;
      case 'transfer': {
        const leader = world.members.find(({ running }) => running?.driver.status().role === 'leader') ?? member;
        if (!other.id) return;
        this.#ask(what, leader, `hands over to ${other.name}`, ({ membership }) => membership.moveLeader(other.id!));
        return;
      }
      case 'add':
      case 'addLearner': {
        if (world.present.length >= world.climate.members + moreMembers || !member.running) return;
        const joiner = world.newMachine();
        const isLearner = what === 'addLearner';
        this.#ask(what, member, `adds ${joiner.name}${isLearner ? ' as a learner' : ''}`, ({ membership }) =>
          membership.add([joiner.url], isLearner),
        );
        world.clock.after(which, undefined, () => joiner.start());
        return;
      }
      case 'promote': {
        const learner = world.present.find(
          ({ id }) => id && member.running?.driver.configuration.learners.includes(id),
        );
        const id = (learner ?? other).id;
        if (!id) return;
        this.#ask(what, member, `promotes ${world.nameOf(id)}`, ({ membership }) => membership.promote(id));
        return;
      }
      case 'move': {
        const { id, url } = other;
        const more = which % 2 === 0 ? [url.replace('http://', 'http://also-')] : [];
        // One that has no data yet is known by the addresses it was added with.
        if (!id || !other.running) return;
        this.#ask(what, member, `makes known where ${other.name} is reached`, ({ membership }) =>
          membership.update(id, [url, ...more]),
        );
        return;
      }
      case 'remove':
        if (!other.id) return;
        this.#ask(what, member, `removes ${other.name}`, ({ membership }) => membership.remove(other.id!));
        return;
    }
  }

  #say(what: Fault, words: string): void {
    this.#world.count(what);
    this.#world.note(() => words);
  }

  #ask(what: Fault, member: Member, words: string, wish: (running: Running) => Promise<unknown>): void {
    const world = this.#world;
    if (!member.running) return;
    this.#say(what, `${member.name} ${words}`);
    world.tell(member, (running) => {
      wish(running).then(
        () => world.count(`${what} done`),
        (error: unknown) => {
          if (codeOf(error) === undefined) world.violate(new Violation(String((error as Error).stack)));
          else world.note(() => `${member.name} ${words}: no, ${(error as Error).message}`);
        },
      );
    });
  }

  #stop(member: Member, ms: number): void {
    const world = this.#world;
    const { life } = member;
    if (!life || life.stopped) return;
    this.#say('stop', `${member.name} stands still for ${ms} ms`);
    life.stopped = true;
    world.clock.after(ms, undefined, () => world.clock.goOn(life));
  }

  #cut(one: Member, other: Member, ms: number, which: number): void {
    if (one === other) return;
    this.#cutOneWay(one, other, ms, which);
    this.#cutOneWay(other, one, ms, which >> 1);
  }

  /** Held back: the connection outlives the cut. Lost: it does not, and both sides may know. */
  #cutOneWay(from: Member, to: Member, ms: number, which: number): void {
    const world = this.#world;
    const { network, clock } = world;
    if (!from.id || !to.id) return;
    const [source, target] = [from.id, to.id];
    const how = which % 3 === 0 ? 'held' : 'lost';
    network.cut(source, target, how);
    const mended = clock.now + ms;
    clock.after(ms, undefined, () => network.mend(source, target));
    if (how === 'held' || which % 2 === 0) return;
    clock.after(Math.min(ms, which), undefined, () => {
      if (network.passes(source, target) || clock.now >= mended) return;
      network.link(source, target).isDown = true;
      world.tell(from, ({ driver }) => driver.onUnreachable(target));
      world.tell(to, ({ driver }) => driver.onUnreachable(source));
    });
  }

  #slow(link: { slowMs: number }, ms: number, which: number): void {
    link.slowMs = which;
    this.#world.clock.after(ms, undefined, () => {
      link.slowMs = 0;
    });
  }

  /** Never so that a majority might be lost: of that no system makes good. */
  #damage(member: Member, which: number, long: number): void {
    const world = this.#world;
    const voters = member.running?.driver.configuration.voters.length ?? 0;
    if (voters < 3 || world.members.some(({ isDamaged }) => isDamaged)) return;
    const files = [...member.disk.files()].filter(([, size]) => size > 0);
    const [path, size] = files[which % files.length]!;
    const at = Math.floor((long / 1000) * size);
    this.#say('damage', `${member.name}: a bit turns over in ${path} at ${at}`);
    member.isDamaged = true;
    member.disk.flip(path, at, 1 << (which % 8));
  }

  #fill(member: Member, which: number, ms: number): void {
    const room = which % 4000;
    this.#say('fillDisk', `the disk of ${member.name} has room for ${room} bytes more, for ${ms} ms`);
    const used = [...member.disk.files().values()].reduce((sum, size) => sum + size, 0);
    member.disk.capacity = used + room;
    this.#world.clock.after(ms, undefined, () => {
      member.disk.capacity = Number.POSITIVE_INFINITY;
    });
  }
}
