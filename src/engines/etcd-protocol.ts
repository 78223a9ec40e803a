/** What every engine that speaks the etcd v3 protocol has in common. */
import { createHash } from 'node:crypto';
import { EtcdClient } from '../etcd/client.ts';
import { EtcdError, type EtcdErrorCode } from '../etcd/errors.ts';
import { AlarmType, type Member as WireMember } from '../etcd/gen/rpc.ts';
import {
  type Alarm,
  type CallOptions,
  type Endpoint,
  type Engine,
  EngineError,
  type EngineErrorCode,
  type EngineType,
  type Fingerprint,
  type Member,
  type MemberStatus,
  type NewMember,
  type OpenSnapshot,
  type OpenSnapshotOptions,
} from './engine.ts';
import type { EngineProfile } from './profile.ts';
import { knock, knockMs, reasonOf } from './silence.ts';

const callTimeoutMs = 5_000;
/** A connection that nobody has used for this long is closed: members' addresses come and go. */
const idleMs = 30_000;
/** From the smallest key to the largest, as etcd's clients ask for all. */
export const everything = { key: new Uint8Array(1), rangeEnd: new Uint8Array(1) };

const codes: Partial<Record<EtcdErrorCode, EngineErrorCode>> = {
  ETCD_COMPACTED: 'ENGINE_REVISION_UNAVAILABLE',
  ETCD_FUTURE_REVISION: 'ENGINE_REVISION_UNAVAILABLE',
  ETCD_SNAPSHOT_CORRUPT: 'ENGINE_SNAPSHOT_CORRUPT',
  ETCD_INVALID_ENDPOINT: 'ENGINE_ENDPOINT_INVALID',
  ETCD_TLS_INVALID: 'ENGINE_ENDPOINT_INVALID',
  ETCD_MEMBER_NOT_FOUND: 'ENGINE_MEMBER_NOT_FOUND',
  ETCD_MEMBER_EXISTS: 'ENGINE_MEMBER_EXISTS',
  ETCD_PEER_URL_EXISTS: 'ENGINE_MEMBER_EXISTS',
  ETCD_NOT_ENOUGH_STARTED: 'ENGINE_UNSAFE',
  // Of a change of members: not all of them have been connected for a while.
  ETCD_UNHEALTHY: 'ENGINE_UNSAFE',
  ETCD_LEARNER_NOT_READY: 'ENGINE_LEARNER_BEHIND',
  ETCD_MEMBER_NOT_LEARNER: 'ENGINE_NOT_LEARNER',
  ETCD_NOT_LEADER: 'ENGINE_NOT_LEADER',
  ETCD_TOO_MANY_LEARNERS: 'ENGINE_BUSY',
  ETCD_TRANSFER_BUSY: 'ENGINE_BUSY',
  ETCD_CHANGE_PENDING: 'ENGINE_BUSY',
  ETCD_CHANGE_OVERTAKEN: 'ENGINE_BUSY',
  ETCD_TRANSFER_TIMEOUT: 'ENGINE_UNAVAILABLE',
  ETCD_SNAPSHOT_TRUNCATED: 'ENGINE_UNAVAILABLE',
  ETCD_UNREACHABLE: 'ENGINE_UNAVAILABLE',
  ETCD_TLS_REFUSED: 'ENGINE_UNAVAILABLE',
  ETCD_DEADLINE_EXCEEDED: 'ENGINE_UNAVAILABLE',
  ETCD_CANCELLED: 'ENGINE_UNAVAILABLE',
  ETCD_NO_LEADER: 'ENGINE_UNAVAILABLE',
  ETCD_LEADER_CHANGED: 'ENGINE_UNAVAILABLE',
  ETCD_STOPPED: 'ENGINE_UNAVAILABLE',
  ETCD_TIMEOUT: 'ENGINE_UNAVAILABLE',
  ETCD_TIMEOUT_LEADER_LOST: 'ENGINE_UNAVAILABLE',
};

const alarmTypes = { NoSpace: AlarmType.NOSPACE, Corrupt: AlarmType.CORRUPT } as const;

interface Connection {
  readonly client: EtcdClient;
  users: number;
  idle: NodeJS.Timeout | undefined;
}

