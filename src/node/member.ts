/** One running member: its parts put together, from flags to serving, and taken down again. */
import { etcdError } from '../etcd/errors.ts';
import type { EtcdServer } from '../etcd/server.ts';
import type { Log } from '../log.ts';
import { membersOf } from '../raft/configuration.ts';
import { type MemberId, RaftError } from '../raft/types.ts';
import { diskRoom } from '../storage/disk.ts';
import type { AlarmAction } from './alarms.ts';
import { markRemoved, type OpenedMember, openMember } from './bootstrap.ts';
import { type MemberCertificates, openCertificates } from './certificates.ts';
import { serveClients } from './clients.ts';
import { DiskSpace } from './disk-space.ts';
import { Driver } from './driver.ts';
import { NodeError } from './errors.ts';
import { FirstElection } from './first-election.ts';
import type { NodeOptions } from './flags.ts';
import { type HttpServer, serveHttp } from './http.ts';
import type { MemberIdentity } from './identity.ts';
import { answerJoin, lostMember, removedMember } from './join.ts';
import { createBackend } from './kv.ts';
import { memberDriverOf } from './member-driver.ts';
import { type MemberDriver, Membership } from './membership.ts';
import { NodeMetrics } from './metrics.ts';
import { Quota, suggestedQuotaBytes } from './quota.ts';
import { Transport } from './transport.ts';

/** etcd's: five seconds, and time for two elections. */
const requestTimeoutOf = (electionMs: number): number => 5000 + 2 * electionMs;
const callsGraceMs = 1000;
/** Entries committed and not applied, beyond which clients are better served by another member. */
const maxApplyLag = 5000;
const handOverEveryMs = 10_000;

export class RunningMember {
  /** Settles when something failed that nothing can go on after. */
  readonly failed: Promise<unknown>;
  readonly identity: MemberIdentity;
  readonly #options: NodeOptions;
  readonly #log: Log;
  readonly #opened: OpenedMember;
  readonly #certificates: MemberCertificates;
  readonly #driver: Driver;
  readonly #memberDriver: MemberDriver;
  readonly #firstElection: FirstElection;
  readonly #transport: Transport;
  readonly #membership: Membership;
  readonly #quota: Quota;
  readonly #diskSpace: DiskSpace;
  readonly #fail: (error: unknown) => void;
  #etcd: EtcdServer | undefined;
  #http: HttpServer | undefined;
  #promotions: NodeJS.Timeout | undefined;
  #publishing = false;
  #publishTimer: NodeJS.Timeout | undefined;
  /** A linearizable read has gone through since the member started. */
  #caughtUp = false;
  #catchingUp = false;
  #stopping = false;
  /** On a full disk. */
  #handOverAfter = 0;
  #removed = false;

  static async start(options: NodeOptions, log: Log): Promise<RunningMember> {
    const metrics = new NodeMetrics();
    const failure = Promise.withResolvers<unknown>();
    const requestTimeoutMs = requestTimeoutOf(options.electionMs);
    const certificates = await openCertificates(options, log);
    let member: RunningMember | undefined;
    const opened = await openMember({
      options,
      certificates: certificates.peer,
      log,
      requestTimeoutMs,
      onDiskFailure: failure.resolve,
      onDiskWrite: (seconds, bytes) => {
        metrics.onDiskWrite(seconds, bytes);
        if (member) member.#diskSpace.onWritten(bytes);
      },
      onDiskFull: (error) => {
        if (member) member.#onDiskFull(error);
      },
    });
    member = new RunningMember(options, log, opened, certificates, failure);
    try {
      await member.#serve(metrics);
    } catch (error) {
      await member.stop();
      throw error;
    }
    return member;
  }

