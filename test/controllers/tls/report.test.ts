import { describe, expect, test } from '@jest/globals';
import { type Finding, inspect, type Role } from '../../../src/controllers/tls/inspect.ts';
import { CALM_MS, FAULT_MS, type Found, recheckMsOf, stateOf } from '../../../src/controllers/tls/report.ts';
import { newAuthority } from '../../../src/controllers/tls/x509.ts';
import type { Secret } from '../../../src/kube/kinds.ts';
import { now } from '../objects.ts';
import { ca, DAY, leafSecretOf, otherCa } from './secrets.ts';

const names = { server: 's', peer: 'p', client: 'k' };
type Given = { [R in Role]?: Secret | null };

function found(given: Given = {}, more: Partial<Found> = {}, at = now): Found {
  const of = (role: Role): Finding =>
    inspect(role, names[role], given[role] === null ? undefined : (given[role] ?? leafSecretOf(role)), [], at);
  return { names, secrets: { server: of('server'), peer: of('peer'), client: of('client') }, ...more };
}

describe('what is said of certificates', () => {
  test('all is well: until when, by whom members are reached, and whom they trust', () => {
    const state = stateOf(found(), undefined, now);
    expect(state.report).toEqual({
      status: 'True',
      reason: 'Valid',
      message: 'the first certificate ends at 2026-12-22T02:14:00Z',
      expires: '2026-12-22T02:14:00Z',
    });
    expect(state.credentials?.ca).toBe(ca.certificate);
    expect(state.trust).toMatch(/^[0-9a-f]{16}$/);
  });

  test('everything that is wrong at once, the first as the reason', () => {
    const { report } = stateOf(found({ server: null, client: null }), undefined, now);
    expect(report).toMatchObject({ status: 'False', reason: 'SecretNotFound' });
    expect(report.message).toMatch(/Secret s does not exist.*; Secret k does not exist/);
  });

  test('a fault that comes later leaves in force what was good', () => {
    const before = stateOf(found(), undefined, now);
    const after = stateOf(found({ server: null, client: null }), before, now);
    expect(after.credentials).toEqual(before.credentials);
    expect(after.trust).toBe(before.trust);
    expect(after.report.status).toBe('False');
  });

  test('who starts with a fault reaches members by a client certificate that is good, and changes nothing for them', () => {
    const state = stateOf(found({ server: null }), undefined, now);
    expect(state.credentials).toBeDefined();
    expect(state.trust).toBeUndefined();
  });

  test('what is trusted is the same in another order, and another with one more', () => {
    const trust = (pem: string) =>
      stateOf(found({ server: leafSecretOf('server', { data: { 'ca.crt': pem } }) }), undefined, now).trust;
    expect(trust(`${otherCa.certificate}${ca.certificate}`)).toBe(trust(`${ca.certificate}${otherCa.certificate}`));
    expect(trust(`${otherCa.certificate}${ca.certificate}`)).not.toBe(trust(ca.certificate));
  });

  test('one that ends soon has not been renewed: a warning names it', () => {
    const at = new Date(now.getTime() + 28 * DAY);
    const { report } = stateOf(found({}, {}, at), undefined, at);
    expect(report).toMatchObject({ status: 'False', reason: 'ExpiresSoon' });
    expect(report.message).toMatch(/Secret s ends at 2026-12-22T02:14:00Z and has not been renewed/);
  });

  test('a CA that ends before the certificates that it has issued counts, and is warned about', () => {
    const old = newAuthority('old', { notBefore: now.getTime() - DAY, notAfter: now.getTime() + 2 * DAY });
    const { report } = stateOf(found({ peer: leafSecretOf('peer', { authority: old }) }), undefined, now);
    expect(report).toMatchObject({ status: 'False', reason: 'ExpiresSoon', expires: '2026-11-24T02:14:00Z' });
    expect(report.message).toMatch(/^a CA of the certificate in Secret p ends at 2026-11-24T02:14:00Z/);
  });

  test('one that is to be renewed late is no reason to warn before half of that time is over', () => {
    const lastDays = (days: number) => new Date(now.getTime() + (30 - days) * DAY);
    const reason = (days: number) =>
      stateOf(found({}, { renewMs: 2 * DAY }, lastDays(days)), undefined, lastDays(days)).report.reason;
    expect(reason(2.5)).toBe('Valid');
    expect(reason(1.5)).toBe('Valid');
    expect(reason(0.9)).toBe('ExpiresSoon');
  });

  test('Secrets that are changed one by one: until they agree, members are reached as before', () => {
    const before = stateOf(found(), undefined, now);
    const half = stateOf(found({ client: leafSecretOf('client', { authority: otherCa }) }), before, now);
    expect(half.report.reason).toBe('CertificateUntrusted');
    expect(half.credentials).toEqual(before.credentials);
    const all = (role: Role) => leafSecretOf(role, { authority: otherCa });
    const whole = stateOf(found({ server: all('server'), peer: all('peer'), client: all('client') }), half, now);
    expect(whole.credentials?.ca).toBe(otherCa.certificate);
  });

  test('what is wrong is looked at again soon: a certificate that is valid from later on becomes so by itself', () => {
    const early = { notBefore: now.getTime() + 20_000, notAfter: now.getTime() + 30 * DAY };
    const given = { server: leafSecretOf('server', { lifetime: early }) };
    expect(found(given).secrets.server).toMatchObject({ reason: 'CertificateNotYetValid' });
    expect(recheckMsOf(found(given))).toBe(FAULT_MS);
    expect(recheckMsOf(found())).toBe(CALM_MS);
  });

  test('a change of CAs that goes on, and what it waits for', () => {
    const { report } = stateOf(found({}, { aside: 'a new CA waits for c-1' }), undefined, now);
    expect(report).toMatchObject({ status: 'True', reason: 'ReplacingCA' });
    expect(report.message).toMatch(/; a new CA waits for c-1$/);
  });
});
