/** Three members as processes on loopback: ours or etcd's, with the same flags, since ours takes etcd's. */
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { StatusResponse } from '../../src/etcd/gen/rpc.ts';
import { freePorts } from '../ports.ts';
import { kill, removeFolder, start, temporaryFolder } from './owned.ts';

/** How one kind of member is started: `command` gets etcd's flags appended. */
export interface Kind {
  readonly name: string;
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** Heartbeat and election are etcd's defaults, said aloud since both kinds are compared by them. */
const timing = { 'heartbeat-interval': '100', 'election-timeout': '1000' } as const;
const names = ['m0', 'm1', 'm2'] as const;
/** One tick of the clock in /proc/PID/stat: USER_HZ is 100 on every Linux that Node runs on. */
const tickMicroseconds = 10_000;
const startWithinMs = 30_000;

interface Member {
  readonly flags: readonly string[];
  readonly log: string;
  process: ChildProcess;
}

/** Its urls for clients, peers and metrics. */
interface Place {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
  readonly metrics: string;
}

async function freePlaces(names: readonly string[]): Promise<Place[]> {
  const ports = await freePorts(names.length * 3);
  const url = (port: number): string => `http://127.0.0.1:${ports[port]}`;
  return names.map((name, n) => ({ name, client: url(n * 3), peer: url(n * 3 + 1), metrics: url(n * 3 + 2) }));
}

function flagsOf(
  kind: string,
  folder: string,
  { name, client, peer, metrics }: Place,
  cluster: readonly Place[],
  state: 'new' | 'existing',
): string[] {
  const flags = {
    name,
    'data-dir': join(folder, name),
    'listen-client-urls': client,
    'advertise-client-urls': client,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': cluster.map((each) => `${each.name}=${each.peer}`).join(','),
    'initial-cluster-state': state,
    'initial-cluster-token': `bench-${kind}`,
    'listen-metrics-urls': metrics,
    ...timing,
  };
  return Object.entries(flags).map(([key, value]) => `--${key}=${value}`);
}

export class Members {
  readonly name: string;
  readonly endpoints: readonly string[];
  /** Where each serves metrics, health and what else there is over HTTP, in the same order. */
  readonly metricsUrls: readonly string[];
  readonly #kind: Kind;
  readonly #folder: string;
  readonly #places: readonly Place[];
  readonly #members: readonly Member[];
  readonly #clients: readonly EtcdClient[];

  /** Resolves when a write has gone through. */
  static async start(kind: Kind): Promise<Members> {
    const folder = temporaryFolder(`raftsman-bench-${kind.name}-`);
    const members = new Members(kind, folder, await freePlaces(names));
    try {
      await members.#ready();
    } catch (error) {
      await members.stop();
      throw error;
    }
    return members;
  }

  private constructor(kind: Kind, folder: string, places: readonly Place[]) {
    this.name = kind.name;
    this.#kind = kind;
    this.#folder = folder;
    this.#places = places;
    this.endpoints = places.map(({ client }) => client);
    this.metricsUrls = places.map(({ metrics }) => metrics);
    this.#clients = this.endpoints.map((endpoint) => new EtcdClient({ endpoints: [endpoint], deadlineMs: 1000 }));
    this.#members = places.map((place) => {
      const [flags, log] = [flagsOf(kind.name, folder, place, places, 'new'), join(folder, `${place.name}.log`)];
      return { flags, log, process: this.#spawn(flags, log) };
    });
  }

  /** The place in `endpoints` of the one that leads. */
  async leader(): Promise<number> {
    const statuses = await this.#statuses();
    const at = statuses.findIndex((status) => status !== undefined && status.leader === status.header?.memberId);
    if (at < 0) throw new Error(`no member of ${this.name} says that it leads`);
    return at;
  }

