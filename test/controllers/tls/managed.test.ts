import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { encode, readAuthority } from '../../../src/controllers/tls/authority.ts';
import { certificatesOf, type Role, roles, textAt, trustedUntil } from '../../../src/controllers/tls/inspect.ts';
import { planManaged } from '../../../src/controllers/tls/managed.ts';
import { namespace, now as start } from '../objects.ts';
import { life, type Secrets } from './life.ts';
import { ca, DAY, secretOf } from './secrets.ts';

const at = (days: number) => start.getTime() + days * DAY;
const trusts = (secrets: Secrets, role: Role) => certificatesOf(textAt(secrets[role]!, 'ca.crt')!);
const leaves = new Map<string, X509Certificate>();
const leafIn = (pem: string) => {
  const known = leaves.get(pem) ?? new X509Certificate(pem);
  leaves.set(pem, known);
  return known;
};
const leafOf = (secrets: Secrets, role: Role) => leafIn(textAt(secrets[role]!, 'tls.crt')!);
const accepted = new Map<string, boolean>();
/** Signatures are looked at once, as of the leaf's first second: there are many meetings over the years. */
function accepts(by: Secrets, of: Secrets, role: Role, other: Role, now: number): boolean {
  const key = `${by[role]!.data!['ca.crt']} ${of[other]!.data!['tls.crt']}`;
  const signed =
    accepted.get(key) ??
    trustedUntil(leafOf(of, other), [], trusts(by, role), leafOf(of, other).validFromDate) !== undefined;
  accepted.set(key, signed);
  return signed && leafOf(of, other).validToDate.getTime() > now;
}

describe('the first certificates', () => {
  const one = life();
  const plan = one.live(at(0));

  test('are issued in one go, and then there is nothing to do until a third of their life is left', () => {
    expect(one.done).toEqual(['create', 'issue peer', 'issue client', 'issue server']);
    expect(plan.writes).toEqual([]);
    expect(plan.dueAt).toBe(at(60));
    expect(plan.expiresAt).toBe(at(90));
  });

  test('let clients, members and peers accept each other', () => {
    const { secrets } = one;
    expect(accepts(secrets, secrets, 'server', 'client', at(0))).toBe(true);
    expect(accepts(secrets, secrets, 'client', 'server', at(0))).toBe(true);
    expect(accepts(secrets, secrets, 'peer', 'peer', at(0))).toBe(true);
  });

  test('let no client pass for a peer', () => {
    expect(accepts(one.secrets, one.secrets, 'peer', 'client', at(0))).toBe(false);
    expect(accepts(one.secrets, one.secrets, 'server', 'peer', at(0))).toBe(false);
  });

  test.each<[Role, readonly string[]]>([
    [
      'server',
      ['c-0.c-peers.default.svc', 'c-8.c-peers.default.svc.cluster.local', 'c-client.default.svc', 'localhost'],
    ],
    ['peer', ['c-0.c-peers.default.svc']],
  ])('of %s are for all members, those to come included', (role, hosts) => {
    for (const host of hosts) expect(leafOf(one.secrets, role).checkHost(host)).toBeDefined();
    expect(leafOf(one.secrets, role).checkHost('d-0.d-peers.default.svc')).toBeUndefined();
  });
});

