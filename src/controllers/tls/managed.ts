/** What the operator's own CA of a cluster issues next. Pure. */
import type { X509Certificate } from 'node:crypto';
import type { TlsSpec } from '../../api/tls.ts';
import type { Secret } from '../../kube/kinds.ts';
import {
  type Authorities,
  type Authority,
  type AuthorityState,
  type AuthorityStep,
  bundleOf,
  DAY_MS,
  endOf,
  lifetimeOf,
  planAuthority,
  type Realm,
  readAuthority,
  realmOf,
  startOf,
} from './authority.ts';
import { certificatesOf, inspect, issued, type Role, stamp, textAt } from './inspect.ts';
import { leafOf, secretNames } from './names.ts';
import type { Leaf, Lifetime, Pair } from './x509.ts';

export interface ManagedInput {
  readonly cluster: { readonly name: string; readonly namespace: string };
  readonly spec: TlsSpec['managed'];
  readonly secrets: { readonly [S in Role | 'authority']?: Secret };
  /** Members that have not shown yet that they have what the last step of the CAs gave them. */
  readonly unproven: readonly string[];
  readonly now: Date;
}

/** One Secret that is written: with a new certificate, or with what is trusted only. */
export interface LeafWrite {
  readonly role: Role;
  /** `ca.crt`. */
  readonly bundle: string;
  readonly issue?: { readonly authority: Pair; readonly leaf: Leaf; readonly lifetime: Lifetime };
}

export type ManagedPlan =
  /** First the CAs, then anew the question what follows for certificates. */
  | { readonly kind: 'authority'; readonly state?: AuthorityState; readonly step: AuthorityStep }
  | {
      readonly kind: 'leaves';
      readonly state: AuthorityState;
      readonly writes: readonly LeafWrite[];
      /** What the replacement of the CAs waits for, where one goes on. */
      readonly waiting?: string;
      /** When there will be something to do, unless something else changes; in milliseconds since 1970. */
      readonly dueAt?: number;
      /** When the first certificate or CA ends, once all is written; in milliseconds since 1970. */
      readonly expiresAt: number;
    }
  /** The Secret of the CAs cannot be used: nothing is done about anything. */
  | { readonly kind: 'fault'; readonly reason: 'AuthorityInvalid'; readonly message: string };

/** Members must be able to trust each other's before the one that clients see is new. */
const order: readonly Role[] = ['peer', 'client', 'server'];
/** A certificate is not issued anew for less than this. */
const WORTHWHILE_MS = 3_600_000;

/** How long before its end a certificate is renewed: in time to reach the files of members, whatever is asked for. */
export function renewMsOf({ certificateDays, renewBeforeDays }: TlsSpec['managed']): number {
  return Math.max(renewBeforeDays * DAY_MS, Math.min(DAY_MS, (certificateDays * DAY_MS) / 10));
}

export function planManaged(input: ManagedInput): ManagedPlan {
  const { cluster, spec, secrets, unproven } = input;
  const now = input.now.getTime();
  if (!secrets.authority)
    return { kind: 'authority', step: { kind: 'create', generation: spec.caGeneration, ...orphansOf(secrets) } };
  const fault = (what: string): ManagedPlan => ({
    kind: 'fault',
    reason: 'AuthorityInvalid',
    message: `Secret ${secretNames.authority(cluster.name)}: ${what}: put it right, or delete the Secret, and a new CA takes over step by step`,
  });
  let state: AuthorityState;
  try {
    state = readAuthority(secrets.authority);
  } catch (error) {
    return fault((error as Error).message);
  }
  // What it issues nobody accepts yet: the clock of whoever made it was ahead, or the operator's is behind.
  const from = startOf(state.current);
  if (now < from)
    return fault(
      `client-ca.crt or peer-ca.crt is valid only from ${stamp(new Date(from))} on, and the clock is behind that`,
    );
  const authority = planAuthority(state, spec, unproven, now);
  if (authority.step) return { kind: 'authority', state, step: authority.step };
  const writes: LeafWrite[] = [];
  const ends = [endOf(state.current)];
  const due = authority.dueAt === undefined ? [] : [authority.dueAt];
  for (const role of order) {
    const look = lookAt(role, input, state);
    if (look.write) writes.push(look.write);
    ends.push(look.expiresAt);
    due.push(look.renewAt);
  }
  return {
    kind: 'leaves',
    state,
    writes,
    ...(authority.waiting === undefined ? {} : { waiting: authority.waiting }),
    dueAt: Math.min(...due),
    expiresAt: Math.min(...ends),
  };
}

interface Look {
  readonly write?: LeafWrite;
  readonly expiresAt: number;
  readonly renewAt: number;
}

function lookAt(role: Role, { cluster, spec, secrets, now }: ManagedInput, state: AuthorityState): Look {
  const realm = realmOf(role);
  const bundle = bundleOf(state, realm);
  const leaf = leafOf(role, cluster.name, cluster.namespace);
  const lifetime = lifetimeOf(spec.certificateDays, now.getTime(), endOf(state.current));
  const renewMs = renewMsOf(spec);
  const secret = secrets[role];
  const found = inspect(role, secretNames[role](cluster.name), secret, [], now);
  const signers = signersOf(state, realm);
  if (
    found.kind === 'sound' &&
    signers.some((signer) => signedBy(signer.certificate, found.leaf)) &&
    sameHosts(found.leaf.subjectAltName, leaf.hosts)
  ) {
    const expiresAt = found.leaf.validToDate.getTime();
    const renewAt = expiresAt - renewMs;
    const isDue = now.getTime() >= renewAt;
    if (!isDue || lifetime.notAfter < expiresAt + WORTHWHILE_MS) {
      const write = textAt(secret!, 'ca.crt') === bundle ? {} : { write: { role, bundle } };
      return { ...write, expiresAt, renewAt: isDue ? now.getTime() + WORTHWHILE_MS : renewAt };
    }
  }
  const signer = signers.find((one): one is Pair => one.key !== undefined)!;
  return {
    write: { role, bundle, issue: { authority: signer, leaf, lifetime } },
    expiresAt: lifetime.notAfter,
    renewAt: lifetime.notAfter - renewMs,
  };
}

/** One that is to follow signs ahead of its time only where the key of the one before is lost. */
function signersOf({ current, next }: AuthorityState, realm: Realm): readonly Authority[] {
  return current[realm].key === undefined && next ? [current[realm], next[realm]] : [current[realm]];
}

function signedBy(authority: string, leaf: X509Certificate): boolean {
  return certificatesOf(authority).some((ca) => issued(ca, leaf));
}

function sameHosts(alternativeNames: string | undefined, hosts: readonly string[]): boolean {
  const given = (alternativeNames ?? '').split(', ').filter((name) => name !== '');
  return (
    given.toSorted().join() ===
    hosts
      .map((host) => `DNS:${host}`)
      .toSorted()
      .join()
  );
}

/** What members trust although the Secret of the CAs is gone: a new one must come beside it, not in its place. */
function orphansOf({ server, peer }: ManagedInput['secrets']): { orphans?: Authorities } {
  const trusted = (secret: Secret | undefined): string | undefined => {
    const pem = secret && textAt(secret, 'ca.crt');
    try {
      return pem !== undefined && certificatesOf(pem).length > 0 ? pem : undefined;
    } catch {
      return undefined;
    }
  };
  const [client, peers] = [trusted(server), trusted(peer)];
  return client && peers ? { orphans: { client: { certificate: client }, peer: { certificate: peers } } } : {};
}
