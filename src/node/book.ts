/**
 * The book of members: who they are and where they are reached, part of the replicated state. Who votes is not in it: the
 * configuration says that, and an entry that changes the configuration tells the book what it means (`MembershipAction`).
 */
import { etcdError } from '../etcd/errors.ts';
import { decodeConfiguration, isId } from '../raft/membership.ts';
import { asMemberId, type Entry, type MemberId } from '../raft/types.ts';
import { type ClusterMember, peerUrlsFrom } from './identity.ts';
import { KvError } from './kv-errors.ts';

export interface BookMember {
  /** Empty until it has started and made its name known. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  /** Added as a voter: it learns first, and the leader promotes it when it has caught up. */
  readonly toVote: boolean;
}

export type MembershipAction =
  | { readonly type: 'add'; readonly id: MemberId; readonly peerUrls: readonly string[]; readonly toVote: boolean }
  | { readonly type: 'promote'; readonly id: MemberId }
  | { readonly type: 'remove'; readonly id: MemberId };

/** What a snapshot keeps of it. Members of an older version's have no `peerUrls` and no `toVote`, and nobody was removed. */
interface Attachment {
  readonly members: Readonly<Record<string, BookMember>>;
  readonly removed: readonly string[];
}

export class Book {
  readonly #members = new Map<MemberId, BookMember>();
  readonly #removed = new Set<MemberId>();

  /** As it is when a cluster begins: nobody has started. */
  static of(genesis: readonly ClusterMember[]): Book {
    const book = new Book();
    for (const { id, peerUrls } of genesis) book.#members.set(id, unstarted(peerUrls, true));
    return book;
  }

  /** Throws `KV_SNAPSHOT_ATTACHMENT`. */
  static from(attachment: unknown, genesis: readonly ClusterMember[]): Book {
    const { members, removed } = (attachment ?? {}) as Partial<Attachment>;
    if (typeof members !== 'object' || members === null) {
      throw new KvError('KV_SNAPSHOT_ATTACHMENT', 'the snapshot lists no members: it was not made by this program');
    }
    const book = removed === undefined ? Book.of(genesis) : new Book();
    for (const [id, member] of Object.entries(members)) {
      if (!isId(id)) throw new KvError('KV_SNAPSHOT_ATTACHMENT', `the snapshot has a member of the id "${id}"`);
      const known = book.#members.get(asMemberId(id)) ?? unstarted([], true);
      book.#members.set(asMemberId(id), { ...known, ...member });
    }
    for (const id of removed ?? []) book.#removed.add(asMemberId(id));
    return book;
  }

  get members(): ReadonlyMap<MemberId, BookMember> {
    return this.#members;
  }

  get attachment(): Attachment {
    const sorted = [...this.#members].sort(([a], [b]) => (a < b ? -1 : 1));
    return { members: Object.fromEntries(sorted), removed: [...this.#removed].sort() };
  }

  wasRemoved(id: MemberId): boolean {
    return this.#removed.has(id);
  }

  hasStarted(id: MemberId): boolean {
    return (this.#members.get(id)?.name ?? '') !== '';
  }

  withUrls(peerUrls: readonly string[]): MemberId | undefined {
    const wanted = [...peerUrls].sort().join();
    for (const [id, member] of this.#members) if ([...member.peerUrls].sort().join() === wanted) return id;
    return undefined;
  }

  /** Whoever but `except` has one of these addresses. */
  sharesUrls(peerUrls: readonly string[], except?: MemberId): boolean {
    return [...this.#members].some(
      ([id, member]) => id !== except && member.peerUrls.some((url) => peerUrls.includes(url)),
    );
  }

  perform(action: MembershipAction): void {
    const { id } = action;
    switch (action.type) {
      case 'add':
        this.#members.set(id, unstarted(action.peerUrls, action.toVote));
        break;
      case 'promote':
        this.#change(id, { toVote: true });
        break;
      case 'remove':
        this.#members.delete(id);
        this.#removed.add(id);
        break;
    }
  }

  /** Nothing for who is no member (any more). */
  publish(id: MemberId, name: string, clientUrls: readonly string[]): void {
    this.#change(id, { name, clientUrls });
  }

  /** Throws an `EtcdError`. */
  move(id: MemberId, peerUrls: readonly string[]): void {
    if (!this.#members.has(id)) throw etcdError('ETCD_MEMBER_NOT_FOUND');
    if (this.sharesUrls(peerUrls, id)) throw etcdError('ETCD_PEER_URL_EXISTS');
    this.#change(id, { peerUrls });
  }

  #change(id: MemberId, part: Partial<BookMember>): void {
    const member = this.#members.get(id);
    if (member) this.#members.set(id, { ...member, ...part });
  }
}

const unstarted = (peerUrls: readonly string[], toVote: boolean): BookMember => ({
  name: '',
  peerUrls,
  clientUrls: [],
  toVote,
});

/** What a configuration entry carries for the book, and for who waits for it (see kv-entries.ts). */
export interface ChangeContext {
  readonly process: number;
  readonly sequence: number;
  readonly action: MembershipAction;
}

export const encodeContext = (context: ChangeContext): string => JSON.stringify(context);

/** Undefined where a leader left a joint configuration by itself, and for what no member writes. */
export function decodeContext(text: string): ChangeContext | undefined {
  let context: Partial<ChangeContext> | null;
  try {
    context = JSON.parse(text) as Partial<ChangeContext> | null;
  } catch {
    return undefined;
  }
  const { process, sequence, action } = context ?? {};
  if (typeof process !== 'number' || typeof sequence !== 'number' || !isId(action?.id)) return undefined;
  switch (action.type) {
    case 'add':
      return peerUrlsFrom(action.peerUrls) === undefined ? undefined : { process, sequence, action };
    case 'promote':
    case 'remove':
      return { process, sequence, action };
    default:
      return undefined;
  }
}

/** Where members are reached, as the entries say that added them: the book knows it only once these are applied. */
export class Addresses {
  readonly #urls = new Map<MemberId, readonly string[]>();

  learn(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.kind !== 'configuration') continue;
      const action = decodeContext(decodeConfiguration(entry.data)?.context ?? '')?.action;
      if (action?.type === 'add') this.#urls.set(action.id, action.peerUrls);
    }
  }

  of(member: MemberId): readonly string[] | undefined {
    return this.#urls.get(member);
  }
}
