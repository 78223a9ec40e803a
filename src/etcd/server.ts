/**
 * The etcd v3 gRPC services, bound to a member through `EtcdBackend`. What the protocol asks of a request before it
 * may reach the member (keys, sort options, transaction size) is checked here; the rest is the backend's.
 */

import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket, type Server as SocketServer } from 'node:net';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
  type StatusObject,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type EtcdAddress, parseEndpoint } from './endpoint.ts';
import { EtcdError } from './errors.ts';
import type {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DefragmentRequest,
  DefragmentResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  SnapshotRequest,
  SnapshotResponse,
  StatusRequest,
  StatusResponse,
  TxnRequest,
  TxnResponse,
} from './gen/rpc.ts';
import { maintenanceStream, metadataKey, type SnapshotMetadata } from './maintenance-stream.ts';
import { methods, type Received, receiving } from './methods.ts';
import { checkDelete, checkPut, checkRange, checkSize, checkTxn, maxMessageBytes } from './validate.ts';

export type { Received } from './methods.ts';

/** A snapshot to be streamed. `slices` is read to its end or returned early; either way it is given back. */
export interface BackendSnapshot {
  readonly metadata: SnapshotMetadata;
  /** Bytes in `slices`; padding and hash come on top. */
  readonly sizeBytes: number;
  readonly slices: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/**
 * One member, as the services need it. Every method rejects with an `EtcdError` (errors.ts) for what etcd has an error
 * for; anything else becomes INTERNAL. Responses carry their whole header.
 */
export interface EtcdBackend {
  range(request: RangeRequest): Promise<RangeResponse>;
  put(request: Received<PutRequest>): Promise<PutResponse>;
  deleteRange(request: Received<DeleteRangeRequest>): Promise<DeleteRangeResponse>;
  txn(request: Received<TxnRequest>): Promise<TxnResponse>;
  compact(request: Received<CompactionRequest>): Promise<CompactionResponse>;
  memberList(request: MemberListRequest): Promise<MemberListResponse>;
  memberAdd(request: MemberAddRequest): Promise<MemberAddResponse>;
  memberRemove(request: MemberRemoveRequest): Promise<MemberRemoveResponse>;
  memberUpdate(request: MemberUpdateRequest): Promise<MemberUpdateResponse>;
  memberPromote(request: MemberPromoteRequest): Promise<MemberPromoteResponse>;
  moveLeader(request: MoveLeaderRequest): Promise<MoveLeaderResponse>;
  alarm(request: AlarmRequest): Promise<AlarmResponse>;
  defragment(): Promise<DefragmentResponse>;
  status(): Promise<StatusResponse>;
  hashKv(request: HashKVRequest): Promise<HashKVResponse>;
  snapshot(): Promise<BackendSnapshot>;
}

export interface EtcdServerOptions {
  readonly backend: EtcdBackend;
  /** Client URLs to listen on, `http://host:port` or `https://host:port`; port 0 takes a free one. */
  readonly listen: readonly string[];
  /** For https: a server that hands connections over once they are secured for HTTP/2. */
  readonly secureServer?: (onConnection: (socket: Socket) => void) => SocketServer;
}

export interface EtcdServer {
  /** The URLs listened on, in the order asked for, with their real ports. */
  readonly urls: readonly string[];
  /** Lets running calls end for at most `graceMs`, then cuts them off. */
  close(graceMs?: number): Promise<void>;
}

/** Refused with UNAVAILABLE by clients' deadlines rather than here: as many streams as a client likes. */
const maxConcurrentStreams = 0x7fffffff;

function grpcError(error: unknown): Partial<StatusObject> {
  if (error instanceof EtcdError) return { code: error.status, details: error.message };
  return { code: status.INTERNAL, details: error instanceof Error ? error.message : String(error) };
}

function unary<Q, R>(perform: (request: Q) => Promise<R>): handleUnaryCall<Q, R> {
  return (call, callback) => {
    // Called inside a promise's chain, so that what `perform` throws at once is answered like a rejection.
    let answer: Promise<R>;
    try {
      answer = perform(call.request);
    } catch (error) {
      callback(grpcError(error));
      return;
    }
    answer.then(
      (response) => callback(null, response),
      (error: unknown) => callback(grpcError(error)),
    );
  };
}

/** Resolves when the client has taken what was written, rejects when it has gone. */
function drained(call: ServerWritableStream<SnapshotRequest, SnapshotResponse>): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      call.off('drain', settle);
      call.off('cancelled', settle);
      call.off('close', settle);
      if (call.cancelled || call.destroyed) {
        reject(new EtcdError('ETCD_CANCELLED', status.CANCELLED, 'the client has ended the stream'));
      } else resolve();
    };
    call.on('drain', settle);
    call.on('cancelled', settle);
    call.on('close', settle);
    if (call.cancelled || call.destroyed) settle();
  });
}

async function sendSnapshot(
  backend: EtcdBackend,
  call: ServerWritableStream<SnapshotRequest, SnapshotResponse>,
): Promise<void> {
  const { metadata, sizeBytes, slices } = await backend.snapshot();
  const head = new Metadata();
  head.set(metadataKey, JSON.stringify(metadata));
  call.sendMetadata(head);
  for await (const { blob, remaining } of maintenanceStream(slices, sizeBytes)) {
    if (call.cancelled) throw new EtcdError('ETCD_CANCELLED', status.CANCELLED, 'the client has ended the stream');
    const taken = call.write({ header: undefined, remainingBytes: remaining, blob, version: '' });
    if (!taken) await drained(call);
  }
}

