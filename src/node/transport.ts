/** Messages to and from the other members. What comes in is checked; what does not check is counted and logged once. */
import { createServer, type Server, type Socket } from 'node:net';
import type { Log } from '../log.ts';
import type { MemberId } from '../raft/types.ts';
import type { Certificates } from './certificates.ts';
import { Channel, controlOf } from './channel.ts';
import { decodeMessage, encodeMessage, type WireMessage } from './codec.ts';
import { NodeError } from './errors.ts';
import { FrameError } from './frames.ts';
import {
  type Answer,
  dial,
  type Hello,
  type JoinAnswer,
  type JoinRequest,
  type Meeting,
  type No,
  parseHello,
  protocolVersion,
  type Welcome,
} from './hello.ts';
import { Link } from './link.ts';
import { OnceLog } from './once.ts';
import { secureServer } from './secure.ts';
import { hostAndPort, isSecure } from './urls.ts';

export interface TransportHandlers {
  readonly onMessage: (message: WireMessage) => void;
  /** Messages now go both ways. */
  readonly onUp: (peer: MemberId, welcome: Welcome) => void;
  /** In one direction or both no more; may be said more than once. */
  readonly onDown: (peer: MemberId) => void;
  /** Nobody listens where the peer did; may be said more than once. */
  readonly onEnded: (peer: MemberId) => void;
  /** A member wants to send a snapshot on this channel. */
  readonly onSnapshot: (from: MemberId, channel: Channel) => void;
  /** Whether the replicated member list shows that this member has taken part. */
  readonly knows: (member: MemberId) => boolean;
  readonly wasRemoved: (member: MemberId) => boolean;
  /** Another member says that this one was. */
  readonly onRemoved: (by: MemberId) => void;
  /** A member without data asks who it is. */
  readonly onJoin: (request: JoinRequest) => Promise<JoinAnswer>;
}

export interface TransportSelf {
  readonly clusterId: string;
  readonly memberId: MemberId;
  /** Where the others reach it. */
  readonly peerUrls: readonly string[];
  /** Needed to listen at https URLs. */
  readonly certificates?: Certificates | undefined;
}

export type Peers = ReadonlyMap<MemberId, readonly string[]>;

export interface TransportCounters {
  badFrames: number;
  droppedMessages: number;
  refusedConnections: number;
}

const greetingWithinMs = 5000;
/** Members that this one has not heard of yet and listens to all the same: more than can join between two appends. */
const maxStrangers = 16;

export class Transport {
  readonly counters: TransportCounters = { badFrames: 0, droppedMessages: 0, refusedConnections: 0 };
  readonly #self: TransportSelf;
  readonly #handlers: TransportHandlers;
  readonly #log: Log;
  /** To `#peers`, and to whoever dialled this member and is not known to it yet. */
  readonly #links = new Map<MemberId, { readonly link: Link; readonly urls: readonly string[] }>();
  #peers: Peers = new Map();
  readonly #used = new Set<Link>();
  /** What each peer said when this member reached it. */
  readonly #welcomes = new Map<MemberId, Welcome>();
  /** Connections on which a peer sends. */
  readonly #hearing = new Map<MemberId, Channel>();
  /** The address from which each peer last connected. */
  readonly #seen = new Map<MemberId, string>();
  readonly #servers: Server[] = [];
  readonly #incoming = new Set<Channel>();
  readonly #complaints: OnceLog;

  constructor(self: TransportSelf, handlers: TransportHandlers, log: Log) {
    this.#self = self;
    this.#handlers = handlers;
    this.#log = log;
    this.#complaints = new OnceLog(log);
  }

  /** Listens. Rejects with NODE_LISTEN_FAILED. */
  async start(listenUrls: readonly string[]): Promise<void> {
    for (const url of listenUrls) this.#servers.push(await this.#listen(url));
  }

  /** The other members, from here on: whoever is new or moved is dialled, whoever is gone is let go. */
  connect(peers: Peers): void {
    this.#peers = peers;
    for (const id of this.#links.keys()) {
      const visits = this.#hearing.has(id) && !this.#handlers.wasRemoved(id);
      if (!peers.has(id) && !visits) this.#unlink(id);
    }
    for (const [id, urls] of peers) this.#link(id, urls);
  }

  /** Goes out with the next `flush`. False: it did not and will not, since there is no connection or it is stuck. */
  send(message: WireMessage): boolean {
    const link = this.#links.get(message.to)?.link;
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
    const urls = this.#links.get(to)?.urls;
    if (!urls) throw new Error(`it is not known where member ${to} is reached`);
    const { channel } = await dial(urls[0]!, this.#meeting(to, 'snapshot'), 5000, this.#self.certificates, () =>
      this.#seen.get(to),
    );
    return channel;
  }