  private constructor(
    options: NodeOptions,
    log: Log,
    opened: OpenedMember,
    certificates: MemberCertificates,
    failure: PromiseWithResolvers<unknown>,
  ) {
    this.#options = options;
    this.#certificates = certificates;
    this.identity = opened.identity;
    this.#log = log;
    this.#opened = opened;
    this.failed = failure.promise;
    this.#fail = failure.resolve;
    const { clusterId, memberId, genesis } = opened.identity;
    const { wal, store, keyValues, restored } = opened;
    try {
      this.#driver = new Driver({
        raft: {
          id: memberId,
          electionTicks: Math.max(2, Math.round(options.electionMs / options.heartbeatMs)),
          heartbeatTicks: 1,
          random: Math.random,
          trailingLogs: options.snapshotCatchupEntries,
          leaseReads: options.leaseReads,
        },
        restored,
        wal,
        store,
        keyValues,
        log,
        tickMs: options.heartbeatMs,
        electionMs: options.electionMs,
        requestTimeoutMs: requestTimeoutOf(options.electionMs),
        snapshotCount: options.snapshotCount,
        snapshotPeriodMs: options.snapshotPeriodMs,
        onLeader: (leader) => this.#onLeader(leader),
        onConfiguration: () => this.#connect(),
        onFatal: failure.resolve,
      });
    } catch (error) {
      opened.lock.release();
      if (error instanceof RaftError)
        throw new NodeError('NODE_DATA_UNUSABLE', `${options.dataDir}: ${error.message}`, 1, error);
      throw error;
    }
    this.#memberDriver = memberDriverOf(this.#driver, opened.identity, () => this.#transport.connected());
    const campaign = (): void => this.#driver.campaign();
    this.#firstElection = new FirstElection({ driver: this.#memberDriver, campaign });
    this.#transport = new Transport(
      { clusterId, memberId, peerUrls: options.initialAdvertisePeerUrls, certificates: certificates.peer },
      {
        onMessage: (message) => this.#driver.receive(message),
        onUp: (_, welcome) => this.#onPeer(welcome.knowsYou),
        onDown: (peer) => this.#driver.onUnreachable(peer),
        onEnded: (peer) => this.#driver.onEnded(peer),
        onSnapshot: (from, channel) => this.#driver.snapshots.receive(from, channel),
        knows: (id) => keyValues.book.hasStarted(id),
        wasRemoved: (id) => keyValues.book.wasRemoved(id),
        onRemoved: (by) => this.#onRemoved(by),
        onJoin: (request) => answerJoin(request, opened.identity, keyValues, this.#memberDriver),
      },
      log,
    );
    this.#membership = new Membership({
      driver: this.#memberDriver,
      keyValues,
      log,
      token: genesis.token,
      maxLearners: options.maxLearners,
      timeoutMs: requestTimeoutOf(options.electionMs),
      retryMs: options.heartbeatMs / 2,
    });
    const space = { keyValues, driver: this.#memberDriver, log };
    this.#quota = new Quota({ ...space, bytes: options.quotaBackendBytes, isStuck: () => wal.isStuck });
    this.#diskSpace = new DiskSpace({ ...space, wal, look: () => diskRoom(options.dataDir) });
  }

  get clientUrls(): readonly string[] {
    return this.#etcd?.urls ?? [];
  }

  /** Ends running calls, then everything else. What was acknowledged is durable before this is called. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#firstElection.end();
    clearInterval(this.#promotions);
    clearTimeout(this.#publishTimer);
    // Clients lose less than an election then; those of a removed member need not wait for what can not come.
    if (this.#removed) this.#driver.proposals.failAll(etcdError('ETCD_STOPPED'));
    else await this.#membership.handOver();
    await this.#etcd?.close(callsGraceMs);
    await this.#http?.close();
    this.#diskSpace.stop();
    this.#opened.wal.stopWaiting();
    await this.#driver.stop();
    this.#driver.proposals.failAll(etcdError('ETCD_STOPPED'));
    this.#driver.reads.failAll(etcdError('ETCD_STOPPED'));
    this.#opened.keyValues.stop();
    await this.#transport.close();
    for (const certificates of Object.values(this.#certificates)) certificates?.stop();
    await this.#opened.wal.close();
    this.#opened.lock.release();
  }

  async #serve(metrics: NodeMetrics): Promise<void> {
    const { keyValues, isNew, restored } = this.#opened;
    const { listenClientUrls, listenPeerUrls, listenMetricsUrls, name } = this.#options;
    const membership = this.#membership;
    const [quota, diskSpace, certificates] = [this.#quota, this.#diskSpace, this.#certificates];
    const clients = { refusedConnections: 0 };
    const [driver, transport] = [this.#driver, this.#transport];
    metrics.observe({ driver, keyValues, transport, membership, quota, diskSpace, certificates, clients });
    this.#http = await serveHttp(listenMetricsUrls, this.#health(), metrics, () =>
      this.#driver.snapshots.snapshotter.take(),
    );
    await this.#transport.start(listenPeerUrls);
    this.#driver.start(this.#transport);
    keyValues.watchMembers(() => this.#onMembers());
    this.#onMembers();
    keyValues.watchAlarms((action) => this.#onAlarm(action));
    if (quota.bytes > suggestedQuotaBytes)
      this.#log.warn('the quota is larger than is suggested', { quotaBytes: quota.bytes, suggestedQuotaBytes });
    diskSpace.start();
    this.#promotions = setInterval(() => membership.promoteReady(), this.#options.heartbeatMs);
    this.#etcd = await serveClients({
      backend: createBackend(keyValues, this.#memberDriver, membership, quota),
      listenUrls: listenClientUrls,
      certificates: certificates.client,
      counters: clients,
      log: this.#log,
    });
    this.#log.info('member started', {
      name,
      memberId: this.identity.memberId,
      clusterId: this.identity.clusterId,
      isNew,
      snapshotIndex: restored.snapshot.index,
      entries: restored.entries.length,
      revision: keyValues.revision,
      clients: this.#etcd.urls,
    });
  }

  /** Without a leader it fails, and is tried again when there is one. */
  #catchUp(): void {
    if (this.#caughtUp || this.#catchingUp || this.#stopping || this.#driver.leader === null) return;
    this.#catchingUp = true;
    this.#driver.reads
      .linearize()
      .then(
        () => this.#markCaughtUp(),
        // It may take longer than a read is given: a snapshot that is installed, a long log that is applied.
        () => {},
      )
      .finally(() => {
        this.#catchingUp = false;
        this.#catchUp();
      });
  }

  #markCaughtUp(): void {
    if (this.#caughtUp) return;
    this.#caughtUp = true;
    this.#log.info('ready', { revision: this.#opened.keyValues.revision });
  }

  #onLeader(leader: string | null): void {
    if (leader === null) return;
    this.#firstElection.end();
    void this.#publish();
    this.#catchUp();
  }

  /** Makes name and client URLs known, unless they are. */
  async #publish(): Promise<void> {
    const { keyValues } = this.#opened;
    const { memberId } = this.identity;
    const { name, advertiseClientUrls: clientUrls } = this.#options;
    const known = keyValues.book.members.get(memberId);
    const isKnown = known?.name === name && known.clientUrls.join() === clientUrls.join();
    if (this.#publishing || this.#stopping || isKnown) return;
    this.#publishing = true;
    try {
      await keyValues.publish(this.#memberDriver, { memberId, name, clientUrls });
    } catch (error) {
      this.#log.warn('could not publish the client addresses yet', { error });
      if (!this.#stopping) this.#publishTimer = setTimeout(() => void this.#publish(), 1000);
    } finally {
      this.#publishing = false;
    }
  }

  #onPeer(knowsUs: boolean): void {
    const { isNew, keyValues } = this.#opened;
    // Whoever was out of reach when this data directory was made may know better now.
    if (
      knowsUs &&
      isNew &&
      !this.#publishing &&
      keyValues.appliedIndex === this.#opened.restored.snapshot.index &&
      this.#driver.leader === null
    ) {
      const { name, dataDir } = this.#options;
      this.#fail(lostMember(`another member says that ${name} has taken part in this cluster`, dataDir));
      return;
    }
    this.#firstElection.begin();
  }

  /**
   * A leader whose log waits can commit by the others and apply nothing itself, so that nobody would hear of it: one of them
   * takes over. Asked for again, since they may be no better off, or out of reach.
   */
  #onDiskFull(error: Error): void {
    if (this.#stopping) return;
    this.#diskSpace.onFull(error);
    if (!this.#diskSpace.isStuck || performance.now() < this.#handOverAfter) return;
    this.#handOverAfter = performance.now() + handOverEveryMs;
    void this.#membership.handOver();
  }

  #onAlarm(action: AlarmAction): void {
    const { areRaised } = this.#opened.keyValues.alarms;
    const state = areRaised
      ? action.type === 'raise'
        ? 'space ran out: puts are refused, deletes are not'
        : 'an alarm has ended and another stands: puts are refused still'
      : 'there is space again: puts are taken';
    this.#log.warn(state, { ...action });
  }

  /** The book or the configuration changed: whom to be connected with follows both. */
  #onMembers(): void {
    this.#connect();
    if (this.#opened.keyValues.book.wasRemoved(this.identity.memberId)) this.#onRemoved(this.identity.memberId);
  }

  #connect(): void {
    const { book } = this.#opened.keyValues;
    const peers = new Map<MemberId, readonly string[]>();
    for (const [id, { peerUrls }] of book.members) peers.set(id, peerUrls);
    // One that is being added may be needed to commit its own addition.
    for (const id of membersOf(this.#driver.configuration)) {
      const address = this.#driver.addresses.of(id);
      if (!peers.has(id) && !book.wasRemoved(id) && address) peers.set(id, address);
    }
    peers.delete(this.identity.memberId);
    this.#transport.connect(peers);
  }

  /** `by`: who says so; this member itself when it has applied its own removal. */
  #onRemoved(by: MemberId): void {
    if (this.#removed) return;
    this.#removed = true;
    const { memberId } = this.identity;
    this.#log.warn('removed from the cluster', { by });
    const failed = (): void => this.#fail(removedMember(memberId, this.#options.dataDir));
    markRemoved(this.#opened.paths).then(failed, (error: unknown) => {
      this.#log.warn('could not note the removal', { error });
      failed();
    });
  }

  #health() {
    const { keyValues } = this.#opened;
    return {
      alarms: () => (keyValues.alarms.areRaised || this.#diskSpace.isStuck ? ['NOSPACE'] : []),
      hasLeader: () => this.#driver.leader !== null,
      linearize: () => this.#driver.reads.linearize(),
      notReady: (): string | undefined => {
        if (this.#stopping) return 'the member stops';
        if (this.#driver.leader === null) return 'no leader is known';
        if (!this.#caughtUp) return 'the member has not caught up with the cluster yet';
        const lag = this.#driver.commit - keyValues.appliedIndex;
        if (lag > 0 && this.#diskSpace.isStuck) return 'the disk is full, and the member does not follow the others';
        return lag > maxApplyLag ? `${lag} committed entries are not applied yet` : undefined;
      },
      notAlive: () => undefined,
    };
  }
}
