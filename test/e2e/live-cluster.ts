/** A RaftCluster on a real node as a test sees it: what it says of itself, where its members are, their processes and disks. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { MemberState, MemberStatus, RaftCluster } from '../../src/api/cluster.ts';
import { findCondition, isTrue } from '../../src/api/conditions.ts';
import { raftCluster } from '../../src/api/kinds.ts';
import { clusterNames, memberUrl, ordinalOf } from '../../src/controllers/names.ts';
import { secretNames } from '../../src/controllers/tls/names.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';
import { createClient } from '../../src/kube/client.ts';
import { connect } from '../../src/kube/connection.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import {
  type PersistentVolumeClaim,
  type Pod,
  persistentVolumeClaims,
  pods as podType,
  secrets,
  services,
} from '../../src/kube/kinds.ts';
import type { Live, ResourceType } from '../../src/kube/objects.ts';
import type { Kubectl } from './kubectl.ts';
import { clientTls } from './target.ts';

const clusterType = raftCluster as ResourceType<RaftCluster>;
const lookEveryMs = 200;
/** The kubelet waits ten seconds and more before it starts again what ended twice. */
const startsWithinMs = 60_000;
/** Events are told after what they tell of. */
const toldWithinMs = 20_000;
/** A machine that is busy with something else takes its time; only what fails waits so long, in milliseconds. */
export const patienceMs = 300_000;

export class LiveCluster {
  readonly name: string;
  readonly kubectl: Kubectl;
  readonly kube: KubeClient;
  readonly #followed = new AbortController();
  readonly #following: Promise<void>;
  #serviceUrl: string | undefined;
  #tls: ClientTls | undefined;
  #memberUrls: readonly string[] = [];

  static async of(kubectl: Kubectl, name: string): Promise<LiveCluster> {
    const { kubeconfig } = kubectl;
    return new LiveCluster(kubectl, name, createClient(await connect(kubeconfig === undefined ? {} : { kubeconfig })));
  }

  private constructor(kubectl: Kubectl, name: string, kube: KubeClient) {
    this.kubectl = kubectl;
    this.name = name;
    this.kube = kube;
    this.#following = this.#follow();
  }

