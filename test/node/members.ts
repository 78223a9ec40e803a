/** Members as real processes on 127.0.0.1, for tests: started, killed, started again. Everything is gone afterwards. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';
import { freePorts } from '../ports.ts';

export const mainFile = resolve(import.meta.dirname, '../../src/main.ts');

export async function until<T>(
  what: string,
  read: () => Promise<T | undefined | false>,
  withinMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (let last: unknown = 'it was not'; ; ) {
    try {
      const value = await read();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`, { cause: last });
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** Runs a command of ours to its end. */
export async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [mainFile, ...args], { env: { ...process.env, NODE_OPTIONS: '', ...env } });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...output };
}

/** What members of a cluster that speaks TLS are told, and their clients have. */
export interface TestTls {
  readonly flags: readonly string[];
  client: ClientTls;
}

export class TestMember {
  readonly name: string;
  readonly peerUrl: string;
  readonly clientUrl: string;
  readonly httpUrl: string;
  readonly dataDir: string;
  client: EtcdClient;
  /** What its process gets beside the test's own environment. */
  environment: NodeJS.ProcessEnv = {};
  readonly #args: readonly string[];
  readonly #tls: TestTls | undefined;
  #process: ChildProcess | undefined;
  output = '';

  constructor(name: string, ports: readonly number[], dataDir: string, shared: readonly string[], tls?: TestTls) {
    const [client, peer] = ports.map((port) => urlOf(port, tls)) as [string, string];
    const http = urlOf(ports[2]!);
    this.#tls = tls;
    this.name = name;
    this.peerUrl = peer;
    this.clientUrl = client;
    this.httpUrl = http;
    this.dataDir = dataDir;
    this.client = this.newClient();
    this.#args = [
      `--name=${name}`,
      `--data-dir=${dataDir}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--listen-metrics-urls=${http}`,
      ...(tls?.flags ?? []),
      ...shared,
    ];
  }

  /** With what its clients need to be let in. */
  newClient(): EtcdClient {
    const tls = this.#tls?.client;
    return new EtcdClient({ endpoints: [this.clientUrl], deadlineMs: 15_000, ...(tls && { tls }) });
  }

  get isRunning(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  get args(): readonly string[] {
    return this.#args;
  }

  start(...more: string[]): void {
    // The client of the member's last life may wait before it connects again.
    this.client.close();
    this.client = this.newClient();
    const child = spawn(process.execPath, [mainFile, 'node', ...this.#args, ...more], {
      env: { ...process.env, NODE_OPTIONS: '', ...this.environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr!.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
    });
    this.#process = child;
  }

  /** Resolves with the exit status when the process has ended. */
  async ended(): Promise<number | null> {
    const child = this.#process!;
    if (this.isRunning) await once(child, 'close');
    return child.exitCode;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (!this.#process) return null;
    this.#process.kill(signal);
    return this.ended();
  }

  pause(): void {
    this.#process!.kill('SIGSTOP');
  }

  resume(): void {
    this.#process!.kill('SIGCONT');
  }

  async http(path: string): Promise<{ status: number; text: string }> {
    const response = await fetch(this.httpUrl + path);
    return { status: response.status, text: await response.text() };
  }

  async metric(name: string): Promise<number> {
    const { text } = await this.http('/metrics');
    return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]);
  }

  /** Ready, and its client has a connection: one that found the port closed waits before it tries again. */
  async ready(withinMs?: number): Promise<true> {
    await until(`${this.name} ready`, async () => (await this.http('/readyz')).status === 200, withinMs);
    return until(`${this.name} answering`, async () => (await this.client.status()) !== undefined, withinMs);
  }
}

const urlOf = (port: number, tls?: TestTls): string => `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;

export class TestCluster {
  readonly folder: string;
  /** Those that were added later come last. */
  readonly members: TestMember[];
  readonly #flags: readonly string[];
  readonly #tls: TestTls | undefined;

  static async create(
    size: number,
    flags: readonly string[] = [],
    token = 'test',
    tls?: TestTls,
  ): Promise<TestCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'raftsman-node-'));
    const ports = await freePorts(size * 3);
    const names = Array.from({ length: size }, (_, i) => `m${i}`);
    const initial = names.map((name, i) => `${name}=${urlOf(ports[i * 3 + 1]!, tls)}`).join(',');
    const shared = [`--initial-cluster-token=${token}`, '--heartbeat-interval=50', '--election-timeout=500', ...flags];
    const members = names.map(
      (name, i) =>
        new TestMember(
          name,
          ports.slice(i * 3, i * 3 + 3),
          join(folder, name),
          [`--initial-cluster=${initial}`, ...shared],
          tls,
        ),
    );
    return new TestCluster(folder, members, shared, tls);
  }

  private constructor(folder: string, members: TestMember[], flags: readonly string[], tls: TestTls | undefined) {
    this.#tls = tls;
    this.folder = folder;
    this.members = members;
    this.#flags = flags;
  }

  /** A member that somebody will add: not started, and nobody knows of it yet. */
  async newMember(name = `m${this.members.length}`): Promise<TestMember> {
    const known = this.members.map((member) => `${member.name}=${member.peerUrl}`);
    const ports = await freePorts(3);
    const initial = [...known, `${name}=${urlOf(ports[1]!, this.#tls)}`].join(',');
    const flags = [`--initial-cluster=${initial}`, '--initial-cluster-state=existing', ...this.#flags];
    const member = new TestMember(name, ports, join(this.folder, name), flags, this.#tls);
    this.members.push(member);
    return member;
  }

  /** Adds a member through `via`, starts it and waits until it serves; a learner stays one. */
  async grow(via: TestMember, kind: 'learner' | 'voter' = 'learner'): Promise<TestMember> {
    const member = await this.newMember();
    await via.client.memberAdd([member.peerUrl], kind === 'learner');
    member.start();
    await member.ready();
    return member;
  }

  async start(...more: string[]): Promise<this> {
    for (const member of this.members) member.start(...more);
    await Promise.all(this.members.map((member) => member.ready()));
    return this;
  }

  async leader(): Promise<TestMember> {
    return until('a leader', async () => {
      for (const member of this.members) {
        if (member.isRunning && (await member.metric('etcd_server_is_leader')) === 1) return member;
      }
      return undefined;
    });
  }

  async followers(): Promise<TestMember[]> {
    const leader = await this.leader();
    return this.members.filter((member) => member.isRunning && member !== leader);
  }

  async end(): Promise<void> {
    for (const member of this.members) member.client.close();
    await Promise.all(this.members.map((member) => (member.isRunning ? member.stop('SIGKILL') : undefined)));
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The ids by which the cluster knows its members, in decimal. */
export async function idOf(member: TestMember, via: TestMember = member): Promise<string> {
  const { members } = await via.client.memberList();
  const found = members.find(({ peerURLs }) => peerURLs.includes(member.peerUrl));
  if (!found) throw new Error(`${member.name} is not a member`);
  return found.ID;
}

export const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
export const textOf = (value: Uint8Array): string => Buffer.from(value).toString();
