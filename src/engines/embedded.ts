import { EtcdClient } from '../etcd/client.ts';
import { EtcdError, type EtcdErrorCode } from '../etcd/errors.ts';
import {
  type CallOptions,
  type Endpoint,
  type Engine,
  EngineError,
  type EngineErrorCode,
  type Fingerprint,
  type Member,
  type MemberStatus,
  type OpenSnapshot,
} from './engine.ts';

const callTimeoutMs = 5_000;
/** A connection that nobody has used for this long is closed: members' addresses come and go. */
const idleMs = 30_000;
/** From the smallest key to the largest, as etcd's clients ask for all. */
const everything = { key: new Uint8Array(1), rangeEnd: new Uint8Array(1) };

const codes: Partial<Record<EtcdErrorCode, EngineErrorCode>> = {
  ETCD_COMPACTED: 'ENGINE_REVISION_UNAVAILABLE',
  ETCD_FUTURE_REVISION: 'ENGINE_REVISION_UNAVAILABLE',
  ETCD_SNAPSHOT_CORRUPT: 'ENGINE_SNAPSHOT_CORRUPT',
  ETCD_SNAPSHOT_TRUNCATED: 'ENGINE_UNAVAILABLE',
  ETCD_INVALID_ENDPOINT: 'ENGINE_ENDPOINT_INVALID',
  ETCD_UNREACHABLE: 'ENGINE_UNAVAILABLE',
  ETCD_DEADLINE_EXCEEDED: 'ENGINE_UNAVAILABLE',
  ETCD_CANCELLED: 'ENGINE_UNAVAILABLE',
  ETCD_NO_LEADER: 'ENGINE_UNAVAILABLE',
  ETCD_LEADER_CHANGED: 'ENGINE_UNAVAILABLE',
  ETCD_STOPPED: 'ENGINE_UNAVAILABLE',
  ETCD_TIMEOUT: 'ENGINE_UNAVAILABLE',
  ETCD_UNHEALTHY: 'ENGINE_UNAVAILABLE',
};

interface Connection {
  readonly client: EtcdClient;
  users: number;
  idle: NodeJS.Timeout | undefined;
}

/** Our own members, over the etcd v3 protocol that they serve. */
export class EmbeddedEngine implements Engine {
  readonly type = 'Embedded';
  readonly #connections = new Map<string, Connection>();

  async status(endpoint: Endpoint, options: CallOptions = {}): Promise<MemberStatus> {
    return this.#call([endpoint], async (client) => {
      const call = limits(options);
      // The member's own view of the list: it answers without a leader.
      const [status, list] = await Promise.all([client.status(call), client.memberList(false, call)]);
      const { header } = status;
      if (header === undefined) throw refused(`${endpoint.url} answers without a header`);
      const memberId = hexId(header.memberId);
      return {
        memberId,
        clusterId: hexId(header.clusterId),
        name: list.members.find((member) => hexId(member.ID) === memberId)?.name ?? '',
        ...(status.leader === '0' ? {} : { leaderId: hexId(status.leader) }),
        isLearner: status.isLearner,
        term: status.raftTerm,
        index: status.raftIndex,
        appliedIndex: status.raftAppliedIndex,
        revision: header.revision,
        sizeBytes: status.dbSize,
        version: status.version,
      };
    });
  }

  async members(endpoint: Endpoint, options: CallOptions = {}): Promise<Member[]> {
    return this.#call([endpoint], async (client) => {
      const { members } = await client.memberList(false, limits(options));
      return members.map((member) => ({
        id: hexId(member.ID),
        name: member.name,
        peerUrls: member.peerURLs,
        clientUrls: member.clientURLs,
        isLearner: member.isLearner,
      }));
    });
  }

  async fingerprint(endpoint: Endpoint, revision?: number, options: CallOptions = {}): Promise<Fingerprint> {
    return this.#call([endpoint], async (client) => {
      const call = limits(options);
      // Serializable: what this member has applied, not what the cluster has agreed on.
      const range = await client.range(
        { ...everything, revision: revision ?? 0, countOnly: true, serializable: true },
        call,
      );
      const at = revision ?? range.header?.revision;
      if (at === undefined) throw refused(`${endpoint.url} answers without a header`);
      const { hash } = await client.hashKv(at, call);
      return { revision: at, keys: range.count, hash: (hash >>> 0).toString(16).padStart(8, '0') };
    });
  }

  async openSnapshot(
    endpoints: readonly Endpoint[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<OpenSnapshot> {
    const held = this.#hold(endpoints);
    try {
      const stream = await held.client.snapshot(options.signal === undefined ? {} : { signal: options.signal });
      if (stream.metadata === undefined) {
        stream.close();
        throw refused(
          `${stream.endpoint} is no member of an embedded cluster: it sends a snapshot without its index and term`,
        );
      }
      let open = true;
      const close = () => {
        if (!open) return;
        open = false;
        stream.close();
        held.release();
      };
      const chunks = async function* (): AsyncGenerator<Uint8Array> {
        try {
          yield* stream.chunks;
        } catch (error) {
          throw translate(error);
        } finally {
          close();
        }
      };
      const { metadata } = stream;
      return {
        endpoint: endpoints.find(({ url }) => url === stream.endpoint) ?? { url: stream.endpoint },
        facts: metadata,
        sizeBytes: stream.sizeBytes,
        chunks: chunks(),
        close,
      };
    } catch (error) {
      held.release();
      throw translate(error);
    }
  }

  close(): void {
    for (const { client, idle } of this.#connections.values()) {
      clearTimeout(idle);
      client.close();
    }
    this.#connections.clear();
  }

  async #call<T>(endpoints: readonly Endpoint[], action: (client: EtcdClient) => Promise<T>): Promise<T> {
    const held = this.#hold(endpoints);
    try {
      return await action(held.client);
    } catch (error) {
      throw translate(error);
    } finally {
      held.release();
    }
  }

  #hold(endpoints: readonly Endpoint[]): { client: EtcdClient; release: () => void } {
    const urls = endpoints.map(({ url }) => url);
    const key = urls.join(',');
    let connection = this.#connections.get(key);
    if (connection === undefined) {
      try {
        connection = { client: new EtcdClient({ endpoints: urls }), users: 0, idle: undefined };
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

/** Ids are decimal on the wire, and hexadecimal wherever people see them. */
function hexId(decimal: string | undefined): string {
  return BigInt(decimal ?? 0).toString(16);
}

function limits(options: CallOptions): { deadlineMs: number; signal?: AbortSignal } {
  const deadlineMs = options.timeoutMs ?? callTimeoutMs;
  return options.signal === undefined ? { deadlineMs } : { deadlineMs, signal: options.signal };
}

function refused(message: string): EngineError {
  return new EngineError('ENGINE_REFUSED', message);
}

function translate(error: unknown): unknown {
  if (!(error instanceof EtcdError)) return error;
  return new EngineError(codes[error.code] ?? 'ENGINE_REFUSED', error.message, { cause: error });
}
