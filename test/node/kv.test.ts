import { describe, expect, test } from '@jest/globals';
import { etcdError } from '../../src/etcd/errors.ts';
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from '../../src/etcd/gen/rpc.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { type EntryKind, encodeEntry } from '../../src/node/kv-entries.ts';
import { asMemberId } from '../../src/raft/types.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const putBytes = (key: string, value: string): Uint8Array =>
  PutRequest.encode(PutRequest.fromPartial({ key: bytes(key), value: bytes(value) })).finish();

/** A driver that keeps what is proposed, for the test to apply. */
function recorder(): { entries: Uint8Array[]; losing: ((code: Parameters<typeof etcdError>[0]) => void)[] } & {
  propose(data: Uint8Array, lost: (error: ReturnType<typeof etcdError>) => void): void;
} {
  const entries: Uint8Array[] = [];
  const losing: ((code: Parameters<typeof etcdError>[0]) => void)[] = [];
  return {
    entries,
    losing,
    propose(data, lost) {
      entries.push(data);
      losing.push((code) => lost(etcdError(code)));
    },
  };
}

const genesis = [{ id: asMemberId('ab'), name: 'm0', peerUrls: ['http://p:1'] }];
const request = PutRequest.fromPartial({ key: bytes('k'), value: bytes('v') });
const encoded = putBytes('k', 'v');

describe('entries', () => {
  test('make the same state on every member, whether it proposed them or not, whatever came through a snapshot', async () => {
    const log: [EntryKind, Uint8Array][] = [
      ['put', putBytes('a', '1')],
      ['put', putBytes('b', '2')],
      ['attributes', bytes(JSON.stringify({ memberId: 'ab', name: 'm0', clientUrls: ['http://h:1'] }))],
      ['put', PutRequest.encode(PutRequest.fromPartial({ key: bytes('c'), lease: '9' })).finish()],
      ['deleteRange', DeleteRangeRequest.encode(DeleteRangeRequest.fromPartial({ key: bytes('a') })).finish()],
      [
        'txn',
        TxnRequest.encode(
          TxnRequest.fromPartial({ success: [{ request: { $case: 'requestPut', value: { key: bytes('t') } } }] }),
        ).finish(),
      ],
      ['compact', CompactionRequest.encode({ revision: 3, physical: false }).finish()],
      ['compact', CompactionRequest.encode({ revision: 3, physical: false }).finish()],
      ['put', putBytes('b', '3')],
    ];
    const entries = log.map(([kind, payload], i) => encodeEntry(kind, 1, i, payload));
    const whole = new KeyValues({ genesis });
    for (const [i, data] of entries.entries()) whole.apply(i + 1, 4, data);
    for (let cut = 0; cut <= entries.length; cut++) {
      const first = new KeyValues({ genesis });
      for (let i = 0; i < cut; i++) first.apply(i + 1, 4, entries[i]!);
      const second = new KeyValues({ genesis });
      await second.restore(first.snapshot().slices());
      expect(second.appliedIndex).toBe(cut);
      for (let i = cut; i < entries.length; i++) second.apply(i + 1, 4, entries[i]!);
      expect([...second.book.members]).toEqual([
        ['ab', { name: 'm0', peerUrls: ['http://p:1'], clientUrls: ['http://h:1'], toVote: true }],
      ]);
      expect(await second.hash()).toEqual(await whole.hash());
      expect([second.revision, second.keys, second.appliedTerm]).toEqual([whole.revision, 2, 4]);
    }
  });

  test('without data, those of raft itself, only count', () => {
    const keyValues = new KeyValues();
    keyValues.apply(1, 1, new Uint8Array(0), 'noop');
    expect([keyValues.appliedIndex, keyValues.revision]).toEqual([1, 1]);
  });

  test('out of order, unknown or from a newer version stop the member', () => {
    const keyValues = new KeyValues();
    const entry = encodeEntry('put', 1, 1, encoded);
    expect(() => keyValues.apply(2, 1, entry)).toThrow(expect.objectContaining({ code: 'KV_OUT_OF_ORDER' }));
    keyValues.apply(1, 1, entry);
    expect(() => keyValues.apply(1, 1, entry)).toThrow(expect.objectContaining({ code: 'KV_OUT_OF_ORDER' }));
    const unknown = Uint8Array.from(entry);
    unknown[0] = 200;
    expect(() => keyValues.apply(2, 1, unknown)).toThrow(expect.objectContaining({ code: 'KV_UNKNOWN_ENTRY' }));
    expect(() => keyValues.apply(2, 1, entry.subarray(0, 4))).toThrow(
      expect.objectContaining({ code: 'KV_UNKNOWN_ENTRY' }),
    );
    expect(keyValues.appliedIndex).toBe(1);
  });

  test('carry the client’s bytes as they came', () => {
    const driver = recorder();
    const keyValues = new KeyValues();
    keyValues.propose(driver, 'put', request, encoded).catch(() => {});
    expect(Buffer.from(driver.entries[0]!.subarray(9))).toEqual(Buffer.from(encoded));
    keyValues.stop();
  });
});

