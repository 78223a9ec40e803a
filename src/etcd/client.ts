/** A small typed client of the etcd v3 protocol: for engines, the command line and tests. Speaks to real etcd too. */
import type { SecureContext } from 'node:tls';
import { type ChannelOptions, Client, Metadata, type MethodDefinition, type ServiceError, status } from '@grpc/grpc-js';
import { abandonable, connects, isConnected } from './connecting.ts';
import { parseEndpoint } from './endpoint.ts';
import { codeOfMessage, EtcdError, type EtcdErrorCode } from './errors.ts';
import {
  AlarmRequest,
  AlarmRequest_AlarmAction,
  type AlarmResponse,
  type AlarmType,
  type CompactionResponse,
  type DefragmentResponse,
  DeleteRangeRequest,
  type DeleteRangeResponse,
  type HashKVResponse,
  type MemberAddResponse,
  type MemberListResponse,
  type MemberPromoteResponse,
  type MemberRemoveResponse,
  type MemberUpdateResponse,
  type MoveLeaderResponse,
  PutRequest,
  type PutResponse,
  RangeRequest,
  type RangeResponse,
  type SnapshotResponse,
  type StatusResponse,
  TxnRequest,
  type TxnResponse,
} from './gen/rpc.ts';
import { hashBytes, metadataKey, type SnapshotMetadata, verified } from './maintenance-stream.ts';
import { methods } from './methods.ts';
import { type ClientTls, refusalIn, secureContextOf, securityOf } from './security.ts';

export interface EtcdClientOptions {
  /** `http://host:port` or `https://host:port`; tried in turn when one cannot be reached (UNAVAILABLE). */
  readonly endpoints: readonly string[];
  /** For those that are https. New certificates are a new client. */
  readonly tls?: ClientTls;
  /** For each call, all endpoints together, in milliseconds. 5000 unless told. A snapshot stream has none of its own. */
  readonly deadlineMs?: number;
}

export interface CallOptions {
  /** Instead of the client's own deadline. For a snapshot: until the stream has begun. */
  readonly deadlineMs?: number;
  /** Cancels the call, or the stream. */
  readonly signal?: AbortSignal;
}

/** A snapshot stream: what `etcdctl snapshot save` would write, SHA-256 trailer included. */
export interface SnapshotStream {
  /** The endpoint that sends it. */
  readonly endpoint: string;
  /** Absent when the server is etcd. */
  readonly metadata: SnapshotMetadata | undefined;
  /** Bytes of the whole stream. */
  readonly sizeBytes: number;
  /** Fails with `ETCD_SNAPSHOT_TRUNCATED` or `ETCD_SNAPSHOT_CORRUPT` at the end when bytes are missing or wrong. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Ends the stream early. Idempotent. */
  close(): void;
}

interface Connection {
  readonly endpoint: string;
  readonly client: Client;
  /** Ends the attempt to connect that is under way. */
  readonly giveUp: AbortController;
}

/** The call never left this process: it may be made elsewhere without being made twice. */
function neverSent({ code, details }: ServiceError): boolean {
  return code === status.UNAVAILABLE && /^(No connection established|Name resolution failed)/.test(details);
}

const cancelled = (why: string): EtcdError => new EtcdError('ETCD_CANCELLED', status.CANCELLED, why);

const closedMessage = 'the client is closed';

function toEtcdError(error: ServiceError, endpoint: string): EtcdError {
  const options = { cause: error };
  const known = codeOfMessage(error.details);
  if (known !== undefined) return new EtcdError(known, error.code, error.details, options);
  const where = (code: EtcdErrorCode, what: string): EtcdError =>
    new EtcdError(code, error.code, `${endpoint}: ${what}`, options);
  switch (error.code) {
    case status.UNAVAILABLE: {
      if (error.details === 'Channel closed before call started') return where('ETCD_CANCELLED', closedMessage);
      const refusal = refusalIn(error.details);
      if (refusal !== undefined) return where('ETCD_TLS_REFUSED', `no secure connection: ${refusal}`);
      return where('ETCD_UNREACHABLE', error.details);
    }
    case status.DEADLINE_EXCEEDED:
      return where('ETCD_DEADLINE_EXCEEDED', 'no answer within the deadline');
    case status.CANCELLED:
      return where('ETCD_CANCELLED', error.details);
    case status.UNIMPLEMENTED:
      return where('ETCD_UNIMPLEMENTED', error.details);
    default:
      return where('ETCD_OTHER', error.details);
  }
}

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && typeof (error as Partial<ServiceError>).code === 'number';

/** How long connecting to an endpoint may take while others could be tried, in milliseconds, at most. */
const connectMs = 2_000;

