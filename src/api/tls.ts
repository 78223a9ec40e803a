/** `spec.tls`: who vouches for members, clients, peers and the operator to each other. */
import { type Static, Type } from 'typebox';
import { choice, immutable, integer, nameOf, rules } from './schema.ts';

const days = (description: string, options: { minimum: number; maximum: number; default: number }) =>
  integer(`${description}, in days.`, options);

const managed = Type.Object(
  {
    caDays: days('How long a certificate authority (CA) of the cluster is valid', {
      minimum: 1,
      maximum: 36_500,
      default: 3650,
    }),
    caOverlapDays: days(
      'How long an old and a new CA are both trusted before the new one issues certificates, and again before the old one is dropped: clients must read ca.crt anew within that time. 0: as soon as all members have it',
      { minimum: 0, maximum: 3650, default: 30 },
    ),
    caGeneration: integer('Raise it to have the CA replaced by a new one now, step by step and without an outage.', {
      minimum: 1,
      maximum: 1_000_000,
      default: 1,
    }),
    certificateDays: days('How long a certificate is valid', { minimum: 1, maximum: 3650, default: 90 }),
    renewBeforeDays: days('How long before its end a certificate is renewed', {
      minimum: 0,
      maximum: 3650,
      default: 30,
    }),
  },
  {
    description: 'The certificates of mode Managed.',
    default: {},
    ...rules(
      {
        rule: 'self.renewBeforeDays < self.certificateDays',
        message: 'spec.tls.managed.renewBeforeDays must be less than spec.tls.managed.certificateDays',
        fieldPath: '.renewBeforeDays',
      },
      {
        rule: 'self.caDays >= 2 * (self.certificateDays + 2 * self.caOverlapDays)',
        message:
          'spec.tls.managed.caDays must be at least twice certificateDays and twice caOverlapDays together: a CA is replaced within the second half of its life',
        fieldPath: '.caDays',
      },
    ),
  },
);

const certManager = Type.Object(
  {
    issuerRef: Type.Object(
      {
        name: nameOf('The name of the issuer.'),
        kind: Type.String({
          description: 'The kind of the issuer, such as Issuer or ClusterIssuer.',
          minLength: 1,
          maxLength: 63,
          default: 'Issuer',
        }),
        group: Type.String({
          description: 'The API group of the issuer.',
          minLength: 1,
          maxLength: 253,
          default: 'cert-manager.io',
        }),
      },
      { description: 'The issuer that signs all certificates: a CA whose certificate it also hands out as ca.crt.' },
    ),
    certificateDays: days('How long a certificate is valid', { minimum: 1, maximum: 3650, default: 90 }),
    renewBeforeDays: days('How long before its end cert-manager renews a certificate', {
      minimum: 1,
      maximum: 3650,
      default: 30,
    }),
  },
  {
    description: 'The certificates of mode CertManager.',
    ...rules({
      rule: 'self.renewBeforeDays < self.certificateDays',
      message: 'spec.tls.certManager.renewBeforeDays must be less than spec.tls.certManager.certificateDays',
      fieldPath: '.renewBeforeDays',
    }),
  },
);

const secrets = Type.Object(
  {
    server: nameOf('The Secret with which members serve clients: its certificate holds the names of all members.'),
    peer: nameOf(
      'The Secret with which members meet each other. Its ca.crt should be of a CA for these members only: whoever has a certificate of it can pass for a member.',
    ),
    client: nameOf('The Secret with which the operator and its Jobs meet the members.'),
  },
  {
    description: 'The Secrets of mode Secrets, each with tls.crt, tls.key and ca.crt. Somebody else renews them.',
  },
);

export const tlsSpec = Type.Object(
  {
    mode: choice(
      ['Managed', 'CertManager', 'Secrets', 'Disabled'],
      "Where certificates come from. Managed: the operator's own CA for this cluster. CertManager: cert-manager. Secrets: Secrets that somebody else fills. Disabled: none, everything goes over the network as plain text and anybody who reaches a member may read and write.",
      {
        default: 'Managed',
        ...rules(
          immutable(
            'spec.tls.mode',
            'members that are replaced one by one must understand each other all the while; restore a snapshot into a new cluster of the mode wanted',
          ),
        ),
      },
    ),
    managed,
    certManager: Type.Optional(certManager),
    secrets: Type.Optional(secrets),
  },
  {
    description: 'Encryption and authentication between clients, members, the operator and its Jobs.',
    default: {},
    ...rules(
      {
        rule: "has(self.certManager) == (self.mode == 'CertManager')",
        message: 'spec.tls.certManager goes with spec.tls.mode CertManager, and only with it',
        fieldPath: '.certManager',
      },
      {
        rule: "has(self.secrets) == (self.mode == 'Secrets')",
        message: 'spec.tls.secrets goes with spec.tls.mode Secrets, and only with it',
        fieldPath: '.secrets',
      },
    ),
  },
);

export type TlsSpec = Static<typeof tlsSpec>;
export type TlsMode = TlsSpec['mode'];