function services(backend: EtcdBackend): readonly [ServiceDefinition, UntypedServiceImplementation] {
  const snapshot: handleServerStreamingCall<SnapshotRequest, SnapshotResponse> = (call) => {
    sendSnapshot(backend, call).then(
      () => call.end(),
      (error: unknown) => call.destroy(Object.assign(new Error('snapshot failed'), grpcError(error))),
    );
  };
  const checked =
    <Q, R>(check: (request: Q) => void, perform: (request: Received<Q>) => Promise<R>) =>
    (received: Received<Q>): Promise<R> => {
      check(received.message);
      checkSize(received.bytes);
      return perform(received);
    };
  const implementation = {
    range: unary((request: RangeRequest) => {
      checkRange(request);
      return backend.range(request);
    }),
    put: unary(checked(checkPut, (request: Received<PutRequest>) => backend.put(request))),
    deleteRange: unary(checked(checkDelete, (request: Received<DeleteRangeRequest>) => backend.deleteRange(request))),
    txn: unary(checked(checkTxn, (request: Received<TxnRequest>) => backend.txn(request))),
    compact: unary((request: Received<CompactionRequest>) => backend.compact(request)),
    memberList: unary((request: MemberListRequest) => backend.memberList(request)),
    memberAdd: unary((request: MemberAddRequest) => backend.memberAdd(request)),
    memberRemove: unary((request: MemberRemoveRequest) => backend.memberRemove(request)),
    memberUpdate: unary((request: MemberUpdateRequest) => backend.memberUpdate(request)),
    memberPromote: unary((request: MemberPromoteRequest) => backend.memberPromote(request)),
    moveLeader: unary((request: MoveLeaderRequest) => backend.moveLeader(request)),
    alarm: unary((request: AlarmRequest) => backend.alarm(request)),
    defragment: unary((_: DefragmentRequest) => backend.defragment()),
    status: unary((_: StatusRequest) => backend.status()),
    hashKv: unary((request: HashKVRequest) => backend.hashKv(request)),
    snapshot,
  };
  const definition: Record<keyof typeof methods, MethodDefinition<never, never>> = {
    ...methods,
    put: receiving(methods.put),
    deleteRange: receiving(methods.deleteRange),
    txn: receiving(methods.txn),
    compact: receiving(methods.compact),
  } as unknown as Record<keyof typeof methods, MethodDefinition<never, never>>;
  return [definition as unknown as ServiceDefinition, implementation];
}

const noTls = (url: string): EtcdError =>
  new EtcdError(
    'ETCD_INVALID_ENDPOINT',
    status.INVALID_ARGUMENT,
    `"${url}" asks for TLS, and there are no certificates`,
  );

/** On every address that the name of the host stands for; one of them is enough. Gives the port as well. */
async function listen(make: () => SocketServer, { host, port }: EtcdAddress): Promise<[SocketServer[], number]> {
  const listening: SocketServer[] = [];
  let [bound, failure] = [port, undefined as unknown];
  for (const { address } of await lookup(host, { all: true })) {
    const server = make();
    try {
      await once(server.listen(bound, address), 'listening');
      listening.push(server);
      bound = (server.address() as AddressInfo).port;
    } catch (error) {
      failure ??= error;
    }
  }
  if (listening.length === 0) throw failure;
  return [listening, bound];
}

/**
 * The connections are ours and not gRPC's: it could secure them, but neither say who was refused nor let a bundle of authorities be
 * renewed; and when it closes one it waits for as long as the other side likes to do so too.
 */
class Connections {
  readonly #open = new Set<Socket>();
  #cut = false;

  /** False: it came too late. */
  add(socket: Socket): boolean {
    // gRPC sees the stream end; that it broke is of no more use.
    socket.on('error', () => {});
    if (this.#cut) {
      socket.destroy();
      return false;
    }
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    return true;
  }

  cut(): void {
    this.#cut = true;
    for (const socket of this.#open) socket.destroy();
  }

  async closed(): Promise<void> {
    const closed = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once('close', resolve));
    while (this.#open.size > 0) await Promise.all([...this.#open].map(closed));
  }
}

/**
 * Listens on every URL and serves until closed. Calls of services that are not here (Watch, Lease, Auth, ...) end with
 * UNIMPLEMENTED and the call's name. Fails with `ETCD_INVALID_ENDPOINT`, or with what listening failed with.
 */
export async function serveEtcd(options: EtcdServerOptions): Promise<EtcdServer> {
  const addresses = options.listen.map(parseEndpoint);
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
    'grpc.max_concurrent_streams': maxConcurrentStreams,
  });
  const [definition, implementation] = services(options.backend);
  server.addService(definition, implementation);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const connections = new Connections();
  const onConnection = (socket: Socket): void => {
    if (connections.add(socket)) injector.injectConnection(socket);
  };
  const urls: string[] = [];
  const listening: SocketServer[] = [];
  try {
    for (const [n, address] of addresses.entries()) {
      const { secureServer } = options;
      if (address.isSecure && !secureServer) throw noTls(options.listen[n]!);
      const make = (): SocketServer =>
        address.isSecure ? secureServer!(onConnection) : createServer((socket) => onConnection(socket));
      const [servers, port] = await listen(make, address);
      listening.push(...servers);
      urls.push(`${address.isSecure ? 'https' : 'http'}://${address.authority.replace(/:\d+$/, '')}:${port}`);
    }
  } catch (error) {
    for (const one of listening) one.close();
    server.forceShutdown();
    throw error;
  }
  return {
    urls,
    close: async (graceMs = 0) => {
      for (const one of listening) one.close();
      const force = setTimeout(() => connections.cut(), graceMs);
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      await connections.closed();
      clearTimeout(force);
    },
  };
}
