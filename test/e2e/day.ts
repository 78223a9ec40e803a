/**
 * A cluster's life on a real node, told in steps, with clients that write throughout. Each step prints how long it took, how long
 * writes stood still meanwhile and how many were acknowledged; a step's figures are for people, its bounds are wide.
 */
import type { RaftCluster } from '../../src/api/cluster.ts';
import type { Live } from '../../src/kube/objects.ts';
import { Clients } from '../clients/clients.ts';
import type { Kubectl } from './kubectl.ts';
import { LiveCluster, patienceMs } from './live-cluster.ts';

/** What differs between the engines for who tells the story. */
export interface EngineUnderTest {
  readonly type: 'Embedded' | 'Etcd';
  /** `spec.engine` of a new cluster. */
  readonly spec: Readonly<Record<string, unknown>>;
  /** Versions to update through, from the one of `spec`. */
  readonly updates: readonly string[];
  /** Flags that an update may set. */
  readonly flags: Readonly<Record<string, string>>;
  /** Damages the data of a member on its disk, so that it cannot start again. */
  readonly damage: (folder: string) => void;
}

/** For Jest: a story fails by what it waits for in vain, not by how slow the machine is, in milliseconds. */
export const storyMs = 1_800_000;

/** How long a step waits for the ruins of one that failed, in milliseconds. */
const impatienceMs = 30_000;

export interface Step {
  readonly seconds: number;
  readonly pauseMs: number;
}

export class Day {
  readonly engine: EngineUnderTest;
  readonly cluster: LiveCluster;
  readonly kubectl: Kubectl;
  /** Clients are exchanged now and then; what those of earlier rounds know is compared until the day ends. */
  readonly #rounds: Clients[] = [];
  #writing = false;
  #failed: string | undefined;

  static async of(engine: EngineUnderTest, kubectl: Kubectl, name: string): Promise<Day> {
    return new Day(engine, await LiveCluster.of(kubectl, name));
  }

  private constructor(engine: EngineUnderTest, cluster: LiveCluster) {
    this.engine = engine;
    this.cluster = cluster;
    this.kubectl = cluster.kubectl;
  }

  get clients(): Clients {
    const clients = this.#rounds.at(-1);
    if (clients === undefined || !this.#writing) throw new Error('no clients write at present');
    return clients;
  }

  /** Applies the cluster and waits until it serves; clients write from then on. */
  async begin(spec: Readonly<Record<string, unknown>>): Promise<void> {
    const { name } = this.cluster;
    await this.kubectl.apply(
      JSON.stringify(
        {
          apiVersion: 'raftsman.dev/v1alpha1',
          kind: 'RaftCluster',
          metadata: { name },
          spec: { engine: this.engine.spec, storage: { size: '1Gi' }, ...spec },
        },
        null,
        1,
      ),
    );
    const { spec: applied } = await this.cluster.get();
    await this.cluster.calm(applied.replicas);
    this.write();
  }

  write(): void {
    const seed = `${this.cluster.name}-${this.#rounds.length}`;
    const { cluster } = this;
    this.#rounds.push(
      new Clients({
        endpoints: (writer) => cluster.endpoints(writer),
        connection: () => cluster.connection(),
        seed,
        paceMs: 20,
      }),
    );
    this.#writing = true;
  }

  /** Does `work` while clients write, and prints what it cost. The cluster is calm before, and written to before and after. */
  async step(title: string, work: () => Promise<unknown>): Promise<Step> {
    const { spec } = await this.cluster.get();
    await this.cluster
      .calm(spec.replicas, this.#failed === undefined ? patienceMs : impatienceMs)
      .catch((error: Error) => {
        throw this.#failed === undefined ? error : new Error(`it comes after "${this.#failed}", which failed`);
      });
    this.#failed = title;
    await this.clients.more(20, patienceMs);
    const from = performance.now();
    const before = this.clients.acknowledged;
    try {
      await work();
    } catch (error) {
      print(`${this.engine.type}: ${title}: FAILED after ${((performance.now() - from) / 1000).toFixed(1)} s`);
      throw error;
    }
    const seconds = (performance.now() - from) / 1000;
    await this.clients.more(20, patienceMs);
    this.#failed = undefined;
    const pauseMs = this.clients.longestPauseMs(from);
    print(
      `${this.engine.type}: ${title}: ${seconds.toFixed(1)} s, longest pause of writes ${Math.round(pauseMs)} ms, ${this.clients.acknowledged - before} writes`,
    );
    return { seconds, pauseMs };
  }

  /** Stops the clients and compares what was acknowledged all day long with every member. Gives what is wrong, in words. */
  async compare(): Promise<string[]> {
    const { clients } = this;
    this.#writing = false;
    await clients.stop();
    print(`${this.engine.type}: the clients stop (failures: ${clients.failures || 'none'})`);
    return this.compareWith(this.cluster);
  }

  /** What all rounds know, with every member of `cluster`; with a revision, what they knew up to that. */
  async compareWith(cluster: LiveCluster, upTo?: number): Promise<string[]> {
    const connection = () => cluster.connection();
    const urls = await cluster.urls();
    const wrong: string[] = [];
    const digests = new Set<string>();
    let acknowledged = 0;
    for (const url of urls) {
      const found = [];
      for (const round of this.#rounds)
        found.push(await round.compare(url, { connection, ...(upTo === undefined ? {} : { upTo }) }));
      wrong.push(...found.flatMap((one) => one.wrong.map((what) => `${url}: ${what}`)));
      digests.add(found.map(({ digest }) => digest).join());
      acknowledged = found.reduce((sum, one) => sum + one.acknowledged, 0);
    }
    print(
      `${this.engine.type}: ${acknowledged} acknowledged writes of ${this.#rounds.length} rounds compared with each of ${urls.length} members of ${cluster.name}`,
    );
    return [
      ...wrong,
      ...(digests.size > 1 ? [`members differ: ${[...digests].join(' and ')}`] : []),
      ...(urls.length === 0 || acknowledged === 0 ? ['nothing was compared'] : []),
    ];
  }

  /** Ids of the members by name. */
  static ids(cluster: Live<RaftCluster>): Map<string, string> {
    return new Map((cluster.status?.members ?? []).flatMap(({ name, id }) => (id === undefined ? [] : [[name, id]])));
  }

  async end(): Promise<void> {
    await this.#rounds.at(-1)?.stop();
    await this.cluster.close();
  }
}

export function print(line: string): void {
  process.stderr.write(`  ${line}\n`);
}
