import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { Client, credentials, status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { EtcdError, etcdError } from '../../src/etcd/errors.ts';
import {
  type RequestOp,
  Compare_CompareResult as Result,
  Compare_CompareTarget as Target,
} from '../../src/etcd/gen/rpc.ts';
import { paddedSize, stateOf } from '../../src/etcd/maintenance-stream.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { type Single, startSingle } from './single.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (value: Uint8Array | undefined): string => Buffer.from(value ?? []).toString();
const everything = { key: bytes('\0'), rangeEnd: bytes('\0') };

let single: Single;
let client: EtcdClient;
beforeAll(async () => {
  single = await startSingle();
  client = new EtcdClient({ endpoints: [single.url] });
});
afterEach(() => {
  single.refuse = undefined;
});
afterAll(async () => {
  client.close();
  await single.close();
});

async function failure(promise: Promise<unknown>): Promise<EtcdError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EtcdError);
  return error as EtcdError;
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return all;
}

async function clear(): Promise<number> {
  const { header } = await client.deleteRange(everything);
  return header!.revision;
}

describe('keys and values over gRPC', () => {
  test('a put makes a revision that its header names, and a get gives the record back', async () => {
    const before = await clear();
    const { header } = await client.put({ key: bytes('k'), value: bytes('v') });
    expect(header).toEqual({
      clusterId: '14841639068965178418',
      memberId: '10276657743932975437',
      revision: before + 1,
      raftTerm: 3,
    });
    const got = await client.range({ key: bytes('k') });
    expect(got).toMatchObject({ count: 1, more: false, header: { revision: before + 1 } });
    expect(got.kvs[0]).toMatchObject({
      createRevision: before + 1,
      modRevision: before + 1,
      version: 1,
      lease: '0',
    });
    expect([text(got.kvs[0]!.key), text(got.kvs[0]!.value)]).toEqual(['k', 'v']);
  });

  test('keys and values of any bytes, empty values among them, come back as they were', async () => {
    await clear();
    const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    await client.put({ key: every, value: every });
    await client.put({ key: bytes('empty') });
    const { kvs } = await client.range(everything);
    expect(kvs.map(({ key, value }) => [[...key], [...value]])).toEqual([
      [[...every], [...every]],
      [[...bytes('empty')], []],
    ]);
  });

  test('prefixes, limits, count and old revisions', async () => {
    await clear();
    for (const key of ['a', 'b1', 'b2', 'b3', 'c']) await client.put({ key: bytes(key), value: bytes('old') });
    const { header } = await client.put({ key: bytes('b2'), value: bytes('new') });
    const prefix = { key: bytes('b'), rangeEnd: bytes('c') };
    const page = await client.range({ ...prefix, limit: 2 });
    expect(page).toMatchObject({ count: 3, more: true });
    expect(page.kvs.map(({ key }) => text(key))).toEqual(['b1', 'b2']);
    expect(await client.range({ ...prefix, countOnly: true })).toMatchObject({ count: 3, kvs: [], more: false });
    const old = await client.range({ key: bytes('b2'), revision: header!.revision - 1 });
    expect(text(old.kvs[0]!.value)).toBe('old');
    expect(old.header!.revision).toBe(header!.revision);
  });

  test('previous records come back when asked for', async () => {
    await clear();
    expect((await client.put({ key: bytes('k'), value: bytes('1'), prevKv: true })).prevKv).toBeUndefined();
    expect(text((await client.put({ key: bytes('k'), value: bytes('2'), prevKv: true })).prevKv?.value)).toBe('1');
    const { deleted, prevKvs } = await client.deleteRange({ key: bytes('k'), prevKv: true });
    expect([deleted, text(prevKvs[0]?.value)]).toEqual([1, '2']);
  });

  test('a transaction compares, performs one branch, and its inner headers hold only a revision', async () => {
    const revision = await clear();
    const put = (key: string): RequestOp => ({
      request: {
        $case: 'requestPut',
        value: {
          key: bytes(key),
          value: bytes('v'),
          lease: '0',
          prevKv: false,
          ignoreValue: false,
          ignoreLease: false,
        },
      },
    });
    const absent = {
      key: bytes('k'),
      rangeEnd: new Uint8Array(0),
      target: Target.VERSION,
      result: Result.EQUAL,
      targetUnion: { $case: 'version' as const, value: 0 },
    };
    const nested: RequestOp = {
      request: { $case: 'requestTxn', value: { compare: [], success: [put('n')], failure: [] } },
    };
    const first = await client.txn({ compare: [absent], success: [put('k'), nested], failure: [] });
    expect(first).toMatchObject({
      succeeded: true,
      header: { revision: revision + 1 },
      responses: [
        { response: { $case: 'responsePut', value: { header: { revision: revision + 1, clusterId: '0' } } } },
        { response: { $case: 'responseTxn', value: { header: { revision: 0 }, succeeded: true } } },
      ],
    });
    const second = await client.txn({ compare: [absent], success: [put('k')], failure: [] });
    expect(second).toMatchObject({ succeeded: false, responses: [], header: { revision: revision + 1 } });
  });
});

