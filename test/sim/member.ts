/** One member of a simulated cluster: the product's own parts, put together as node/member.ts does, on a machine that is none. */
import { etcdError } from '../../src/etcd/errors.ts';
import type { Log, Pairs } from '../../src/log.ts';
import type { OpenedData } from '../../src/node/bootstrap.ts';
import type { Driver, Outgoing } from '../../src/node/driver.ts';
import type { NodeOptions } from '../../src/node/flags.ts';
import type { MemberIdentity } from '../../src/node/identity.ts';
import type { KeyValues } from '../../src/node/kv.ts';
import type { MemberDriver, Membership } from '../../src/node/membership.ts';
import type { MemberId, RaftCommand } from '../../src/raft/types.ts';
import type { DataPaths } from '../../src/storage/data-dir.ts';
import { MemoryDisk } from '../storage/memory-disk.ts';
import { Life } from './clock.ts';
import { CoreLog } from './core-log.ts';
import { DurableLog } from './durable.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

const root = '/data';
/** As in node/member.ts, where it is tied to the election timeout as well. */
const requestTimeoutOf = (electionMs: number): number => 500 + 2 * electionMs;
const publishAgainMs = 300;
const fullPauseMs = 200;
/** A calendar may be off by an hour, and another hour after a restart. */
const skewMs = 3_600_000;
const handOverEveryMs = 1000;
const promoteEveryMs = 200;

/** Before anything is read from its disk. */
const emptyLog = {
  snapshot: { index: 0, term: 0, configurationIndex: 0 },
  entries: [],
} as unknown as OpenedData['restored'];

/** What goes when its process ends. */
export interface Running {
  readonly wal: OpenedData['wal'];
  readonly driver: Driver;
  readonly keyValues: KeyValues;
  readonly membership: Membership;
  readonly memberDriver: MemberDriver;
  readonly identity: MemberIdentity;
}

export class Member {
  readonly name: string;
  readonly url: string;
  readonly options: NodeOptions;
  /** Once it is known: a new member is told. */
  id: MemberId | undefined;
  disk: MemoryDisk;
  readonly durable: DurableLog;
  log = new CoreLog(emptyLog);
  life: Life | undefined;
  running: Running | undefined;
  /** Removed from the cluster: its machine is given away. */
  isGone = false;
  isStopping = false;
  /** A bit of what is on its disk has turned over. */
  isDamaged = false;
  diskSlowMs = 0;
  readonly #world: World;
  readonly #place: number;
  readonly #paths: DataPaths;
  #isPublishing = false;
  #handOverAfter = 0;

