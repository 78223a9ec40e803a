/** One running member: its parts put together, from flags to serving, and taken down again. */
import { etcdError } from '../etcd/errors.ts';
import type { Member } from '../etcd/gen/rpc.ts';
import { decimalId } from '../etcd/ids.ts';
import { type EtcdServer, serveEtcd } from '../etcd/server.ts';
import type { Log } from '../log.ts';
import { quorumSize } from '../raft/configuration.ts';
import { RaftError } from '../raft/types.ts';
import { type OpenedMember, openMember } from './bootstrap.ts';
import { Driver } from './driver.ts';
import { NodeError, type NodeOptions } from './flags.ts';
import { type HttpServer, serveHttp } from './http.ts';
import { type ClusterIdentity, compareIds, identityOf } from './identity.ts';
import { createBackend, type MemberDriver } from './kv.ts';
import { NodeMetrics } from './metrics.ts';
import { Transport } from './transport.ts';

/** etcd's: five seconds, and time for two elections. */
const requestTimeoutOf = (electionMs: number): number => 5000 + 2 * electionMs;
const callsGraceMs = 1000;
/** Entries committed and not applied, beyond which clients are better served by another member. */
const maxApplyLag = 5000;
const nudgeEveryMs = 100;
const nudgeForMs = 3000;

export class RunningMember {
  /** Settles when something failed that nothing can go on after. */
  readonly failed: Promise<unknown>;
  readonly identity: ClusterIdentity;
  readonly #options: NodeOptions;
  readonly #log: Log;
  readonly #opened: OpenedMember;
  readonly #driver: Driver;
  readonly #transport: Transport;
  #etcd: EtcdServer | undefined;
  #http: HttpServer | undefined;
  #nudge: NodeJS.Timeout | undefined;
  #publishing = false;
  #publishTimer: NodeJS.Timeout | undefined;
  /** A linearizable read has gone through since the member started. */
  #caughtUp = false;
  #stopping = false;

