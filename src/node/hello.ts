/**
 * How two members meet: the one that dials says who it is and whom it means, the other agrees or says why not. Members
 * of different clusters never exchange more than this.
 */
import { isId } from '../raft/membership.ts';
import { asMemberId, type MemberId } from '../raft/types.ts';
import { version } from '../version.ts';
import type { Certificates } from './certificates.ts';
import { Channel, controlOf } from './channel.ts';
import { FrameError } from './frames.ts';
import { genesisFrom, type MemberIdentity, peerUrlsFrom } from './identity.ts';
import { dialUrl, type Seen } from './secure.ts';

/** 2: configuration changes, leadership transfer, joining. */
export const protocolVersion = 2;

/** `messages`: Raft messages from the dialer. `snapshot`: one snapshot from the dialer. `probe`: nothing more. */
export type Purpose = 'messages' | 'snapshot' | 'probe';
const purposes: readonly Purpose[] = ['messages', 'snapshot', 'probe'];

export interface Meeting {
  readonly purpose: Purpose;
  readonly clusterId: string;
  readonly from: MemberId;
  readonly to: MemberId;
  /** Where the dialer is reached, for a member that has not heard of it yet. */
  readonly peerUrls: readonly string[];
}

/** A member without data asks who it is. */
export interface JoinRequest {
  readonly purpose: 'join';
  readonly name: string;
  readonly peerUrls: readonly string[];
}

export type Hello = { readonly protocol: number; readonly version: string } & (Meeting | JoinRequest);

/**
 * Why a member is not wanted, where it matters. `removed`: the dialer was removed from the cluster. `unknown`: nobody has these
 * addresses. `started`: who has them has taken part already.
 */
export type Refusal = 'removed' | 'unknown' | 'started';
const refusals: readonly Refusal[] = ['removed', 'unknown', 'started'];

export interface Welcome {
  /** The cluster's replicated member list shows that the dialer has taken part before. */
  readonly knowsYou: boolean;
}

export type No = { readonly ok: false; readonly reason: string; readonly why?: Refusal };
export type Answer = ({ readonly ok: true } & Welcome) | No;
export type JoinAnswer = ({ readonly ok: true } & MemberIdentity) | No;

/** The other member answered and does not want us. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly code = 'PEER_REFUSED';
  readonly why: Refusal | undefined;

  constructor(reason: string, why?: Refusal) {
    super(reason);
    this.why = why;
  }
}

const nobody = 'the connection does not begin with a greeting';

export function parseHello(control: Record<string, unknown> | undefined): Hello {
  const { protocol, version: theirs, purpose, clusterId, from, to, name } = control ?? {};
  const known = purpose === 'join' ? purpose : purposes.find((one) => one === purpose);
  if (!Number.isSafeInteger(protocol) || known === undefined || typeof theirs !== 'string' || theirs.length > 100)
    throw new FrameError(nobody);
  const base = { protocol: protocol as number, version: theirs };
  const peerUrls = peerUrlsFrom(control?.['peerUrls']);
  if (known === 'join') {
    if (typeof name !== 'string' || name.length > 300 || !peerUrls) throw new FrameError(nobody);
    return { ...base, purpose: known, name, peerUrls };
  }
  if (!isId(clusterId) || !isId(from) || !isId(to)) throw new FrameError(nobody);
  // One that speaks an earlier protocol says nothing of its addresses; it is told so rather than cut off.
  return {
    ...base,
    purpose: known,
    clusterId,
    from: asMemberId(from),
    to: asMemberId(to),
    peerUrls: peerUrls ?? [],
  };
}

/** Connects and greets. Rejects with a RefusedError, an InsecureError, or with the connection's error. */
export async function dial(
  url: string,
  meeting: Meeting,
  timeoutMs: number,
  certificates?: Certificates,
  seen?: Seen,
): Promise<{ channel: Channel; welcome: Welcome }> {
  const { channel, answer } = await greet(url, meeting, timeoutMs, certificates, seen);
  return { channel, welcome: { knowsYou: answer['knowsYou'] === true } };
}

/** Asks a member of the cluster who this one is. Rejects as `dial` does. */
export async function askToJoin(
  url: string,
  request: JoinRequest,
  timeoutMs: number,
  certificates?: Certificates,
): Promise<MemberIdentity> {
  const { channel, answer } = await greet(url, request, timeoutMs, certificates);
  channel.close();
  const { clusterId, memberId } = answer;
  const genesis = genesisFrom(answer['genesis']);
  if (!isId(clusterId) || !isId(memberId) || !genesis) throw new FrameError('the answer makes no sense');
  return { clusterId, memberId: asMemberId(memberId), genesis };
}

function greet(
  url: string,
  greeting: Meeting | JoinRequest,
  timeoutMs: number,
  certificates: Certificates | undefined,
  seen?: Seen,
): Promise<{ channel: Channel; answer: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const { socket, onReady, explain } = dialUrl(url, certificates, seen);
    const timer = setTimeout(() => channel.close(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const channel = new Channel(socket, {
      onPayload: (payload) => {
        clearTimeout(timer);
        const answer = controlOf(payload);
        if (answer?.['ok'] === true) {
          channel.handOver({ onPayload: () => {}, onClose: () => {} });
          resolve({ channel, answer });
        } else {
          const why = refusals.find((one) => one === answer?.['why']);
          channel.close(new RefusedError(String(answer?.['reason'] ?? 'without a reason'), why));
        }
      },
      onClose: (error) => {
        clearTimeout(timer);
        const closed = { code: 'ECONNRESET', message: 'the connection was closed before it was answered' };
        reject(explain(error ?? Object.assign(new Error(), closed)));
      },
    });
    const hello: Hello = { protocol: protocolVersion, version, ...greeting };
    onReady(() => channel.sendControl(hello));
  });
}
