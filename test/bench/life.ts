/**
 * What a cluster's life costs beside a bare StatefulSet of the same image: how soon it is there, grows and shrinks, gets a
 * member back, can be written to again, and shows a member that does not serve. One round takes both, in turn.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { RaftCluster } from '../../src/api/cluster.ts';
import { isTrue } from '../../src/api/conditions.ts';
import { raftCluster } from '../../src/api/kinds.ts';
import { apiVersion } from '../../src/api/meta.ts';
import { podReady } from '../../src/controllers/cluster/members.ts';
import { secretNames } from '../../src/controllers/tls/names.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import {
  type Pod,
  persistentVolumeClaims,
  podDisruptionBudgets,
  pods,
  secrets,
  services,
  statefulSets,
} from '../../src/kube/kinds.ts';
import type { KubeObject, Live, ResourceType } from '../../src/kube/objects.ts';
import { clientTls } from '../e2e/target.ts';
import { bare, type EngineName } from './bare.ts';
import { type Ground, makeNamespace, Watching } from './ground.ts';
import { isWanted } from './life-measures.ts';
import { now, Writer } from './writer.ts';

export const clusters = raftCluster as ResourceType<RaftCluster>;
const endpointSlices: ResourceType<KubeObject> = {
  group: 'discovery.k8s.io',
  version: 'v1',
  kind: 'EndpointSlice',
  plural: 'endpointslices',
  namespaced: true,
};
const watched = [
  clusters,
  statefulSets,
  pods,
  persistentVolumeClaims,
  endpointSlices,
  podDisruptionBudgets,
] as ResourceType<KubeObject>[];
/** Generous: what takes longer is broken, not slow. */
const within = { startMs: 300_000, changeMs: 300_000, goneMs: 120_000 } as const;
/** A cluster of which nothing was wanted: etcd changes no members for five seconds after a voter was out of touch, or new. */
const calmMs = 6_000;
/** Before each disturbance writes go through without a pause of `withinMs` for `beforeMs`, and after it for `afterMs`. */
const steady = { beforeMs: 500, afterMs: 1_500, withinMs: 200, atMostMs: 60_000 } as const;

/** What one round measured, by measure; seconds, but for the outages, which are milliseconds. */
export type Figures = Map<string, number>;

export class Life {
  readonly #client: KubeClient;
  readonly #images: Ground['images'];
  readonly #namespace: string;
  readonly #watching: Watching;
  readonly #wanted: ReadonlySet<string> | undefined;
  /** What clients of a cluster need, by its name: nothing where it speaks in the clear. */
  readonly #tls = new Map<string, ClientTls>();

  /** `wanted`: the measures to take; all unless told. */
  static async start(ground: Ground, namespace: string, wanted?: ReadonlySet<string>): Promise<Life> {
    await makeNamespace(ground.client, namespace);
    return new Life(ground, namespace, await Watching.start(ground.client, namespace, watched), wanted);
  }

  private constructor({ client, images }: Ground, namespace: string, watching: Watching, wanted?: ReadonlySet<string>) {
    this.#wanted = wanted;
    this.#client = client;
    this.#images = images;
    this.#namespace = namespace;
    this.#watching = watching;
  }

  stop(): Promise<void> {
    return this.#watching.stop();
  }

