/** Secrets with certificates, for tables. */
import { encode } from '../../../src/controllers/tls/authority.ts';
import type { Role } from '../../../src/controllers/tls/inspect.ts';
import { leafOf } from '../../../src/controllers/tls/names.ts';
import { issueLeaf, type Leaf, newAuthority, type Pair } from '../../../src/controllers/tls/x509.ts';
import type { Secret } from '../../../src/kube/kinds.ts';
import { meta, namespace, now } from '../objects.ts';

export const DAY = 86_400_000;
export const aYear = { notBefore: now.getTime() - DAY, notAfter: now.getTime() + 365 * DAY };
export const aMonth = { notBefore: now.getTime() - DAY, notAfter: now.getTime() + 30 * DAY };

export const ca = newAuthority('a CA', aYear);
export const otherCa = newAuthority('another CA', aYear);

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
