/**
 * The CAs of one cluster: what the Secret that keeps them says, and when one follows the other. There are two, one for
 * clients and servers and one for peers, so that nobody with a client's certificate can pass for a member; they are made
 * and replaced together. Pure.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { TlsSpec } from '../../api/tls.ts';
import type { Secret } from '../../kube/kinds.ts';
import { certificatesOf, type Role, stamp, textAt } from './inspect.ts';
import type { Lifetime, Pair } from './x509.ts';

/** Which CA issues the certificates of a role. */
export type Realm = 'client' | 'peer';
export const realms: readonly Realm[] = ['client', 'peer'];
export const realmOf = (role: Role): Realm => (role === 'peer' ? 'peer' : 'client');

/** A CA that signs has its key; one that is only trusted need not. */
export interface Authority {
  readonly certificate: string;
  readonly key?: string;
}

export type AuthorityPairs = Readonly<Record<Realm, Pair>>;
export type Authorities = Readonly<Record<Realm, Authority>>;

/**
 * `current` signs. Beside it stands, while one follows the other, either `next`, which is trusted already and does not
 * sign yet, or `previous`, which is still trusted and does not sign any more.
 */
export interface AuthorityState {
  readonly current: Authorities;
  readonly next?: AuthorityPairs;
  readonly previous?: Authorities;
  /** `spec.tls.managed.caGeneration` of the newest. */
  readonly generation: number;
  /** When the last step was taken, in milliseconds since 1970. */
  readonly since: number;
}

export type AuthorityStep =
  /** The first one, or one that follows after a CA whose key is lost (`orphans`). */
  | { readonly kind: 'create'; readonly generation: number; readonly orphans?: Authorities }
  /** A new one is trusted from now on. */
  | { readonly kind: 'introduce'; readonly generation: number }
  /** The new one signs from now on. */
  | { readonly kind: 'activate' }
  /** The old one is no longer trusted. */
  | { readonly kind: 'retire' };

export interface AuthorityPlan {
  readonly step?: AuthorityStep;
  /** What a replacement that goes on waits for: `until …` or `for …`. */
  readonly waiting?: string;
  /** When there will be something to do, unless something else changes; in milliseconds since 1970. */
  readonly dueAt?: number;
}

export const DAY_MS = 86_400_000;
/** Clocks of machines differ. */
const SKEW_MS = 300_000;
/**
 * How long a Secret may take to reach the files of every member, with time to spare: kubelet looks at the volumes of a pod
 * about once a minute. Proof from the members is asked for as well (rotation does not rest on this alone).
 */
export const SPREAD_MS = 120_000;
/** So long before its end a CA makes way for the next, even for those who have not heard of it: the others have by then. */
const LAST_HOUR_MS = 3_600_000;

const GENERATION = 'raftsman.dev/ca-generation';
const SINCE = 'raftsman.dev/ca-since';

export function lifetimeOf(days: number, now: number, most = Number.POSITIVE_INFINITY): Lifetime {
  return { notBefore: now - SKEW_MS, notAfter: Math.min(now + days * DAY_MS, most) };
}

/** `unproven`: members that have not shown yet that they have what the last step gave them. */
export function planAuthority(
  state: AuthorityState,
  spec: TlsSpec['managed'],
  unproven: readonly string[],
  now: number,
): AuthorityPlan {
  const { current, next, previous, since } = state;
  const renewAt = endOf(current) - (spec.certificateDays + 2 * spec.caOverlapDays) * DAY_MS;
  if (next || previous) {
    // A member may be down for good, and what it is waited for with ends.
    const latest = next ? endOf(current) - LAST_HOUR_MS : Math.min(lastEndOf(previous!), renewAt);
    // Without a key nothing can be renewed: no reason to wait for clients.
    const overlapMs = realms.some((realm) => current[realm].key === undefined) ? 0 : spec.caOverlapDays * DAY_MS;
    const dueAt = since + Math.max(overlapMs, SPREAD_MS);
    if (now < Math.min(dueAt, latest))
      return {
        waiting: `until ${stamp(new Date(dueAt))}, for whoever has not heard of it`,
        dueAt: Math.min(dueAt, latest),
      };
    if (now < latest && unproven.length > 0) {
      const what = next ? 'to trust the new one' : 'to use certificates of the new one';
      return { waiting: `for ${unproven.join(', ')} ${what}`, dueAt: latest };
    }
    return { step: { kind: next ? 'activate' : 'retire' } };
  }
  if (state.generation < spec.caGeneration || now >= renewAt)
    return { step: { kind: 'introduce', generation: Math.max(state.generation, spec.caGeneration) } };
  return { dueAt: renewAt };
}

/** When the first of the CAs ends, in milliseconds since 1970. */
export function endOf(authorities: Authorities): number {
  return Math.min(...certificatesIn(authorities).map(({ validToDate }) => validToDate.getTime()));
}

/** When the last of them does: from then on nobody is accepted by any. */
function lastEndOf(authorities: Authorities): number {
  return Math.max(...certificatesIn(authorities).map(({ validToDate }) => validToDate.getTime()));
}