  constructor(world: World, place: number, options: NodeOptions, id: MemberId | undefined) {
    this.#world = world;
    this.#place = place;
    this.name = options.name;
    this.url = options.initialAdvertisePeerUrls[0]!;
    this.options = options;
    this.id = id;
    this.#paths = world.product.dataDir.dataPaths(root);
    this.disk = new MemoryDisk({ journal: false, pause: ({ type }, when) => this.#diskPause(type, when) });
    this.durable = new DurableLog({
      onVote: (term, vote) => world.guard(() => world.invariants.voted(this.id, term, vote)),
      onMark: (mark) => world.guard(() => world.invariants.marked(this.name, mark)),
    });
  }

  get driver(): Driver {
    return this.running!.driver;
  }

  /** A process begins. */
  start(): void {
    if (this.life || this.isGone) return;
    const { clock, chance, climate } = this.#world;
    const skew = (2 * chance.next() - 1) * skewMs;
    const life = new Life(this.#place, 1 + (2 * chance.next() - 1) * climate.drift, skew);
    this.life = life;
    clock.after(0, life, () => {
      this.#boot(life).catch((error: unknown) => this.#world.stopped(this, error));
    });
  }

  /** The process ends: nothing that it was about to do happens. */
  end(): Life | undefined {
    const { life } = this;
    if (life) life.ended = true;
    this.life = undefined;
    this.running = undefined;
    this.isStopping = false;
    this.#isPublishing = false;
    return life;
  }

  /** In good order, as node/member.ts does. */
  async stop(): Promise<void> {
    this.isStopping = true;
    const { wal, driver, keyValues, membership } = this.running!;
    await membership.handOver();
    wal.stopWaiting();
    await driver.stop();
    driver.proposals.failAll(etcdError('ETCD_STOPPED'));
    driver.reads.failAll(etcdError('ETCD_STOPPED'));
    keyValues.stop();
    await wal.close();
  }

  async #boot(life: Life): Promise<void> {
    const world = this.#world;
    const { product, climate } = world;
    const disk = this.durable.watch(this.disk);
    await disk.makeFolder(root);
    await disk.syncFolder('/');
    const requestTimeoutMs = requestTimeoutOf(world.electionMs);
    const log = this.#log();
    const open = {
      options: this.options,
      log,
      requestTimeoutMs,
      onDiskFailure: (error: Error) => world.stopped(this, error),
      onDiskWrite: () => {},
      onDiskFull: () => this.#onDiskFull(),
      ground: {
        disk,
        segmentBytes: climate.segmentBytes,
        allocationBytes: climate.allocationBytes,
        pauseWhenFull: () => world.clock.pass(fullPauseMs),
      },
      process: world.nextProcess++,
    };
    const paths = this.#paths;
    await product.dataDir.settleRoot(paths, disk);
    if (!(await product.dataDir.holdsMember(paths, disk))) {
      await product.bootstrap.makeDataDir(paths, await this.#identity(), open);
    }
    const opened = await product.bootstrap.readDataDir(paths, open);
    if (life.ended) return;
    this.id = opened.identity.memberId;
    this.log = new CoreLog(opened.restored);
    this.#run(opened, log, requestTimeoutMs, disk);
  }

  async #identity(): Promise<MemberIdentity> {
    if (this.options.initialClusterState === 'new') return this.#world.product.identity.identityOf(this.options);
    const identity = await this.#world.join(this);
    this.id = identity.memberId;
    return identity;
  }

  #run(opened: OpenedData, log: Log, requestTimeoutMs: number, disk: ReturnType<DurableLog['watch']>): void {
    const world = this.#world;
    const { product, climate } = world;
    const { wal, store, keyValues, restored, identity } = opened;
    const { electionTicks, leaseReads, trailingLogs, maxMessageBytes, maxInflightMessages } = climate;
    const limits = { electionTicks, leaseReads, trailingLogs, maxMessageBytes, maxInflightMessages };
    const driver = new product.driver.Driver({
      raft: { id: identity.memberId, heartbeatTicks: 1, random: () => world.chance.next(), ...limits },
      restored,
      wal,
      store,
      keyValues,
      log,
      tickMs: climate.tickMs,
      electionMs: world.electionMs,
      requestTimeoutMs,
      snapshotCount: climate.snapshotCount,
      snapshotPeriodMs: climate.snapshotPeriodMs,
      onLeader: (leader) => {
        if (leader !== null) this.#publish();
      },
      onConfiguration: () => {},
      onFatal: (error) => world.stopped(this, error),
      observe: (command) => this.#observe(command),
    });
    const memberDriver = product.memberDriver.memberDriverOf(driver, identity, () => world.connected(this));
    const membership = new product.membership.Membership({
      driver: memberDriver,
      keyValues,
      log,
      token: identity.genesis.token,
      maxLearners: 2,
      timeoutMs: requestTimeoutMs,
      retryMs: climate.tickMs / 2,
    });
    this.running = { wal, driver, keyValues, membership, memberDriver, identity };
    driver.start(this.#outgoing());
    new product.firstElection.FirstElection({ driver: memberDriver, campaign: () => driver.campaign() }).begin();
    let isRemoved = false;
    const onMembers = (): void => {
      if (isRemoved || !keyValues.book.wasRemoved(identity.memberId)) return;
      isRemoved = true;
      const gone = (): void => world.retire(this);
      product.bootstrap.markRemoved(this.#paths, disk).then(gone, gone);
    };
    keyValues.watchMembers(onMembers);
    onMembers();
    setInterval(() => membership.promoteReady(), promoteEveryMs);
    world.started(this);
  }

  #observe(command: RaftCommand): void {
    const world = this.#world;
    world.guard(() => world.invariants.observe(this, command));
    switch (command.type) {
      case 'roleChanged':
        world.clock.mark(command.term);
        if (command.role === 'leader') world.note(() => `${this.name} leads term ${command.term}`);
        break;
      case 'configurationChanged':
        world.note(
          () => `${this.name} counts ${world.describe(command.configuration)} (at ${command.configurationIndex})`,
        );
        break;
      case 'installSnapshot':
        world.note(() => `${this.name} installs a snapshot at ${command.meta.index}`);
        break;
      case 'apply':
        world.clock.mark(command.entries.at(-1)!.index);
        world.noteApplied(this, command.entries);
        break;
    }
  }

  #outgoing(): Outgoing {
    const world = this.#world;
    const { network, product } = world;
    const from = this.id!;
    let waiting: {
      readonly to: MemberId;
      readonly type: Parameters<Outgoing['send']>[0]['type'];
      readonly frame: Buffer;
    }[] = [];
    return {
      send: (message) => {
        world.guard(() => world.invariants.sent(this, message));
        if (!world.takes(this, message.to)) return false;
        waiting.push({ to: message.to, type: message.type, frame: product.codec.encodeMessage(message) });
        return true;
      },
      flush: () => {
        const sent = waiting;
        waiting = [];
        for (const { to, type, frame } of sent) network.send(from, to, type, frame);
      },
      openSnapshotChannel: (to) => world.openChannel(this, to),
    };
  }

  /** As in node/member.ts. */
  #onDiskFull(): void {
    const { running } = this;
    const { now } = this.#world.clock;
    this.#world.count('disk was full');
    if (!running?.wal.isStuck || now < this.#handOverAfter) return;
    this.#handOverAfter = now + handOverEveryMs;
    void running.membership.handOver();
  }

  /** Makes its name known, which says that it has started. */
  #publish(): void {
    const { running, name, id: memberId } = this;
    if (!running || !memberId || this.#isPublishing || running.keyValues.book.members.get(memberId)?.name === name)
      return;
    this.#isPublishing = true;
    running.keyValues
      .publish(running.memberDriver, { memberId, name, clientUrls: [] })
      .catch(() => {
        if (this.running === running) setTimeout(() => this.#publish(), publishAgainMs);
      })
      .finally(() => {
        this.#isPublishing = false;
      });
  }

  #diskPause(type: string, when: 'before' | 'after'): Promise<void> {
    const { clock, chance, climate } = this.#world;
    if (this.diskSlowMs > 0 && when === 'before') return clock.pass(this.diskSlowMs * (0.5 + chance.next()));
    if (type === 'list' || type === 'read' || type === 'open') return Promise.resolve();
    // Between a write and its sync there always is one.
    const isSync = type === 'sync' || type === 'syncFolder';
    if (!(isSync && when === 'before') && chance.below(4) > 0) return Promise.resolve();
    return clock.pass(climate.diskMs * (0.2 + 1.6 * chance.next()) * (isSync ? 1 : 0.1));
  }

  #log(): Log {
    const note =
      (level: string) =>
      (message: string, pairs: Pairs = {}): void =>
        this.#world.note(() => `${this.name} ${level}: ${message}${told(pairs)}`);
    const log: Log = { debug: () => {}, info: () => {}, warn: note('warns'), error: note('says'), with: () => log };
    return log;
  }

  /** For whoever must not forget a mistake of the product behind a member that just stops. */
  violation(error: unknown): Violation {
    const why = error instanceof Error ? `${error.message}${codeOf(error)}` : String(error);
    return new Violation(`${this.name} stops: ${why}`);
  }
}

const codeOf = (error: Error): string => ('code' in error ? ` (${String(error.code)})` : `\n${error.stack}`);

function told(pairs: Pairs): string {
  const parts = Object.entries(pairs).map(([name, value]) =>
    value instanceof Error ? `${name}: ${value.message}` : `${name} ${JSON.stringify(value)}`,
  );
  return parts.length > 0 ? ` (${parts.join(', ')})` : '';
}
