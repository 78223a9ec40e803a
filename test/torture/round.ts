/**
 * One round: a cluster, clients and faults, and what comes of it. The main program of the namespaces that sandbox.ts makes; when
 * it ends, everything in them does.
 */
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RequestOp } from '../../src/etcd/gen/rpc.ts';
import { Chance } from '../soak/random.ts';
import { Chaos } from './chaos.ts';
import { check, checkOrder } from './checker.ts';
import { Cluster } from './cluster.ts';
import { differences, lastLook } from './last-look.ts';
import { Load } from './load.ts';
import { reportWithinMs } from './member.ts';
import { Network } from './network.ts';
import type { Comeback, RoundOptions, RoundResult } from './result.ts';

const clientCount = 12;
const checkEveryMs = 20_000;
/** From the end of the faults until every member is back and has caught up. */
const backWithinMs = 90_000;
/** Keys that nobody touches again, so that snapshots are of some size. */
const ballast = { keys: 2000, valueBytes: 1000, perTransaction: 100 } as const;

/** The same cluster is tried with few and with many entries between snapshots, and with little and much left for who lags. */
function flagsOf(chance: Chance): string[] {
  const [heartbeat, election] = chance.pick([
    [50, 500],
    [100, 1000],
  ] as const);
  return [
    '--initial-cluster-token=torture',
    `--snapshot-count=${chance.pick([50, 300, 2000])}`,
    `--snapshot-catchup-entries=${chance.pick([0, 20, 500])}`,
    `--snapshot-period=${chance.pick(['0s', '0s', '2s'])}`,
    `--heartbeat-interval=${heartbeat}`,
    `--election-timeout=${election}`,
  ];
}

async function fill(cluster: Cluster): Promise<void> {
  const value = Buffer.alloc(ballast.valueBytes, 'b');
  for (let first = 0; first < ballast.keys; first += ballast.perTransaction) {
    const success = Array.from({ length: ballast.perTransaction }, (_, n) => {
      const key = Buffer.from(`ballast/${first + n}`);
      return RequestOp.fromPartial({ request: { $case: 'requestPut', value: { key, value } } });
    });
    await cluster.all[0]!.admin.txn({ success }, { deadlineMs: 10_000 });
  }
}

class Round {
  readonly #options: RoundOptions;
  readonly #problems: string[] = [];
  readonly #failed = Promise.withResolvers<void>();
  readonly #network: Network;
  readonly #cluster: Cluster;
  readonly #flags: readonly string[];
  readonly #load: Load;
  readonly #chaos: Chaos;
  #checked = 0;

  static async run(options: RoundOptions): Promise<RoundResult> {
    const network = await Network.create(options.members + 1);
    const flags = flagsOf(new Chance(options.seed));
    const dead: string[] = [];
    let onDeath = (why: string): unknown => dead.push(why);
    const cluster = await Cluster.form({
      size: options.members,
      network,
      folder: options.folder,
      flags,
      onDeath: (member, why) => onDeath(`${member.name} ended by itself, or not when it was to: ${why}`),
    });
    await fill(cluster);
    const round = new Round(options, network, cluster, flags);
    onDeath = (why) => round.#fail(why);
    for (const why of dead) round.#fail(why);
    return round.#run();
  }

  private constructor(options: RoundOptions, network: Network, cluster: Cluster, flags: readonly string[]) {
    this.#options = options;
    this.#network = network;
    this.#cluster = cluster;
    this.#flags = flags;
    const { seed, folder } = options;
    const onViolation = (what: string): void => this.#fail(what);
    this.#load = new Load({ clients: clientCount, seed, folder, places: () => cluster.places, onViolation });
    const { now } = this.#load;
    const onFailure = (error: unknown): void => this.#fail(`the test failed: ${(error as Error).stack}`);
    this.#chaos = new Chaos({ cluster, network, seed, now, onFailure });
  }

  async #run(): Promise<RoundResult> {
    const comebacks: Comeback[] = [];
    try {
      await this.#endure();
      comebacks.push(...(await this.#comeBack()));
      await this.#compare();
    } catch (error) {
      // What was found first is what matters.
      if (this.#problems.length === 0) this.#fail((error as Error).message);
    }
    this.#load.abandon();
    if (this.#problems.length > 0) await this.#keep();
    return this.#result(comebacks);
  }

  #fail(problem: string): void {
    if (this.#problems.length < 20) this.#problems.push(problem);
    this.#failed.resolve();
  }

  #expectGood(): void {
    if (this.#problems.length > 0) throw new Error('the round was ended early');
  }

  async #endure(): Promise<void> {
    const end = performance.now() + this.#options.seconds * 1000;
    for (let left = 1; left > 0; ) {
      left = end - performance.now();
      await Promise.race([delay(Math.max(0, Math.min(left, checkEveryMs))), this.#failed.promise]);
      await this.#check();
      this.#say();
      this.#expectGood();
    }
  }

  /** What is complete by now. */
  async #check(): Promise<void> {
    const batch = this.#load.groups.rotate();
    if (batch === undefined) return;
    if (await this.#judge(batch)) rmSync(batch);
  }

  async #judge(file: string): Promise<boolean> {
    const { program, folder } = this.#options;
    const { histories, doubts } = await check(program, file, folder);
    for (const { name, verdict, tail = [] } of doubts) {
      const what = verdict === 'Illegal' ? 'is not linearizable' : 'could not be checked in time';
      this.#fail(`the history ${name} ${what}:\n  ${tail.join('\n  ')}`);
    }
    this.#checked += histories;
    return doubts.length === 0;
  }

  /** The faults are over: every member has to serve again, and to have what the others have. */
  async #comeBack(): Promise<Comeback[]> {
    await this.#chaos.end();
    const from = performance.now();
    const late = (): string => this.#cluster.serving.map(({ name }) => name).join(', ');
    const within = delay(backWithinMs, 'late' as const, { ref: false });
    const whole = Promise.race([this.#chaos.settled(), within, this.#failed.promise]);
    if ((await whole) === 'late') throw new Error(`who was being replaced never got on; serving: ${late()}`);
    const back = await Promise.all(
      this.#cluster.serving.map(async (member): Promise<Comeback> => {
        await this.#cluster.until(`${member.name} is back`, backWithinMs, () => member.isReady());
        const seconds = (performance.now() - from) / 1000;
        return { name: member.name, lives: member.lives, seconds, ...storyOf(member.log) };
      }),
    );
    await this.#cluster.until('no alarm stands', backWithinMs, async () => {
      const { alarms } = await this.#cluster.serving[0]!.admin.alarms();
      return alarms.length === 0;
    });
    const before = this.#load.acknowledged;
    await this.#cluster.until('clients write again', backWithinMs, async () => this.#load.acknowledged > before + 20);
    this.#expectGood();
    return back;
  }