describe('refusals bear etcd’s code and words', () => {
  test.each<[string, () => Promise<unknown>, EtcdError['code']]>([
    ['a put without a key', () => client.put({}), 'ETCD_EMPTY_KEY'],
    ['a read without a key', () => client.range({}), 'ETCD_EMPTY_KEY'],
    ['a deletion without a key', () => client.deleteRange({}), 'ETCD_EMPTY_KEY'],
    ['a revision to come', () => client.range({ key: bytes('k'), revision: 1e9 }), 'ETCD_FUTURE_REVISION'],
    ['compaction of a revision to come', () => client.compact(1e9), 'ETCD_FUTURE_REVISION'],
    ['a hash of a revision to come', () => client.hashKv(1e9), 'ETCD_FUTURE_REVISION'],
    ['a lease that is not there', () => client.put({ key: bytes('k'), lease: '77' }), 'ETCD_LEASE_NOT_FOUND'],
    ['ignore_value without the key', () => client.put({ key: bytes('no'), ignoreValue: true }), 'ETCD_KEY_NOT_FOUND'],
    [
      'ignore_value with a value',
      () => client.put({ key: bytes('k'), ignoreValue: true, value: bytes('v') }),
      'ETCD_VALUE_PROVIDED',
    ],
    [
      'ignore_lease with a lease',
      () => client.put({ key: bytes('k'), ignoreLease: true, lease: '7' }),
      'ETCD_LEASE_PROVIDED',
    ],
    [
      'a sort order that does not exist',
      () => client.range({ key: bytes('k'), sortOrder: 9 as 0 }),
      'ETCD_INVALID_SORT_OPTION',
    ],
    [
      'a request above 1.5 MiB',
      () => client.put({ key: bytes('k'), value: new Uint8Array(1_600_000) }),
      'ETCD_REQUEST_TOO_LARGE',
    ],
  ])('%s', async (_, call, code) => {
    const error = await failure(call());
    expect(error.code).toBe(code);
    expect(error).toMatchObject({ status: etcdError(code as 'ETCD_EMPTY_KEY').status });
    expect(error.message).toBe(etcdError(code as 'ETCD_EMPTY_KEY').message);
  });

  test('a message above the transport’s limit is RESOURCE_EXHAUSTED and the connection lives on', async () => {
    const error = await failure(client.put({ key: bytes('k'), value: new Uint8Array(3_000_000) }));
    expect(error.status).toBe(status.RESOURCE_EXHAUSTED);
    await client.range({ key: bytes('k') });
  });

  test('services that are not there are UNIMPLEMENTED, by name', async () => {
    const raw = new Client(new URL(single.url).host, credentials.createInsecure());
    const error = await new Promise<{ code: number; details: string }>((resolve) => {
      const plain = (value: Buffer): Buffer => value;
      raw.makeUnaryRequest('/etcdserverpb.Lease/LeaseGrant', plain, plain, Buffer.alloc(0), (reason) =>
        resolve(reason as never),
      );
    });
    raw.close();
    expect(error.code).toBe(status.UNIMPLEMENTED);
    expect(error.details).toContain('/etcdserverpb.Lease/LeaseGrant');
  });

  test('a member without a leader refuses changes and linearizable reads, and still answers serializable ones', async () => {
    await client.put({ key: bytes('k'), value: bytes('v') });
    single.refuse = etcdError('ETCD_NO_LEADER');
    expect((await failure(client.put({ key: bytes('k') }))).code).toBe('ETCD_NO_LEADER');
    expect((await failure(client.range({ key: bytes('k') }))).code).toBe('ETCD_NO_LEADER');
    expect((await client.range({ key: bytes('k'), serializable: true })).count).toBe(1);
    expect((await client.status()).errors).toEqual(['etcdserver: no leader']);
  });
});

