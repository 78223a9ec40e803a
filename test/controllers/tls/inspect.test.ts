import { describe, expect, test } from '@jest/globals';
import { disagreement, type Finding, inspect, type Role, type Sound } from '../../../src/controllers/tls/inspect.ts';
import { issueLeaf, newAuthority } from '../../../src/controllers/tls/x509.ts';
import type { Secret } from '../../../src/kube/kinds.ts';
import { now } from '../objects.ts';
import { aMonth, ca, DAY, issueCa, leafSecretOf, otherCa } from './secrets.ts';

const hosts = ['c-0.c-peers.default.svc', 'c-2.c-peers.default.svc'];
const look = (secret: Secret | undefined, role: Role = 'server', at = now) =>
  inspect(role, 'given', secret, role === 'client' ? [] : hosts, at);
const later = (days: number) => new Date(now.getTime() + days * DAY);
const other = issueLeaf(ca, { commonName: 'x', hosts: [], usages: ['server'] }, aMonth);

describe('a Secret with a certificate', () => {
  test.each<Role>(['server', 'peer', 'client'])('that is right for %s is taken as it is', (role) => {
    const secret = leafSecretOf(role);
    expect(look(secret, role)).toMatchObject({ kind: 'sound', material: { ca: ca.certificate } });
  });

  const faults: [string, Secret | undefined, string, RegExp][] = [
    ['is not there', undefined, 'SecretNotFound', /^Secret given does not exist: create it/],
    [
      'has no certificate',
      leafSecretOf('server', { data: { 'tls.crt': null } }),
      'SecretKeyMissing',
      /no key tls\.crt/,
    ],
    ['has no key', leafSecretOf('server', { data: { 'tls.key': null } }), 'SecretKeyMissing', /no key tls\.key/],
    ['has no CA', leafSecretOf('server', { data: { 'ca.crt': null } }), 'SecretKeyMissing', /no key ca\.crt/],
    [
      'holds no PEM',
      leafSecretOf('server', { data: { 'tls.crt': 'hello' } }),
      'CertificateInvalid',
      /tls\.crt holds no/,
    ],
    [
      'holds a broken certificate',
      leafSecretOf('server', { data: { 'tls.crt': '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----' } }),
      'CertificateInvalid',
      /tls\.crt is no certificate/,
    ],
    [
      'holds no CA in PEM',
      leafSecretOf('server', { data: { 'ca.crt': 'x' } }),
      'CertificateInvalid',
      /ca\.crt holds no/,
    ],
    [
      'holds no private key',
      leafSecretOf('server', { data: { 'tls.key': 'x' } }),
      'CertificateInvalid',
      /tls\.key is no/,
    ],
    [
      'holds the key of another certificate',
      leafSecretOf('server', { data: { 'tls.key': other.key } }),
      'KeyMismatch',
      /tls\.key does not belong to/,
    ],
    [
      'is for other hosts',
      leafSecretOf('server', { leaf: { hosts: ['c-0.c-peers.default.svc'] } }),
      'HostNotCovered',
      /not for host c-2\.c-peers\.default\.svc/,
    ],
    ['is for no host', leafSecretOf('server', { leaf: { hosts: [] } }), 'HostNotCovered', /not for host c-0/],
    [
      'is for clients only',
      leafSecretOf('server', { leaf: { usages: ['client'] } }),
      'UsageMissing',
      /must not be used for serverAuth/,
    ],
    [
      'is of a CA that is not trusted',
      leafSecretOf('server', { data: { 'ca.crt': otherCa.certificate } }),
      'CertificateUntrusted',
      /no CA in ca\.crt has issued/,
    ],
  ];
  test.each(faults)(
    'that %s: nothing is taken, and the message names the Secret and the key',
    (_, secret, reason, said) => {
      const found = look(secret) as Extract<Finding, { kind: 'fault' }>;
      expect(found).toMatchObject({ kind: 'fault', reason });
      expect(found.message).toMatch(said);
      expect(found.message).toMatch(/^Secret given/);
    },
  );

  test('counts from its first second to its last', () => {
    const secret = leafSecretOf('server');
    expect(look(secret, 'server', later(29))).toMatchObject({ kind: 'sound' });
    expect(look(secret, 'server', later(30))).toMatchObject({ reason: 'CertificateExpired' });
    expect(look(secret, 'server', later(-2))).toMatchObject({ reason: 'CertificateNotYetValid' });
  });

  test('of peers must serve and call', () => {
    expect(look(leafSecretOf('peer', { leaf: { usages: ['server'] } }), 'peer')).toMatchObject({
      reason: 'UsageMissing',
    });
  });

  test('is trusted by one of several CAs, and not by one that has ended', () => {
    const both = `${otherCa.certificate}${ca.certificate}`;
    expect(look(leafSecretOf('server', { data: { 'ca.crt': both } }))).toMatchObject({ kind: 'sound' });
    const old = newAuthority('old', { notBefore: now.getTime() - 2 * DAY, notAfter: now.getTime() - DAY });
    expect(look(leafSecretOf('server', { authority: old }))).toMatchObject({ reason: 'CertificateUntrusted' });
  });

  describe('with a certificate between it and the CA', () => {
    const span = (from: number, to: number) => ({ notBefore: later(from).getTime(), notAfter: later(to).getTime() });
    const root = newAuthority('root', span(-20, 20));
    const chained = (lifetime: { notBefore: number; notAfter: number }, authority = root) => {
      const between = issueCa(authority, 'between', lifetime);
      const leaf = issueLeaf(between, { commonName: 'c', hosts, usages: ['server'] }, aMonth);
      const pem = `${leaf.certificate}${between.certificate}`;
      return leafSecretOf('server', { data: { 'tls.crt': pem, 'tls.key': leaf.key, 'ca.crt': authority.certificate } });
    };

    test('holds until the first of the three ends', () => {
      expect(look(chained(span(-1, 10)))).toMatchObject({ kind: 'sound', until: later(10).getTime() });
      expect(look(chained(span(-1, 60)))).toMatchObject({ kind: 'sound', until: later(20).getTime() });
    });

    test('is not trusted when that has ended, as members see it: the message names it', () => {
      const found = look(chained(span(-10, -1)));
      expect(found).toMatchObject({
        reason: 'CertificateUntrusted',
        message: expect.stringMatching(/the CA "CN=between" in tls\.crt, .* has expired at 2026-11-21T02:14:00Z: put/),
      });
    });

    test('is not trusted by a CA that is not valid yet', () => {
      const early = newAuthority('early', span(1, 20));
      expect(look(chained(span(-1, 10), early))).toMatchObject({
        reason: 'CertificateUntrusted',
        message: expect.stringMatching(/the CA "CN=early" in ca\.crt, .* is valid only from 2026-11-23T02:14:00Z on/),
      });
    });

    test('is told what to do when that is missing', () => {
      const whole = chained(span(-1, 10));
      const pem = Buffer.from(whole.data!['tls.crt']!, 'base64')
        .toString()
        .split(/(?=-----BEGIN)/)[0]!;
      const alone = { ...whole, data: { ...whole.data, 'tls.crt': Buffer.from(pem).toString('base64') } };
      expect(look(alone)).toMatchObject({ message: expect.stringMatching(/what is between the two into tls\.crt/) });
    });
  });

  test('two that do not trust each other are told apart from each one that is wrong', () => {
    const names = { server: 's', peer: 'p', client: 'k' };
    const sound = (role: Role, secret: Secret) => inspect(role, role, secret, [], now) as Sound;
    const found = (client: Secret) => ({
      server: sound('server', leafSecretOf('server')),
      peer: sound('peer', leafSecretOf('peer')),
      client: sound('client', client),
    });
    expect(disagreement(names, found(leafSecretOf('client')), now)).toBeUndefined();
    const foreign = leafSecretOf('client', { authority: otherCa });
    expect(disagreement(names, found(foreign), now)?.message).toMatch(/^Secret s: no CA in ca\.crt .* of Secret k/);
    const oneSided = leafSecretOf('client', { data: { 'ca.crt': `${otherCa.certificate}` } });
    expect(look(oneSided, 'client')).toMatchObject({ reason: 'CertificateUntrusted' });
  });
});
