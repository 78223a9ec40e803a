/**
 * Messages between members: late, lost, twice, out of order, held back by a cut and delivered after it. Each direction between two
 * members is a link of its own. What a member sends is bytes from the moment it sends it. The core allows all of that for
 * everything but proposals, which come at most once.
 */
import type { WireMessage } from '../../src/node/codec.ts';
import type { Chance } from '../soak/random.ts';
import type { Clock } from './clock.ts';
import type { Climate } from './plan.ts';

/** Beside the frame, for those on the way. */
interface Letter {
  readonly from: string;
  readonly to: string;
  readonly type: WireMessage['type'];
  readonly frame: Buffer;
}

interface Link {
  /** When the last message in order arrives: the next one does not overtake it. */
  busyUntil: number;
  /** While it is cut: whether what is sent waits for the mending, as in a connection that survives it. */
  cut: 'lost' | 'held' | undefined;
  readonly held: Letter[];
  slowMs: number;
  /** The sender knows that nothing gets through. */
  isDown: boolean;
}

export interface NetworkOptions {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly climate: Climate;
  readonly deliver: (from: string, to: string, frame: Buffer) => void;
}

export class Network {
  readonly counts = { sent: 0, lost: 0, doubled: 0 };
  /** From here on nothing more is lost, doubled or disordered by chance. */
  isCalm = false;
  readonly #options: NetworkOptions;
  /** By sender, then by receiver. */
  readonly #links = new Map<string, Map<string, Link>>();

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  link(from: string, to: string): Link {
    let links = this.#links.get(from);
    if (!links) {
      links = new Map();
      this.#links.set(from, links);
    }
    let link = links.get(to);
    if (!link) {
      link = { busyUntil: 0, cut: undefined, held: [], slowMs: 0, isDown: false };
      links.set(to, link);
    }
    return link;
  }

  passes(from: string, to: string): boolean {
    return this.link(from, to).cut === undefined;
  }

  /** `frame` is on its way, or not: nobody learns which. */
  send(from: string, to: string, type: WireMessage['type'], frame: Buffer): void {
    const { chance, climate } = this.#options;
    const link = this.link(from, to);
    const letter = { from, to, type, frame };
    this.counts.sent++;
    if (link.cut === 'held') link.held.push(letter);
    if (link.cut !== undefined) return;
    if (!this.isCalm && chance.next() < climate.loss) {
      this.counts.lost++;
      return;
    }
    this.#carry(link, letter);
    if (this.isCalm || type === 'propose' || chance.next() >= climate.doubling) return;
    this.counts.doubled++;
    this.#carry(link, letter);
  }

  cut(from: string, to: string, how: 'lost' | 'held'): void {
    this.link(from, to).cut = how;
  }

  /** What was held back arrives now, in its order. */
  mend(from: string, to: string): void {
    const link = this.link(from, to);
    link.cut = undefined;
    link.isDown = false;
    for (const letter of link.held.splice(0)) this.#carry(link, letter);
  }

  mendAll(): void {
    for (const [from, links] of this.#links) {
      for (const [to, link] of links) {
        link.slowMs = 0;
        this.mend(from, to);
      }
    }
  }

  latency(from: string, to: string): number {
    const { chance, climate } = this.#options;
    return climate.latencyMs * (0.2 + 1.6 * chance.next()) + this.link(from, to).slowMs * chance.next();
  }

  #carry(link: Link, { from, to, frame }: Letter): void {
    const { clock, chance, climate, deliver } = this.#options;
    let at = clock.now + this.latency(from, to);
    if (this.isCalm || chance.next() >= climate.disorder) {
      at = Math.max(at, link.busyUntil + 0.001);
      link.busyUntil = at;
    } else at += 20 * climate.latencyMs * chance.next();
    clock.after(at - clock.now, undefined, () => deliver(from, to, frame));
  }
}
