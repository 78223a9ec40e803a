/**
 * A network of the test's own: each member in a network namespace, all joined by a bridge in the namespace that this process
 * runs in, which is the clients'. Nothing of the machine's network is touched, and all of it goes with this process
 * (sandbox.ts). Links are cut silently and one way: the sender is told a hardware address that nobody has, and what it sends is
 * lost as on a broken wire. They are slow by rate: packets queue, and beyond a queue are lost.
 */
import { run } from '../kubernetes/command.ts';

/** Addresses are the same in every run, since each has its network for itself. */
const addressOf = (place: number): string => `10.99.0.${place + 1}`;
const hardwareOf = (place: number): string => `02:00:00:00:00:${(place + 1).toString(16).padStart(2, '0')}`;
const nobody = '02:00:00:00:ff:ff';
/** Where the clients are, beside the members' places. */
export const clients = 199;

const namespaceOf = (place: number): string => `m${place}`;

export interface Slowness {
  readonly kilobits: number;
  /** What a packet may wait at most before it is lost. */
  readonly queueMs: number;
}

const ip = (...commands: string[]): Promise<string> =>
  run('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });

const inside = (place: number, ...commands: string[]): Promise<string> =>
  run('ip', ['-netns', namespaceOf(place), '-batch', '-'], { input: `${commands.join('\n')}\n` });

export class Network {
  readonly places: readonly number[];
  /** How many faults cut each way. */
  readonly #cuts = new Map<string, number>();
  #settling: Promise<unknown> = Promise.resolve();

  static async create(size: number): Promise<Network> {
    // Names of network namespaces are files there.
    await run('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
    await ip(
      'link set lo up',
      `link add br0 address ${hardwareOf(clients)} type bridge`,
      `addr add ${addressOf(clients)}/24 dev br0`,
      'link set br0 up',
    );
    const network = new Network(size);
    for (const place of network.places) await network.#join(place);
    return network;
  }

  private constructor(size: number) {
    this.places = Array.from({ length: size }, (_, place) => place);
  }

  address(place: number): string {
    return addressOf(place);
  }

  /** What makes a command run where this member is. */
  command(place: number): readonly string[] {
    return ['nsenter', `--net=/run/netns/${namespaceOf(place)}`];
  }

  /** What `from` sends to `to` is lost until it was mended as often. */
  cut(from: number, to: number): Promise<void> {
    return this.#change(from, to, 1);
  }

  mend(from: number, to: number): Promise<void> {
    return this.#change(from, to, -1);
  }

  /** All that the member sends, or all that it is sent. */
  async slow(place: number, way: 'out' | 'in', { kilobits, queueMs }: Slowness): Promise<void> {
    const shape = ['root', 'tbf', 'rate', `${kilobits}kbit`, 'burst', '4kb', 'latency', `${queueMs}ms`];
    await this.#discipline(place, way, 'replace', shape);
  }

  async quicken(place: number, way: 'out' | 'in'): Promise<void> {
    await this.#discipline(place, way, 'delete', ['root']);
  }

  /** Of all members and clients, for people. */
  async connections(): Promise<string> {
    const wheres = [[], ...this.places.map((place) => ['-N', namespaceOf(place)])];
    const all = await Promise.all(wheres.map((where) => run('ss', [...where, '-tno']).catch(String)));
    return all.join('\n');
  }

  async #discipline(place: number, way: 'out' | 'in', verb: string, rest: readonly string[]): Promise<void> {
    const where = way === 'out' ? ['-netns', namespaceOf(place)] : [];
    const device = way === 'out' ? 'eth0' : `veth${place}`;
    await run('tc', [...where, 'qdisc', verb, 'dev', device, ...rest]);
  }

  async #join(place: number): Promise<void> {
    const others = [...this.places, clients].filter((other) => other !== place);
    await ip(
      `netns add ${namespaceOf(place)}`,
      `link add veth${place} type veth peer name eth0 address ${hardwareOf(place)} netns ${namespaceOf(place)}`,
      `link set veth${place} master br0 up`,
      `neigh replace ${addressOf(place)} lladdr ${hardwareOf(place)} dev br0 nud permanent`,
    );
    await inside(
      place,
      'link set lo up',
      `addr add ${addressOf(place)}/24 dev eth0`,
      'link set eth0 up',
      ...others.map((other) => `neigh replace ${addressOf(other)} lladdr ${hardwareOf(other)} dev eth0 nud permanent`),
    );
  }

  async #change(from: number, to: number, by: 1 | -1): Promise<void> {
    const way = `${from}>${to}`;
    const before = this.#cuts.get(way) ?? 0;
    this.#cuts.set(way, before + by);
    if (before > 0 && before + by > 0) return;
    // One after another, so that the last one said is the one that holds.
    const apply = (): Promise<string> => {
      const hardware = (this.#cuts.get(way) ?? 0) > 0 ? nobody : hardwareOf(to);
      const entry = (device: string) => `neigh replace ${addressOf(to)} lladdr ${hardware} dev ${device} nud permanent`;
      return from === clients ? ip(entry('br0')) : inside(from, entry('eth0'));
    };
    const settled = this.#settling.then(apply);
    this.#settling = settled.catch(() => {});
    await settled;
  }
}
