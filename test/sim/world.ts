/** A cluster and all that is around it: machines, network, time, and whoever watches. */
import type { Channel } from '../../src/node/channel.ts';
import { frameHeaderBytes } from '../../src/node/frames.ts';
import type { MemberIdentity } from '../../src/node/identity.ts';
import type { Configuration, Entry, MemberId } from '../../src/raft/types.ts';
import { Chance } from '../soak/random.ts';
import type { Fate } from '../storage/memory-disk.ts';
import { Clock, type Life } from './clock.ts';
import { History } from './history.ts';
import { Invariants } from './invariants.ts';
import { Member } from './member.ts';
import { Network } from './network.ts';
import type { Plan } from './plan.ts';
import type { Product } from './product.ts';
import { type Pair, socketPair } from './sockets.ts';
import { Violation } from './violation.ts';

const token = 'simulated';
const urlOf = (place: number): string => `http://m${place}:2380`;
/** How long it takes to find out that nobody answers. */
const dialMs = 1000;
const restartMs = 200;
const askAgainMs = 200;
const removeAgainMs = 500;

export interface WorldOptions {
  readonly product: Product;
  readonly plan: Plan;
  /** Keeps what happens in words. */
  readonly tells: boolean;
}

export class World {
  readonly product: Product;
  readonly plan: Plan;
  readonly chance: Chance;
  readonly clock: Clock;
  readonly network: Network;
  readonly history = new History();
  readonly invariants: Invariants;
  readonly members: Member[] = [];
  readonly story: string[] = [];
  /** What happened how often. */
  readonly tally: Record<string, number> = {};
  violation: Violation | undefined;
  nextProcess = 1;
  readonly #tells: boolean;
  #pairs: Pair[] = [];

  constructor({ product, plan, tells }: WorldOptions) {
    this.product = product;
    this.plan = plan;
    this.#tells = tells;
    this.chance = new Chance(plan.seed ^ 0x5f3759df);
    this.clock = new Clock(this.chance);
    const { clock, chance, climate } = this;
    this.network = new Network({
      clock,
      chance,
      climate,
      deliver: (from, to, frame) => this.#deliver(from, to, frame),
    });
    this.invariants = new Invariants(
      (id) => this.byId(id)?.durable,
      (entry) => this.history.committed(entry),
    );
    const initial = Array.from({ length: climate.members }, (_, at) => `m${at + 1}=${urlOf(at + 1)}`).join();
    for (let at = 1; at <= climate.members; at++) {
      const options = this.#options(at, ['--initial-cluster', initial]);
      this.members.push(new Member(this, at, options, product.identity.identityOf(options).memberId));
    }
  }

  get climate(): Plan['climate'] {
    return this.plan.climate;
  }

  get electionMs(): number {
    return this.climate.electionTicks * this.climate.tickMs;
  }

  byId(id: string): Member | undefined {
    return this.members.find((member) => member.id === id);
  }

  /** Those that have a machine. */
  get present(): Member[] {
    return this.members.filter(({ isGone }) => !isGone);
  }

  count(what: string, times = 1): void {
    this.tally[what] = (this.tally[what] ?? 0) + times;
  }