describe('renewal', () => {
  test('comes with a third of a certificate left, of the same CA, and the CA stays', () => {
    const one = life();
    one.live(at(0));
    const before = leafOf(one.secrets, 'server').serialNumber;
    one.live(at(59.9));
    expect(leafOf(one.secrets, 'server').serialNumber).toBe(before);
    one.live(at(60));
    expect(leafOf(one.secrets, 'server').serialNumber).not.toBe(before);
    expect(one.done.slice(4)).toEqual(['issue peer', 'issue client', 'issue server']);
    expect(accepts(one.secrets, one.secrets, 'server', 'client', at(60))).toBe(true);
  });

  test.each<[string, Record<string, string>]>([
    ['is deleted', {}],
    ['is emptied', { 'tls.crt': '', 'tls.key': '', 'ca.crt': '' }],
    ['is filled with something else', { 'tls.crt': 'x', 'tls.key': 'y', 'ca.crt': 'z' }],
  ])('of a Secret that %s puts it right', (_, data) => {
    const one = life();
    one.live(at(0));
    if (Object.keys(data).length === 0) delete one.secrets.server;
    else one.secrets.server = secretOf('c-server-tls', data);
    one.live(at(1));
    expect(one.done.slice(4)).toEqual(['issue server']);
    expect(accepts(one.secrets, one.secrets, 'client', 'server', at(1))).toBe(true);
  });

  test.each([
    [1, 0],
    [5, 0],
    [90, 0],
  ])(
    'of one for %d days that is to be renewed %d days before its end comes before it ends',
    (certificateDays, renewBeforeDays) => {
      const one = life({ certificateDays, renewBeforeDays });
      const { dueAt, expiresAt } = one.live(at(0));
      // A Secret takes its time to reach the files of members.
      expect(expiresAt - dueAt!).toBeGreaterThanOrEqual(3_600_000);
      const renewed = one.live(dueAt!);
      expect(one.done.slice(4)).toEqual(['issue peer', 'issue client', 'issue server']);
      expect(renewed.expiresAt).toBeGreaterThan(expiresAt);
    },
  );

  test('is looked for in time, not some time after it', () => {
    const one = life();
    one.live(at(0));
    expect(one.live(at(60) - 60_000).dueAt).toBe(at(60));
  });

  test('of ca.crt alone keeps the certificate', () => {
    const one = life();
    one.live(at(0));
    const { data, ...rest } = one.secrets.client!;
    one.secrets.client = { ...rest, data: { ...data, 'ca.crt': '' } };
    const kept = leafOf(one.secrets, 'client').serialNumber;
    one.live(at(1));
    expect(one.done.at(-1)).toBe('issue client');
    expect(kept).toBeDefined();
  });
});

