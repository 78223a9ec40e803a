/** Reads certificates that somebody has put into a Secret, and says what is wrong with them. Pure. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Secret } from '../../kube/kinds.ts';

/** server: members to clients. peer: members to each other. client: the operator, its Jobs and people to members. */
export type Role = 'server' | 'peer' | 'client';
export const roles: readonly Role[] = ['server', 'peer', 'client'];

/** What a Secret of a role holds, as PEM. */
export interface Material {
  /** The certificate, followed by those between it and the CA where there are such. */
  readonly certificate: string;
  readonly key: string;
  /** Every CA that is trusted. */
  readonly ca: string;
}

export interface Fault {
  /** In CamelCase, for a condition. */
  readonly reason:
    | 'SecretNotFound'
    | 'SecretKeyMissing'
    | 'CertificateInvalid'
    | 'KeyMismatch'
    | 'CertificateNotYetValid'
    | 'CertificateExpired'
    | 'HostNotCovered'
    | 'UsageMissing'
    | 'CertificateUntrusted';
  /** Names the Secret and the key, and says what to do. */
  readonly message: string;
}

export interface Sound {
  readonly material: Material;
  readonly leaf: X509Certificate;
  /** When the first of the chain ends: the certificate, one between or the CA. In milliseconds since 1970. */
  readonly until: number;
}

export type Finding = ({ readonly kind: 'sound' } & Sound) | ({ readonly kind: 'fault' } & Fault);

const extendedUsages = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const;
const usageNames = { server: 'serverAuth', client: 'clientAuth' } as const;
/** Members meet their peers from both ends. */
const needed: Readonly<Record<Role, readonly (keyof typeof extendedUsages)[]>> = {
  server: ['server'],
  peer: ['server', 'client'],
  client: ['client'],
};

export function textAt(secret: Secret, key: string): string | undefined {
  const encoded = secret.data?.[key];
  return encoded ? Buffer.from(encoded, 'base64').toString('utf8') : undefined;
}

/** The certificates of a PEM file, in its order. Throws when one of them is none. */
export function certificatesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** Whether the Secret serves its role now, for all these hosts. */
export function inspect(
  role: Role,
  name: string,
  secret: Secret | undefined,
  hosts: readonly string[],
  now: Date,
): Finding {
  const fault = (reason: Fault['reason'], message: string): Finding => ({
    kind: 'fault',
    reason,
    message: `Secret ${name}${message}`,
  });
  if (!secret) return fault('SecretNotFound', ` does not exist: create it with tls.crt, tls.key and ca.crt`);
  const [certificate, key, ca] = ['tls.crt', 'tls.key', 'ca.crt'].map((each) => textAt(secret, each));
  if (!certificate) return fault('SecretKeyMissing', ' has no key tls.crt: put the certificate there, as PEM');
  if (!key) return fault('SecretKeyMissing', ' has no key tls.key: put the private key there, as PEM');
  if (!ca)
    return fault('SecretKeyMissing', ' has no key ca.crt: put the certificates of the trusted CAs there, as PEM');
  let chain: X509Certificate[];
  let authorities: X509Certificate[];
  try {
    chain = certificatesOf(certificate);
  } catch (error) {
    return fault('CertificateInvalid', `: tls.crt is no certificate: ${(error as Error).message}`);
  }
  try {
    authorities = certificatesOf(ca);
  } catch (error) {
    return fault('CertificateInvalid', `: ca.crt is no list of certificates: ${(error as Error).message}`);
  }
  const [leaf] = chain;
  if (!leaf) return fault('CertificateInvalid', ': tls.crt holds no certificate in PEM');
  if (authorities.length === 0) return fault('CertificateInvalid', ': ca.crt holds no certificate in PEM');
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(key)))
      return fault(
        'KeyMismatch',
        ': tls.key does not belong to the certificate in tls.crt: put both of one issue there',
      );
  } catch (error) {
    return fault('CertificateInvalid', `: tls.key is no private key in PEM: ${(error as Error).message}`);
  }
  if (leaf.validFromDate > now)
    return fault('CertificateNotYetValid', `: tls.crt is valid only from ${stamp(leaf.validFromDate)} on`);
  if (leaf.validToDate <= now)
    return fault('CertificateExpired', `: tls.crt has expired at ${stamp(leaf.validToDate)}: renew it`);
  const missing = needed[role].find((usage) => leaf.keyUsage?.includes(extendedUsages[usage]) === false);
  if (missing) return fault('UsageMissing', `: tls.crt must not be used for ${usageNames[missing]}: issue it for that`);
  const uncovered = hosts.find((host) => leaf.checkHost(host, { subject: 'never' }) === undefined);
  if (uncovered !== undefined)
    return fault('HostNotCovered', `: tls.crt is not for host ${uncovered}: add it to the alternative names`);
  const until = trustedUntil(leaf, chain.slice(1), authorities, now);
  if (until === undefined) return fault('CertificateUntrusted', `: ${whyUntrusted(chain, authorities, now)}`);
  return { kind: 'sound', material: { certificate, key, ca }, leaf, until };
}

