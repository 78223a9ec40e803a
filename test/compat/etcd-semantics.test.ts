/** The same requests to a real etcd, built into the cache where it is not there yet, and to ours. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EtcdClient } from '../../src/etcd/client.ts';
import { EtcdError } from '../../src/etcd/errors.ts';
import { type Single, startSingle } from '../etcd/single.ts';
import { tool } from '../kubernetes/go-build.ts';
import { freePorts } from '../ports.ts';
import { anyCall, type Call } from './requests.ts';

interface RealEtcd {
  readonly client: EtcdClient;
  stop(): Promise<void>;
}

async function startEtcd(): Promise<RealEtcd> {
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-etcd-'));
  const [clientPort, peerPort] = await freePorts(2);
  const [client, peer] = [`http://127.0.0.1:${clientPort}`, `http://127.0.0.1:${peerPort}`];
  const flags = {
    name: 'real',
    'data-dir': folder,
    'listen-client-urls': client,
    'advertise-client-urls': client,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': `real=${peer}`,
    'log-level': 'error',
    'unsafe-no-fsync': 'true',
  };
  const child: ChildProcess = spawn(
    await tool('etcd'),
    Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    { stdio: 'ignore' },
  );
  const exited = once(child, 'exit');
  const connection = new EtcdClient({ endpoints: [client], deadlineMs: 10_000 });
  const stop = async (): Promise<void> => {
    connection.close();
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      await connection.range({ key: Buffer.from('ready') });
      return { client: connection, stop };
    } catch (error) {
      if (performance.now() > deadline || child.exitCode !== null) {
        await stop();
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** A response, or an error, without what differs between any two members. Bytes as hex, so that a difference can be read. */
function comparable(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(comparable);
  if (value instanceof EtcdError) return { status: value.status, message: value.message };
  if (typeof value !== 'object' || value === null) return value;
  const { clusterId: _, memberId: __, raftTerm: ___, ...rest } = value as Record<string, unknown>;
  return Object.fromEntries(Object.entries(rest).map(([key, inner]) => [key, comparable(inner)]));
}

function perform(client: EtcdClient, call: Call, revision: number): Promise<unknown> {
  switch (call.kind) {
    case 'range':
      return client.range(call.request);
    case 'put':
      return client.put(call.request);
    case 'deleteRange':
      return client.deleteRange(call.request);
    case 'txn':
      return client.txn(call.request);
    case 'compact':
      return client.compact(revision - call.back, true);
    case 'hash':
      return client.hashKv(Math.max(0, revision - call.back));
  }
}

const answer = async (client: EtcdClient, call: Call, revision: number): Promise<unknown> =>
  comparable(await perform(client, call, revision).catch((error: unknown) => error));

describe('our etcd services beside a real etcd', () => {
  let real: RealEtcd;
  let ours: Single;
  let client: EtcdClient;
  beforeAll(async () => {
    real = await startEtcd();
    ours = await startSingle();
    client = new EtcdClient({ endpoints: [ours.url] });
  }, 600_000);
  afterAll(async () => {
    client?.close();
    await ours?.close();
    await real?.stop();
  });

  test('give the same answers, revisions, errors and hashes to 2000 random requests', async () => {
    const calls = fc.sample(anyCall, { seed: 20_240, numRuns: 2_000 });
    const seen = new Map<string, number>();
    const compacted = new Set<number>();
    for (const [at, call] of calls.entries()) {
      const { revision } = ours.keyValues;
      // Asked for the very revision of a compaction, etcd answers from memory: the hash as of the compaction before,
      // until it restarts. Ours is what it says, so there is nothing to compare.
      if (call.kind === 'hash' && compacted.has(revision - call.back)) continue;
      if (call.kind === 'compact') compacted.add(revision - call.back);
      const [theirs, own] = await Promise.all([answer(real.client, call, revision), answer(client, call, revision)]);
      expect({ at, call: comparable(call), answer: own }).toEqual({ at, call: comparable(call), answer: theirs });
      const kind = (own as { message?: string }).message ?? call.kind;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
    }
    // The sequence must have been worth it: every kind of call answered, every kind of refusal met.
    for (const kind of ['range', 'put', 'deleteRange', 'txn', 'compact', 'hash'])
      expect(seen.get(kind)).toBeGreaterThan(10);
    expect([...seen.keys()]).toEqual(
      expect.arrayContaining([
        'etcdserver: key is not provided',
        'etcdserver: key not found',
        'etcdserver: value is provided',
        'etcdserver: duplicate key given in txn request',
        'etcdserver: invalid sort option',
        'etcdserver: requested lease not found',
        'etcdserver: mvcc: required revision has been compacted',
        'etcdserver: mvcc: required revision is a future revision',
      ]),
    );
  }, 240_000);

  test('hash alike when every key is gone and the history is compacted', async () => {
    for (const either of [real.client, client]) {
      await either.deleteRange({ key: Buffer.from('\0'), rangeEnd: Buffer.from('\0') });
      await either.put({ key: Buffer.from('last'), value: Buffer.from('v') });
      const { header } = await either.deleteRange({ key: Buffer.from('last') });
      await either.compact(header!.revision - 1, true);
    }
    expect(comparable(await client.hashKv())).toEqual(comparable(await real.client.hashKv()));
    for (const either of [real.client, client]) {
      const { header } = await either.put({ key: Buffer.from('again'), value: Buffer.from('v') });
      await either.compact(header!.revision - 1, true);
    }
    expect(comparable(await client.hashKv())).toEqual(comparable(await real.client.hashKv()));
  });
});
