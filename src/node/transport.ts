/** Messages to and from the other members. What comes in is checked; what does not check is counted and logged once. */
import { createServer, type Server, type Socket } from 'node:net';
import type { Log } from '../log.ts';
import type { MemberId } from '../raft/types.ts';
import { Channel, controlOf } from './channel.ts';
import { decodeMessage, encodeMessage, type WireMessage } from './codec.ts';
import { hostAndPort, NodeError } from './flags.ts';
import { FrameError } from './frames.ts';
import { type Answer, dial, type Hello, parseHello, protocolVersion, type Welcome } from './hello.ts';
import type { ClusterIdentity, ClusterMember } from './identity.ts';
import { Link } from './link.ts';
import { OnceLog } from './once.ts';

export interface TransportHandlers {
  readonly onMessage: (message: WireMessage) => void;
  /** Messages now go both ways. */
  readonly onUp: (peer: MemberId, welcome: Welcome) => void;
  readonly onDown: (peer: MemberId) => void;
  /** A member wants to send a snapshot on this channel. */
  readonly onSnapshot: (from: MemberId, channel: Channel) => void;
  /** Whether the replicated member list shows that this member has taken part. */
  readonly knows: (member: MemberId) => boolean;
}

export interface TransportCounters {
  badFrames: number;
  droppedMessages: number;
  refusedConnections: number;
}

const greetingWithinMs = 5000;

export class Transport {
  readonly counters: TransportCounters = { badFrames: 0, droppedMessages: 0, refusedConnections: 0 };
  readonly #identity: ClusterIdentity;
  readonly #handlers: TransportHandlers;
  readonly #log: Log;
  readonly #links = new Map<MemberId, Link>();
  readonly #used = new Set<Link>();
  /** What each peer said when this member reached it. */
  readonly #welcomes = new Map<MemberId, Welcome>();
  /** Connections on which a peer sends. */
  readonly #hearing = new Map<MemberId, Channel>();
  readonly #servers: Server[] = [];
  readonly #incoming = new Set<Channel>();
  readonly #complaints: OnceLog;

  constructor(identity: ClusterIdentity, handlers: TransportHandlers, log: Log) {
    this.#identity = identity;
    this.#handlers = handlers;
    this.#log = log;
    this.#complaints = new OnceLog(log);
  }

