import { credentials, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { type EtcdError, etcdError } from '../../src/etcd/errors.ts';
import {
  type AlarmRequest,
  AlarmRequest_AlarmAction,
  AlarmType,
  MaintenanceClient,
  PutRequest,
  RequestOp,
  TxnRequest,
} from '../../src/etcd/gen/rpc.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { encodeEntry } from '../../src/node/kv-entries.ts';
import { putCost, Quota, txnCost } from '../../src/node/quota.ts';
import { asMemberId, type MemberId } from '../../src/raft/types.ts';
import { type Single, startSingle } from '../etcd/single.ts';
import { memoryLog } from './memory-log.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const putOf = (size: number): PutRequest => PutRequest.fromPartial({ key: bytes('k'), value: new Uint8Array(size) });
const inTxn = (size: number): RequestOp =>
  RequestOp.fromPartial({ request: { $case: 'requestPut', value: putOf(size) } });

describe('what a request costs', () => {
  test('RS-24 as in etcd: 256 bytes, key and value a put, and the costlier branch of a transaction', () => {
    expect(putCost(putOf(100))).toBe(357);
    expect(txnCost(TxnRequest.fromPartial({ success: [inTxn(1), inTxn(2)], failure: [inTxn(100)] }))).toBe(517);
    expect(txnCost(TxnRequest.fromPartial({ success: [inTxn(1)], failure: [inTxn(1000)] }))).toBe(1257);
  });

  test('RS-24 reads and deletes cost nothing; a transaction in a transaction costs what is in it, other than in etcd', () => {
    const free = [
      RequestOp.fromPartial({ request: { $case: 'requestRange', value: { key: bytes('k') } } }),
      RequestOp.fromPartial({ request: { $case: 'requestDeleteRange', value: { key: bytes('k') } } }),
    ];
    expect(txnCost(TxnRequest.fromPartial({ success: free, failure: free }))).toBe(0);
    const inner = TxnRequest.fromPartial({ failure: [inTxn(10)] });
    const outer = RequestOp.fromPartial({ request: { $case: 'requestTxn', value: inner } });
    expect(txnCost(TxnRequest.fromPartial({ success: [outer] }))).toBe(267);
  });
});

/** A member of a log that the test applies. */
function member(bytesOfQuota: number) {
  const keyValues = new KeyValues();
  const memberId = asMemberId('a');
  const { log, messages } = memoryLog();
  const state = {
    linearized: 0,
    lose: undefined as EtcdError | undefined,
    /** What a linearizable look brings. */
    behind: [] as Uint8Array[],
    proposed: 0,
    stuck: false,
  };
  const apply = (data: Uint8Array): void => keyValues.apply(keyValues.appliedIndex + 1, 1, data);
  const driver = {
    memberId,
    propose: (data: Uint8Array, lost: (error: EtcdError) => void) => {
      state.proposed++;
      if (state.lose) lost(state.lose);
      else setImmediate(() => apply(data));
    },
    linearize: async () => {
      state.linearized++;
      for (const data of state.behind.splice(0)) apply(data);
    },
  };
  const alarm = (type: 'raise' | 'disarm', id: MemberId = memberId): Uint8Array =>
    encodeEntry('alarm', 1, 1, bytes(JSON.stringify({ type, memberId: id, cause: 'quota' })));
  return {
    quota: new Quota({ bytes: bytesOfQuota, keyValues, driver, isStuck: () => state.stuck, log }),
    keyValues,
    state,
    apply,
    alarm,
    messages,
  };
}

describe('the quota', () => {
  test('RS-24 what fits is admitted at once; what does not is refused, and the alarm stands before the refusal is out', async () => {
    const { quota, keyValues, state } = member(1000);
    expect(quota.admit(999)).toBeUndefined();
    expect(state).toMatchObject({ linearized: 0, proposed: 0 });
    await expect(quota.admit(1000)).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
    expect([keyValues.alarms.members, keyValues.alarms.has(asMemberId('a'), 'quota')]).toEqual([['a'], true]);
    await expect(quota.admit(1)).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
    expect(quota.admit(0)).toBeUndefined();
    expect(state.proposed).toBe(1);
  });

  test('RS-24 many at once raise one alarm', async () => {
    const { quota, state } = member(1000);
    await Promise.allSettled([2000, 3000, 4000].map((cost) => quota.admit(cost)));
    expect(state.proposed).toBe(1);
  });

  test('RS-24 without a quota nothing is too large, but an alarm of another member counts', async () => {
    const { quota, apply, alarm } = member(-1);
    expect(quota.admit(Number.MAX_SAFE_INTEGER)).toBeUndefined();
    apply(alarm('raise', asMemberId('b')));
    await expect(quota.admit(1)).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
  });

  test('RS-24 a member that has not heard yet that the alarm was disarmed asks before it refuses', async () => {
    const { quota, apply, alarm, state } = member(1000);
    apply(alarm('raise'));
    state.behind.push(alarm('disarm'));
    await expect(quota.admit(1)).resolves.toBeUndefined();
    expect(state).toMatchObject({ linearized: 1, proposed: 0 });
  });

  test('RS-24 while the log waits for room, puts are refused without asking anybody, and deletes are not', async () => {
    const { quota, state } = member(1000);
    state.stuck = true;
    await expect(quota.admit(1)).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
    expect([quota.admit(0), quota.isStuck, state.linearized, state.proposed]).toEqual([undefined, true, 0, 0]);
    state.stuck = false;
    expect(quota.admit(1)).toBeUndefined();
  });

  test('RS-24 it is refused as well when the alarm cannot be raised, which is logged', async () => {
    const { quota, state, keyValues, messages } = member(1000);
    state.lose = etcdError('ETCD_NO_LEADER');
    await expect(quota.admit(2000)).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
    expect(keyValues.alarms.areRaised).toBe(false);
    expect(messages()).toEqual(['could not raise the alarm of the quota']);
  });
});

describe('over etcd’s protocol', () => {
  let single: Single;
  let client: EtcdClient;
  afterEach(async () => {
    client.close();
    await single.close();
  });
  const start = async (): Promise<void> => {
    single = await startSingle({ quotaBytes: 10_000 });
    client = new EtcdClient({ endpoints: [single.url] });
  };
  const large = { key: bytes('large'), value: new Uint8Array(10_000) };

  test('RS-24 puts are refused in etcd’s words, reads and deletes go on, and the status says why', async () => {
    await start();
    await client.put({ key: bytes('k'), value: bytes('v') });
    expect(await client.status()).toMatchObject({ dbSizeQuota: 10_000, errors: [] });
    const refused = { code: 'ETCD_NO_SPACE', status: 8, message: 'etcdserver: mvcc: database space exceeded' };
    await expect(client.put(large)).rejects.toMatchObject(refused);
    await expect(client.put({ key: bytes('tiny') })).rejects.toMatchObject(refused);
    await expect(client.txn({ success: [inTxn(1)] })).rejects.toMatchObject(refused);
    expect((await client.range({ key: bytes('k') })).kvs).toHaveLength(1);
    expect((await client.deleteRange({ key: bytes('k') })).deleted).toBe(1);
    const { errors } = await client.status();
    expect(errors).toEqual(['memberID:10276657743932975437 alarm:NOSPACE ']);
    expect((await client.alarms()).alarms).toEqual([{ memberID: '10276657743932975437', alarm: 1 }]);
  });

  test('RS-24 a client may raise the alarm of any member, and disarm it; it is told which it was', async () => {
    await start();
    const raw = new MaintenanceClient(single.url.replace('http://', ''), credentials.createInsecure());
    const ask = (action: AlarmRequest['action'], alarm: AlarmRequest['alarm'], memberID = '171'): Promise<unknown> =>
      new Promise((resolve, reject) => {
        raw.alarm({ action, memberID, alarm }, (error, answer) => (error ? reject(error) : resolve(answer.alarms)));
      });
    const { GET, ACTIVATE, DEACTIVATE } = AlarmRequest_AlarmAction;
    const { NONE, NOSPACE, CORRUPT } = AlarmType;
    const alarm = { memberID: '171', alarm: NOSPACE };
    try {
      expect(await ask(ACTIVATE, NONE)).toEqual([]);
      await expect(ask(ACTIVATE, CORRUPT)).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
      expect(await ask(ACTIVATE, NOSPACE)).toEqual([alarm]);
      expect(await ask(ACTIVATE, NOSPACE)).toEqual([alarm]);
      await expect(client.put({ key: bytes('k') })).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
      expect([await ask(GET, NONE), await ask(GET, NOSPACE), await ask(GET, CORRUPT)]).toEqual([[alarm], [alarm], []]);
      expect(await ask(DEACTIVATE, CORRUPT)).toEqual([]);
      expect(await ask(DEACTIVATE, NOSPACE, '172')).toEqual([]);
      expect(await ask(DEACTIVATE, NOSPACE)).toEqual([alarm]);
      await client.put({ key: bytes('k') });
    } finally {
      raw.close();
    }
  });
});
