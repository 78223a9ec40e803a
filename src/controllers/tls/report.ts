/** From what was found in the Secrets of a cluster to what everybody may rely on, and to what a person reads. Pure. */
import { hashOf } from '../manifests.ts';
import { certificatesOf, disagreement, type Finding, type Role, roles, type Sound, stamp } from './inspect.ts';
import type { CertificatesReport, Credentials, TlsState } from './state.ts';

export interface Found {
  readonly names: Readonly<Record<Role, string>>;
  readonly secrets: Readonly<Record<Role, Finding>>;
  /** What keeps certificates from being issued at all. It comes before what is wrong with them. */
  readonly fault?: { readonly reason: string; readonly message: string };
  /** What goes on beside, such as a change of CAs. */
  readonly aside?: string;
  /** When the first of them ends, where that is known better than from the certificates; in milliseconds since 1970. */
  readonly expiresAt?: number;
  /** How long before its end a certificate is to be renewed, where that is known. */
  readonly renewMs?: number;
}

/**
 * Less of its life left than this, and whoever should have renewed it has not: 7 days, or a tenth of a short life, or half
 * of the time in which it is to be renewed.
 */
const SOON_MS = 7 * 86_400_000;

/** How soon something that is wrong is looked at again: what is valid only from later on becomes so, and no watch tells of it. */
export const FAULT_MS = 10_000;
/** How long all may stay as it is: certificates do not end unnoticed. */
export const CALM_MS = 3_600_000;

export function recheckMsOf({ secrets }: Found): number {
  return roles.some((role) => secrets[role].kind === 'fault') ? FAULT_MS : CALM_MS;
}

/** `before`: what counts until what is wrong is put right. */
export function stateOf(found: Found, before: TlsState | undefined, now: Date): Extract<TlsState, { kind: 'on' }> {
  const { names, secrets } = found;
  const old = before?.kind === 'on' ? before : undefined;
  const { client } = secrets;
  const sound = allSound(secrets);
  const apart = sound && disagreement(names, sound, now);
  const fault = found.fault ?? firstFault(secrets) ?? apart;
  // Secrets are changed one by one: until they agree, members are on the side of before.
  const credentials =
    client.kind === 'sound' && !(apart && old?.credentials) ? credentialsOf(client) : old?.credentials;
  // With a fault nothing may change for members: they keep what they have.
  const trust = sound && !fault ? trustOf(sound) : old?.trust;
  const ends = roles.flatMap((role) => {
    const each = secrets[role];
    return each.kind === 'sound' ? [each.until] : [];
  });
  const expiresAt = Math.min(...ends, found.expiresAt ?? Number.POSITIVE_INFINITY);
  const expires = Number.isFinite(expiresAt) ? stamp(new Date(expiresAt)) : undefined;
  const report: CertificatesReport = {
    ...(fault ? { status: 'False', ...fault } : said(found, sound, expires, now)),
    ...(expires === undefined ? {} : { expires }),
  };
  return {
    kind: 'on',
    ...(credentials ? { credentials } : {}),
    ...(trust === undefined ? {} : { trust }),
    report: { ...report, message: report.message.slice(0, 4096) },
  };
}

function said(
  { aside, names, renewMs = Number.POSITIVE_INFINITY }: Found,
  sound: Readonly<Record<Role, Sound>> | undefined,
  expires: string | undefined,
  now: Date,
): CertificatesReport {
  const soon = sound && roles.find((role) => endsSoon(sound[role], renewMs, now));
  if (soon) {
    const { leaf, until } = sound[soon];
    const what = until < leaf.validToDate.getTime() ? 'a CA of the certificate' : 'the certificate';
    const message = `${what} in Secret ${names[soon]} ends at ${stamp(new Date(until))} and has not been renewed: look at who issues it`;
    return { status: 'False', reason: 'ExpiresSoon', message };
  }
  const message = `the first certificate ends at ${expires}`;
  if (aside) return { status: 'True', reason: 'ReplacingCA', message: `${message}; ${aside}` };
  return { status: 'True', reason: 'Valid', message };
}

function endsSoon({ leaf, until }: Sound, renewMs: number, now: Date): boolean {
  const life = leaf.validToDate.getTime() - leaf.validFromDate.getTime();
  return until - now.getTime() < Math.min(SOON_MS, life / 10, renewMs / 2);
}

function credentialsOf({ material: { ca, certificate, key } }: Sound): Credentials {
  return { ca, cert: certificate, key };
}

function allSound(secrets: Readonly<Record<Role, Finding>>): Readonly<Record<Role, Sound>> | undefined {
  const { server, peer, client } = secrets;
  if (server.kind !== 'sound' || peer.kind !== 'sound' || client.kind !== 'sound') return undefined;
  return { server, peer, client };
}

function firstFault(secrets: Readonly<Record<Role, Finding>>): { reason: string; message: string } | undefined {
  const faults = roles.flatMap((role) => {
    const each = secrets[role];
    return each.kind === 'fault' ? [each] : [];
  });
  const [first] = faults;
  return first && { reason: first.reason, message: faults.map(({ message }) => message).join('; ') };
}

/** The CAs whose certificates members accept, in whatever order they are written. */
function trustOf({ server, peer }: Readonly<Record<Role, Sound>>): string {
  const of = ({ material }: Sound) => certificatesOf(material.ca).map(({ fingerprint256 }) => fingerprint256);
  return hashOf([of(server).toSorted(), of(peer).toSorted()]);
}
