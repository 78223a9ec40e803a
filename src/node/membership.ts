/**
 * What etcd's Cluster service and MoveLeader ask of a member: changes of the membership, checked as etcd checks them (its
 * strict-reconfig-check is always on), and leadership handed over. Works on every member; only what needs the leader's own
 * knowledge is left to the leader.
 */
import { EtcdError, etcdError } from '../etcd/errors.ts';
import type { Member } from '../etcd/gen/rpc.ts';
import { decimalId } from '../etcd/ids.ts';
import type { SnapshotMember } from '../etcd/maintenance-stream.ts';
import type { Log } from '../log.ts';
import { isVoter, membersOf, quorumSize } from '../raft/configuration.ts';
import { compareIds } from '../raft/membership.ts';
import type {
  Configuration,
  ConfigurationChange,
  Index,
  MemberId,
  RaftStatus,
  TransferFailure,
} from '../raft/types.ts';
import type { MembershipAction } from './book.ts';
import { memberIdOf } from './identity.ts';
import type { KeyValues, Proposer } from './kv.ts';
import { memberUrls } from './urls.ts';

/** What the services ask of the member's driver. Ids are lowercase hex. */
export interface MemberDriver extends Proposer {
  readonly clusterId: string;
  readonly memberId: MemberId;
  term(): number;
  commitIndex(): number;
  /** undefined: none known. */
  leaderId(): string | undefined;
  /** The newest configuration in the log. */
  configuration(): Configuration;
  status(): Pick<
    RaftStatus,
    'configurationIndex' | 'committedConfiguration' | 'committedConfigurationIndex' | 'progress'
  >;
  /** Resolves when the state is at least as new as every write acknowledged before the call (ReadIndex, then applied). */
  linearize(): Promise<void>;
  transferLeadership(to: MemberId): Promise<TransferFailure | null>;
  /** Keeps the state as it is on disk, and lets the log behind it go. Resolves as well when there is nothing new to keep. */
  takeSnapshot(): Promise<void>;
  /** Members with which messages go both ways. */
  connected(): readonly MemberId[];
}

export interface MembershipOptions {
  readonly driver: MemberDriver;
  readonly keyValues: KeyValues;
  readonly log: Log;
  /** Of the cluster's genesis: ids of new members derive from it. */
  readonly token: string;
  readonly maxLearners: number;
  /** How long a change may wait for the one before it, and how often it asks, in milliseconds. */
  readonly timeoutMs: number;
  readonly retryMs: number;
}

interface Change {
  readonly change: ConfigurationChange;
  readonly action: MembershipAction;
}

/** A learner this close to the leader's log becomes a voter by itself, when it was added as one. */
const promotableLag = 100;

export class Membership {
  readonly #options: MembershipOptions;
  #promoting = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  /** Serves no more than etcd's learners do: it is no voter, or has not heard yet that it is one. */
  get isLearner(): boolean {
    const { driver } = this.#options;
    return !isVoter(driver.configuration(), driver.memberId);
  }

  /** In the order of ids. Those that have not started have no name. */
  list(): Member[] {
    const { driver, keyValues } = this.#options;
    const { learners } = driver.status().committedConfiguration;
    return [...keyValues.book.members]
      .sort(([a], [b]) => compareIds(a, b))
      .map(([id, { name, peerUrls, clientUrls }]) => ({
        ID: decimalId(id),
        name,
        peerURLs: [...peerUrls],
        clientURLs: [...clientUrls],
        isLearner: learners.includes(id),
      }));
  }

  /** For the head of a snapshot stream. */
  get configuration(): { readonly members: readonly SnapshotMember[]; readonly index: number } {
    const { driver, keyValues } = this.#options;
    const { committedConfiguration, committedConfigurationIndex: index } = driver.status();
    const members = membersOf(committedConfiguration)
      .sort(compareIds)
      .map((id): SnapshotMember => {
        const address = keyValues.book.members.get(id)?.peerUrls[0] ?? '';
        return { id, address, suffrage: isVoter(committedConfiguration, id) ? 'voter' : 'nonvoter' };
      });
    return { members, index };
  }

  /**
   * Whoever is to vote learns first, and votes once it has caught up (thesis §4.2.1): until then it weakens no quorum, so that
   * it may be started after it was added.
   */
  async add(addresses: readonly string[], isLearner: boolean): Promise<MemberId> {
    const peerUrls = valid(addresses);
    return this.#change((basedOn) => {
      const { book } = this.#options.keyValues;
      if (book.sharesUrls(peerUrls)) throw etcdError('ETCD_PEER_URL_EXISTS');
      const { learners } = this.#options.driver.configuration();
      const staying = learners.filter((id) => book.members.get(id)?.toVote !== true);
      if (isLearner && staying.length >= this.#options.maxLearners) throw etcdError('ETCD_TOO_MANY_LEARNERS');
      if (!isLearner) this.#expectStarted(this.#votingMembers, 1);
      if (!this.#voters.every((id) => this.#isConnected(id))) throw etcdError('ETCD_UNHEALTHY');
      const id = memberIdOf(peerUrls, this.#options.token, basedOn);
      return {
        change: { type: 'single', member: id, suffrage: 'learner' },
        action: { type: 'add', id, peerUrls, toVote: !isLearner },
      };
    });
  }

  async remove(id: MemberId): Promise<void> {
    await this.#change(() => {
      this.#expectMember(id);
      if (this.#voters.includes(id)) this.#expectQuorumWithout(id);
      return { change: { type: 'single', member: id, suffrage: 'none' }, action: { type: 'remove', id } };
    });
  }