export abstract class EtcdProtocol implements Engine {
  abstract readonly type: EngineType;
  abstract readonly profile: EngineProfile;
  readonly #connections = new Map<string, Connection>();

  abstract fingerprint(endpoint: Endpoint, revision?: number, options?: CallOptions): Promise<Fingerprint>;
  abstract openSnapshot(endpoints: readonly Endpoint[], options?: OpenSnapshotOptions): Promise<OpenSnapshot>;

  status(endpoint: Endpoint, options: CallOptions = {}): Promise<MemberStatus> {
    return this.call([endpoint], options, async (client, limits) => {
      // The member's own view of the list: it answers without a leader.
      const [status, members] = await Promise.all([
        client.status(limits),
        client.memberList(false, limits).then(
          (list) => list.members.map(memberOf),
          (error: unknown) => {
            // etcd's learners answer nothing but their status.
            if (error instanceof EtcdError && error.code === 'ETCD_NOT_SUPPORTED_FOR_LEARNER') return [];
            throw error;
          },
        ),
      ]);
      const { header } = status;
      if (header === undefined) throw refused(`${endpoint.url} answers without a header`);
      const memberId = hexId(header.memberId);
      const alarms = status.errors.map(alarmOf);
      return {
        memberId,
        clusterId: hexId(header.clusterId),
        name: members.find(({ id }) => id === memberId)?.name ?? '',
        ...(status.leader === '0' ? {} : { leaderId: hexId(status.leader) }),
        isLearner: status.isLearner,
        term: status.raftTerm,
        index: status.raftIndex,
        appliedIndex: status.raftAppliedIndex,
        revision: header.revision,
        sizeBytes: status.dbSize,
        sizeInUseBytes: status.dbSizeInUse,
        ...(status.dbSizeQuota === 0 ? {} : { quotaBytes: status.dbSizeQuota }),
        version: status.version,
        members,
        alarms: alarms.filter((alarm) => alarm !== undefined),
        errors: status.errors.filter((_, at) => alarms[at] === undefined),
      };
    });
  }

  members(endpoints: readonly Endpoint[], options: CallOptions = {}): Promise<Member[]> {
    return this.call(endpoints, options, async (client, limits) => {
      const { members } = await client.memberList(true, limits);
      return members.map(memberOf);
    });
  }

  addMember(
    endpoints: readonly Endpoint[],
    { peerUrls, learner }: NewMember,
    options: CallOptions = {},
  ): Promise<Member> {
    return this.call(endpoints, options, async (client, limits) => {
      const { member } = await client.memberAdd([...peerUrls], learner, limits);
      if (member === undefined) throw refused(`the member at ${peerUrls.join(',')} was added without an answer`);
      return memberOf(member);
    });
  }

  removeMember(endpoints: readonly Endpoint[], id: string, options: CallOptions = {}): Promise<void> {
    return this.call(endpoints, options, async (client, limits) => {
      await client.memberRemove(decimalId(id), limits);
    });
  }

  promoteMember(endpoints: readonly Endpoint[], id: string, options: CallOptions = {}): Promise<void> {
    return this.call(endpoints, options, async (client, limits) => {
      await client.memberPromote(decimalId(id), limits);
    });
  }

  moveLeader(leader: Endpoint, targetId: string, options: CallOptions = {}): Promise<void> {
    return this.call([leader], options, async (client, limits) => {
      await client.moveLeader(decimalId(targetId), limits);
    });
  }

  compact(
    endpoints: readonly Endpoint[],
    revision: number,
    options: CallOptions & { readonly physical?: boolean } = {},
  ): Promise<void> {
    return this.call(endpoints, options, async (client, limits) => {
      await client.compact(revision, options.physical ?? false, limits);
    });
  }

  defragment(endpoint: Endpoint, options: CallOptions = {}): Promise<void> {
    return this.call([endpoint], options, async (client, limits) => {
      await client.defragment(limits);
    });
  }

  disarm(endpoints: readonly Endpoint[], { memberId, type }: Alarm, options: CallOptions = {}): Promise<void> {
    return this.call(endpoints, options, async (client, limits) => {
      await client.disarm(decimalId(memberId), alarmTypes[type], limits);
    });
  }

