/** Secrets with certificates, for tables. */
import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate, Extensions, id_ce_authorityKeyIdentifier } from '@peculiar/asn1-x509';
import { encode } from '../../../src/controllers/tls/authority.ts';
import type { Role } from '../../../src/controllers/tls/inspect.ts';
import { leafOf } from '../../../src/controllers/tls/names.ts';
import { issueLeaf, type Leaf, type Lifetime, newAuthority, type Pair } from '../../../src/controllers/tls/x509.ts';
import type { Secret } from '../../../src/kube/kinds.ts';
import { meta, namespace, now } from '../objects.ts';

export const DAY = 86_400_000;
export const aYear = { notBefore: now.getTime() - DAY, notAfter: now.getTime() + 365 * DAY };
export const aMonth = { notBefore: now.getTime() - DAY, notAfter: now.getTime() + 30 * DAY };

export const ca = newAuthority('a CA', aYear);
export const otherCa = newAuthority('another CA', aYear);

/** A CA that another one vouches for. */
export function issueCa(parent: Pair, commonName: string, lifetime: Lifetime): Pair {
  const { certificate, key } = newAuthority(commonName, lifetime);
  const parsed = (pem: string) => AsnConvert.parse(new X509Certificate(pem).raw, Certificate);
  const whole = parsed(certificate);
  const body = whole.tbsCertificate;
  body.issuer = parsed(parent.certificate).tbsCertificate.subject;
  // It names its own key as the one that has signed.
  body.extensions = new Extensions(
    (body.extensions ?? []).filter(({ extnID }) => extnID !== id_ce_authorityKeyIdentifier),
  );
  const signature = sign('sha256', new Uint8Array(AsnConvert.serialize(body)), {
    key: createPrivateKey(parent.key),
    dsaEncoding: 'der',
  });
  const signed = new Certificate({
    tbsCertificate: body,
    signatureAlgorithm: whole.signatureAlgorithm,
    signatureValue: new Uint8Array(signature).buffer,
  });
  return { certificate: new X509Certificate(new Uint8Array(AsnConvert.serialize(signed))).toString(), key };
}

export function secretOf(name: string, data: Readonly<Record<string, string>>, more: object = {}): Secret {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: meta(name, more),
    data: Object.fromEntries(Object.entries(data).map(([key, text]) => [key, encode(text)])),
  };
}

interface Given {
  readonly authority?: Pair;
  readonly leaf?: Partial<Leaf>;
  readonly lifetime?: typeof aMonth;
  /** In place of what would be there; null: not there. */
  readonly data?: Readonly<Record<string, string | null>>;
}

export function leafSecretOf(
  role: Role,
  { authority = ca, leaf = {}, lifetime = aMonth, data = {} }: Given = {},
): Secret {
  const pair = issueLeaf(authority, { ...leafOf(role, 'c', namespace), ...leaf }, lifetime);
  const whole = { 'tls.crt': pair.certificate, 'tls.key': pair.key, 'ca.crt': authority.certificate, ...data };
  const kept = Object.entries(whole).filter((entry): entry is [string, string] => entry[1] !== null);
  return secretOf(`c-${role}-tls`, Object.fromEntries(kept));
}