  async promote(id: MemberId): Promise<void> {
    await this.#change(() => {
      this.#expectMember(id);
      if (this.#voters.includes(id)) throw etcdError('ETCD_MEMBER_NOT_LEARNER');
      const others = this.#voters;
      if (this.#started(others) + 1 < quorumSize(others.length + 1)) throw etcdError('ETCD_NOT_ENOUGH_STARTED');
      return { change: { type: 'single', member: id, suffrage: 'voter' }, action: { type: 'promote', id } };
    });
  }

  async update(memberId: MemberId, addresses: readonly string[]): Promise<void> {
    const { keyValues, driver } = this.#options;
    await keyValues.move(driver, { memberId, peerUrls: valid(addresses) });
  }

  async moveLeader(to: MemberId): Promise<void> {
    const { driver } = this.#options;
    if (driver.leaderId() !== driver.memberId) throw etcdError('ETCD_NOT_LEADER');
    if (!this.#voters.includes(to)) throw etcdError('ETCD_BAD_LEADER_TRANSFEREE');
    const failure = await driver.transferLeadership(to);
    switch (failure) {
      case null:
        return;
      case 'notLeader':
        throw etcdError('ETCD_NOT_LEADER');
      case 'notVoter':
        throw etcdError('ETCD_BAD_LEADER_TRANSFEREE');
      case 'busy':
        throw etcdError('ETCD_TRANSFER_BUSY');
      case 'timedOut':
      case 'deposed':
        throw etcdError('ETCD_TRANSFER_TIMEOUT');
    }
  }

  /** Before this member stops: to the voter that is furthest along. Resolves within an election timeout, whatever came of it. */
  async handOver(): Promise<void> {
    const { driver } = this.#options;
    if (driver.leaderId() !== driver.memberId) return;
    const [heir] = driver
      .status()
      .progress.filter(({ member }) => this.#voters.includes(member) && this.#isConnected(member))
      .sort((a, b) => b.match - a.match);
    if (heir) await driver.transferLeadership(heir.member);
  }

  /** On a leader, from time to time: promotes who was added to vote and has caught up. */
  promoteReady(): void {
    const { driver, keyValues, log } = this.#options;
    const { learners } = driver.configuration();
    if (this.#promoting || learners.length === 0 || driver.leaderId() !== driver.memberId) return;
    const { progress } = driver.status();
    const leading = driver.commitIndex();
    const ready = progress.find(
      ({ member, state, match, recentlyActive }) =>
        learners.includes(member) &&
        keyValues.book.members.get(member)?.toVote === true &&
        keyValues.book.hasStarted(member) &&
        state === 'replicate' &&
        recentlyActive &&
        leading - match <= promotableLag,
    );
    if (!ready) return;
    this.#promoting = true;
    this.promote(ready.member)
      .then(
        () => log.info('promoted a member that has caught up', { member: ready.member }),
        (error: unknown) => log.debug('could not promote a member yet', { member: ready.member, error }),
      )
      .finally(() => {
        this.#promoting = false;
      });
  }

  get #voters(): readonly MemberId[] {
    return this.#options.driver.configuration().voters;
  }

  /** With those that only wait to become voters. */
  get #votingMembers(): readonly MemberId[] {
    const { driver, keyValues } = this.#options;
    const { learners } = driver.configuration();
    return [...this.#voters, ...learners.filter((id) => keyValues.book.members.get(id)?.toVote)];
  }

  #started(members: readonly MemberId[]): number {
    return members.filter((id) => this.#options.keyValues.book.hasStarted(id)).length;
  }

  #isConnected(id: MemberId): boolean {
    const { driver } = this.#options;
    return id === driver.memberId || driver.connected().includes(id);
  }

  #expectMember(id: MemberId): void {
    if (!this.#options.keyValues.book.members.has(id)) throw etcdError('ETCD_MEMBER_NOT_FOUND');
  }

  /** etcd's: a quorum of the members to be must have started, except that the first may always be joined by a second. */
  #expectStarted(members: readonly MemberId[], added: number): void {
    const started = this.#started(members);
    if (started === 1 && members.length === 1) return;
    if (started < quorumSize(members.length + added)) throw etcdError('ETCD_NOT_ENOUGH_STARTED');
  }

  #expectQuorumWithout(id: MemberId): void {
    const rest = this.#voters.filter((voter) => voter !== id);
    if (this.#started(rest) < quorumSize(rest.length)) throw etcdError('ETCD_NOT_ENOUGH_STARTED');
    // Who is down is no part of the quorum that there is.
    if (!this.#isConnected(id)) return;
    if (rest.filter((voter) => this.#isConnected(voter)).length < quorumSize(rest.length))
      throw etcdError('ETCD_UNHEALTHY');
  }

  /** Looks, proposes, and looks again when somebody else was faster. */
  async #change(prepare: (basedOn: Index) => Change): Promise<MemberId> {
    const { driver, keyValues, log, timeoutMs, retryMs } = this.#options;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      await driver.linearize();
      // What was checked holds when it is done: the leader takes the change for this configuration or not at all. The list of
      // members is that of the applied entries, and the log may be ahead of it.
      const basedOn = driver.status().configurationIndex;
      try {
        if (basedOn > keyValues.appliedIndex) throw etcdError('ETCD_CHANGE_PENDING');
        const { change, action } = prepare(basedOn);
        await keyValues.change(driver, { change, basedOn }, action);
        log.info('membership changed', { ...action });
        return action.id;
      } catch (error) {
        const early =
          error instanceof EtcdError &&
          (error.code === 'ETCD_CHANGE_PENDING' || error.code === 'ETCD_CHANGE_OVERTAKEN');
        if (!early || performance.now() >= deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }
}

function valid(addresses: readonly string[]): string[] {
  try {
    return memberUrls(addresses);
  } catch (error) {
    throw etcdError('ETCD_BAD_MEMBER_URLS', { cause: error });
  }
}