describe('cluster and maintenance', () => {
  test('members show the attributes that they published', async () => {
    await single.keyValues.publish(single.driver, {
      memberId: single.driver.memberId,
      name: 'm0',
      clientUrls: [single.url],
    });
    const { members, header } = await client.memberList();
    expect(members).toEqual([
      {
        ID: '10276657743932975437',
        name: 'm0',
        peerURLs: ['http://127.0.0.1:2380'],
        clientURLs: [single.url],
        isLearner: false,
      },
    ]);
    expect(header!.revision).toBe(0);
  });

  test('status', async () => {
    const { keyValues } = single;
    expect(await client.status()).toMatchObject({
      version: '3.6.0',
      leader: '10276657743932975437',
      raftTerm: 3,
      raftIndex: keyValues.appliedIndex,
      raftAppliedIndex: keyValues.appliedIndex,
      dbSize: keyValues.sizeBytes,
      errors: [],
      isLearner: false,
    });
    expect((await client.alarms()).alarms).toEqual([]);
  });

  test('the snapshot stream is padded, hashed, announced to the byte, and restores to the same hash', async () => {
    await clear();
    for (let i = 0; i < 50; i++) await client.put({ key: bytes(`k${i}`), value: Buffer.alloc(i * 700, i) });
    const hash = await client.hashKv();
    const stream = await client.snapshot();
    expect(stream.metadata).toMatchObject({
      index: single.keyValues.appliedIndex,
      term: 3,
      revision: single.keyValues.revision,
      clusterId: 'cdf818194e3a8c32',
      configuration: [{ id: '8e9e05c52164694d', address: 'http://127.0.0.1:2380', suffrage: 'voter' }],
    });
    const chunks = await collect(stream.chunks);
    const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    expect(size).toBe(stream.sizeBytes);
    expect(size % 512).toBe(32);
    expect(size).toBe(paddedSize(single.keyValues.snapshot().header.sizeBytes) + 32);
    const restored = new KeyValues();
    await restored.restore(stateOf(chunks));
    expect(restored.revision).toBe(single.keyValues.revision);
    expect((await restored.hash()).hash).toBe(hash.hash);
    expect(restored.book.members.get(single.driver.memberId)?.name).toBe('m0');
  });

  test('a snapshot may be ended early, and the server goes on', async () => {
    const stream = await client.snapshot();
    stream.close();
    await expect(collect(stream.chunks)).rejects.toMatchObject({ code: 'ETCD_CANCELLED' });
    const stop = new AbortController();
    const other = await client.snapshot({ signal: stop.signal });
    stop.abort();
    await expect(collect(other.chunks)).rejects.toMatchObject({ code: 'ETCD_CANCELLED' });
    await client.status();
  });

  test('compaction refuses older reads, and waits for the memory when asked to', async () => {
    await clear();
    for (let i = 0; i < 200; i++) await client.put({ key: bytes('k'), value: Buffer.alloc(1_000, i) });
    const { revision } = single.keyValues;
    const before = single.keyValues.sizeBytes;
    expect((await client.compact(revision, true)).header!.revision).toBe(revision);
    expect(single.keyValues.sizeBytes).toBeLessThan(before - 190_000);
    expect((await failure(client.range({ key: bytes('k'), revision: revision - 1 }))).code).toBe('ETCD_COMPACTED');
    expect((await failure(client.compact(revision))).code).toBe('ETCD_COMPACTED');
    expect((await client.hashKv()).compactRevision).toBe(revision);
  });
});

describe('the client', () => {
  test('goes to the next endpoint when one cannot be reached, for changes too', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as { port: number };
    closed.close();
    await once(closed, 'close');
    const both = new EtcdClient({ endpoints: [`http://127.0.0.1:${port}`, single.url] });
    expect((await both.put({ key: bytes('k'), value: bytes('v') })).header).toBeDefined();
    both.close();
    const none = new EtcdClient({ endpoints: [`http://127.0.0.1:${port}`] });
    expect((await failure(none.range({ key: bytes('k') }))).code).toBe('ETCD_UNREACHABLE');
    none.close();
  });

  test('gives up at its deadline on a server that never answers, and when told to', async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const url = `http://127.0.0.1:${(silent.address() as { port: number }).port}`;
    const waiting = new EtcdClient({ endpoints: [url], deadlineMs: 150 });
    expect((await failure(waiting.status())).code).toBe('ETCD_DEADLINE_EXCEEDED');
    expect((await failure(waiting.snapshot())).code).toBe('ETCD_DEADLINE_EXCEEDED');
    const signal = AbortSignal.timeout(20);
    expect((await failure(waiting.status({ signal, deadlineMs: 60_000 }))).code).toBe('ETCD_CANCELLED');
    waiting.close();
    for (const socket of sockets) socket.destroy();
    silent.close();
    await once(silent, 'close');
  });

  test.each(['https://h', 'h:1', 'ftp://h:1', 'http://h', 'http://h:1/path', ''])(
    'refuses the endpoint "%s"',
    (url) => {
      expect(() => new EtcdClient({ endpoints: [url] })).toThrow(
        expect.objectContaining({ code: 'ETCD_INVALID_ENDPOINT' }),
      );
    },
  );
});