  /** From apply until three are ready, a follower deleted and back, and how long its own election takes. */
  async bare(engine: EngineName, name: string): Promise<Figures> {
    const figures: Figures = new Map();
    const image = engine === 'Embedded' ? this.#images.raftsman : this.#images.etcd;
    const [service, statefulSet] = bare(engine, name, this.#namespace, image);
    const apply = () =>
      Promise.all([this.#client.apply(services, service), this.#client.apply(statefulSets, statefulSet)]);
    const ready = () => this.#watching.get(statefulSets, name)?.status?.readyReplicas === 3 && this.#allReady(name, 3);
    try {
      await this.#take(figures, {
        start: () => this.#timed(`StatefulSet ${name} is ready`, ready, within.startMs, apply),
        follower: () => this.#deleted(name, ready),
        ...this.#outages(name, ready),
      });
      return figures;
    } finally {
      await this.#client.delete(statefulSets, this.#ref(name));
      await this.#client.delete(services, this.#ref(name));
      await this.#gone(name);
    }
  }

  async raftCluster(engine: EngineName, name: string): Promise<Figures> {
    const figures: Figures = new Map();
    const ready = () => this.ready(name, 3);
    try {
      await this.#take(figures, {
        start: async () => {
          const seconds = await this.started(engine, name);
          await this.#introduce(name);
          await this.#listed(name, 3);
          return seconds;
        },
        follower: () => this.#deleted(name, ready),
        ...this.#outages(name, ready),
        hung: () => this.#hung(name),
        dead: () => this.#dead(name),
        up: () => this.#scaled(name, 5),
        down: () => this.#scaled(name, 3),
      });
      return figures;
    } finally {
      await this.remove(name);
    }
  }

  /**
   * One after another. The first that fails is told, and those after it are left out, since they would begin from a ruin: what
   * has no figure counts as failed in the table.
   */
  async #take(figures: Figures, measures: Readonly<Record<string, () => Promise<number>>>): Promise<void> {
    for (const [key, measure] of Object.entries(measures)) {
      if (!isWanted(key, this.#wanted)) continue;
      try {
        figures.set(key, await measure());
      } catch (error) {
        console.error(`${key}: ${(error as Error).message}`);
        return;
      }
    }
  }

  /** Seconds from apply to a truthful Ready. */
  async started(engine: EngineName, name: string, spec: object = {}): Promise<number> {
    return this.#timed(
      `RaftCluster ${name} is ready`,
      () => this.ready(name, 3),
      within.startMs,
      () => this.apply(engine, name, spec),
    );
  }

  apply(engine: EngineName, name: string, spec: object = {}): Promise<unknown> {
    return this.#client.apply(clusters, {
      apiVersion,
      kind: 'RaftCluster',
      metadata: this.#ref(name),
      spec: { replicas: 3, engine: { type: engine }, storage: { size: '128Mi' }, ...spec },
    } as unknown as RaftCluster);
  }

  /** The resource says so, and it is so. */
  ready(name: string, size: number): boolean {
    const cluster = this.#watching.get(clusters, name);
    return (
      isTrue(cluster?.status?.conditions, 'Ready') &&
      cluster?.status?.observedGeneration === cluster?.metadata.generation &&
      cluster?.status?.membersReady === `${size}/${size}` &&
      this.#allReady(name, size)
    );
  }

  untilReady(names: readonly string[], size: number): Promise<void> {
    return this.#watching.until('all are ready', within.startMs, () => names.every((name) => this.ready(name, size)));
  }

  /**
   * All pods are there, none of them finds a node, and nobody has anything to do about it any more: Kubernetes' own
   * controllers send some requests a second, and forty StatefulSets' status and endpoints take them longer than their pods.
   */
  async untilStuck(names: readonly string[], size: number): Promise<void> {
    const findsNone = ({ status }: Live<Pod>): boolean =>
      status?.conditions?.some((each) => each.type === 'PodScheduled' && each.status === 'False') ?? false;
    const isStuck = (name: string): boolean => {
      const all = this.#pods(name);
      return all.length === size && all.every(findsNone);
    };
    await this.#watching.until('none can be scheduled', within.startMs, () => names.every(isStuck));
    await this.#watching.untilCalm('all that cannot be scheduled', calmMs, within.startMs);
  }

  async remove(name: string): Promise<void> {
    await this.#client.delete(clusters, this.#ref(name));
    await this.#gone(name);
    const disks = this.#watching
      .list(persistentVolumeClaims)
      .filter((disk) => disk.metadata.name.startsWith(`data-${name}-`));
    await Promise.all(
      disks.map(({ metadata }) => this.#client.delete(persistentVolumeClaims, this.#ref(metadata.name))),
    );
  }

  /** To the process of a member, past Kubernetes. */
  async signal({ metadata }: Live<Pod>, signal: NodeJS.Signals): Promise<void> {
    process.kill(processOf(metadata.uid), signal);
  }

  #ref(name: string) {
    return { namespace: this.#namespace, name };
  }

  #pods(name: string): Live<Pod>[] {
    const own = new RegExp(`^${name}-\\d+$`);
    return this.#watching.list(pods).filter(({ metadata }) => own.test(metadata.name));
  }

  #allReady(name: string, size: number): boolean {
    const all = this.#pods(name);
    return all.length === size && all.every(podReady);
  }

  #gone(name: string): Promise<void> {
    return this.#watching.until(`the pods of ${name} are gone`, within.goneMs, () => this.#pods(name).length === 0);
  }

  async #timed(what: string, holds: () => boolean, withinMs: number, work: () => Promise<unknown>): Promise<number> {
    const from = performance.now();
    await work();
    await this.#watching.until(what, withinMs, holds, () => this.#watching.list(clusters).map(({ status }) => status));
    return (performance.now() - from) / 1000;
  }

  #endpoints(name: string): string[] {
    return this.#pods(name)
      .filter(({ status, metadata }) => status?.podIP !== undefined && metadata.deletionTimestamp === undefined)
      .map((pod) => this.#endpoint(name, pod));
  }

  #endpoint(name: string, { status }: Live<Pod>): string {
    return `${this.#tls.has(name) ? 'https' : 'http'}://${status!.podIP!}:2379`;
  }

  #clientOf(name: string, endpoints: readonly string[]): EtcdClient {
    const tls = this.#tls.get(name);
    return new EtcdClient({ endpoints, deadlineMs: 30_000, ...(tls === undefined ? {} : { tls }) });
  }

  /** Gets the certificates that the cluster's clients need, if it wants any. */
  async #introduce(name: string): Promise<void> {
    const secret = await this.#client.find(secrets, this.#ref(secretNames.client(name)));
    const tls = secret?.data && clientTls(secret.data, name, this.#namespace);
    if (tls) this.#tls.set(name, tls);
  }

  async #asked<T>(name: string, work: (client: EtcdClient) => Promise<T>): Promise<T> {
    const client = this.#clientOf(name, this.#endpoints(name));
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }

  /** The members themselves have so many voters, and take a write: what the resource says is true. */
  #listed(name: string, voters: number): Promise<void> {
    return this.#asked(name, async (client) => {
      await client.put({ key: Buffer.from('bench/listed'), value: Buffer.from(`${voters}`) });
      const { members } = await client.memberList();
      const voting = members.filter(({ isLearner }) => !isLearner).length;
      if (voting !== voters || members.length !== voters)
        throw new Error(`${name} says that it is ready with ${voters}, and has ${voting} voters of ${members.length}`);
    });
  }

  async #leader(name: string): Promise<Live<Pod>> {
    for (const pod of this.#pods(name)) {
      const client = this.#clientOf(name, [this.#endpoint(name, pod)]);
      try {
        const { leader, header } = await client.status();
        if (leader !== '0' && leader === header?.memberId) return pod;
      } finally {
        client.close();
      }
    }
    throw new Error(`no member of ${name} leads`);
  }

  /** Seconds from the deletion of a pod until another has taken its place and all is ready. */
  async #deleted(name: string, ready: () => boolean): Promise<number> {
    const { metadata } = await this.#follower(name);
    const back = () => {
      const now = this.#watching.get(pods, metadata.name);
      return now !== undefined && now.metadata.uid !== metadata.uid && ready();
    };
    return this.#timed(`${metadata.name} is back`, back, within.changeMs, () =>
      this.#client.delete(pods, this.#ref(metadata.name)),
    );
  }

  #outages(name: string, ready: () => boolean): Readonly<Record<'move' | 'delete' | 'kill', () => Promise<number>>> {
    const outage = (disturb: (leader: Live<Pod>) => Promise<unknown>) => () => this.#outage(name, ready, disturb);
    return {
      move: outage((leader) => this.#move(name, leader)),
      delete: outage((leader) => this.#deletePod(leader)),
      kill: outage((leader) => this.#kill(leader)),
    };
  }

  /** Milliseconds without an acknowledged write when the leader is disturbed. All is ready again afterwards. */
  async #outage(name: string, ready: () => boolean, disturb: (leader: Live<Pod>) => Promise<unknown>): Promise<number> {
    const writer = new Writer(this.#endpoints(name), this.#tls.get(name));
    try {
      await writer.steady(steady.beforeMs, steady.withinMs, steady.atMostMs);
      const leader = await this.#leader(name);
      const from = now();
      await disturb(leader);
      await writer.steady(steady.afterMs, steady.withinMs, steady.atMostMs);
      await this.#watching.until(`${name} is ready again`, within.changeMs, ready);
      return await writer.longestGapMs(from);
    } finally {
      await writer.stop();
    }
  }

  async #move(name: string, leader: Live<Pod>): Promise<void> {
    const client = this.#clientOf(name, [this.#endpoint(name, leader)]);
    try {
      const [{ members }, { header }] = await Promise.all([client.memberList(), client.status()]);
      await client.moveLeader(members.find(({ ID }) => ID !== header!.memberId)!.ID);
    } finally {
      client.close();
    }
  }

  /** Resolves when kubelet has seen it and has started another: what looked ready until then was the past. */
  async #kill(pod: Live<Pod>): Promise<void> {
    const restarts = () =>
      this.#watching.get(pods, pod.metadata.name)?.status?.containerStatuses?.[0]?.restartCount ?? 0;
    const before = restarts();
    await this.signal(pod, 'SIGKILL');
    await this.#watching.until(`${pod.metadata.name} is started again`, within.changeMs, () => restarts() > before);
  }

  /** Resolves when another pod has its name: it was told to end somewhen before. */
  async #deletePod({ metadata: { name, uid } }: Live<Pod>): Promise<void> {
    await this.#client.delete(pods, this.#ref(name));
    await this.#watching.until(`${name} is made anew`, within.changeMs, () => {
      const now = this.#watching.get(pods, name);
      return now !== undefined && now.metadata.uid !== uid;
    });
  }

  #state(cluster: string, member: string) {
    return this.#watching.get(clusters, cluster)?.status?.members?.find(({ name }) => name === member);
  }

  async #follower(name: string): Promise<Live<Pod>> {
    const leader = await this.#leader(name);
    return this.#pods(name).find((pod) => pod.metadata.name !== leader.metadata.name)!;
  }

  /** Seconds until a member that was stopped, and holds its port, is shown as hung. */
  async #hung(name: string): Promise<number> {
    const victim = await this.#follower(name);
    try {
      return await this.#timed(
        `${victim.metadata.name} is shown as hung`,
        () => this.#state(name, victim.metadata.name)?.state === 'Hung',
        within.changeMs,
        () => this.signal(victim, 'SIGSTOP'),
      );
    } finally {
      await this.signal(victim, 'SIGCONT');
      await this.#watching.until(`${name} is ready again`, within.changeMs, () => this.ready(name, 3));
    }
  }

  /** Seconds until a member whose process ends whenever it is started is shown as dead. */
  async #dead(name: string): Promise<number> {
    const victim = await this.#follower(name);
    const kill = () => this.signal(victim, 'SIGKILL').catch(() => {});
    const again = setInterval(kill, 200);
    try {
      return await this.#timed(
        `${victim.metadata.name} is shown as dead`,
        () => this.#state(name, victim.metadata.name)?.state === 'Dead',
        within.changeMs,
        kill,
      );
    } finally {
      clearInterval(again);
      await this.#watching.until(`${name} is ready again`, within.changeMs, () => this.ready(name, 3));
    }
  }

  async #scaled(name: string, replicas: number): Promise<number> {
    await delay(calmMs);
    const seconds = await this.#timed(
      `${name} has ${replicas} members`,
      () => this.ready(name, replicas),
      within.changeMs,
      () => this.#client.patch(clusters, this.#ref(name), { spec: { replicas } }),
    );
    await this.#listed(name, replicas);
    return seconds;
  }
}

/** The first process of the member's container: the processes of a local Kubernetes are the machine's, too. */
function processOf(uid: string): number {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (!readFileSync(`/proc/${entry}/cgroup`, 'utf8').includes(`pod${uid}`)) continue;
      // The one that holds the pod's namespaces is not meant.
      if (!/^\/busybox\0sleep/.test(readFileSync(`/proc/${entry}/cmdline`, 'utf8'))) return Number(entry);
    } catch {
      // It has just ended.
    }
  }
  throw new Error(`no process of pod ${uid}`);
}