  note(tell: () => string): void {
    if (this.#tells) this.story.push(`${(this.clock.now / 1000).toFixed(3).padStart(8)} s  ${tell()}`);
  }

  nameOf(id: string): string {
    return this.byId(id)?.name ?? id;
  }

  describe({ voters, votersOutgoing, learners }: Configuration): string {
    const names = (ids: readonly string[]): string => ids.map((id) => this.nameOf(id)).join(' ') || 'nobody';
    const outgoing = votersOutgoing.length > 0 ? `, and ${names(votersOutgoing)}` : '';
    return `voters ${names(voters)}${outgoing}${learners.length > 0 ? `, learners ${names(learners)}` : ''}`;
  }

  noteApplied({ name }: Member, entries: readonly Entry[]): void {
    const [first, last] = [entries[0]!, entries.at(-1)!];
    this.note(
      () => `${name} applies ${first.index === last.index ? '' : `${first.index} to `}${last.index}@${last.term}`,
    );
  }

  /** Something that must never be: the run ends. */
  violate(violation: Violation): void {
    if (this.violation) return;
    this.violation = violation;
    this.note(() => violation.message);
  }

  guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.violate(error instanceof Violation ? error : new Violation(String((error as Error).stack)));
    }
  }

  #options(place: number, more: readonly string[]) {
    const parsed = this.product.flags.parseFlags(
      [
        ...['--name', `m${place}`, '--data-dir', '/data', '--initial-cluster-token', token],
        ...['--initial-advertise-peer-urls', urlOf(place), '--listen-peer-urls', urlOf(place)],
        ...more,
      ].reduce<string[]>((words, word) => {
        if (word.startsWith('--')) words.push(`${word}=`);
        else words[words.length - 1] += word;
        return words;
      }, []),
      {},
    );
    if (parsed.help) throw new Error('no help was asked for');
    return parsed.options;
  }

  /** A machine for a member that was added, or is about to be. */
  newMachine(): Member {
    const place = this.members.length + 1;
    const more = ['--initial-cluster', `m${place}=${urlOf(place)}`, '--initial-cluster-state', 'existing'];
    const member = new Member(this, place, this.#options(place, more), undefined);
    this.members.push(member);
    return member;
  }

  /** A new member asks whoever answers who it is. */
  async join(joiner: Member): Promise<MemberIdentity> {
    const request = { purpose: 'join', name: joiner.name, peerUrls: [joiner.url] } as const;
    for (;;) {
      const answer = await this.#askToJoin(this.chance.pick(this.members), request);
      if (answer) return answer;
      await this.clock.pass(askAgainMs);
    }
  }

  #askToJoin(
    asked: Member,
    request: { readonly purpose: 'join'; readonly name: string; readonly peerUrls: readonly string[] },
  ): Promise<MemberIdentity | undefined> {
    const { clock } = this;
    const asker = clock.current;
    return new Promise((resolve) => {
      const answer = (identity: MemberIdentity | undefined): void => {
        clock.after(this.climate.latencyMs, asker, () => resolve(identity));
      };
      const { life, running } = asked;
      if (!life || !running) {
        answer(undefined);
        return;
      }
      // Whoever does not answer in time is given up; a late answer is as true.
      clock.after(dialMs, asker, () => resolve(undefined));
      clock.within(life, () => {
        const { identity, keyValues, memberDriver } = running;
        void this.product.join
          .answerJoin({ ...request, peerUrls: [...request.peerUrls] }, identity, keyValues, memberDriver)
          .then((said) => {
            if (said.ok) answer({ clusterId: said.clusterId, memberId: said.memberId, genesis: said.genesis });
            else answer(undefined);
          });
      });
    });
  }

  started(member: Member): void {
    this.note(() => `${member.name} has started, with ${member.driver.status().lastIndex} entries`);
    for (const other of this.members) {
      if (other === member || other.id === undefined) continue;
      this.clock.after(20 * this.chance.next(), undefined, () => {
        this.network.link(other.id!, member.id!).isDown = false;
        this.network.link(member.id!, other.id!).isDown = false;
      });
    }
  }

  /** The process ended by itself; only a disk that failed is a reason. It is started again. */
  stopped(member: Member, error: unknown): void {
    if (!member.life || this.violation) return;
    if (error instanceof Violation) this.violate(error);
    else if ((error as NodeJS.ErrnoException).code === 'NODE_REMOVED') this.retire(member);
    else if (member.isDamaged && !member.running && isDamage(error)) this.#giveUp(member, error as Error);
    else if (!isDiskTrouble(error) && !(member.isDamaged && isDamage(error))) this.violate(member.violation(error));
    else {
      this.note(() => `${member.name} stops over its disk: ${(error as Error).message}`);
      this.count('stopped over the disk');
      this.kill(member);
      this.clock.after(restartMs, undefined, () => member.start());
    }
  }

  /** It refuses its damaged data, as it must; whoever looks after the cluster removes it. */
  #giveUp(member: Member, error: Error): void {
    this.note(() => `${member.name} refuses its data: ${error.message}`);
    this.count('refused its data');
    member.end();
    member.isGone = true;
    const id = member.id!;
    const remove = (): void => {
      const members = this.present.filter(({ running }) => running);
      if (members.some(({ running }) => running!.keyValues.book.wasRemoved(id))) return;
      const asked = members.length > 0 ? this.chance.pick(members) : undefined;
      if (asked) this.tell(asked, ({ membership }) => void membership.remove(id).catch(() => {}));
      this.clock.after(removeAgainMs, undefined, remove);
    };
    remove();
  }

  /** What was under way may have reached the kernel, all of it or a part. */
  kill(member: Member): void {
    const life = member.end();
    if (!life) return;
    member.disk = member.disk.kill(() => this.#fate());
    for (const pair of this.#pairs) pair.reset(life);
    // Its machine says at once that nobody listens there any more; or the connections were lost on the way.
    for (const other of this.members) {
      if (other === member || other.id === undefined || member.id === undefined) continue;
      const hears = this.chance.below(4) > 0;
      const ended = this.chance.below(2) === 0;
      if (!hears || !this.network.passes(member.id, other.id)) continue;
      this.clock.after(this.network.latency(member.id, other.id), undefined, () => {
        if (member.running) return;
        this.network.link(other.id!, member.id!).isDown = true;
        this.tell(other, ({ driver }) => driver.onUnreachable(member.id!));
        if (ended) this.tell(other, ({ driver }) => driver.onEnded(member.id!));
      });
    }
  }

  /** Nothing is said, and what was not synced is there or not. */
  losePower(member: Member): void {
    member.end();
    member.disk = member.disk.losePower(() => this.#fate());
  }

  #fate(): Fate {
    const { chance } = this;
    switch (chance.below(5)) {
      case 0:
      case 1:
        return 'lost';
      case 2:
      case 3:
        return 'kept';
      default:
        return chance.below(2) === 0 ? { bytes: chance.below(600) } : { sectors: () => chance.below(2) === 0 };
    }
  }

  /** A message to its process, by whatever way. */
  tell(member: Member, what: (running: NonNullable<Member['running']>) => void): void {
    const { life } = member;
    if (!life) return;
    this.clock.within(life, () => {
      if (member.running && member.life === life) what(member.running);
    });
  }

  /** Its removal is known and noted; nothing of it comes back. */
  retire(member: Member): void {
    if (!member.life) return;
    this.note(() => `${member.name} has been removed and ends`);
    this.count('retired');
    this.kill(member);
    member.isGone = true;
  }

  takes(from: Member, to: string): boolean {
    const target = this.byId(to);
    return target !== undefined && !target.isGone && !this.network.link(from.id!, to).isDown;
  }

  connected(member: Member): MemberId[] {
    const { network } = this;
    const self = member.id!;
    const isBothWays = (id: string): boolean =>
      [network.link(self, id), network.link(id, self)].every(({ cut, isDown }) => cut === undefined && !isDown);
    return this.members
      .filter((other) => other !== member && other.running && other.life?.stopped === false && isBothWays(other.id!))
      .map(({ id }) => id!);
  }

  #deliver(from: string, to: string, frame: Buffer): void {
    const target = this.byId(to);
    const sender = this.byId(from);
    if (!target || !sender) return;
    this.tell(target, ({ driver, keyValues }) => {
      if (keyValues.book.wasRemoved(from as MemberId)) {
        // As a member that refuses the connection does, with the reason.
        this.clock.after(this.climate.latencyMs, undefined, () => {
          if (sender.running && this.network.passes(to, from)) this.retire(sender);
        });
        return;
      }
      const message = this.product.codec.decodeMessage(
        frame.subarray(frameHeaderBytes),
        from as MemberId,
        to as MemberId,
      );
      driver.receive(message);
    });
  }

  openChannel(from: Member, to: string): Promise<Channel> {
    const { clock, network } = this;
    const target = this.byId(to);
    const life = from.life!;
    const id = from.id!;
    const none = { onPayload: () => {}, onClose: () => {} };
    return new Promise((resolve, reject) => {
      const refuse = (why: string, ms: number): void => {
        clock.after(ms, life, () => reject(new Error(why)));
      };
      clock.after(network.latency(id, to), undefined, () => {
        if (!network.passes(id, to) || !network.passes(to, id)) refuse('no answer', dialMs);
        else if (!target?.running || !target.life) refuse('connection refused', 0.1);
        else this.#connect({ member: from, life }, { member: target, life: target.life }, none, resolve, reject);
      });
    });
  }

  #connect(
    from: { readonly member: Member; readonly life: Life },
    to: { readonly member: Member; readonly life: Life },
    handlers: ConstructorParameters<typeof Channel>[1],
    onOpen: (channel: Channel) => void,
    onFailure: (error: Error) => void,
  ): void {
    const { clock, network, product } = this;
    const line = {
      clock,
      latency: (a: string, b: string) => network.latency(a, b),
      passes: (a: string, b: string) => network.passes(a, b),
    };
    const end = ({ member, life }: typeof from) => ({ name: member.id!, life });
    const pair = socketPair(line, end(from), end(to));
    this.#pairs.push(pair);
    const { Channel: ChannelOfProduct } = product.channel;
    clock.within(to.life, () => {
      const { running } = to.member;
      if (!running || to.member.life !== to.life) return;
      const channel = new ChannelOfProduct(pair.there, handlers);
      running.driver.snapshots.receive(from.member.id!, channel);
    });
    clock.after(network.latency(to.member.id!, from.member.id!), from.life, () => {
      if (pair.here.destroyed) onFailure(new Error('the connection broke at once'));
      else onOpen(new ChannelOfProduct(pair.here, handlers));
    });
  }

  breakStreams(): void {
    for (const pair of this.#pairs.splice(0)) pair.break();
  }
}

const damages = /^(WAL_|SNAPSHOT_|MVCC_SNAPSHOT|KV_SNAPSHOT|NODE_DATA_)/;

const isDamage = (error: unknown): boolean => damages.test(String((error as NodeJS.ErrnoException).code));

/** Only the faults that are put there give these. */
function isDiskTrouble(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (code === 'EIO' || code === 'ENOSPC') return true;
  }
  return false;
}
