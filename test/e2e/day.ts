/**
 * A cluster's life on a real node, told in steps, with clients that write throughout. Each step prints how long it took, how long
 * writes stood still meanwhile and how many were acknowledged; a step's figures are for people, its bounds are wide.
 */
import type { RaftCluster } from '../../src/api/cluster.ts';
import type { Live } from '../../src/kube/objects.ts';
import { Clients, type Comparison } from '../clients/clients.ts';
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
  #clients: Clients | undefined;
  #round = 0;
  #failed: string | undefined;
  #acknowledged = 0;

  static async of(engine: EngineUnderTest, kubectl: Kubectl, name: string): Promise<Day> {
    return new Day(engine, await LiveCluster.of(kubectl, name));
  }

  private constructor(engine: EngineUnderTest, cluster: LiveCluster) {
    this.engine = engine;
    this.cluster = cluster;
    this.kubectl = cluster.kubectl;
  }

  get clients(): Clients {
    if (this.#clients === undefined) throw new Error('no clients write at present');
    return this.#clients;
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
    const seed = `${this.cluster.name}-${this.#round++}`;
    const { cluster } = this;
    this.#clients = new Clients({
      endpoints: (writer) => cluster.endpoints(writer),
      connection: () => cluster.connection(),
      seed,
      paceMs: 20,
    });
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

  /** Stops the clients and compares all acknowledged writes with every member. Gives what is wrong, in words. */
  async compare(): Promise<string[]> {
    const { clients } = this;
    this.#clients = undefined;
    await clients.stop();
    const urls = await this.cluster.urls();
    const found: Comparison[] = [];
    for (const url of urls) found.push(await clients.compare(url));
    this.#acknowledged += clients.acknowledged;
    print(
      `${this.engine.type}: ${clients.acknowledged} acknowledged writes compared with each of ${urls.length} members, ${found[0]?.unansweredThere} unanswered ones there (failures: ${clients.failures || 'none'})`,
    );
    const digests = new Set(found.map(({ digest }) => digest));
    return [
      ...found.flatMap(({ wrong }, n) => wrong.map((what) => `${urls[n]}: ${what}`)),
      ...(digests.size > 1 ? [`members differ: ${[...digests].join(', ')}`] : []),
      ...(urls.length === 0 || clients.acknowledged === 0 ? ['nothing was compared'] : []),
    ];
  }

  /** Ids of the members by name. */
  static ids(cluster: Live<RaftCluster>): Map<string, string> {
    return new Map((cluster.status?.members ?? []).flatMap(({ name, id }) => (id === undefined ? [] : [[name, id]])));
  }

  async end(): Promise<void> {
    await this.#clients?.stop();
    await this.cluster.close();
  }
}

export function print(line: string): void {
  process.stderr.write(`  ${line}\n`);
}
