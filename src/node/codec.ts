/**
 * Raft messages as bytes. The members at the two ends of a connection are known from its first frame, so messages do not
 * repeat them. Integers are u64 little-endian, exact to 2^53; entries follow `prevIndex` without gaps.
 */

import { changeFrom } from '../raft/membership.ts';
import {
  asIndex,
  asTerm,
  type DropReason,
  type Entry,
  type EntryKind,
  type Index,
  type MemberId,
  type Message,
  type Proposal,
  type SnapshotMessage,
} from '../raft/types.ts';
import { FrameError, frameHeaderBytes, maxFrameBytes, newFrame, sealFrame } from './frames.ts';

export type WireMessage = Exclude<Message, SnapshotMessage>;

const types: readonly WireMessage['type'][] = [
  'append',
  'appendResponse',
  'heartbeat',
  'heartbeatResponse',
  'commit',
  'vote',
  'voteResponse',
  'propose',
  'proposeResponse',
  'readIndex',
  'readIndexResponse',
  'timeoutNow',
];
const typeNumbers = Object.fromEntries(types.map((type, i) => [type, i + 1])) as Record<WireMessage['type'], number>;
const kinds: readonly EntryKind[] = ['normal', 'noop', 'configuration'];
const reasons: readonly (DropReason | null)[] = [
  null,
  'noLeader',
  'notLeader',
  'tooManyUncommitted',
  'transferring',
  'termNotCommitted',
  'changePending',
  'changeInvalid',
  'learnerBehind',
];
const proposalKinds: readonly Proposal['kind'][] = ['normal', 'change'];
const envelopeBytes = 9;
/** What came in a frame must fit into every frame and log record that it will travel in. */
const maxDataBytes = maxFrameBytes - 1024;

class Writer {
  readonly frame: Buffer;
  #at = frameHeaderBytes;

  constructor(message: WireMessage, bodyBytes: number) {
    this.frame = newFrame(envelopeBytes + bodyBytes);
    this.u8(typeNumbers[message.type]);
    this.u64(message.term);
  }

