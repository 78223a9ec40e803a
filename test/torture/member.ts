/** One member: a process in a network namespace of its own, with a small disk of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';
import { run, tail } from '../kubernetes/command.ts';
import { Lock } from './lock.ts';
import type { Network } from './network.ts';

const root = join(import.meta.dirname, '../..');
const slowDisk = join(root, 'test/bench/slow-disk.ts');
const program = ['--disable-warning=ExperimentalWarning', join(root, 'src/main.ts'), 'node'];
/** Room for the log, snapshots and what the alarm keeps back, with some to spare. */
const diskMegabytes = 256;
/** As a kubelet would, though sooner. */
const restartAfterMs = 1000;
/** Handing over, ending calls and a slow disk take their time. */
const stopWithinMs = 30_000;
export const reportWithinMs = 2000;
/** A disk that was full may end a process that long afterwards. */
const fullForMs = 10_000;

/** Deaths that the disk explains. */
const noSpace = /ENOSPC|no space left/i;
const removed = /NODE_REMOVED/;
/** Whom nobody answers who could let it in. */
const notLetIn = /NODE_NO_ANSWER|NODE_NOT_A_MEMBER/;

export interface MemberOptions {
  readonly place: number;
  readonly network: Network;
  readonly folder: string;
  readonly flags: readonly string[];
  /** It ended, and nothing that was done to it explains why. */
  readonly onDeath: (member: Member, why: string) => void;
}

/** Members start many times: what is compiled is kept, by the one that ends by itself. */
const compiledIn = (folder: string): NodeJS.ProcessEnv => ({
  ...process.env,
  NODE_COMPILE_CACHE: join(folder, 'compiled'),
});

export async function compile(folder: string): Promise<void> {
  await run(process.execPath, [...program, '--help'], { env: compiledIn(folder) });
}

export class Member {
  readonly place: number;
  readonly name: string;
  readonly peerUrl: string;
  readonly clientUrl: string;
  readonly httpUrl: string;
  readonly log: string;
  readonly admin: EtcdClient;
  /** Held by whoever kills, stops, pauses or replaces it. */
  readonly process = new Lock();
  readonly linkSpeed = new Lock();
  readonly diskSpeed = new Lock();
  readonly diskSpace = new Lock();
  /** One that is being removed may end by itself, and one that joins may wait in vain. */
  phase: 'none' | 'joining' | 'serving' | 'leaving' = 'none';
  /** Counts processes. */
  lives = 0;
  deaths = 0;
  readonly #options: MemberOptions;
  readonly #disk: string;
  readonly #slowness: string;
  #process: ChildProcess | undefined;
  #flags: readonly string[] = [];
  #wanted = false;
  #fullUntil = 0;

  constructor(options: MemberOptions) {
    const { place, network, folder } = options;
    this.#options = options;
    this.place = place;
    this.name = `m${place}`;
    const address = network.address(place);
    this.clientUrl = `http://${address}:2379`;
    this.peerUrl = `http://${address}:2380`;
    this.httpUrl = `http://${address}:2381`;
    this.#disk = join(folder, 'disks', this.name);
    this.#slowness = join(folder, `${this.name}.fsync-ms`);
    this.log = join(folder, `${this.name}.log`);
    this.admin = new EtcdClient({ endpoints: [this.clientUrl], deadlineMs: 3000 });
  }

  async makeDisk(): Promise<void> {
    mkdirSync(this.#disk, { recursive: true });
    await run('mount', ['-t', 'tmpfs', '-o', `size=${diskMegabytes}m`, 'tmpfs', this.#disk]);
    this.slowDisk(0);
  }

  get isRunning(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** What it is told when it has no data yet; later it knows better. */
  set initial(flags: readonly string[]) {
    this.#flags = flags;
  }

  start(): void {
    this.#wanted = true;
    if (this.isRunning) return;
    this.lives++;
    const descriptor = openSync(this.log, 'a');
    const [enter, ...where] = this.#options.network.command(this.place);
    const child = spawn(enter!, [...where, process.execPath, ...program, ...this.#argv()], {
      stdio: ['ignore', descriptor, descriptor],
      env: {
        ...compiledIn(this.#options.folder),
        NODE_OPTIONS: `--disable-warning=ExperimentalWarning --import=${slowDisk} --report-on-signal --report-directory=${this.#options.folder}`,
        RAFTSMAN_BENCH_FSYNC_FILE: this.#slowness,
      },
    });
    closeSync(descriptor);
    this.#process = child;
    child.once('exit', () => {
      if (this.#process === child && this.#wanted) this.#onDeath();
    });
  }

  /** Resolves when the process has gone. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#wanted = false;
    const child = this.#process;
    if (!this.isRunning) return;
    const gone = new Promise<void>((resolve) => child!.once('exit', () => resolve()));
    child!.kill(signal);
    const late = setTimeout(() => {
      this.#options.onDeath(this, `it did not stop within ${stopWithinMs / 1000} s of ${signal}`);
      this.report();
      setTimeout(() => child!.kill('SIGKILL'), reportWithinMs);
    }, stopWithinMs);
    await gone;
    clearTimeout(late);
  }

  /** Has it write what it is waiting for into a file of the folder. */
  report(): void {
    if (this.isRunning) this.#process!.kill('SIGUSR2');
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (this.isRunning) this.#process!.kill(signal);
  }

  /** Only for one that is no member any more. */
  wipe(): void {
    rmSync(this.#data, { recursive: true, force: true });
  }

  /** Adds so much to each fsync. */
  slowDisk(milliseconds: number): void {
    writeFileSync(this.#slowness, `${milliseconds}`);
  }

  /** Leaves so many bytes. */
  async fillDisk(leave: number): Promise<void> {
    this.#fullUntil = Number.POSITIVE_INFINITY;
    const { bavail, bsize } = statfsSync(this.#disk);
    const bytes = bavail * bsize - leave;
    if (bytes > 0) await run('fallocate', ['-l', `${bytes}`, this.#filler]).catch(() => {});
  }

  freeDisk(): void {
    rmSync(this.#filler, { force: true });
    this.#fullUntil = performance.now() + fullForMs;
  }

  async isReady(): Promise<boolean> {
    const response = await fetch(`${this.httpUrl}/readyz`, { signal: AbortSignal.timeout(2000) });
    await response.arrayBuffer();
    return response.ok;
  }

  async keep(folder: string): Promise<void> {
    await cp(this.#data, join(folder, `${this.name}.data`), { recursive: true }).catch(() => {});
  }

  get #data(): string {
    return join(this.#disk, 'data');
  }

  get #filler(): string {
    return join(this.#disk, 'filler');
  }

  #argv(): string[] {
    return [
      `--name=${this.name}`,
      `--data-dir=${this.#data}`,
      `--listen-client-urls=${this.clientUrl}`,
      `--advertise-client-urls=${this.clientUrl}`,
      `--listen-peer-urls=${this.peerUrl}`,
      `--initial-advertise-peer-urls=${this.peerUrl}`,
      `--listen-metrics-urls=${this.httpUrl}`,
      ...this.#options.flags,
      ...this.#flags,
    ];
  }

  #onDeath(): void {
    this.deaths++;
    const said = tail(this.log, 3);
    const last = said.split('\n').at(-1) ?? '';
    const isFull = performance.now() < this.#fullUntil && noSpace.test(said);
    if (this.phase === 'leaving' && removed.test(last)) return;
    if (!isFull && !(this.phase === 'joining' && notLetIn.test(last))) {
      this.#options.onDeath(this, last);
      return;
    }
    void delay(restartAfterMs).then(() => {
      if (this.#wanted) this.start();
    });
  }
}