  static async start(options: NodeOptions, log: Log): Promise<RunningMember> {
    const identity = identityOf(options);
    const metrics = new NodeMetrics();
    const failure = Promise.withResolvers<unknown>();
    const requestTimeoutMs = requestTimeoutOf(options.electionMs);
    const opened = await openMember({
      options,
      identity,
      log,
      requestTimeoutMs,
      onDiskFailure: failure.resolve,
      onDiskWrite: (seconds, bytes) => metrics.onDiskWrite(seconds, bytes),
    });
    const member = new RunningMember(options, identity, log, opened, failure);
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
    identity: ClusterIdentity,
    log: Log,
    opened: OpenedMember,
    failure: PromiseWithResolvers<unknown>,
  ) {
    this.#options = options;
    this.identity = identity;
    this.#log = log;
    this.#opened = opened;
    this.failed = failure.promise;
    const { wal, store, keyValues, restored } = opened;
    try {
      this.#driver = new Driver({
        raft: {
          id: identity.self.id,
          electionTicks: Math.max(2, Math.round(options.electionMs / options.heartbeatMs)),
          heartbeatTicks: 1,
          random: Math.random,
          trailingLogs: options.snapshotCatchupEntries,
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
        onFatal: failure.resolve,
      });
    } catch (error) {
      opened.lock.release();
      if (error instanceof RaftError)
        throw new NodeError('NODE_DATA_UNUSABLE', `${options.dataDir}: ${error.message}`, 1, error);
      throw error;
    }
    this.#transport = new Transport(
      identity,
      {
        onMessage: (message) => this.#driver.receive(message),
        onUp: (_, welcome) => this.#onPeer(welcome.knowsYou, failure),
        onDown: (peer) => this.#driver.onUnreachable(peer),
        onSnapshot: (from, channel) => this.#driver.snapshots.receive(from, channel),
        knows: (id) => keyValues.attributes.has(id),
      },
      log,
    );
  }

  get clientUrls(): readonly string[] {
    return this.#etcd?.urls ?? [];
  }

  /** Ends running calls, then everything else. What was acknowledged is durable before this is called. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    clearInterval(this.#nudge);
    clearTimeout(this.#publishTimer);
    await this.#etcd?.close(callsGraceMs);
    await this.#http?.close();
    await this.#driver.stop();
    this.#driver.proposals.failAll(etcdError('ETCD_STOPPED'));
    this.#driver.reads.failAll(etcdError('ETCD_STOPPED'));
    this.#opened.keyValues.stop();
    await this.#transport.close();
    await this.#opened.wal.close();
    this.#opened.lock.release();
  }

  async #serve(metrics: NodeMetrics): Promise<void> {
    const { keyValues, isNew, restored } = this.#opened;
    const { listenClientUrls, listenPeerUrls, listenMetricsUrls, name } = this.#options;
    metrics.observe({ driver: this.#driver, keyValues, transport: this.#transport });
    this.#http = await serveHttp(listenMetricsUrls, this.#health(), metrics, () =>
      this.#driver.snapshots.snapshotter.take(),
    );
    await this.#transport.start(listenPeerUrls);
    this.#driver.start(this.#transport);
    try {
      this.#etcd = await serveEtcd({
        backend: createBackend(keyValues, this.#memberDriver()),
        listen: listenClientUrls,
      });
    } catch (error) {
      const where = listenClientUrls.join(', ');
      throw new NodeError(
        'NODE_LISTEN_FAILED',
        `cannot listen for clients on ${where}: ${(error as Error).message}`,
        1,
        error,
      );
    }
    this.#log.info('member started', {
      name,
      memberId: this.identity.self.id,
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
    this.#driver.reads.linearize().then(
      () => this.#markCaughtUp(),
      () => {},
    );
  }

  #markCaughtUp(): void {
    if (this.#caughtUp) return;
    this.#caughtUp = true;
    this.#log.info('ready', { revision: this.#opened.keyValues.revision });
  }

  #onLeader(leader: string | null): void {
    if (leader === null) return;
    clearInterval(this.#nudge);
    this.#nudge = undefined;
    void this.#publish();
    if (!this.#caughtUp) this.#catchUp();
  }

  /** Makes name and client URLs known, unless they are. */
  async #publish(): Promise<void> {
    const { keyValues } = this.#opened;
    const wanted = { name: this.#options.name, clientUrls: this.#options.advertiseClientUrls };
    const known = keyValues.attributes.get(this.identity.self.id);
    if (this.#publishing || this.#stopping || JSON.stringify(known) === JSON.stringify(wanted)) return;
    this.#publishing = true;
    try {
      await keyValues.publish(this.#memberDriver(), this.identity.self.id, wanted);
    } catch (error) {
      this.#log.warn('could not publish the client addresses yet', { error });
      if (!this.#stopping) this.#publishTimer = setTimeout(() => void this.#publish(), 1000);
    } finally {
      this.#publishing = false;
    }
  }

  #onPeer(knowsUs: boolean, failure: PromiseWithResolvers<unknown>): void {
    const { isNew, keyValues } = this.#opened;
    const { self } = this.identity;
    // Whoever was out of reach when this data directory was made may know better now.
    if (
      knowsUs &&
      isNew &&
      !this.#publishing &&
      keyValues.appliedIndex === this.#opened.restored.snapshot.index &&
      this.#driver.leader === null
    ) {
      failure.resolve(
        new NodeError(
          'NODE_DATA_LOST',
          `another member says that ${self.name} has taken part in this cluster, but its data directory ${this.#options.dataDir} was empty: ` +
            "this member's data is gone. Replace it by a new member",
        ),
      );
      return;
    }
    this.#quicken();
  }

  /**
   * A cluster that starts need not wait for an election timeout: the lowest of the members that hear each other stands
   * at once. Asked for a few times, since the others may still be connecting back.
   */
  #quicken(): void {
    if (this.#nudge || this.#driver.leader !== null) return;
    const until = performance.now() + nudgeForMs;
    const stand = (): void => {
      const connected = this.#transport.connected();
      const lowest = [this.identity.self.id, ...connected].sort(compareIds)[0];
      const enough = connected.length + 1 >= quorumSize(this.identity.members.length);
      if (this.#driver.leader !== null || performance.now() > until) {
        clearInterval(this.#nudge);
        this.#nudge = undefined;
      } else if (enough && this.identity.self.id === lowest) {
        this.#driver.campaign();
      }
    };
    this.#nudge = setInterval(stand, nudgeEveryMs);
    stand();
  }

  #health() {
    const { keyValues } = this.#opened;
    return {
      hasLeader: () => this.#driver.leader !== null,
      linearize: () => this.#driver.reads.linearize(),
      notReady: (): string | undefined => {
        if (this.#stopping) return 'the member stops';
        if (this.#driver.leader === null) return 'no leader is known';
        if (!this.#caughtUp) return 'the member has not caught up with the cluster yet';
        const lag = this.#driver.commit - keyValues.appliedIndex;
        return lag > maxApplyLag ? `${lag} committed entries are not applied yet` : undefined;
      },
      notAlive: () => undefined,
    };
  }

  #memberDriver(): MemberDriver {
    const { clusterId, self, members } = this.identity;
    const { keyValues } = this.#opened;
    const driver = this.#driver;
    const learners = (): readonly string[] => driver.status().configuration.learners;
    return {
      clusterId,
      memberId: self.id,
      term: () => driver.term,
      commitIndex: () => driver.commit,
      leaderId: () => driver.leader ?? undefined,
      isLearner: () => learners().includes(self.id),
      propose: (data, lost) => driver.proposals.propose(data, lost),
      linearize: () => driver.reads.linearize(),
      members: () =>
        members.map(({ id, peerUrls }): Member => {
          const published = keyValues.attributes.get(id);
          return {
            ID: decimalId(id),
            name: published?.name ?? '',
            peerURLs: [...peerUrls],
            clientURLs: [...(published?.clientUrls ?? [])],
            isLearner: learners().includes(id),
          };
        }),
      configuration: () => ({
        members: members.map(({ id, peerUrls }) => ({
          id,
          address: peerUrls[0]!,
          suffrage: learners().includes(id) ? ('nonvoter' as const) : ('voter' as const),
        })),
        index: driver.status().configurationIndex,
      }),
    };
  }
}
