import { describe, expect, test } from '@jest/globals';
import { type Finding, inspect, type Role } from '../../../src/controllers/tls/inspect.ts';
import { type Found, stateOf } from '../../../src/controllers/tls/report.ts';
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

  test('a change of CAs that goes on, and what it waits for', () => {
    const { report } = stateOf(found({}, { aside: 'a new CA waits for c-1' }), undefined, now);
    expect(report).toMatchObject({ status: 'True', reason: 'ReplacingCA' });
    expect(report.message).toMatch(/; a new CA waits for c-1$/);
  });
});