function whyUntrusted(chain: readonly X509Certificate[], authorities: readonly X509Certificate[], now: Date): string {
  const stale = [...chain.slice(1), ...authorities].find(
    (one) => !isValid(one, now) && chain.some((child) => child !== one && issued(one, child)),
  );
  if (!stale)
    return 'no CA in ca.crt has issued the certificate in tls.crt: put the one that has there, and what is between the two into tls.crt, after the certificate';
  const [when, cure] =
    stale.validToDate <= now
      ? [`has expired at ${stamp(stale.validToDate)}`, 'put its successor there, and a certificate of it']
      : [`is valid only from ${stamp(stale.validFromDate)} on`, 'is the clock right of the machine that made it?'];
  const where = authorities.includes(stale) ? 'ca.crt' : 'tls.crt';
  return `the CA ${JSON.stringify(stale.subject)} in ${where}, by which tls.crt would be trusted, ${when}: ${cure}`;
}

/**
 * Whether members and clients with these Secrets accept each other. Each may trust CAs of its own.
 */
export function disagreement(
  names: Readonly<Record<Role, string>>,
  found: Readonly<Record<Role, Sound>>,
  now: Date,
): Fault | undefined {
  for (const [of, by] of [
    ['client', 'server'],
    ['server', 'client'],
  ] as const) {
    const chain = certificatesOf(found[of].material.certificate);
    if (trustedUntil(found[of].leaf, chain.slice(1), certificatesOf(found[by].material.ca), now) === undefined)
      return {
        reason: 'CertificateUntrusted',
        message: `Secret ${names[by]}: no CA in ca.crt has issued the certificate in tls.crt of Secret ${names[of]}: the two must accept each other`,
      };
  }
  return undefined;
}

/**
 * How long a leaf is trusted, over those between, by a CA: until the first of them ends, and by the CA with which that is
 * latest. In milliseconds since 1970; undefined when it is not now.
 */
export function trustedUntil(
  leaf: X509Certificate,
  between: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  now: Date,
): number | undefined {
  const left = between.filter((one) => isValid(one, now));
  const trusted = authorities.filter((one) => isValid(one, now));
  const ends: number[] = [];
  let until = Number.POSITIVE_INFINITY;
  for (let at: X509Certificate | undefined = isValid(leaf, now) ? leaf : undefined; at !== undefined; ) {
    const child: X509Certificate = at;
    until = Math.min(until, child.validToDate.getTime());
    for (const ca of trusted) if (issued(ca, child)) ends.push(Math.min(until, ca.validToDate.getTime()));
    const next = left.findIndex((one) => issued(one, child));
    at = next < 0 ? undefined : left.splice(next, 1)[0];
  }
  return ends.length === 0 ? undefined : Math.max(...ends);
}

function isValid({ validFromDate, validToDate }: X509Certificate, now: Date): boolean {
  return validFromDate <= now && validToDate > now;
}

export function issued(ca: X509Certificate, child: X509Certificate): boolean {
  return child.checkIssued(ca) && child.verify(ca.publicKey);
}

export function stamp(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