  close(): void {
    for (const { client, idle } of this.#connections.values()) {
      clearTimeout(idle);
      client.close();
    }
    this.#connections.clear();
  }

  /** One call, or several under one limit, with the errors of the contract. */
  protected async call<T>(
    endpoints: readonly Endpoint[],
    { timeoutMs = callTimeoutMs, signal }: CallOptions,
    action: (client: EtcdClient, limits: { deadlineMs: number; signal?: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const held = this.hold(endpoints);
    // Time is left to ask why there is no answer.
    const only = endpoints.length === 1 ? endpoints[0] : undefined;
    const deadlineMs = only !== undefined && timeoutMs > 2 * knockMs ? timeoutMs - knockMs : timeoutMs;
    try {
      return await action(held.client, signal === undefined ? { deadlineMs } : { deadlineMs, signal });
    } catch (error) {
      const silent = error instanceof EtcdError && error.code === 'ETCD_DEADLINE_EXCEEDED';
      if (!silent || only === undefined) throw translate(error);
      const reason = await knock(only.url);
      throw new EngineError('ENGINE_UNAVAILABLE', error.message, { cause: error, reason });
    } finally {
      held.release();
    }
  }

  /** A connection that stays open until it is released. */
  protected hold(endpoints: readonly Endpoint[]): { client: EtcdClient; release: () => void } {
    const key = endpoints.map(connectionKey).join(',');
    let connection = this.#connections.get(key);
    if (connection === undefined) {
      try {
        connection = {
          // Members of one cluster are reached with the same certificates.
          client: new EtcdClient({ endpoints: endpoints.map(({ url }) => url), tls: endpoints[0]?.tls ?? {} }),
          users: 0,
          idle: undefined,
        };
      } catch (error) {
        throw translate(error);
      }
      this.#connections.set(key, connection);
    }
    const { client } = connection;
    const mine = connection;
    clearTimeout(mine.idle);
    mine.users += 1;
    const release = () => {
      mine.users -= 1;
      if (mine.users > 0 || this.#connections.get(key) !== mine) return;
      mine.idle = setTimeout(() => {
        this.#connections.delete(key);
        client.close();
      }, idleMs);
      mine.idle.unref();
    };
    return { client, release };
  }
}

/** Other certificates, another connection. */
function connectionKey({ url, tls }: Endpoint): string {
  if (tls === undefined) return url;
  const hash = createHash('sha256');
  for (const part of [tls.ca, tls.cert, tls.key, tls.serverName]) hash.update(part ?? '').update('\0');
  return `${url} ${hash.digest('base64')}`;
}

function memberOf(member: WireMember): Member {
  return {
    id: hexId(member.ID),
    name: member.name,
    peerUrls: member.peerURLs,
    clientUrls: member.clientURLs,
    isLearner: member.isLearner,
  };
}

/**
 * From an alarm as a status repeats it. Asking for the alarms themselves would go through the log of etcd, at every poll.
 */
function alarmOf(text: string): Alarm | undefined {
  // Protobuf's text leaves out what is 0.
  const match = /^(?:memberID:(\d+) +)?alarm:(NOSPACE|CORRUPT)\s*$/.exec(text);
  return match ? { type: match[2] === 'CORRUPT' ? 'Corrupt' : 'NoSpace', memberId: hexId(match[1]) } : undefined;
}

/** Ids are decimal on the wire, and hexadecimal wherever people see them. */
export function hexId(decimal: string | undefined): string {
  return BigInt(decimal ?? 0).toString(16);
}

function decimalId(hex: string): string {
  if (!/^[0-9a-f]{1,16}$/.test(hex)) throw refused(`"${hex}" is not the id of a member in hexadecimal`);
  return BigInt(`0x${hex}`).toString();
}

export function refused(message: string): EngineError {
  return new EngineError('ENGINE_REFUSED', message);
}

export function translate(error: unknown): unknown {
  if (!(error instanceof EtcdError)) return error;
  const code = codes[error.code] ?? 'ENGINE_REFUSED';
  return new EngineError(code, error.message, {
    cause: error,
    ...(code === 'ENGINE_UNAVAILABLE' ? { reason: reasonOf(error) } : {}),
  });
}