  #ref(name: string) {
    return { name, namespace: this.kubectl.namespace };
  }

  /** Where clients may go, as they would learn it: half of them know the Service, half the members. */
  endpoints(writer: number): readonly string[] {
    return writer % 2 === 0 && this.#serviceUrl !== undefined ? [this.#serviceUrl] : this.#memberUrls;
  }

  /** Beside an endpoint, what a client needs: the certificates as they are now. */
  connection(): { readonly tls?: ClientTls } {
    return this.#tls === undefined ? {} : { tls: this.#tls };
  }

  #url(address: string): string {
    return memberUrl(address, this.#tls === undefined ? 'http' : 'https');
  }

  /** Certificates first: they decide how addresses are written. */
  async #lookUpCertificates(): Promise<void> {
    const secret = await this.kube.find(secrets, this.#ref(secretNames.client(this.name)));
    this.#tls = secret?.data && clientTls(secret.data, this.name, this.kubectl.namespace);
  }

  /** Members that may have been asked to go are no endpoints any more, those not ready yet are. */
  async #follow(): Promise<void> {
    while (!this.#followed.signal.aborted) {
      try {
        await this.#lookUpCertificates();
        const service = await this.kube.find(services, this.#ref(clusterNames(this.name).client));
        const { clusterIP } = (service as { spec?: { clusterIP?: string } } | undefined)?.spec ?? {};
        this.#serviceUrl = clusterIP === undefined ? undefined : this.#url(clusterIP);
        const pods = await this.pods();
        this.#memberUrls = pods.flatMap(({ metadata, status }) =>
          status?.podIP === undefined || metadata.deletionTimestamp !== undefined ? [] : [this.#url(status.podIP)],
        );
      } catch {
        // The API server is busy: what was known stays.
      }
      await delay(400, undefined, { signal: this.#followed.signal }).catch(() => {});
    }
  }

  async close(): Promise<void> {
    this.#followed.abort();
    await this.#following;
    this.kube.close();
  }

  get(): Promise<Live<RaftCluster>> {
    return this.kube.get(clusterType, this.#ref(this.name));
  }

  /** The member pods, by ordinal. */
  async pods(): Promise<Live<Pod>[]> {
    const { items } = await this.kube.listAll(podType, { namespace: this.kubectl.namespace });
    return items
      .flatMap((pod) => {
        const ordinal = ordinalOf(this.name, pod.metadata.name);
        return ordinal === undefined ? [] : [{ ordinal, pod }];
      })
      .sort((a, b) => a.ordinal - b.ordinal)
      .map(({ pod }) => pod);
  }

  async pod(member: string): Promise<Live<Pod> | undefined> {
    return this.kube.find(podType, this.#ref(member));
  }

  async disks(): Promise<Live<PersistentVolumeClaim>[]> {
    const { items } = await this.kube.listAll(persistentVolumeClaims, { namespace: this.kubectl.namespace });
    return items.filter(({ metadata }) => ordinalOf(this.name, metadata.name, 'data-') !== undefined);
  }

  /** Addresses of members that have one, by ordinal. */
  async urls(): Promise<string[]> {
    await this.#lookUpCertificates();
    return (await this.pods()).flatMap(({ status }) => (status?.podIP === undefined ? [] : [this.#url(status.podIP)]));
  }

  /** The member that the cluster's status names, once that one says so itself: the status is some seconds old. */
  async leader(): Promise<string> {
    const cluster = await this.until(
      'to name its leader',
      patienceMs,
      async ({ status }) => status?.leader !== undefined && (await this.#leads(status.leader)),
    );
    return cluster.status!.leader!;
  }

  async #leads(member: string): Promise<boolean> {
    const { podIP } = (await this.pod(member))?.status ?? {};
    if (podIP === undefined) return false;
    const client = new EtcdClient({ endpoints: [this.#url(podIP)], deadlineMs: 2_000, ...this.connection() });
    try {
      const { header, leader } = await client.status();
      return header?.memberId === leader;
    } catch {
      return false;
    } finally {
      client.close();
    }
  }

  async follower(): Promise<string> {
    const leader = await this.leader();
    const found = (await this.pods()).find(({ metadata }) => metadata.name !== leader);
    if (found === undefined) throw new Error(`${this.name} has no follower`);
    return found.metadata.name;
  }

  async memberStatus(member: string): Promise<MemberStatus | undefined> {
    return (await this.get()).status?.members?.find(({ name }) => name === member);
  }

  /** Waits until the cluster is as `holds` says, and returns it. */
  async until(
    what: string,
    milliseconds: number,
    holds: (cluster: Live<RaftCluster>) => boolean | Promise<boolean>,
  ): Promise<Live<RaftCluster>> {
    const end = performance.now() + milliseconds;
    for (;;) {
      const cluster = await this.get();
      if (await holds(cluster)) return cluster;
      if (performance.now() > end) {
        const seen = await this.kubectl.run(['get', 'pods,pvc', '-o', 'wide']);
        throw new Error(
          `waited ${Math.round(milliseconds / 1000)} s for ${this.name} ${what}\n${JSON.stringify(cluster.status, null, 1)}\n${seen}`,
        );
      }
      await delay(lookEveryMs);
    }
  }

  /** Until all is done that is to be done: so many members, all of them serving, nothing underway. */
  calm(size: number, milliseconds = patienceMs): Promise<Live<RaftCluster>> {
    return this.until(`to be calm with ${size} members`, milliseconds, async (cluster) => {
      if (!isCalm(cluster, size)) return false;
      // Those that were told to go have gone.
      return (await this.pods()).length === cluster.status?.replicas;
    });
  }

  untilMember(member: string, state: MemberState, milliseconds: number): Promise<Live<RaftCluster>> {
    return this.until(`to show ${member} as ${state}`, milliseconds, ({ status }) =>
      (status?.members ?? []).some((one) => one.name === member && one.state === state),
    );
  }

  untilCondition(
    type: string,
    wanted: { readonly status?: string; readonly reason?: string; readonly message?: RegExp },
    milliseconds: number,
  ): Promise<Live<RaftCluster>> {
    return this.until(`to say ${type} ${JSON.stringify(wanted)} ${wanted.message}`, milliseconds, ({ status }) => {
      const found = findCondition(status?.conditions, type);
      return (
        found !== undefined &&
        (wanted.status ?? found.status) === found.status &&
        (wanted.reason ?? found.reason) === found.reason &&
        (wanted.message?.test(found.message) ?? true)
      );
    });
  }

  /** Waits until the operator has told, with an event of that reason, what begins with these words. */
  async untilTold(reason: string, words: string): Promise<void> {
    const about = `--field-selector=reason=${reason},involvedObject.kind=RaftCluster,involvedObject.name=${this.name}`;
    await this.until(`to tell "${words}" by an event ${reason}`, toldWithinMs, async () => {
      const text = await this.kubectl.run(['get', 'events', about, '-o', 'json']);
      return (JSON.parse(text) as { items: { message: string }[] }).items.some(({ message }) =>
        message.startsWith(words),
      );
    });
  }

  /** Edits the manifest, as a person would. */
  edit(spec: object): Promise<string> {
    const patch = JSON.stringify({ spec });
    return this.kubectl.run(['patch', 'raftcluster', this.name, '--type=merge', `--patch=${patch}`]);
  }

  scale(replicas: number): Promise<string> {
    return this.kubectl.run(['scale', 'raftcluster', this.name, `--replicas=${replicas}`]);
  }

  /**
   * Sends a signal to the member's own process, which is the last in its pod: not a way that Kubernetes knows of. One that has
   * just ended is about to be started again, and Kubernetes may not know of it yet: it is waited for.
   */
  async signal(member: string, signal: NodeJS.Signals): Promise<void> {
    const end = performance.now() + startsWithinMs;
    for (;;) {
      const pod = await this.pod(member);
      const found = pod === undefined ? [] : processesOf(pod.metadata.uid);
      for (const pid of found) process.kill(pid, signal);
      if (found.length > 0) return;
      if (performance.now() > end)
        throw new Error(pod === undefined ? `there is no pod ${member}` : `pod ${member} has no process`);
      await delay(lookEveryMs);
    }
  }

  /** Stops the member's process, lets `damage` change its files, and kills it: what it held in memory must not mend them. */
  async rot(member: string, damage: (folder: string) => void): Promise<void> {
    await this.signal(member, 'SIGSTOP');
    damage(await this.#diskFolder(member));
    await this.signal(member, 'SIGKILL');
  }

  /** The folder of a member's disk on the host. */
  async #diskFolder(member: string): Promise<string> {
    const claim = await this.kube.get(persistentVolumeClaims, this.#ref(`data-${member}`));
    const { volumeName } = (claim as { spec?: { volumeName?: string } }).spec ?? {};
    return join(dirname(this.kubectl.kubeconfig ?? ''), 'volumes', volumeName ?? '');
  }
}

export function isCalm({ metadata, spec, status }: Live<RaftCluster>, size: number): boolean {
  return (
    status !== undefined &&
    status.observedGeneration === metadata.generation &&
    status.size === size &&
    (status.readyReplicas ?? 0) === (spec.replicas === 0 ? 0 : size) &&
    (status.members?.length ?? 0) === (spec.replicas === 0 ? 0 : size) &&
    status.operation === undefined &&
    !isTrue(status.conditions, 'Progressing') &&
    (spec.replicas === 0 || isTrue(status.conditions, 'Ready'))
  );
}

/** The processes of a pod, by the control group that the kubelet named after it, except the one that holds its namespaces. */
function processesOf(uid: string): number[] {
  const group = new RegExp(`pod${uid.replaceAll('-', '[-_]')}`);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        if (!group.test(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))) return false;
        const [program] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return program !== '' && program !== '/busybox';
      } catch {
        return false; // it ended meanwhile
      }
    })
    .map(Number);
}