describe('a new CA', () => {
  test('is trusted first, issues after the overlap, and the old one is dropped after another', () => {
    const one = life();
    one.live(at(0));
    one.spec = { ...one.spec, caGeneration: 2 };
    one.live(at(1));
    expect(one.done.slice(4)).toEqual(['introduce', 'trust peer', 'trust client', 'trust server']);
    expect(trusts(one.secrets, 'server')).toHaveLength(2);
    one.live(at(30.9));
    expect(one.done).toHaveLength(8);
    one.live(at(31));
    expect(one.done.slice(8)).toEqual(['activate', 'issue peer', 'issue client', 'issue server']);
    one.live(at(61));
    expect(one.done.slice(12)).toEqual(['retire', 'trust peer', 'trust client', 'trust server']);
    expect(trusts(one.secrets, 'server')).toHaveLength(1);
    one.live(at(62));
    expect(one.done).toHaveLength(16);
  });

  test('goes no further while a member has not shown that it has what the last step gave it', () => {
    const one = life({ caOverlapDays: 0 });
    one.live(at(0));
    one.spec = { ...one.spec, caGeneration: 2 };
    one.live(at(1));
    const waits = one.live(at(20), ['c-1']);
    expect(waits.waiting).toBe('for c-1 to trust the new one');
    expect(one.done.at(-1)).toBe('trust server');
    one.live(at(20));
    expect(one.done.slice(8)).toEqual(['activate', 'issue peer', 'issue client', 'issue server']);
    expect(one.live(at(40), ['c-2']).waiting).toBe('for c-2 to use certificates of the new one');
    one.live(at(40));
    expect(one.done.slice(12)).toEqual(['retire', 'trust peer', 'trust client', 'trust server']);
  });

  test('without an overlap still waits until files may have reached every node', () => {
    const one = life({ caOverlapDays: 0 });
    one.live(at(0));
    one.spec = { ...one.spec, caGeneration: 2 };
    one.live(at(1));
    one.live(at(1) + 119_000);
    expect(one.done.at(-1)).toBe('trust server');
    one.live(at(1) + 120_000);
    expect(one.done.at(-1)).toBe('issue server');
  });

  test('comes by itself, well before the old one ends', () => {
    const one = life({ caDays: 400, certificateDays: 90, caOverlapDays: 30 });
    one.live(at(0));
    for (const days of [60, 120, 180, 240]) one.live(at(days));
    expect(one.done).not.toContain('introduce');
    one.live(at(250));
    expect(one.done).toContain('introduce');
  });

  test('follows a CA whose Secret was deleted: nobody is cut off, and it issues without an overlap', () => {
    const one = life();
    one.live(at(0));
    const before = leafOf(one.secrets, 'server').serialNumber;
    delete one.secrets.authority;
    one.live(at(1));
    expect(one.done.slice(4)).toEqual(['create', 'trust peer', 'trust client', 'trust server']);
    expect(leafOf(one.secrets, 'server').serialNumber).toBe(before);
    one.live(at(1.1));
    expect(one.done.slice(8, 9)).toEqual(['activate']);
    // What the lost one has issued is in use until clients have read anew.
    one.live(at(31));
    expect(trusts(one.secrets, 'server')).toHaveLength(2);
    one.live(at(31.2));
    expect(trusts(one.secrets, 'server')).toHaveLength(1);
  });

  describe('that a member never heard of, because it was down for too long,', () => {
    const managed = { caDays: 120, certificateDays: 30, renewBeforeDays: 10, caOverlapDays: 10 };
    const hour = 1 / 24;

    test('takes over an hour before the old one ends: new certificates have to reach the others in time', () => {
      const one = life(managed);
      one.live(at(0));
      one.live(at(70));
      expect(one.done).toContain('introduce');
      one.live(at(119), ['c-1']);
      const waits = one.live(at(120 - 2 * hour), ['c-1']);
      expect(waits.waiting).toBe('for c-1 to trust the new one');
      expect(waits.dueAt).toBeLessThanOrEqual(at(120 - hour));
      expect(one.done).not.toContain('activate');
      one.live(at(120 - hour), ['c-1']);
      expect(one.done.slice(-4)).toEqual(['activate', 'issue peer', 'issue client', 'issue server']);
    });

    test('gives way to the next in time: the old one is dropped, and not waited for until both have ended', () => {
      const one = life(managed);
      one.live(at(0));
      one.spec = { ...one.spec, caGeneration: 2 };
      one.live(at(1));
      one.live(at(12));
      expect(one.done).toContain('activate');
      for (let days = 22; days < 400; days += 5) {
        one.live(at(days), ['c-1']);
        for (const role of roles) expect(leafOf(one.secrets, role).validToDate.getTime()).toBeGreaterThan(at(days));
      }
    });
  });

  test.each<[string, 'client-ca' | 'peer-ca', { readonly crt?: string; readonly key?: string }, RegExp]>([
    ['no key', 'client-ca', { key: 'x' }, /client-ca\.key is no private key in PEM/],
    ['the key of another', 'client-ca', { key: ca.key }, /client-ca\.key does not belong to client-ca\.crt/],
    ['the key of another', 'peer-ca', { crt: ca.certificate }, /peer-ca\.key does not belong to peer-ca\.crt/],
    [
      'a key that is not of an elliptic curve',
      'peer-ca',
      {
        key: generateKeyPairSync('rsa', { modulusLength: 2048 })
          .privateKey.export({ type: 'pkcs8', format: 'pem' })
          .toString(),
      },
      /peer-ca\.key is of type rsa/,
    ],
  ])(
    'waits for a person where the Secret of the CAs holds %s: nobody gets certificates of it',
    (_, name, given, said) => {
      const one = life();
      one.live(at(0));
      const data = { ...one.secrets.authority!.data };
      for (const [item, text] of Object.entries(given)) data[`${name}.${item}`] = encode(text);
      one.secrets.authority = { ...one.secrets.authority!, data };
      expect(() => one.live(at(61))).toThrow(said);
      expect(one.done).toHaveLength(4);
    },
  );

  test('from the future issues nothing, and is not replaced in a hurry: a clock may be behind for a while', () => {
    const one = life();
    one.live(at(10));
    expect(() => one.live(at(0))).toThrow(/peer-ca\.crt is valid only from 2026-12-02T02:09:00Z on, and the clock/);
    expect(one.done).toHaveLength(4);
    one.live(at(10));
    expect(one.done).toHaveLength(4);
  });

  test('waits for a person where the CA may sign no certificates', () => {
    const one = life();
    one.live(at(0));
    const { data } = one.secrets.authority!;
    const [crt, key] = ['tls.crt', 'tls.key'].map((item) => one.secrets.client!.data![item]!);
    one.secrets.authority = {
      ...one.secrets.authority!,
      data: { ...data, 'client-ca.crt': crt!, 'client-ca.key': key! },
    };
    expect(() => one.live(at(61))).toThrow(/client-ca\.crt is the certificate of no CA/);
  });

  test('waits for a person where the Secret of the CAs cannot be read', () => {
    const one = life();
    one.live(at(0));
    one.secrets.authority = { ...one.secrets.authority!, data: { ...one.secrets.authority!.data, 'peer-ca.key': '' } };
    const input = { cluster: { name: 'c', namespace }, spec: one.spec, secrets: one.secrets, unproven: [], now: start };
    expect(planManaged(input)).toMatchObject({
      kind: 'fault',
      reason: 'AuthorityInvalid',
      message: expect.stringMatching(/^Secret c-ca: .*peer-ca\.key is missing: put it right, or delete the Secret/),
    });
  });
});