  /** Listens, then dials every other member. Rejects with NODE_LISTEN_FAILED. */
  async start(listenUrls: readonly string[]): Promise<void> {
    for (const url of listenUrls) this.#servers.push(await this.#listen(url));
    for (const member of this.#identity.members) if (member.id !== this.#identity.self.id) this.#link(member);
  }

  /** Goes out with the next `flush`. False: it did not and will not, since there is no connection or it is stuck. */
  send(message: WireMessage): boolean {
    const link = this.#links.get(message.to);
    if (!link?.takes) {
      this.counters.droppedMessages++;
      return false;
    }
    link.send(encodeMessage(message));
    this.#used.add(link);
    return true;
  }

  flush(): void {
    for (const link of this.#used) link.flush();
    this.#used.clear();
  }

  /** Members with which messages go both ways. */
  connected(): MemberId[] {
    return [...this.#hearing.keys()].filter((id) => this.#welcomes.has(id));
  }

  /** A connection of its own for one snapshot. */
  async openSnapshotChannel(to: MemberId): Promise<Channel> {
    const { clusterId, self, members } = this.#identity;
    const peer = members.find((member) => member.id === to);
    if (!peer) throw new Error(`${to} is not a member`);
    const { channel } = await dial(peer.peerUrls[0]!, { clusterId, from: self.id, to, purpose: 'snapshot' }, 5000);
    return channel;
  }

  async close(): Promise<void> {
    for (const link of this.#links.values()) link.close();
    for (const channel of this.#incoming) channel.close();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #link({ id, peerUrls }: ClusterMember): void {
    const link = new Link({
      clusterId: this.#identity.clusterId,
      self: this.#identity.self.id,
      peer: id,
      urls: peerUrls,
      log: this.#log,
      onUp: (welcome) => {
        this.#welcomes.set(id, welcome);
        this.#bothWays(id);
      },
      onDown: () => {
        this.#welcomes.delete(id);
        this.#handlers.onDown(id);
      },
    });
    this.#links.set(id, link);
  }

  #listen(url: string): Promise<Server> {
    const { host, port } = hostAndPort(url);
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => this.#accept(socket));
      server.once('error', (error) => {
        reject(new NodeError('NODE_LISTEN_FAILED', `cannot listen for members on ${url}: ${error.message}`, 1, error));
      });
      server.listen(port, host, () => resolve(server));
    });
  }

  #accept(socket: Socket): void {
    const from = `${socket.remoteAddress}`;
    // Signs of life alone do not keep a stranger's connection open.
    const timer = setTimeout(() => channel.close(new FrameError('no greeting came')), greetingWithinMs);
    const channel = new Channel(socket, {
      onPayload: (payload) => {
        clearTimeout(timer);
        this.#greet(channel, parseHello(controlOf(payload)), from);
      },
      onClose: (error) => {
        clearTimeout(timer);
        this.#closed(channel, error, from);
      },
    });
    this.#incoming.add(channel);
  }

  #greet(channel: Channel, hello: Hello, address: string): void {
    const reason = this.#objection(hello);
    if (reason !== undefined) {
      this.counters.refusedConnections++;
      this.#complaints.warn('refused a connection', { address, from: hello.from, reason });
      channel.handOver({ onPayload: () => {}, onClose: (error) => this.#closed(channel, error, address) });
      channel.sendControl({ ok: false, reason } satisfies Answer);
      channel.end();
      return;
    }
    const { from } = hello;
    const onClose = (error: Error | undefined): void => {
      if (this.#hearing.get(from) === channel) this.#hearing.delete(from);
      this.#closed(channel, error, from);
    };
    const { self } = this.#identity;
    const onPayload = (payload: Buffer): void => this.#handlers.onMessage(decodeMessage(payload, from, self.id));
    channel.handOver({ onClose, onPayload: hello.purpose === 'messages' ? onPayload : () => {} });
    channel.sendControl({ ok: true, knowsYou: this.#handlers.knows(from) } satisfies Answer);
    switch (hello.purpose) {
      case 'messages':
        // A member sends on one connection; whatever is left of the one before is of no use any more.
        this.#hearing.get(from)?.close();
        this.#hearing.set(from, channel);
        this.#bothWays(from);
        break;
      case 'snapshot':
        this.#handlers.onSnapshot(from, channel);
        break;
      case 'probe':
        channel.end();
        break;
    }
  }

  #bothWays(peer: MemberId): void {
    const welcome = this.#welcomes.get(peer);
    if (welcome && this.#hearing.has(peer)) this.#handlers.onUp(peer, welcome);
  }

  #objection(hello: Hello): string | undefined {
    const { clusterId, self, members } = this.#identity;
    if (hello.protocol !== protocolVersion) return `protocol ${hello.protocol}; this member speaks ${protocolVersion}`;
    if (hello.clusterId !== clusterId) return `cluster ${hello.clusterId}; this is a member of cluster ${clusterId}`;
    if (hello.to !== self.id) return `member ${hello.to} was meant; this is member ${self.id}`;
    if (hello.from === self.id) return 'it claims to be this very member';
    if (!members.some((member) => member.id === hello.from)) return `${hello.from} is not a member of this cluster`;
    return undefined;
  }

  #closed(channel: Channel, error: Error | undefined, from: string): void {
    this.#incoming.delete(channel);
    if (!(error instanceof FrameError)) return;
    this.counters.badFrames++;
    this.#complaints.warn('closed a connection that sent what no member sends', { from, reason: error.message });
  }
}