  u8(value: number): void {
    this.frame[this.#at++] = value;
  }

  flag(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  u32(value: number): void {
    this.#at = this.frame.writeUInt32LE(value, this.#at);
  }

  u64(value: number): void {
    this.u32(value % 0x1_0000_0000);
    this.u32(Math.floor(value / 0x1_0000_0000));
  }

  /** 0 stands for null: positions in the log begin at 1. */
  optional(value: Index | null): void {
    this.u64(value ?? 0);
  }

  bytes(value: Uint8Array): void {
    this.u32(value.length);
    this.frame.set(value, this.#at);
    this.#at += value.length;
  }

  ids(ids: readonly number[]): void {
    this.u32(ids.length);
    for (const id of ids) this.u64(id);
  }

  done(): Buffer {
    return sealFrame(this.frame);
  }
}

const idsBytes = (ids: readonly number[]): number => 4 + 8 * ids.length;

/** One frame. */
export function encodeMessage(message: WireMessage): Buffer {
  switch (message.type) {
    case 'append': {
      let size = 28;
      for (const { data } of message.entries) size += 13 + data.length;
      const writer = new Writer(message, size);
      writer.u64(message.prevIndex);
      writer.u64(message.prevTerm);
      writer.u64(message.commit);
      writer.u32(message.entries.length);
      for (const entry of message.entries) {
        writer.u64(entry.term);
        writer.u8(kinds.indexOf(entry.kind));
        writer.bytes(entry.data);
      }
      return writer.done();
    }
    case 'appendResponse': {
      const writer = new Writer(message, 25);
      writer.flag(message.accepted);
      writer.u64(message.index);
      writer.u64(message.hintIndex);
      writer.u64(message.hintTerm);
      return writer.done();
    }
    case 'heartbeat': {
      const writer = new Writer(message, 16);
      writer.u64(message.commit);
      writer.u64(message.round);
      return writer.done();
    }
    case 'heartbeatResponse': {
      const writer = new Writer(message, 8);
      writer.u64(message.round);
      return writer.done();
    }
    case 'commit': {
      const writer = new Writer(message, 8);
      writer.u64(message.commit);
      return writer.done();
    }
    case 'vote': {
      const writer = new Writer(message, 18);
      writer.flag(message.preVote);
      writer.flag(message.transfer);
      writer.u64(message.lastIndex);
      writer.u64(message.lastTerm);
      return writer.done();
    }
    case 'voteResponse': {
      const writer = new Writer(message, 2);
      writer.flag(message.preVote);
      writer.flag(message.granted);
      return writer.done();
    }
    case 'propose': {
      const bodies = message.proposals.map(proposalBody);
      let size = 4;
      for (const body of bodies) size += 13 + body.length;
      const writer = new Writer(message, size);
      writer.u32(message.proposals.length);
      for (const [at, { id, kind }] of message.proposals.entries()) {
        writer.u64(id);
        writer.u8(proposalKinds.indexOf(kind));
        writer.bytes(bodies[at]!);
      }
      return writer.done();
    }
    case 'proposeResponse': {
      const writer = new Writer(message, idsBytes(message.ids) + 9);
      writer.ids(message.ids);
      writer.optional(message.firstIndex);
      writer.u8(reasons.indexOf(message.reason));
      return writer.done();
    }
    case 'timeoutNow':
      return new Writer(message, 0).done();
    case 'readIndex': {
      const writer = new Writer(message, idsBytes(message.ids));
      writer.ids(message.ids);
      return writer.done();
    }
    case 'readIndexResponse': {
      const writer = new Writer(message, idsBytes(message.ids) + 8);
      writer.ids(message.ids);
      writer.optional(message.index);
      return writer.done();
    }
  }
}

const proposalBody = (proposal: Proposal): Uint8Array =>
  proposal.kind === 'normal'
    ? proposal.data
    : Buffer.from(JSON.stringify({ change: proposal.change, context: proposal.context, basedOn: proposal.basedOn }));

function proposalFrom(id: number, kind: Proposal['kind'], body: Uint8Array): Proposal {
  if (kind === 'normal') return { kind, id, data: body };
  const parsed: unknown = JSON.parse(Buffer.from(body).toString());
  const { change, context, basedOn } = (parsed ?? {}) as Record<string, unknown>;
  const checked = changeFrom(change);
  const placed = basedOn === undefined || (Number.isSafeInteger(basedOn) && (basedOn as number) >= 0);
  if (checked === null || typeof context !== 'string' || !placed)
    throw new RangeError('a configuration change without sense');
  return {
    kind,
    id,
    change: checked,
    context,
    ...(basedOn === undefined ? {} : { basedOn: asIndex(basedOn as number) }),
  };
}

class Reader {
  readonly #payload: Buffer;
  #at: number;

  constructor(payload: Buffer, at: number) {
    this.#payload = payload;
    this.#at = at;
  }

  /** Moves on by `count` bytes, which must be there; returns where they begin. */
  #next(count: number): number {
    const at = this.#at;
    if (count > this.#payload.length - at) throw new RangeError('it ends early');
    this.#at += count;
    return at;
  }

  u8(): number {
    return this.#payload[this.#next(1)]!;
  }

  flag(): boolean {
    return this.one([false, true]);
  }

  u32(): number {
    return this.#payload.readUInt32LE(this.#next(4));
  }

  u64(): number {
    const low = this.u32();
    const value = low + this.u32() * 0x1_0000_0000;
    if (!Number.isSafeInteger(value)) throw new RangeError('an integer beyond 2^53');
    return value;
  }

  optional(): Index | null {
    const value = this.u64();
    return value === 0 ? null : asIndex(value);
  }

  bytes(): Uint8Array {
    const length = this.u32();
    if (length > maxDataBytes) throw new RangeError(`data of more than ${maxDataBytes} bytes`);
    const at = this.#next(length);
    return this.#payload.subarray(at, at + length);
  }

  /** A number of elements, each at least `leastBytes` long. */
  count(leastBytes: number): number {
    const count = this.u32();
    if (count * leastBytes > this.#payload.length - this.#at) throw new RangeError('more elements than bytes');
    return count;
  }

  ids(): number[] {
    return Array.from({ length: this.count(8) }, () => this.u64());
  }

  one<T>(of: readonly T[]): T {
    const value = of[this.u8()];
    if (value === undefined) throw new RangeError('an unknown kind');
    return value;
  }

  end(): void {
    if (this.#at !== this.#payload.length) throw new RangeError('bytes after the end');
  }
}

/** The message in a payload from `from` to `to`; entries share the payload's memory. Throws a FrameError. */
export function decodeMessage(payload: Buffer, from: MemberId, to: MemberId): WireMessage {
  try {
    const reader = new Reader(payload, 1);
    const type = types[payload[0]! - 1];
    if (type === undefined) throw new RangeError('an unknown type');
    const message = readBody(type, { from, to, term: asTerm(reader.u64()) }, reader);
    reader.end();
    return message;
  } catch (error) {
    // By name: a Buffer's own errors may come from another realm.
    const { name, message } = error as Error;
    if (name !== 'RangeError' && name !== 'SyntaxError') throw error;
    const why = name === 'RangeError' ? message : 'it is not JSON';
    throw new FrameError(`a message makes no sense: ${why}`, { cause: error });
  }
}

function readBody(
  type: WireMessage['type'],
  envelope: Pick<WireMessage, 'from' | 'to' | 'term'>,
  reader: Reader,
): WireMessage {
  const index = (): Index => asIndex(reader.u64());
  switch (type) {
    case 'append': {
      const prevIndex = index();
      const prevTerm = asTerm(reader.u64());
      const commit = index();
      const count = reader.count(13);
      const entries: Entry[] = [];
      for (let i = 1; i <= count; i++) {
        const term = asTerm(reader.u64());
        const kind = reader.one(kinds);
        entries.push({ term, index: asIndex(prevIndex + i), kind, data: reader.bytes() });
      }
      return { ...envelope, type, prevIndex, prevTerm, commit, entries };
    }
    case 'appendResponse':
      return {
        ...envelope,
        type,
        accepted: reader.flag(),
        index: index(),
        hintIndex: index(),
        hintTerm: asTerm(reader.u64()),
      };
    case 'heartbeat':
      return { ...envelope, type, commit: index(), round: reader.u64() };
    case 'heartbeatResponse':
      return { ...envelope, type, round: reader.u64() };
    case 'commit':
      return { ...envelope, type, commit: index() };
    case 'vote':
      return {
        ...envelope,
        type,
        preVote: reader.flag(),
        transfer: reader.flag(),
        lastIndex: index(),
        lastTerm: asTerm(reader.u64()),
      };
    case 'voteResponse':
      return { ...envelope, type, preVote: reader.flag(), granted: reader.flag() };
    case 'propose': {
      const proposals = Array.from({ length: reader.count(13) }, () =>
        proposalFrom(reader.u64(), reader.one(proposalKinds), reader.bytes()),
      );
      return { ...envelope, type, proposals };
    }
    case 'proposeResponse':
      return { ...envelope, type, ids: reader.ids(), firstIndex: reader.optional(), reason: reader.one(reasons) };
    case 'timeoutNow':
      return { ...envelope, type };
    case 'readIndex':
      return { ...envelope, type, ids: reader.ids() };
    case 'readIndexResponse':
      return { ...envelope, type, ids: reader.ids(), index: reader.optional() };
  }
}