  async #compare(): Promise<void> {
    const { groups, now } = this.#load;
    const stopped = this.#load.stop().then(() => 'stopped' as const);
    stopped.catch(() => {});
    const first = await Promise.race([stopped, delay(backWithinMs, undefined, { ref: false })]);
    if (first !== 'stopped') throw new Error('the clients could not end: a group was not to be read');
    await this.#check();
    const look = await lastLook(this.#cluster, clientCount, now);
    for (const problem of look.problems) this.#fail(problem);
    for (const problem of differences('in the end', look.contents, groups.settled)) this.#fail(problem);
    const last = join(this.#options.folder, 'last.jsonl');
    writeFileSync(last, '');
    for await (const history of groups.withLastRead(look.read)) appendFileSync(last, `${JSON.stringify(history)}\n`);
    await this.#judge(last);
    const strangers = [...look.contents.keys()].filter((group) => !groups.isKnown(group));
    if (strangers.length > 0) this.#fail(`keys that nobody wrote: ${strangers.slice(0, 10).join(', ')}`);
    const touched = look.keys - [...look.contents.values()].flat().length;
    if (touched !== ballast.keys) this.#fail(`${touched} of the ${ballast.keys} keys of the beginning are there`);
    const { wrong } = await checkOrder(this.#options.program, groups.answers);
    for (const line of wrong) this.#fail(`revisions do not agree with the clock: ${line}`);
  }

  #say(): void {
    const seconds = Math.round(this.#load.now() / 1e6);
    const calls = [...this.#load.tally.values()].reduce(
      (sum, one) => sum + one.answered + one.refused + one.unknown,
      0,
    );
    const state = this.#cluster.all.map(({ name, phase, isRunning }) => `${name} ${isRunning ? phase : `(${phase})`}`);
    process.stderr.write(
      `  ${seconds} s: ${calls} calls, ${this.#load.acknowledged} writes, ${this.#checked} histories checked; ` +
        `${state.join(', ')}; ${this.#chaos.running.join(', ') || 'all quiet'}\n`,
    );
  }

  /** For people to look at: histories, logs and pictures are in the folder already. */
  async #keep(): Promise<void> {
    const { folder } = this.#options;
    for (const member of this.#cluster.all) member.report();
    writeFileSync(join(folder, 'connections.txt'), await this.#network.connections());
    await delay(reportWithinMs);
    await Promise.race([this.#chaos.end(), delay(backWithinMs)]);
    await this.#cluster.stop();
    const kept = join(folder, 'data');
    await mkdir(kept, { recursive: true });
    for (const member of this.#cluster.all) await member.keep(kept);
    writeFileSync(join(folder, 'events.json'), `${JSON.stringify(this.#chaos.events, undefined, 1)}\n`);
  }

  #result(comebacks: readonly Comeback[]): RoundResult {
    const { seed, members, seconds } = this.#options;
    const { outage, groups } = this.#load;
    return {
      seed,
      members,
      seconds,
      flags: this.#flags,
      problems: this.#problems,
      operations: Object.fromEntries(this.#load.tally),
      faults: Object.fromEntries(this.#chaos.tally),
      acknowledged: this.#load.acknowledged,
      outageSeconds: (outage.to - outage.from) / 1e6,
      outageAt: outage.from / 1e6,
      outageDuring: this.#chaos.during(outage.from, outage.to),
      comebacks,
      checks: this.#checked,
      settled: groups.settled.size,
      unsettled: groups.unsettled.size,
    };
  }
}

/** How a member got on, by its own words. */
function storyOf(log: string): Pick<Comeback, 'snapshotsTaken' | 'snapshotsInstalled' | 'tornTails'> {
  const text = readFileSync(log, 'utf8');
  const count = (message: string): number => text.split(`"${message}"`).length - 1;
  return {
    snapshotsTaken: count('took a snapshot'),
    snapshotsInstalled: count('replaced the state by a snapshot'),
    tornTails: count('cut an unfinished write off the log'),
  };
}

const options = JSON.parse(process.argv[2]!) as RoundOptions;
// Whoever started this holds its end of the pipe: without them nobody wants it any more.
process.stdin.on('end', () => process.exit(130)).resume();
const write = (result: Partial<RoundResult>): void =>
  writeFileSync(join(options.folder, 'result.json'), JSON.stringify(result, undefined, 1));
try {
  write(await Round.run(options));
  process.exit(0);
} catch (error) {
  write({ problems: [`the round did not begin: ${(error as Error).stack}`] });
  process.exit(1);
}