  /** Decimal, as members tell it. */
  async memberId(at: number): Promise<string> {
    return (await this.#clients[at]!.status()).header!.memberId;
  }

  /** As given, the leader's first: a load generator with a single connection takes the first. */
  async leaderFirst(): Promise<string[]> {
    const leader = this.endpoints[await this.leader()]!;
    return [leader, ...this.endpoints.filter((endpoint) => endpoint !== leader)];
  }

  /** Processor time since the start of each member, user and system, in microseconds. */
  cpuMicroseconds(): number[] {
    return this.#members.map(({ process: { pid } }) => {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return (Number(fields[11]) + Number(fields[12])) * tickMicroseconds;
    });
  }

  /** Of all members together. */
  residentBytes(): number {
    return this.#members.reduce((sum, { process: { pid } }) => {
      const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
      return sum + Number(line?.[1] ?? 0) * 1024;
    }, 0);
  }

  pid(at: number): number {
    return this.#members[at]!.process.pid!;
  }

  /** `kill -9`: resolves when the process is gone. */
  kill(at: number): Promise<void> {
    return kill(this.#members[at]!.process);
  }

  /** Starts a killed member on its data again; resolves when it has caught up with the others. */
  async restart(at: number, withinMs: number = startWithinMs): Promise<void> {
    const member = this.#members[at]!;
    member.process = this.#spawn(member.flags, member.log);
    await this.#until(
      'a restarted member has caught up',
      async () => {
        const statuses = await this.#statuses();
        const applied = statuses.map((status) => status?.raftAppliedIndex ?? -1);
        return statuses.every((status) => status?.leader !== '0') && applied[at]! >= Math.max(...applied) - 100;
      },
      withinMs,
    );
  }

  /** A learner on an empty disk: milliseconds from the start of its process until it serves. It leaves again. */
  async joinMs(): Promise<number> {
    const [place] = await freePlaces(['newcomer']);
    const [folder, log] = [join(this.#folder, 'newcomer'), join(this.#folder, 'newcomer.log')];
    let id = '';
    // Refused by etcd until its members have known each other for five seconds.
    await this.#until('a newcomer is let in', async () => {
      id = (await this.#clients[0]!.memberAdd([place!.peer], true)).member!.ID;
      return true;
    });
    const from = performance.now();
    const flags = flagsOf(this.#kind.name, this.#folder, place!, [...this.#places, place!], 'existing');
    const newcomer = this.#spawn(flags, log);
    const client = new EtcdClient({ endpoints: [place!.client], deadlineMs: 250 });
    try {
      await this.#until('a newcomer serves', async () => (await client.status()).isLearner, startWithinMs, 10);
      return performance.now() - from;
    } finally {
      client.close();
      await kill(newcomer);
      await this.#clients[0]!.memberRemove(id);
      removeFolder(folder);
    }
  }

  /** Writes one after another. */
  async put(count: number): Promise<void> {
    for (let n = 0; n < count; n++)
      await this.#clients[0]!.put({ key: Buffer.from('bench/put'), value: Buffer.from(`${n}`) });
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await Promise.all(this.#members.map(({ process }) => kill(process)));
    removeFolder(this.#folder);
  }

  #spawn(flags: readonly string[], log: string): ChildProcess {
    const { command, environment } = this.#kind;
    const descriptor = openSync(log, 'a');
    try {
      return start(command[0]!, [...command.slice(1), ...flags], {
        stdio: ['ignore', descriptor, descriptor],
        env: { ...process.env, ...environment },
      });
    } finally {
      closeSync(descriptor);
    }
  }

  /** In the order of `endpoints`; undefined for a member that does not answer. */
  #statuses(): Promise<(StatusResponse | undefined)[]> {
    return Promise.all(this.#clients.map((client) => client.status().catch(() => undefined)));
  }

  #ready(): Promise<void> {
    return this.#until('a write goes through', async () => {
      await this.#clients[0]!.put({ key: Buffer.from('bench/ready'), value: Buffer.from('yes') });
      return true;
    });
  }

  async #until(
    what: string,
    condition: () => Promise<boolean>,
    withinMs: number = startWithinMs,
    everyMs = 50,
  ): Promise<void> {
    const end = performance.now() + withinMs;
    let why = 'it never held';
    for (;;) {
      try {
        if (await condition()) return;
      } catch (error) {
        why = (error as Error).message;
      }
      const died = this.#members.find(({ process }) => process.exitCode !== null);
      if (died || performance.now() > end) {
        const log = readFileSync((died ?? this.#members[0]!).log, 'utf8').slice(-2000);
        throw new Error(`${this.name}: waited ${withinMs / 1000} s until ${what}: ${why}\n${log}`);
      }
      await delay(everyMs);
    }
  }
}

/** Runs `work` with three members of each kind up; they go whatever comes of it. */
export async function withBoth(
  kinds: readonly [ours: Kind, theirs: Kind],
  work: (ours: Members, theirs: Members) => Promise<void>,
): Promise<void> {
  const ours = await Members.start(kinds[0]);
  try {
    const theirs = await Members.start(kinds[1]);
    try {
      await work(ours, theirs);
    } finally {
      await theirs.stop();
    }
  } finally {
    await ours.stop();
  }
}