/** A member's files and what its process holds of them; a client's, which reads when it likes. */
interface Party {
  files: Secrets;
  held: Secrets;
}

describe('over the years', () => {
  test('whoever is at most an overlap behind is accepted by all, whatever the order in which news reaches them', () => {
    const managed = { caDays: 120, certificateDays: 30, renewBeforeDays: 10, caOverlapDays: 10 };
    const word = fc.record({
      // Days that pass, and who has news then: files of members, processes of members, the client.
      days: fc.integer({ min: 1, max: 7 }),
      projected: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }),
      started: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 2 }),
      generation: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(word, { minLength: 25, maxLength: 35 }), fc.boolean(), (words, reloads) => {
        const one = life(managed);
        let now = at(0);
        one.live(now);
        const copy = (): Secrets => ({ ...one.secrets });
        const members: Party[] = [0, 1, 2].map(() => ({ files: copy(), held: copy() }));
        const read: { at: number; held: Secrets } = { at: now, held: copy() };
        const projected = members.map(() => now);
        const started = members.map(() => now);
        for (const { days, generation, ...news } of words) {
          now += days * DAY;
          members.forEach((member, ordinal) => {
            // Nobody is further behind than certificates are renewed ahead: they would end.
            if (news.projected.includes(ordinal) || now - projected[ordinal]! > 2 * DAY) {
              member.files = copy();
              projected[ordinal] = now;
            }
            // Certificates are read at every handshake; trust, where it is not reloaded, at the start. The operator replaces
            // members whose trust is old; one that it cannot replace before a CA ends is cut off, whatever is done.
            if (reloads || news.started.includes(ordinal) || now - started[ordinal]! > 14 * DAY) {
              member.held = member.files;
              started[ordinal] = now;
            } else member.held = { ...member.held, ...withTrustOf(member.held, member.files) };
          });
          if (now - read.at > 2 * DAY) Object.assign(read, { at: now, held: copy() });
          if (generation && one.spec.caGeneration < 4)
            one.spec = { ...one.spec, caGeneration: one.spec.caGeneration + 1 };
          const state = readAuthority(one.secrets.authority!);
          const wanted = state.next ?? (state.previous ? state.current : undefined);
          const unproven = members.flatMap(({ held }, ordinal) => {
            if (!wanted) return [];
            const ca = new X509Certificate(wanted.client.certificate);
            const proven = state.next
              ? trusts(held, 'server').some((one) => one.fingerprint256 === ca.fingerprint256)
              : leafOf(held, 'server').checkIssued(ca);
            return proven ? [] : [`c-${ordinal}`];
          });
          one.live(now, unproven);
          for (const a of members) {
            for (const b of members) expect(accepts(a.held, b.held, 'peer', 'peer', now)).toBe(true);
            expect(accepts(a.held, read.held, 'server', 'client', now)).toBe(true);
            expect(accepts(read.held, a.held, 'client', 'server', now)).toBe(true);
          }
        }
      }),
      { seed: 20261122, numRuns: 6, endOnFailure: true },
    );
  }, 120_000);
});

/** The certificates of `files` with the trust of `held`. */
function withTrustOf(held: Secrets, files: Secrets): Secrets {
  return Object.fromEntries(
    roles.map((role) => [
      role,
      { ...files[role]!, data: { ...files[role]!.data, 'ca.crt': held[role]!.data!['ca.crt']! } },
    ]),
  );
}
