/** One cluster in the soak: what happens to it, one deed after another, with clients that write throughout. */
import { setTimeout as delay } from 'node:timers/promises';
import { Clients } from '../clients/clients.ts';
import type { EngineUnderTest } from '../e2e/day.ts';
import type { Kubectl } from '../e2e/kubectl.ts';
import { LiveCluster } from '../e2e/live-cluster.ts';
import type { Deed } from './deeds.ts';
import { deedsFor, manifest } from './deeds.ts';
import type { Chance } from './random.ts';

/** How long a cluster may take to be whole again after a deed, in milliseconds. */
const calmWithinMs = 300_000;
/** Clients are exchanged now and then, and what they know is compared; at the end everybody's is, once more. */
const deedsPerRound = 12;
/** By then a watch or a poll of the members has shown what was done, in milliseconds. */
const noticedWithinMs = 3_000;

export interface Done {
  count: number;
  seconds: number;
  longestPauseMs: number;
}

/** Writes are lost, or the cluster does not get well: everything is kept for people to look at. */
export class SoakError extends Error {
  override readonly name = 'SoakError';
}

export class Life {
  readonly engine: EngineUnderTest;
  readonly kubectl: Kubectl;
  readonly cluster: LiveCluster;
  readonly chance: Chance;
  readonly tally = new Map<string, Done>();
  readonly #say: (line: string) => void;
  readonly #rounds: Clients[] = [];
  #deeds = 0;

  static async begin(
    engine: EngineUnderTest,
    kubectl: Kubectl,
    chance: Chance,
    say: (line: string) => void,
  ): Promise<Life> {
    const name = `soak-${engine.type.toLowerCase()}`;
    const spec = { replicas: 3, engine: engine.spec, storage: { size: '1Gi' } };
    await kubectl.apply(manifest('RaftCluster', name, spec));
    const life = new Life(engine, kubectl, await LiveCluster.of(kubectl, name), chance, say);
    await life.cluster.calm(3, calmWithinMs);
    life.#write();
    return life;
  }

  private constructor(
    engine: EngineUnderTest,
    kubectl: Kubectl,
    cluster: LiveCluster,
    chance: Chance,
    say: (line: string) => void,
  ) {
    this.engine = engine;
    this.kubectl = kubectl;
    this.cluster = cluster;
    this.chance = chance;
    this.#say = say;
  }

  get clients(): Clients {
    return this.#rounds.at(-1)!;
  }

  get acknowledged(): number {
    return this.#rounds.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  }

  #write(): void {
    const seed = `${this.cluster.name}-${this.#rounds.length}`;
    const endpoints = (writer: number) => this.cluster.endpoints(writer);
    const connection = () => this.cluster.connection();
    this.#rounds.push(new Clients({ endpoints, connection, seed, writers: 3, paceMs: 25 }));
  }

  /** One deed after another until the time has come. */
  async run(ended: () => boolean): Promise<void> {
    while (!ended()) {
      const { spec } = await this.cluster.get();
      const deed = this.chance.weighted(deedsFor(spec.replicas));
      await this.#do(deed).catch((error: Error) => {
        throw new SoakError(`${this.cluster.name}, after "${deed.name}": ${error.message}`);
      });
      if (++this.#deeds % deedsPerRound === 0) await this.#newRound();
    }
    await this.clients.stop();
    await this.compareWith(this.cluster);
  }

  async #do(deed: Deed): Promise<void> {
    const from = performance.now();
    await deed.run(this);
    // A deed that nobody has noticed yet looks like calm.
    await delay(noticedWithinMs);
    const { spec } = await this.cluster.get();
    await this.cluster.calm(spec.replicas, calmWithinMs);
    await this.clients.more(10, 60_000);
    const seconds = (performance.now() - from) / 1000;
    const pauseMs = this.clients.longestPauseMs(from);
    const done = this.tally.get(deed.name) ?? { count: 0, seconds: 0, longestPauseMs: 0 };
    done.count++;
    done.seconds += seconds;
    done.longestPauseMs = Math.max(done.longestPauseMs, pauseMs);
    this.tally.set(deed.name, done);
    this.#say(
      `${this.engine.type}: ${deed.name}: ${seconds.toFixed(1)} s, longest pause of writes ${Math.round(pauseMs)} ms, ${spec.replicas} members`,
    );
  }

  async #newRound(): Promise<void> {
    const { clients } = this;
    await clients.stop();
    await this.#compare(this.cluster, [clients]);
    this.#write();
  }

  /** What all rounds know, with every member of `cluster`; with a revision, what they knew up to that. */
  async compareWith(cluster: LiveCluster, upTo?: number): Promise<void> {
    await this.#compare(cluster, this.#rounds, upTo);
  }

  async #compare(cluster: LiveCluster, rounds: readonly Clients[], upTo?: number): Promise<void> {
    const connection = () => cluster.connection();
    const urls = await cluster.urls();
    let compared = 0;
    for (const url of urls) {
      for (const round of rounds) {
        const found = await round.compare(url, { connection, ...(upTo === undefined ? {} : { upTo }) });
        if (found.wrong.length > 0)
          throw new SoakError(
            `${cluster.name}, ${url}: acknowledged writes do not compare:\n${found.wrong.join('\n')}`,
          );
        compared += found.acknowledged;
      }
    }
    // Nothing is wrong with nothing, or where nobody was asked. A round alone may be too young to have written.
    if (compared === 0) throw new SoakError(`${cluster.name}: nothing was compared, with ${urls.length} members`);
  }

  async end(): Promise<void> {
    await this.#rounds.at(-1)?.stop();
    await this.cluster.close();
  }
}
