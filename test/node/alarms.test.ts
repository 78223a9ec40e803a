import { describe, expect, test } from '@jest/globals';
import type { EtcdError } from '../../src/etcd/errors.ts';
import { DeleteRangeRequest, PutRequest, TxnRequest } from '../../src/etcd/gen/rpc.ts';
import { type AlarmAction, Alarms } from '../../src/node/alarms.ts';
import { encodeContext } from '../../src/node/book.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { type EntryKind, encodeEntry } from '../../src/node/kv-entries.ts';
import { configurationOf } from '../../src/raft/configuration.ts';
import { encodeConfiguration } from '../../src/raft/membership.ts';
import { asMemberId } from '../../src/raft/types.ts';

const [a, b] = [asMemberId('a'), asMemberId('b')];
const bytes = (text: string): Uint8Array => Buffer.from(text);
const alarm = (action: AlarmAction): [EntryKind, Uint8Array] => ['alarm', bytes(JSON.stringify(action))];
const put = (key: string): [EntryKind, Uint8Array] => [
  'put',
  PutRequest.encode(PutRequest.fromPartial({ key: bytes(key), value: bytes('v') })).finish(),
];
const del = (key: string): [EntryKind, Uint8Array] => [
  'deleteRange',
  DeleteRangeRequest.encode(DeleteRangeRequest.fromPartial({ key: bytes(key) })).finish(),
];
type Operations = NonNullable<Parameters<typeof TxnRequest.fromPartial>[0]['success']>;
const txn = (success: Operations): [EntryKind, Uint8Array] => [
  'txn',
  TxnRequest.encode(TxnRequest.fromPartial({ success })).finish(),
];
const putting: Operations = [{ request: { $case: 'requestPut', value: { key: bytes('t') } } }];
const deleting: Operations = [{ request: { $case: 'requestDeleteRange', value: { key: bytes('k1') } } }];

const genesis = [a, b].map((id) => ({ id, name: id, peerUrls: [`http://${id}:1`] }));
const raise = (memberId = a, cause: 'quota' | 'disk' = 'quota') => alarm({ type: 'raise', memberId, cause });

describe('alarms', () => {
  test('RS-24 one that was raised for the disk is lifted with it, one for the quota stays until it is disarmed', () => {
    const alarms = new Alarms();
    expect(alarms.perform({ type: 'raise', memberId: a, cause: 'disk' })).toBe(true);
    expect(alarms.perform({ type: 'raise', memberId: a, cause: 'disk' })).toBe(false);
    expect(alarms.perform({ type: 'raise', memberId: a, cause: 'quota' })).toBe(true);
    expect(alarms.perform({ type: 'lift', memberId: a })).toBe(true);
    expect([alarms.areRaised, alarms.members, alarms.has(a, 'disk'), alarms.has(a, 'quota')]).toEqual([
      true,
      [a],
      false,
      true,
    ]);
    expect(alarms.perform({ type: 'lift', memberId: a })).toBe(false);
    expect(alarms.perform({ type: 'disarm', memberId: b })).toBe(false);
    expect(alarms.perform({ type: 'disarm', memberId: a })).toBe(true);
    expect(alarms.areRaised).toBe(false);
  });

  test('an alarm in a snapshot that this version does not know is refused: it could not be kept', () => {
    for (const alarms of [{ a: ['mood'] }, { 'x y': ['disk'] }, { a: 'disk' }])
      expect(() => Alarms.from({ alarms })).toThrow(expect.objectContaining({ code: 'KV_SNAPSHOT_ATTACHMENT' }));
    expect(Alarms.from({ members: {} }).areRaised).toBe(false);
  });
});

describe('entries while an alarm stands', () => {
  const log = [
    put('k1'),
    put('k2'),
    raise(),
    put('k3'),
    txn(putting),
    txn([{ request: { $case: 'requestTxn', value: { success: putting } } }]),
    txn(deleting),
    raise(b, 'disk'),
    alarm({ type: 'disarm', memberId: a }),
    put('k4'),
    del('k2'),
    alarm({ type: 'lift', memberId: b }),
    put('k5'),
  ].map(([kind, payload], i) => encodeEntry(kind, 1, i, payload));
  const keysOf = (keyValues: KeyValues): string[] => {
    const range = { kind: 'from', from: '\0' } as const;
    const { records } = keyValues.store.range({
      kind: 'range',
      range,
      limit: 0,
      revision: 0,
      sortOrder: 'none',
      sortTarget: 'key',
      keysOnly: true,
      countOnly: false,
      minModRevision: 0,
      maxModRevision: 0,
      minCreateRevision: 0,
      maxCreateRevision: 0,
    });
    return records.map(({ key }) => key);
  };

  test('RS-24 puts change nothing and deletes do, the same on every member, whatever came through a snapshot', async () => {
    const whole = new KeyValues({ genesis });
    for (const [i, data] of log.entries()) whole.apply(i + 1, 1, data);
    expect(keysOf(whole)).toEqual(['k5']);
    for (let cut = 0; cut <= log.length; cut++) {
      const first = new KeyValues({ genesis });
      for (let i = 0; i < cut; i++) first.apply(i + 1, 1, log[i]!);
      const second = new KeyValues({ genesis });
      await second.restore(first.snapshot().slices());
      expect([cut, second.alarms.members]).toEqual([cut, first.alarms.members]);
      for (let i = cut; i < log.length; i++) second.apply(i + 1, 1, log[i]!);
      expect([await second.hash(), second.alarms.members]).toEqual([await whole.hash(), []]);
    }
  });

  test('RS-24 a put that was proposed before the alarm and comes after it is refused', async () => {
    const keyValues = new KeyValues({ genesis });
    const entries: Uint8Array[] = [];
    const message = PutRequest.fromPartial({ key: bytes('k'), value: bytes('v') });
    const answer = keyValues.propose({ propose: (data) => entries.push(data) }, 'put', message, put('k')[1]);
    keyValues.apply(1, 1, encodeEntry('alarm', 1, 1, raise()[1]));
    keyValues.apply(2, 1, entries[0]!);
    await expect(answer).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' } satisfies Partial<EtcdError>);
    expect(keyValues.revision).toBe(1);
  });

  test('RS-24 with a member its disk goes: its removal lifts that alarm, and it raises none afterwards', () => {
    const keyValues = new KeyValues({ genesis });
    const changes: AlarmAction[] = [];
    keyValues.watchAlarms((action) => changes.push(action));
    keyValues.apply(1, 1, encodeEntry('alarm', 1, 1, raise(b, 'disk')[1]));
    const context = encodeContext({ process: 1, sequence: 2, action: { type: 'remove', id: b } });
    keyValues.apply(2, 1, encodeConfiguration(configurationOf([a]), context), 'configuration');
    expect(keyValues.alarms.areRaised).toBe(false);
    keyValues.apply(3, 1, encodeEntry('alarm', 1, 3, raise(b, 'disk')[1]));
    expect(keyValues.alarms.areRaised).toBe(false);
    expect(changes.map(({ type }) => type)).toEqual(['raise', 'lift']);
  });

  test('a cluster that begins with another one’s state begins without its alarms', () => {
    const keyValues = new KeyValues({ genesis });
    keyValues.apply(1, 1, encodeEntry('alarm', 1, 1, raise()[1]));
    keyValues.forgetMembers();
    expect(keyValues.alarms.areRaised).toBe(false);
  });
});
