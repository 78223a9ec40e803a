/**
 * Runs what a profile says of pods, without a node: the containers' own command lines, with each disk in a folder and each
 * pod at an address of its own. Only the names of places are replaced.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { RaftClusterSpec } from '../../../src/api/cluster.ts';
import { dataFolder } from '../../../src/engines/containers.ts';
import type { Endpoint, MemberArchive } from '../../../src/engines/engine.ts';
import { EtcdEngine } from '../../../src/engines/etcd/etcd.ts';
import { etcdProfile } from '../../../src/engines/etcd/profile.ts';
import type { Json } from '../../../src/engines/profile.ts';
import { runJob } from '../../../src/jobs/job.ts';
import { clusterOf } from '../../controllers/objects.ts';
import { etcdTools } from '../../kubernetes/go-build.ts';
import { type EtcdVersion, versions } from '../../kubernetes/parts.ts';

interface Container {
  readonly name: string;
  readonly command?: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly configMapKeyRef?: { readonly key: string } };
  }[];
}

export interface PodsOptions {
  readonly version?: EtcdVersion;
  readonly engine?: Partial<RaftClusterSpec['engine']>;
  readonly archive?: MemberArchive;
}

export interface Ended {
  readonly status: number;
  readonly output: string;
}

export class Pods {
  readonly folder = mkdtempSync(join(tmpdir(), 'raftsman-pods-'));
  /** What the cluster's ConfigMap says. */
  readonly config: Record<string, string> = { 'initial-cluster-state': 'new', joining: '', formed: 'false' };
  readonly engine = new EtcdEngine();
  readonly tools: Awaited<ReturnType<typeof etcdTools>>;
  readonly #options: PodsOptions;
  readonly #spec: RaftClusterSpec;
  readonly #net = `127.${randomInt(64, 250)}.${randomInt(1, 250)}`;
  readonly #running = new Map<string, ChildProcess>();

  private constructor(tools: Pods['tools'], options: PodsOptions) {
    this.tools = tools;
    this.#options = options;
    const { version = versions.etcd, engine } = options;
    this.#spec = clusterOf('e', { engine: { type: 'Etcd', version, ...engine } }).spec;
  }

  static async of(options: PodsOptions = {}): Promise<Pods> {
    return new Pods(await etcdTools(options.version ?? versions.etcd), options);
  }

  /** Names the members of a cluster that has not formed, and starts all at once. */
  async form(count: number): Promise<void> {
    const names = Array.from({ length: count }, (_, ordinal) => `e-${ordinal}`);
    this.config['initial-cluster'] = names.map((name) => `${name}=${this.peerUrl(name)}`).join(',');
    await Promise.all(names.map((name) => this.start(name)));
    await Promise.all(names.map((name) => this.ready(name)));
  }

  disk(name: string): string {
    return join(this.folder, name);
  }

  endpoint(name: string): Endpoint {
    return { url: `http://${this.#address(name)}:2379` };
  }

  peerUrl(name: string): string {
    return `http://${this.#address(name)}:2380`;
  }

  pid(name: string): number {
    return this.#running.get(name)!.pid!;
  }

  /** Stops its process where it is, and resolves when every thread stands still: on a busy machine they go on for a while. */
  async freeze(name: string): Promise<void> {
    const pid = this.pid(name);
    process.kill(pid, 'SIGSTOP');
    const threads = `/proc/${pid}/task`;
    const stands = (thread: string) => /^State:\tT/m.test(readFileSync(join(threads, thread, 'status'), 'utf8'));
    while (!readdirSync(threads).every(stands)) await delay(5);
  }

  /** All init containers of a pod in turn; the first that fails ends it, as the kubelet would see it. */
  async prepare(name: string): Promise<Ended & { readonly container: string }> {
    const { initContainers, restore } = this.#parts(name);
    mkdirSync(this.disk(name), { recursive: true });
    let last = { container: '', status: 0, output: '' };
    for (const each of [...(restore?.initContainers ?? []), ...initContainers]) {
      const container = each as unknown as Container;
      last = { container: container.name, ...(await this.#run(name, container)) };
      if (last.status !== 0) return last;
    }
    return last;
  }

  async start(name: string): Promise<void> {
    const { status, container, output } = await this.prepare(name);
    if (status !== 0) throw new Error(`${container} of ${name} ended with status ${status}: ${output}`);
    const { command, args, env } = this.#resolved(name, this.#parts(name).container as unknown as Container);
    const child = spawn(command!, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#running.set(name, child);
    let log = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      // As much as the kubelet keeps.
      log = (log + text).slice(-2048);
    });
    this.#logs.set(name, () => log);
  }

  readonly #logs = new Map<string, () => string>();

  /** The end of what it has said. */
  log(name: string): string {
    return this.#logs.get(name)?.() ?? '';
  }

  /** The status of its answer to a probe; nothing when there is none. */
  async probe(name: string, path: '/livez' | '/readyz'): Promise<number | undefined> {
    try {
      const answer = await fetch(`http://${this.#address(name)}:2381${path}`, { signal: AbortSignal.timeout(10_000) });
      await answer.arrayBuffer();
      return answer.status;
    } catch {
      return undefined;
    }
  }

  /** Until its readiness probe succeeds. */
  ready(name: string): Promise<void> {
    return this.until(name, '/readyz', 200);
  }

  /** Until a probe is answered with this status. */
  async until(name: string, path: '/livez' | '/readyz', status: number): Promise<void> {
    const end = performance.now() + 60_000;
    while ((await this.probe(name, path)) !== status) {
      if (performance.now() > end || this.#running.get(name)?.exitCode != null)
        throw new Error(`${path} of ${name} does not become ${status}: ${this.log(name)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The exit status of a member that ends by itself, within 30 s. */
  async ended(name: string): Promise<number | null> {
    const child = this.#running.get(name)!;
    if (child.exitCode === null) await once(child, 'exit', { signal: AbortSignal.timeout(30_000) });
    return child.exitCode;
  }

  async kill(name: string): Promise<void> {
    const child = this.#running.get(name);
    if (child === undefined) return;
    this.#running.delete(name);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  async close(): Promise<void> {
    this.engine.close();
    await Promise.all([...this.#running.keys()].map((name) => this.kill(name)));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #address(name: string): string {
    return `${this.#net}.${Number(name.split('-').at(-1)) + 1}`;
  }

  #parts(name: string) {
    const { archive } = this.#options;
    return etcdProfile.member({
      spec: this.#spec,
      settings: { image: 'raftsman', imagePullPolicy: 'Never' },
      host: this.#address(name),
      token: `token-${this.folder}`,
      config: 'e-config',
      disk: 'data',
      containerSecurityContext: {},
      ...(archive === undefined ? {} : { archive }),
    });
  }

  #resolved(name: string, { command, args, env }: Container) {
    const value = ({ value, valueFrom }: Container['env'][number]) => {
      const key = valueFrom?.configMapKeyRef?.key;
      if (value !== undefined) return value;
      if (key === undefined) return name;
      const found = this.config[key];
      if (found === undefined) throw new Error(`the ConfigMap says nothing of ${key}`);
      return found;
    };
    const values = Object.fromEntries(env.map((each) => [each.name, value(each)]));
    const placed = (text: string) =>
      text
        .replaceAll(/\$\((\w+)\)/g, (whole, variable: string) => values[variable] ?? whole)
        .replaceAll(dataFolder, this.disk(name))
        .replaceAll('0.0.0.0', this.#address(name));
    const program = command?.[0]?.replace('/usr/local/bin/', '') as keyof Pods['tools'] | undefined;
    return { command: program && this.tools[program], args: args.map(placed), env: values };
  }

  async #run(name: string, container: Container): Promise<Ended> {
    const { command, args, env } = this.#resolved(name, container);
    let output = '';
    const say = (text: string) => {
      output += text;
    };
    if (command === undefined) {
      const own = { RAFTSMAN_TERMINATION_LOG: join(this.folder, `${name}.termination`), RAFTSMAN_PROGRESS_PORT: '0' };
      const status = await runJob(args.slice(1), { ...env, ...own }, { stdout: say, stderr: say });
      return { status, output };
    }
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.setEncoding('utf8').on('data', say);
    child.stderr.setEncoding('utf8').on('data', say);
    const [status] = (await once(child, 'close')) as [number | null];
    return { status: status ?? -1, output };
  }
}

/** A volume store in a folder, as a container of our image gets at it. */
export function volumeStore(folder: string): { readonly env: Record<string, string>; readonly list: readonly Json[] } {
  const env = {
    RAFTSMAN_STORE: JSON.stringify({ volume: { claimName: 'claim' } }),
    RAFTSMAN_STORE_MOUNT: folder,
  };
  return { env, list: Object.entries(env).map(([name, value]) => ({ name, value })) };
}
