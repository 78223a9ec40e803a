import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { issue, newAuthority } from './certificates.ts';
import { integer, objectId, tagged } from './der.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('DER', () => {
  test('lengths below 128 take one byte, longer ones say how many bytes they take', () => {
    expect(hex(tagged(0x04, new Uint8Array(127))).slice(0, 4)).toBe('047f');
    expect(hex(tagged(0x04, new Uint8Array(128))).slice(0, 6)).toBe('048180');
    expect(hex(tagged(0x04, new Uint8Array(65_536))).slice(0, 10)).toBe('0483010000');
  });

  test('an integer whose first bit is set stays positive', () => {
    expect(hex(integer(Uint8Array.of(0x80)))).toBe('02020080');
    expect(hex(integer(Uint8Array.of(0x7f)))).toBe('02017f');
  });

  test('object ids are written in base 128', () => {
    expect(hex(objectId('1.2.840.10045.4.3.2'))).toBe('06082a8648ce3d040302');
  });
});

describe('certificates', () => {
  const authority = newAuthority('tests');
  const root = new X509Certificate(authority.certificate);

  test('an authority signs itself and is one', () => {
    expect(root.ca).toBe(true);
    expect(root.verify(root.publicKey)).toBe(true);
  });

  test('an issued certificate verifies against its authority and names user, groups and hosts', () => {
    const pair = issue(authority, {
      commonName: 'someone',
      organizations: ['system:masters'],
      hosts: ['kubernetes.default.svc', '198.18.0.2'],
    });
    const certificate = new X509Certificate(pair.certificate);
    expect(certificate.verify(root.publicKey)).toBe(true);
    expect(certificate.checkIssued(root)).toBe(true);
    expect(certificate.subject).toBe('O=system:masters\nCN=someone');
    expect(certificate.checkHost('kubernetes.default.svc')).toBe('kubernetes.default.svc');
    expect(certificate.checkIP('198.18.0.2')).toBe('198.18.0.2');
    expect(certificate.checkIP('198.18.0.3')).toBeUndefined();
    expect(certificate.ca).toBe(false);
  });

  test('another authority does not vouch for it', () => {
    const other = new X509Certificate(newAuthority('tests').certificate);
    const certificate = new X509Certificate(issue(authority, { commonName: 'someone' }).certificate);
    expect(certificate.verify(other.publicKey)).toBe(false);
  });
});