const channelOptions: ChannelOptions = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.enable_http_proxy': 0,
  // Nobody's DNS is asked how calls are to be made, which could have them made again.
  'grpc.service_config_disable_resolution': 1,
  // Clients of the same endpoint must not share a broken connection's backoff.
  'grpc.use_local_subchannel_pool': 1,
};

/** Every method rejects with an `EtcdError` (errors.ts) that holds the server's message and gRPC status. */
export class EtcdClient {
  readonly #connections: readonly Connection[];
  readonly #deadlineMs: number;
  /** The endpoint that answered last. */
  #preferred = 0;
  #closed = false;

  /** Connects when first used. Fails with `ETCD_INVALID_ENDPOINT` or `ETCD_TLS_INVALID`. */
  constructor(options: EtcdClientOptions) {
    if (options.endpoints.length === 0) {
      throw new EtcdError('ETCD_INVALID_ENDPOINT', status.INVALID_ARGUMENT, 'no endpoint given');
    }
    this.#deadlineMs = options.deadlineMs ?? 5_000;
    const { tls = {} } = options;
    let made: SecureContext | undefined;
    const context = (): SecureContext => (made ??= secureContextOf(tls));
    this.#connections = options.endpoints.map((endpoint) => {
      const address = parseEndpoint(endpoint);
      const security = securityOf(address, context, tls.serverName);
      const giveUp = new AbortController();
      const { target, options: more } = abandonable(address.authority, giveUp.signal);
      const client = new Client(target, security.credentials, { ...channelOptions, ...security.options, ...more });
      return { endpoint, client, giveUp };
    });
  }

  range(request: Partial<RangeRequest>, options?: CallOptions): Promise<RangeResponse> {
    return this.#unary(methods.range, RangeRequest.fromPartial(request), true, options);
  }

  put(request: Partial<PutRequest>, options?: CallOptions): Promise<PutResponse> {
    return this.#unary(methods.put, PutRequest.fromPartial(request), false, options);
  }

  deleteRange(request: Partial<DeleteRangeRequest>, options?: CallOptions): Promise<DeleteRangeResponse> {
    return this.#unary(methods.deleteRange, DeleteRangeRequest.fromPartial(request), false, options);
  }

  txn(request: Partial<TxnRequest>, options?: CallOptions): Promise<TxnResponse> {
    return this.#unary(methods.txn, TxnRequest.fromPartial(request), false, options);
  }

  compact(revision: number, physical = false, options?: CallOptions): Promise<CompactionResponse> {
    return this.#unary(methods.compact, { revision, physical }, false, options);
  }

  memberList(linearizable = true, options?: CallOptions): Promise<MemberListResponse> {
    return this.#unary(methods.memberList, { linearizable }, true, options);
  }

  /** Ids of members are decimal, as `memberList` gives them. */
  memberAdd(peerURLs: readonly string[], isLearner = false, options?: CallOptions): Promise<MemberAddResponse> {
    return this.#unary(methods.memberAdd, { peerURLs: [...peerURLs], isLearner }, false, options);
  }

  memberRemove(ID: string, options?: CallOptions): Promise<MemberRemoveResponse> {
    return this.#unary(methods.memberRemove, { ID }, false, options);
  }

  memberUpdate(ID: string, peerURLs: readonly string[], options?: CallOptions): Promise<MemberUpdateResponse> {
    return this.#unary(methods.memberUpdate, { ID, peerURLs: [...peerURLs] }, false, options);
  }

  memberPromote(ID: string, options?: CallOptions): Promise<MemberPromoteResponse> {
    return this.#unary(methods.memberPromote, { ID }, false, options);
  }

  /** Only the leader does this: give its endpoint alone. */
  moveLeader(targetID: string, options?: CallOptions): Promise<MoveLeaderResponse> {
    return this.#unary(methods.moveLeader, { targetID }, false, options);
  }

  /** Of the endpoint that answers: give one endpoint to ask one member. */
  status(options?: CallOptions): Promise<StatusResponse> {
    return this.#unary(methods.status, {}, true, options);
  }

  hashKv(revision = 0, options?: CallOptions): Promise<HashKVResponse> {
    return this.#unary(methods.hashKv, { revision }, true, options);
  }

  alarms(options?: CallOptions): Promise<AlarmResponse> {
    return this.#unary(methods.alarm, AlarmRequest.fromPartial({}), true, options);
  }

  /** The alarm of the member with this decimal id. Gives what was disarmed: nothing when it did not stand. */
  disarm(memberID: string, alarm: AlarmType, options?: CallOptions): Promise<AlarmResponse> {
    return this.#unary(methods.alarm, { action: AlarmRequest_AlarmAction.DEACTIVATE, memberID, alarm }, false, options);
  }

  /** Of the endpoint that answers, which serves nothing else meanwhile when it is etcd: give it alone, and time. */
  defragment(options?: CallOptions): Promise<DefragmentResponse> {
    return this.#unary(methods.defragment, {}, false, options);
  }

  /** Resolves when the stream has begun. */
  snapshot(options: CallOptions = {}): Promise<SnapshotStream> {
    return this.#anywhere(true, options, (connection, deadlineMs) =>
      openSnapshot(connection, deadlineMs, options.signal),
    );
  }

  /** Calls that a server has got may still have their answers; those that wait for a connection fail. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { client, giveUp } of this.#connections) {
      const connected = isConnected(client);
      client.close();
      if (!connected) giveUp.abort();
    }
  }

  #unary<Q, R>(method: MethodDefinition<Q, R>, request: Q, repeatable: boolean, options: CallOptions = {}): Promise<R> {
    return this.#anywhere(
      repeatable,
      options,
      ({ client }, deadlineMs) =>
        new Promise<R>((resolve, reject) => {
          const { signal } = options;
          const call = client.makeUnaryRequest(
            method.path,
            method.requestSerialize,
            method.responseDeserialize,
            request,
            new Metadata(),
            { deadline: Date.now() + deadlineMs },
            (error, response) => {
              signal?.removeEventListener('abort', cancel);
              if (error !== null) reject(error);
              else resolve(response!);
            },
          );
          const cancel = (): void => call.cancel();
          signal?.addEventListener('abort', cancel);
        }),
    );
  }

  /** Tries the endpoints in turn, while that cannot do anything twice. */
  async #anywhere<T>(
    repeatable: boolean,
    options: CallOptions,
    attempt: (connection: Connection, deadlineMs: number) => Promise<T>,
  ): Promise<T> {
    const { deadlineMs = this.#deadlineMs, signal } = options;
    const count = this.#connections.length;
    const end = performance.now() + deadlineMs;
    const leftMs = (): number => Math.max(1, end - performance.now());
    for (let tried = 0; ; tried++) {
      if (signal?.aborted) throw cancelled('cancelled by the caller');
      if (this.#closed) throw cancelled(closedMessage);
      const at = (this.#preferred + tried) % count;
      const connection = this.#connections[at]!;
      const others = count - tried - 1;
      // Only connecting is cut short for the others' sake. A call that has begun has all the time that is left: it is slow
      // for a reason, and nobody knows whether it has been done.
      if (others > 0 && !(await connects(connection.client, Math.min(connectMs, leftMs() / (others + 1)), signal)))
        continue;
      try {
        const result = await attempt(connection, leftMs());
        this.#preferred = at;
        return result;
      } catch (error) {
        if (!isServiceError(error)) throw error;
        const elsewhere = neverSent(error) || (repeatable && error.code === status.UNAVAILABLE);
        if (!elsewhere || others <= 0) throw toEtcdError(error, connection.endpoint);
      }
    }
  }
}

async function openSnapshot(
  { endpoint, client }: Connection,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<SnapshotStream> {
  const { path, requestSerialize, responseDeserialize } = methods.snapshot;
  const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {}, new Metadata());
  const cancel = (): void => call.cancel();
  signal?.addEventListener('abort', cancel);
  // The deadline is for the beginning only: a big state may take its time.
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    call.cancel();
  }, deadlineMs);
  const close = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', cancel);
    call.cancel();
  };
  try {
    let head: Metadata | undefined;
    call.on('metadata', (metadata: Metadata) => {
      head = metadata;
    });
    const messages = call[Symbol.asyncIterator]() as AsyncIterator<SnapshotResponse>;
    const first = await messages.next();
    clearTimeout(timer);
    if (first.done) {
      throw new EtcdError('ETCD_SNAPSHOT_TRUNCATED', status.DATA_LOSS, `${endpoint}: the snapshot stream is empty`);
    }
    const sizeBytes = first.value.blob.length + first.value.remainingBytes + hashBytes;
    const [described] = head?.get(metadataKey) ?? [];
    async function* blobs(): AsyncGenerator<Uint8Array> {
      try {
        for (let message = first; !message.done; message = await messages.next()) yield message.value.blob;
      } catch (error) {
        throw isServiceError(error) ? toEtcdError(error, endpoint) : error;
      } finally {
        close();
      }
    }
    return {
      endpoint,
      metadata: described === undefined ? undefined : (JSON.parse(described.toString()) as SnapshotMetadata),
      sizeBytes,
      chunks: verified(blobs(), sizeBytes),
      close,
    };
  } catch (error) {
    close();
    if (late && isServiceError(error)) error.code = status.DEADLINE_EXCEEDED;
    throw error;
  }
}
