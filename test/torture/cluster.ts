/** The members together: formed, looked at, and changed through the Cluster API as an operator would. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Member as Listed } from '../../src/etcd/gen/rpc.ts';
import type { Chance } from '../soak/random.ts';
import type { Place } from './load.ts';
import { compile, Member } from './member.ts';
import type { Network } from './network.ts';

export interface ClusterOptions {
  readonly size: number;
  readonly network: Network;
  readonly folder: string;
  readonly flags: readonly string[];
  readonly onDeath: (member: Member, why: string) => void;
}

const retryMs = 200;
const formedWithinMs = 60_000;

export class Cluster {
  /** One more than the cluster has: there is always a place for somebody new. */
  readonly all: readonly Member[];
  readonly size: number;
  /** Members that left and members that came, by now. */
  replaced = 0;

  static async form(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    const first = cluster.all.slice(0, options.size);
    await compile(options.folder);
    for (const member of cluster.all) await member.makeDisk();
    for (const member of first) {
      member.initial = [`--initial-cluster=${initial(first)}`];
      member.phase = 'serving';
      member.start();
    }
    await cluster.until('the cluster has formed', formedWithinMs, async () =>
      (await Promise.all(first.map((member) => member.isReady()))).every(Boolean),
    );
    return cluster;
  }

  private constructor({ size, network, folder, flags, onDeath }: ClusterOptions) {
    this.size = size;
    this.all = network.places.map((place) => new Member({ place, network, folder, flags, onDeath }));
  }

  /** Those that clients may be sent to. */
  get serving(): readonly Member[] {
    return this.all.filter(({ phase }) => phase === 'serving');
  }

  get places(): readonly Place[] {
    return this.serving.map((member) => ({
      endpoint: member.clientUrl,
      life: () => `${member.name} life ${member.lives}`,
    }));
  }

  async leader(): Promise<Member | undefined> {
    const statuses = await Promise.all(
      this.serving.map(async (member) => ({
        member,
        status: await member.admin.status({ deadlineMs: 1000 }).catch(() => undefined),
      })),
    );
    return statuses.find(({ status }) => status !== undefined && status.leader === status.header?.memberId)?.member;
  }

  /** As somebody who knows the newest. */
  async list(chance: Chance): Promise<readonly Listed[]> {
    return (await chance.pick(this.serving).admin.memberList()).members;
  }

  /** Its disk is wiped when, and only when, all agree that it is no member any more. */
  async remove(member: Member, chance: Chance): Promise<void> {
    member.phase = 'leaving';
    await this.#repeat(async () => {
      const listed = find(await this.list(chance), member);
      if (listed === undefined) return true;
      await chance.pick(this.serving).admin.memberRemove(listed.ID);
      return false;
    });
    // It may find out by itself, or be ended without having heard.
    const release = await member.process.take();
    try {
      if (chance.below(2) === 0) await this.#within(3000, () => !member.isRunning);
      member.signal('SIGCONT');
      await member.end('SIGKILL');
      member.wipe();
      member.phase = 'none';
    } finally {
      release();
    }
  }

  /** With an empty disk, as a learner that is given its vote here, or by the cluster itself. */
  async add(member: Member, as: 'learner' | 'voter', chance: Chance): Promise<void> {
    const release = await member.process.take();
    try {
      await this.#repeat(async () => {
        const list = await this.list(chance);
        if (find(list, member) !== undefined) {
          const known = this.all.filter((one) => find(list, one) !== undefined);
          member.initial = [`--initial-cluster=${initial(known)}`, '--initial-cluster-state=existing'];
          return true;
        }
        await chance.pick(this.serving).admin.memberAdd([member.peerUrl], as === 'learner');
        return false;
      });
      member.phase = 'joining';
      member.start();
    } finally {
      release();
    }
    await this.#repeat(async () => {
      const listed = find(await this.list(chance), member)!;
      if (!listed.isLearner) return true;
      if (as === 'learner') await chance.pick(this.serving).admin.memberPromote(listed.ID);
      return false;
    });
    member.phase = 'serving';
    this.replaced++;
  }

  async until(what: string, withinMs: number, condition: () => Promise<boolean>): Promise<void> {
    let why = 'it never held';
    for (const end = performance.now() + withinMs; ; await delay(retryMs)) {
      try {
        if (await condition()) return;
      } catch (error) {
        why = (error as Error).message;
      }
      if (performance.now() > end) throw new Error(`not within ${withinMs / 1000} s: ${what} (${why})`);
    }
  }

  /** Ends it all; what is on the disks stays. */
  async stop(): Promise<void> {
    for (const member of this.all) {
      member.admin.close();
      member.signal('SIGCONT');
      await member.end('SIGKILL');
    }
  }

  /** Until it is so: whoever is asked may be down, cut off, or unable to agree with the others. */
  async #repeat(attempt: () => Promise<boolean>): Promise<void> {
    for (;;) {
      if (await attempt().catch(() => false)) return;
      await delay(retryMs);
    }
  }

  async #within(milliseconds: number, condition: () => boolean): Promise<void> {
    for (const end = performance.now() + milliseconds; !condition() && performance.now() < end; ) await delay(50);
  }
}

const find = (list: readonly Listed[], member: Member): Listed | undefined =>
  list.find(({ peerURLs }) => peerURLs.includes(member.peerUrl));

const initial = (members: readonly Member[]): string =>
  members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
