/**
 * Certificates as we issue them (RFC 5280): ECDSA on P-256, signed with SHA-256. The only file that knows ASN.1. What
 * others issued is read with node:crypto (inspect.ts).
 */
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';

/** A certificate and its private key, both PEM. */
export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

export type Usage = 'server' | 'client';

export interface Leaf {
  /** At most 64 characters. */
  readonly commonName: string;
  /** DNS names, wildcards among them. */
  readonly hosts: readonly string[];
  readonly usages: readonly Usage[];
}

/** In milliseconds since 1970. X.509 counts whole seconds. */
export interface Lifetime {
  readonly notBefore: number;
  readonly notAfter: number;
}

const commonNameId = '2.5.4.3';
const ecdsaWithSha256 = '1.2.840.10045.4.3.2';
const usageIds = { server: id_kp_serverAuth, client: id_kp_clientAuth } as const;

/** A certificate authority that signs leaves only. Two of one name differ by their keys, which chains are built by. */
export function newAuthority(commonName: string, lifetime: Lifetime): Pair {
  const { privateKey, publicKey } = newKey();
  const certificate = certify(
    { commonName, publicKey, lifetime },
    { name: nameOf(commonName), privateKey, publicKey },
    [
      extension(id_ce_basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 }), true),
      extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign), true),
    ],
  );
  return { certificate, key: pemOf(privateKey) };
}

export function issueLeaf(authority: Pair, { commonName, hosts, usages }: Leaf, lifetime: Lifetime): Pair {
  const { privateKey, publicKey } = newKey();
  const ca = new X509Certificate(authority.certificate);
  const issuer = {
    name: AsnConvert.parse(ca.raw, Certificate).tbsCertificate.subject,
    privateKey: createPrivateKey(authority.key),
    publicKey: ca.publicKey,
  };
  const names = hosts.map((dNSName) => new GeneralName({ dNSName }));
  const certificate = certify({ commonName, publicKey, lifetime }, issuer, [
    extension(id_ce_basicConstraints, new BasicConstraints({ cA: false }), true),
    extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature), true),
    extension(id_ce_extKeyUsage, new ExtendedKeyUsage(usages.map((usage) => usageIds[usage]))),
    ...(names.length === 0 ? [] : [extension(id_ce_subjectAltName, new SubjectAlternativeName(names))]),
  ]);
  return { certificate, key: pemOf(privateKey) };
}

interface Issuer {
  readonly name: Name;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

interface Subject {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly lifetime: Lifetime;
}

function certify(
  { commonName, publicKey, lifetime }: Subject,
  issuer: Issuer,
  extensions: readonly Extension[],
): string {
  const algorithm = new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 });
  const body = new TBSCertificate({
    version: Version.v3,
    serialNumber: serialOf(publicKey),
    signature: algorithm,
    issuer: issuer.name,
    validity: new Validity({ notBefore: new Date(lifetime.notBefore), notAfter: new Date(lifetime.notAfter) }),
    subject: nameOf(commonName),
    subjectPublicKeyInfo: AsnConvert.parse(spki(publicKey), SubjectPublicKeyInfo),
    extensions: new Extensions([
      ...extensions,
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(digest(publicKey))),
      extension(
        id_ce_authorityKeyIdentifier,
        new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(digest(issuer.publicKey)) }),
      ),
    ]),
  });
  const signature = sign('sha256', new Uint8Array(AsnConvert.serialize(body)), {
    key: issuer.privateKey,
    dsaEncoding: 'der',
  });
  const whole = new Certificate({
    tbsCertificate: body,
    signatureAlgorithm: algorithm,
    signatureValue: exactly(signature),
  });
  return new X509Certificate(new Uint8Array(AsnConvert.serialize(whole))).toString();
}

function newKey(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function spki(key: KeyObject): Uint8Array {
  return key.export({ type: 'spki', format: 'der' });
}

function nameOf(commonName: string): Name {
  const value = new AttributeValue({ utf8String: commonName });
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: commonNameId, value })])]);
}

function extension(extnID: string, value: unknown, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

/** 160 bits of the key: unique as the key is, positive, and never longer than RFC 5280 allows (20 octets). */
function serialOf(key: KeyObject): ArrayBuffer {
  const serial = new Uint8Array(digest(key)).slice(0, 16);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  return exactly(serial);
}

function digest(key: KeyObject): ArrayBuffer {
  return exactly(createHash('sha256').update(spki(key)).digest().subarray(0, 20));
}

/** The ASN.1 library takes whole buffers. */
function exactly(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