  async close(): Promise<void> {
    for (const { link } of this.#links.values()) link.close();
    for (const channel of this.#incoming) channel.close();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #meeting(to: MemberId, purpose: Meeting['purpose']): Meeting {
    const { clusterId, memberId: from, peerUrls } = this.#self;
    return { purpose, clusterId, from, to, peerUrls };
  }

  #link(id: MemberId, urls: readonly string[]): void {
    const known = this.#links.get(id);
    if (known?.urls.join() === urls.join()) return;
    if (known) this.#unlink(id);
    const link = new Link({
      meeting: this.#meeting(id, 'messages'),
      urls,
      certificates: this.#self.certificates,
      log: this.#log,
      seen: () => this.#seen.get(id),
      onUp: (welcome) => {
        this.#welcomes.set(id, welcome);
        this.#bothWays(id);
      },
      onDown: () => this.#down(id),
      onEnded: () => this.#handlers.onEnded(id),
      onRefused: (error) => {
        if (error.why === 'removed') this.#handlers.onRemoved(id);
      },
    });
    this.#links.set(id, { link, urls });
  }

  /** Whoever was removed is told: nothing else may ever reach it. */
  #unlink(id: MemberId): void {
    const { link } = this.#links.get(id)!;
    this.#links.delete(id);
    this.#seen.delete(id);
    if (this.#handlers.wasRemoved(id)) link.closeWith({ removed: true });
    else link.close();
    if (this.#welcomes.has(id)) this.#down(id);
  }

  #down(id: MemberId): void {
    this.#welcomes.delete(id);
    this.#handlers.onDown(id);
  }

  #listen(url: string): Promise<Server> {
    const { host, port } = hostAndPort(url);
    return new Promise((resolve, reject) => {
      const server = this.#server(url);
      server.once('error', (error) => {
        reject(new NodeError('NODE_LISTEN_FAILED', `cannot listen for members on ${url}: ${error.message}`, 1, error));
      });
      server.listen(port, host, () => resolve(server));
    });
  }

  #server(url: string): Server {
    const onConnection = (socket: Socket): void => this.#accept(socket);
    const { certificates } = this.#self;
    if (!isSecure(url) || !certificates) return createServer(onConnection);
    const onRefused = (address: string, reason: string): void => {
      this.counters.refusedConnections++;
      this.#complaints.warn('refused a connection', { address, reason });
    };
    return secureServer({ certificates, onConnection, onRefused });
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
    const objection = this.#objection(hello);
    if (objection !== undefined) {
      this.counters.refusedConnections++;
      const from = hello.purpose === 'join' ? hello.name : hello.from;
      this.#complaints.warn('refused a connection', { address, from, reason: objection.reason });
      channel.handOver({ onPayload: () => {}, onClose: (error) => this.#closed(channel, error, address) });
      channel.sendControl(objection);
      channel.end();
      return;
    }
    if (hello.purpose === 'join') {
      channel.handOver({ onPayload: () => {}, onClose: (error) => this.#closed(channel, error, address) });
      void this.#handlers.onJoin(hello).then((answer) => {
        channel.sendControl(answer);
        channel.end();
      });
      return;
    }
    const { from } = hello;
    const onClose = (error: Error | undefined): void => {
      if (this.#hearing.get(from) === channel) this.#silent(from);
      this.#closed(channel, error, from);
    };
    const onPayload = (payload: Buffer): void => this.#hear(payload, from);
    channel.handOver({ onClose, onPayload: hello.purpose === 'messages' ? onPayload : () => {} });
    channel.sendControl({ ok: true, knowsYou: this.#handlers.knows(from) } satisfies Answer);
    switch (hello.purpose) {
      case 'messages':
        // A member sends on one connection; whatever is left of the one before is of no use any more.
        this.#hearing.get(from)?.close();
        this.#hearing.set(from, channel);
        this.#seen.set(from, address);
        // A member that this one has not heard of may lead it, or want its vote.
        if (!this.#peers.has(from) && hello.peerUrls.length > 0) this.#link(from, hello.peerUrls);
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

  #hear(payload: Buffer, from: MemberId): void {
    const control = controlOf(payload);
    if (control === undefined) this.#handlers.onMessage(decodeMessage(payload, from, this.#self.memberId));
    else if (control['removed'] === true) this.#handlers.onRemoved(from);
    else throw new FrameError('an unknown control frame');
  }

  /** All that it sent was heard, and there will be no more of it for now. */
  #silent(from: MemberId): void {
    this.#hearing.delete(from);
    this.#handlers.onDown(from);
    if (!this.#peers.has(from) && this.#links.has(from)) this.#unlink(from);
  }

  #bothWays(peer: MemberId): void {
    const welcome = this.#welcomes.get(peer);
    if (welcome && this.#hearing.has(peer)) this.#handlers.onUp(peer, welcome);
  }

  #objection(hello: Hello): No | undefined {
    const { clusterId, memberId } = this.#self;
    const no = (reason: string): No => ({ ok: false, reason });
    if (hello.protocol !== protocolVersion)
      return no(`protocol ${hello.protocol}; this member speaks ${protocolVersion}`);
    if (hello.purpose === 'join') return undefined;
    if (hello.clusterId !== clusterId)
      return no(`cluster ${hello.clusterId}; this is a member of cluster ${clusterId}`);
    if (hello.to !== memberId) return no(`member ${hello.to} was meant; this is member ${memberId}`);
    if (hello.from === memberId) return no('it claims to be this very member');
    if (this.#handlers.wasRemoved(hello.from))
      return { ...no(`member ${hello.from} was removed from this cluster`), why: 'removed' };
    if (this.#isOneTooMany(hello.from)) return no(`${maxStrangers} members unknown here are connected already`);
    return undefined;
  }

  #isOneTooMany(from: MemberId): boolean {
    if (this.#peers.has(from) || this.#hearing.has(from)) return false;
    let strangers = 0;
    for (const id of this.#hearing.keys()) if (!this.#peers.has(id)) strangers++;
    return strangers >= maxStrangers;
  }

  #closed(channel: Channel, error: Error | undefined, from: string): void {
    this.#incoming.delete(channel);
    if (!(error instanceof FrameError)) return;
    this.counters.badFrames++;
    this.#complaints.warn('closed a connection that sent what no member sends', { from, reason: error.message });
  }
}
