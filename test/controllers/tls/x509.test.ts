import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { issueLeaf, newAuthority } from '../../../src/controllers/tls/x509.ts';

const notBefore = Date.parse('2026-11-22T02:14:00Z');
const notAfter = Date.parse('2027-02-20T02:14:00Z');
const lifetime = { notBefore, notAfter };
const authority = newAuthority('raftsman c 1', lifetime);
const ca = new X509Certificate(authority.certificate);

const leafOf = (issuer = authority) =>
  issueLeaf(
    issuer,
    { commonName: 'c', hosts: ['*.c-peers.ns.svc', 'c-client.ns.svc'], usages: ['server', 'client'] },
    lifetime,
  );

describe('certificates as they are issued', () => {
  test('an authority may sign certificates and vouches for itself', () => {
    expect(ca.ca).toBe(true);
    expect(ca.checkIssued(ca) && ca.verify(ca.publicKey)).toBe(true);
    expect(ca.subject).toBe('CN=raftsman c 1');
    expect(ca.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
  });

  test('a leaf has its names, usages and times, and the key that goes with it', () => {
    const { certificate, key } = leafOf();
    const leaf = new X509Certificate(certificate);
    expect(leaf.subjectAltName).toBe('DNS:*.c-peers.ns.svc, DNS:c-client.ns.svc');
    expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(leaf.ca).toBe(false);
    expect([leaf.validFromDate.getTime(), leaf.validToDate.getTime()]).toEqual([notBefore, notAfter]);
    expect(key).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(leaf.checkHost('c-2.c-peers.ns.svc')).toBeDefined();
    expect(leaf.checkHost('c-2.d-peers.ns.svc')).toBeUndefined();
  });

  test('a leaf is of its own authority and of no other, were it of the same name', () => {
    const other = newAuthority('raftsman c 1', lifetime);
    const leaf = new X509Certificate(leafOf().certificate);
    expect(leaf.checkIssued(ca) && leaf.verify(ca.publicKey)).toBe(true);
    expect(leaf.verify(new X509Certificate(other.certificate).publicKey)).toBe(false);
    // The key identifiers tell them apart before any signature is looked at.
    expect(leaf.checkIssued(new X509Certificate(other.certificate))).toBe(false);
  });

  test('two certificates never share a serial number', () => {
    const serials = Array.from({ length: 20 }, () => new X509Certificate(leafOf().certificate).serialNumber);
    expect(new Set(serials).size).toBe(20);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
  });
});