/** When all of them are valid. */
export function startOf(authorities: Authorities): number {
  return Math.max(...certificatesIn(authorities).map(({ validFromDate }) => validFromDate.getTime()));
}

const certificatesIn = (authorities: Authorities) =>
  realms.flatMap((realm) => certificatesOf(authorities[realm].certificate));

/** The state after a step; `made` are the new CAs of those steps that need some. */
export function after(
  state: AuthorityState | undefined,
  step: AuthorityStep,
  made: AuthorityPairs,
  now: number,
): AuthorityState {
  switch (step.kind) {
    case 'create': {
      const { generation, orphans } = step;
      if (orphans) return { current: orphans, next: made, generation, since: now };
      return { current: made, generation, since: now };
    }
    case 'introduce':
      return { current: state!.current, next: made, generation: step.generation, since: now };
    case 'activate':
      return { current: state!.next!, previous: state!.current, generation: state!.generation, since: now };
    case 'retire':
      return { current: state!.current, generation: state!.generation, since: now };
  }
}

/** What is trusted in a realm, as PEM: the one that signs comes first. */
export function bundleOf({ current, next, previous }: AuthorityState, realm: Realm): string {
  return [current, next, previous].flatMap((one) => (one ? one[realm].certificate : [])).join('');
}

const kinds = ['current', 'next', 'previous'] as const;
const keyName = (kind: (typeof kinds)[number], realm: Realm, what: 'crt' | 'key') =>
  `${kind === 'current' ? '' : `${kind}-`}${realm}-ca.${what}`;

/** `data` and annotations of the Secret that keeps the CAs. The key of one that no longer signs is not kept. */
export function writeAuthority(state: AuthorityState): {
  data: Record<string, string>;
  annotations: Record<string, string>;
} {
  const data: Record<string, string> = {};
  for (const kind of kinds)
    for (const realm of realms) {
      const authority = state[kind]?.[realm];
      if (!authority) continue;
      data[keyName(kind, realm, 'crt')] = encode(authority.certificate);
      if (authority.key !== undefined && kind !== 'previous') data[keyName(kind, realm, 'key')] = encode(authority.key);
    }
  return {
    data,
    annotations: { [GENERATION]: String(state.generation), [SINCE]: new Date(state.since).toISOString() },
  };
}

export function encode(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Throws an Error that says which key of the Secret is not as it should be. */
export function readAuthority(secret: Secret): AuthorityState {
  const read = (kind: (typeof kinds)[number], realm: Realm): Authority | undefined => {
    const name = keyName(kind, realm, 'crt');
    const certificate = textAt(secret, name);
    if (certificate === undefined) return undefined;
    if (soundCertificates(certificate) === 0) throw new Error(`${name} is no certificate in PEM`);
    const key = textAt(secret, keyName(kind, realm, 'key'));
    if (key === undefined) return { certificate };
    mustSign(certificate, key, name, keyName(kind, realm, 'key'));
    return { certificate, key };
  };
  const both = (kind: (typeof kinds)[number]): Authorities | undefined => {
    const [client, peer] = [read(kind, 'client'), read(kind, 'peer')];
    if (client && peer) return { client, peer };
    if (client || peer) throw new Error(`${keyName(kind, client ? 'peer' : 'client', 'crt')} is missing`);
    return undefined;
  };
  const current = both('current');
  if (!current) throw new Error(`${keyName('current', 'client', 'crt')} is missing`);
  const next = both('next');
  const previous = both('previous');
  const annotations = secret.metadata.annotations ?? {};
  const since = Date.parse(annotations[SINCE] ?? '');
  const generation = Number(annotations[GENERATION] ?? '1');
  if (next && realms.some((realm) => next[realm].key === undefined)) throw new Error('the key of a next CA is missing');
  if (!next && realms.some((realm) => current[realm].key === undefined))
    throw new Error('client-ca.key or peer-ca.key is missing');
  return {
    current,
    ...(next ? { next: next as AuthorityPairs } : {}),
    ...(previous ? { previous } : {}),
    generation: Number.isInteger(generation) ? generation : 1,
    since: Number.isNaN(since) ? Date.parse(secret.metadata.creationTimestamp ?? '') || 0 : since,
  };
}

/** Nobody would accept what it signs otherwise, and it would be issued again and again. */
function mustSign(certificate: string, key: string, certificateName: string, name: string): void {
  const [first] = certificatesOf(certificate);
  let parsed: KeyObject;
  try {
    parsed = createPrivateKey(key);
  } catch {
    throw new Error(`${name} is no private key in PEM that is not encrypted`);
  }
  if (parsed.asymmetricKeyType !== 'ec')
    throw new Error(`${name} is of type ${parsed.asymmetricKeyType}: only keys of elliptic curves (ec) sign here`);
  if (!first!.checkPrivateKey(parsed)) throw new Error(`${name} does not belong to ${certificateName}`);
  if (!first!.ca) throw new Error(`${certificateName} is the certificate of no CA`);
}

function soundCertificates(pem: string): number {
  try {
    return certificatesOf(pem).length;
  } catch {
    return 0;
  }
}