describe('proposals', () => {
  test('are answered when applied, each with its own outcome', async () => {
    const driver = recorder();
    const keyValues = new KeyValues();
    const answers = [1, 2, 3].map(() => keyValues.propose(driver, 'put', request, encoded));
    for (const [i, data] of driver.entries.entries()) keyValues.apply(i + 1, 1, data);
    expect((await Promise.all(answers)).map(({ revision }) => revision)).toEqual([2, 3, 4]);
    expect(keyValues.waiting).toBe(0);
  });

  test('of another process with the same number are not taken for ours', () => {
    const [ours, theirs] = [recorder(), recorder()];
    const [mine, other] = [new KeyValues(), new KeyValues()];
    mine.propose(ours, 'put', request, encoded).catch(() => {});
    other.propose(theirs, 'put', request, encoded).catch(() => {});
    mine.apply(1, 1, theirs.entries[0]!);
    expect(mine.waiting).toBe(1);
    mine.stop();
    other.stop();
  });

  test('that the driver loses, refuses at once, or that nobody applies in time are rejected, once', async () => {
    const driver = recorder();
    const keyValues = new KeyValues({ requestTimeoutMs: 30 });
    const lost = keyValues.propose(driver, 'put', request, encoded);
    driver.losing[0]!('ETCD_LEADER_CHANGED');
    driver.losing[0]!('ETCD_STOPPED');
    await expect(lost).rejects.toMatchObject({ code: 'ETCD_LEADER_CHANGED' });
    const refusing = {
      propose: () => {
        throw etcdError('ETCD_NO_LEADER');
      },
    };
    await expect(keyValues.propose(refusing, 'put', request, encoded)).rejects.toMatchObject({
      code: 'ETCD_NO_LEADER',
    });
    await expect(keyValues.propose(driver, 'put', request, encoded)).rejects.toMatchObject({ code: 'ETCD_TIMEOUT' });
    // Applied after all: nobody waits any more, and the state has it.
    keyValues.apply(1, 1, driver.entries[1]!);
    expect([keyValues.revision, keyValues.waiting]).toEqual([2, 0]);
  });

  test('beyond the bound are refused, and stopping rejects the rest', async () => {
    const driver = recorder();
    const keyValues = new KeyValues({ maxWaiting: 2 });
    const waiting = [1, 2].map(() => keyValues.propose(driver, 'put', request, encoded));
    await expect(keyValues.propose(driver, 'put', request, encoded)).rejects.toMatchObject({
      code: 'ETCD_TOO_MANY_REQUESTS',
    });
    keyValues.stop();
    for (const answer of waiting) await expect(answer).rejects.toMatchObject({ code: 'ETCD_STOPPED' });
  });
});

describe('restore', () => {
  test('keeps the old state when the snapshot is not whole, or not of this program', async () => {
    const driver = recorder();
    const keyValues = new KeyValues();
    keyValues.propose(driver, 'put', request, encoded).catch(() => {});
    keyValues.apply(1, 1, driver.entries[0]!);
    const [slice] = [...keyValues.snapshot().slices()];
    await expect(new KeyValues().restore([slice!])).resolves.toBeUndefined();
    await expect(keyValues.restore([slice!.subarray(0, 100)])).rejects.toMatchObject({
      code: 'MVCC_SNAPSHOT_TRUNCATED',
    });
    expect([keyValues.revision, keyValues.appliedIndex]).toEqual([2, 1]);
  });

  test('RA-15 replaces the state: what only the old one had is gone', async () => {
    const [driver, other] = [recorder(), recorder()];
    const [mine, theirs] = [new KeyValues(), new KeyValues()];
    for (const [keyValues, to, puts] of [
      [mine, driver, 3],
      [theirs, other, 1],
    ] as const) {
      for (let i = 0; i < puts; i++) keyValues.propose(to, 'put', request, encoded).catch(() => {});
      to.entries.forEach((entry, at) => {
        keyValues.apply(at + 1, 1, entry);
      });
    }
    expect([mine.revision, mine.appliedIndex]).toEqual([4, 3]);
    await mine.restore(theirs.snapshot().slices());
    expect([mine.revision, mine.appliedIndex]).toEqual([2, 1]);
    expect([...mine.snapshot().slices()]).toEqual([...theirs.snapshot().slices()]);
  });

  test('for a new cluster forgets the old one’s members', async () => {
    const driver = recorder();
    const keyValues = new KeyValues({ genesis });
    const published = keyValues.publish(driver, { memberId: asMemberId('ab'), name: 'm0', clientUrls: [] });
    keyValues.apply(1, 1, driver.entries[0]!);
    await published;
    expect(keyValues.book.hasStarted(asMemberId('ab'))).toBe(true);
    keyValues.forgetMembers();
    const again = new KeyValues();
    await again.restore(keyValues.snapshot().slices());
    expect(again.book.hasStarted(asMemberId('ab'))).toBe(false);
  });
});
