/**
 * How two members meet: the one that dials says who it is and whom it means, the other agrees or says why not. Members
 * of different clusters never exchange more than this.
 */
import { connect } from 'node:net';
import { asMemberId, type MemberId } from '../raft/types.ts';
import { version } from '../version.ts';
import { Channel, controlOf } from './channel.ts';
import { hostAndPort } from './flags.ts';
import { FrameError } from './frames.ts';

export const protocolVersion = 1;

/** `messages`: Raft messages from the dialer. `snapshot`: one snapshot from the dialer. `probe`: nothing more. */
export type Purpose = 'messages' | 'snapshot' | 'probe';
const purposes: readonly Purpose[] = ['messages', 'snapshot', 'probe'];

export interface Hello {
  readonly protocol: number;
  readonly version: string;
  readonly clusterId: string;
  readonly from: MemberId;
  readonly to: MemberId;
  readonly purpose: Purpose;
}

export interface Welcome {
  /** The cluster's replicated member list shows that the dialer has taken part before. */
  readonly knowsYou: boolean;
}

export type Answer = ({ readonly ok: true } & Welcome) | { readonly ok: false; readonly reason: string };

export interface Meeting {
  readonly clusterId: string;
  readonly from: MemberId;
  readonly to: MemberId;
  readonly purpose: Purpose;
}

/** The other member answered and does not want us. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly code = 'PEER_REFUSED';
}

/** A uint64 as lowercase hex: what is logged about strangers is short and plain. */
const isId = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{1,16}$/.test(value);

export function parseHello(control: Record<string, unknown> | undefined): Hello {
  const purpose = purposes.find((known) => known === control?.['purpose']);
  const { protocol, clusterId, from, to, version: theirs } = control ?? {};
  const sane = Number.isSafeInteger(protocol) && isId(clusterId) && isId(from) && isId(to);
  if (!sane || purpose === undefined || typeof theirs !== 'string' || theirs.length > 100)
    throw new FrameError('the connection does not begin with a greeting');
  return {
    protocol: protocol as number,
    version: theirs,
    clusterId,
    from: asMemberId(from),
    to: asMemberId(to),
    purpose,
  };
}

/** Connects and greets. Rejects with a RefusedError, or with the connection's error. */
export function dial(
  url: string,
  meeting: Meeting,
  timeoutMs: number,
): Promise<{ channel: Channel; welcome: Welcome }> {
  return new Promise((resolve, reject) => {
    const { host, port } = hostAndPort(url);
    const socket = connect({ host, port });
    const timer = setTimeout(() => channel.close(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const channel = new Channel(socket, {
      onPayload: (payload) => {
        clearTimeout(timer);
        const answer = controlOf(payload);
        if (answer?.['ok'] === true) {
          channel.handOver({ onPayload: () => {}, onClose: () => {} });
          resolve({ channel, welcome: { knowsYou: answer['knowsYou'] === true } });
        } else {
          channel.close(new RefusedError(String(answer?.['reason'] ?? 'without a reason')));
        }
      },
      onClose: (error) => {
        clearTimeout(timer);
        reject(error ?? new Error('the connection was closed before it was answered'));
      },
    });
    const hello: Hello = { protocol: protocolVersion, version, ...meeting };
    socket.once('connect', () => channel.sendControl(hello));
  });
}
