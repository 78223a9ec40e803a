import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { bits, boolean, explicit, implicit, integer, objectId, octets, sequence, set, time, utf8 } from './der.ts';

/** A private key and a certificate, both PEM. */
export interface Pair {
  readonly key: string;
  readonly certificate: string;
}

export interface Authority extends Pair {
  readonly name: string;
}

export interface Subject {
  readonly commonName: string;
  /** Kubernetes reads these as the user's groups. */
  readonly organizations?: readonly string[];
  /** DNS names and IPv4 addresses; a certificate that has some may serve. */
  readonly hosts?: readonly string[];
}

const YEAR = 365 * 24 * 3600 * 1000;
const ECDSA_WITH_SHA256 = sequence(objectId('1.2.840.10045.4.3.2'));

const newKey = (): { privateKey: KeyObject; publicKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pemKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

const attribute = (oid: string, value: string): Uint8Array => set(sequence(objectId(oid), utf8(value)));

const distinguishedName = (commonName: string, organizations: readonly string[] = []): Uint8Array =>
  sequence(...organizations.map((name) => attribute('2.5.4.10', name)), attribute('2.5.4.3', commonName));

const extension = (oid: string, critical: boolean, value: Uint8Array): Uint8Array =>
  sequence(objectId(oid), ...(critical ? [boolean(true)] : []), octets(value));

const isAddress = (host: string): boolean => /^\d+\.\d+\.\d+\.\d+$/.test(host);

const alternativeName = (host: string): Uint8Array =>
  isAddress(host) ? implicit(7, Uint8Array.from(host.split('.').map(Number))) : implicit(2, Buffer.from(host, 'ascii'));

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** An X.509 version 3 certificate, valid from an hour ago (clocks differ) for ten years: a local cluster has no renewal. */
function certificate(
  subject: Uint8Array,
  publicKey: KeyObject,
  issuer: { name: Uint8Array; key: KeyObject },
  extensions: readonly Uint8Array[],
): string {
  const now = Date.now();
  const body = sequence(
    explicit(0, integer(Uint8Array.of(2))),
    integer(Uint8Array.of(0x40 | (randomBytes(1)[0]! & 0x3f), ...randomBytes(15))),
    ECDSA_WITH_SHA256,
    issuer.name,
    sequence(time(new Date(now - 3600_000)), time(new Date(now + 10 * YEAR))),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions)),
  );
  const signature = sign('sha256', body, { key: issuer.key, dsaEncoding: 'der' });
  return pem('CERTIFICATE', sequence(body, ECDSA_WITH_SHA256, bits(signature)));
}

/** Its own root, or one that a `parent` vouches for. */
export function newAuthority(name: string, parent?: Authority): Authority {
  const { privateKey, publicKey } = newKey();
  const subject = distinguishedName(name);
  const issuer = parent
    ? { name: distinguishedName(parent.name), key: createPrivateKey(parent.key) }
    : { name: subject, key: privateKey };
  const text = certificate(subject, publicKey, issuer, [
    extension('2.5.29.19', true, sequence(boolean(true))),
    // keyCertSign and cRLSign.
    extension('2.5.29.15', true, bits(Uint8Array.of(0x06), 1)),
  ]);
  return { name, key: pemKey(privateKey), certificate: text };
}

/** A certificate for a client and, when the subject has hosts, for a server. */
export function issue(authority: Authority, subject: Subject): Pair {
  const { privateKey, publicKey } = newKey();
  const hosts = subject.hosts ?? [];
  const issuer = { name: distinguishedName(authority.name), key: createPrivateKey(authority.key) };
  const text = certificate(distinguishedName(subject.commonName, subject.organizations), publicKey, issuer, [
    // digitalSignature.
    extension('2.5.29.15', true, bits(Uint8Array.of(0x80), 7)),
    extension(
      '2.5.29.37',
      false,
      sequence(objectId('1.3.6.1.5.5.7.3.2'), ...(hosts.length > 0 ? [objectId('1.3.6.1.5.5.7.3.1')] : [])),
    ),
    ...(hosts.length > 0 ? [extension('2.5.29.17', false, sequence(...hosts.map(alternativeName)))] : []),
  ]);
  return { key: pemKey(privateKey), certificate: text };
}

/** The key pair that signs service account tokens. */
export function newSigningKey(): { key: string; publicKey: string } {
  const { privateKey, publicKey } = newKey();
  return { key: pemKey(privateKey), publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}
