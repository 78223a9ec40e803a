/** etcd's own command line against three of our members, unmodified. Builds it into the cache when it is not there. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { tool } from '../kubernetes/index.ts';
import { TestCluster, until } from '../node/members.ts';

const exec = promisify(execFile);
const building = 10 * 60_000;

let etcdctl: string;
let cluster: TestCluster;

beforeAll(async () => {
  etcdctl = await tool('etcdctl');
  cluster = await TestCluster.create(3);
  await cluster.start();
}, building);

afterAll(() => cluster?.end());

async function ctl(args: readonly string[], input?: string, members = cluster.members.slice(0, 3)): Promise<string> {
  const endpoints = members.map(({ clientUrl }) => clientUrl).join(',');
  const running = exec(etcdctl, [`--endpoints=${endpoints}`, '--command-timeout=20s', ...args], {
    env: { ...process.env, ETCDCTL_API: '3' },
  });
  if (input !== undefined) running.child.stdin!.end(input);
  return (await running).stdout;
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await ctl([...args, '--write-out=json'])) as T;
}

describe('etcdctl', () => {
  test('put, get, get of a prefix, an older revision and del', async () => {
    expect(await ctl(['put', 'compat/a', '1'])).toBe('OK\n');
    expect(await ctl(['put', 'compat/a', '2', '--prev-kv'])).toBe('OK\ncompat/a\n1\n');
    expect(await ctl(['put', 'compat/b', 'zwei äöü'])).toBe('OK\n');
    expect(await ctl(['get', 'compat/b'])).toBe('compat/b\nzwei äöü\n');
    expect(await ctl(['get', '--prefix', 'compat/', '--keys-only'])).toBe('compat/a\n\ncompat/b\n\n');
    expect(
      await ctl(['get', '--prefix', 'compat/', '--sort-by=KEY', '--order=DESCEND', '--limit=1', '--print-value-only']),
    ).toBe('zwei äöü\n');
    const { kvs } = await json<{ kvs: { mod_revision: number; create_revision: number; version: number }[] }>(
      'get',
      'compat/a',
    );
    expect(kvs[0]!.version).toBe(2);
    expect(await ctl(['get', 'compat/a', `--rev=${kvs[0]!.create_revision}`])).toBe('compat/a\n1\n');
    expect(await ctl(['get', 'compat/a', '--consistency=s'])).toBe('compat/a\n2\n');
    expect(await ctl(['del', 'compat/a'])).toBe('1\n');
    expect(await ctl(['get', 'compat/a'])).toBe('');
    expect(await ctl(['del', '--prefix', 'compat/', '--prev-kv'])).toBe('1\ncompat/b\nzwei äöü\n');
  });

  test('txn, with both outcomes', async () => {
    const compareAndSet = 'value("txn/key") = "old"\n\nput txn/key new\nget txn/key\n\nput txn/key old\n\n';
    expect(await ctl(['txn'], compareAndSet)).toBe('FAILURE\n\nOK\n');
    expect(await ctl(['txn'], compareAndSet)).toBe('SUCCESS\n\nOK\n\ntxn/key\nnew\n');
  });

  test('what etcd refuses is refused in its words', async () => {
    await expect(ctl(['get', 'x', '--rev=1000000'])).rejects.toThrow(
      'etcdserver: mvcc: required revision is a future revision',
    );
    const { header } = await json<{ header: { revision: number } }>('put', 'x', '1');
    await ctl(['put', 'x', '2']);
    expect(await ctl(['compaction', String(header.revision + 1)])).toBe(`compacted revision ${header.revision + 1}\n`);
    await expect(ctl(['get', 'x', `--rev=${header.revision}`])).rejects.toThrow(
      'etcdserver: mvcc: required revision has been compacted',
    );
  });

  test('member list', async () => {
    const { members } = await json<{ members: { name: string; peerURLs: string[]; clientURLs: string[] }[] }>(
      'member',
      'list',
    );
    expect(members.map(({ name }) => name).sort()).toEqual(['m0', 'm1', 'm2']);
    expect(members.flatMap(({ clientURLs }) => clientURLs).sort()).toEqual(
      cluster.members.map(({ clientUrl }) => clientUrl).sort(),
    );
    const table = await ctl(['member', 'list', '--write-out=table']);
    expect(table.match(/started/g)).toHaveLength(3);
  });

  test('endpoint status: one leader, the same term and revision everywhere', async () => {
    await ctl(['put', 'status', '1']);
    const all = await json<
      {
        Status: { header: { member_id: number; revision: number }; leader: number; raftTerm: number; dbSize: number };
      }[]
    >('endpoint', 'status');
    expect(all).toHaveLength(3);
    expect(new Set(all.map(({ Status }) => Status.leader)).size).toBe(1);
    expect(new Set(all.map(({ Status }) => Status.raftTerm)).size).toBe(1);
    expect(all.filter(({ Status }) => Status.leader === Status.header.member_id)).toHaveLength(1);
    expect(all.every(({ Status }) => Status.dbSize > 0)).toBe(true);
    expect(await ctl(['endpoint', 'status', '--write-out=table'])).toContain('true');
  });

  test('endpoint health and endpoint hashkv', async () => {
    const health = await json<{ endpoint: string; health: boolean }[]>('endpoint', 'health');
    expect(health.map((one) => one.health)).toEqual([true, true, true]);
    const hashes = await json<{ HashKV: { hash: number; hash_revision: number } }[]>('endpoint', 'hashkv');
    expect(new Set(hashes.map(({ HashKV }) => HashKV.hash)).size).toBe(1);
  });

  test('compaction leaves gaps that endpoint status shows, and defrag gives them back', async () => {
    type Size = {
      readonly header: { readonly revision: number };
      readonly dbSize: number;
      readonly dbSizeInUse: number;
    };
    const sizes = async () =>
      (await json<{ Status: Size }[]>('endpoint', 'status')).map(({ Status }) => ({
        ...Status,
        gap: Status.dbSize - Status.dbSizeInUse,
      }));
    const members = cluster.members.slice(0, 3);
    const snapshots = () => Promise.all(members.map(({ dataDir }) => readdir(join(dataDir, 'member', 'snap'))));
    const value = Buffer.alloc(2_000, 1);
    const put = (at: number) =>
      members[0]!.client.put({ key: Buffer.from(`gaps/${at % 50 === 0 ? at : 'again'}`), value });
    for (let at = 0; at < 2_000; at += 100) await Promise.all(Array.from({ length: 100 }, (_, more) => put(at + more)));
    const { revision } = (await sizes())[0]!.header;
    await ctl(['compaction', String(revision), '--physical']);
    await until('the members are swept', async () => (await sizes()).every(({ gap }) => gap > 1_000_000));
    const [before, kept] = [await sizes(), await snapshots()];

    expect((await ctl(['defrag'])).match(/Finished defragmenting etcd member/g)).toHaveLength(3);

    for (const [at, { gap, dbSize }] of (await sizes()).entries()) {
      expect(gap).toBe(0);
      expect(dbSize).toBeLessThan(before[at]!.dbSize - 1_000_000);
    }
    // What the log was kept for is in a snapshot since.
    for (const [at, names] of (await snapshots()).entries()) expect(names).not.toEqual(kept[at]);
    expect(await ctl(['get', '--prefix', 'gaps/', '--count-only', '--write-out=fields'])).toContain('"Count" : 41');
  });

  test('snapshot save: the file carries its own SHA-256', async () => {
    await ctl(['put', 'saved', 'v'.repeat(100_000)]);
    const file = join(cluster.folder, 'saved.db');
    const { stdout } = await exec(etcdctl, [`--endpoints=${cluster.members[0]!.clientUrl}`, 'snapshot', 'save', file]);
    expect(stdout).toContain(`Snapshot saved at ${file}`);
    const saved = await readFile(file);
    expect(saved.length % 512).toBe(32);
    expect(createHash('sha256').update(saved.subarray(0, -32)).digest().equals(saved.subarray(-32))).toBe(true);
    expect(saved.includes('saved')).toBe(true);
  });

  test('member add as learner, started with what it prints, promote, update, move-leader and remove', async () => {
    const joining = await cluster.newMember('m3');
    const printed = await ctl(['member', 'add', 'm3', `--peer-urls=${joining.peerUrl}`, '--learner']);
    const [, id] = /^Member +([0-9a-f]+) added as learner to cluster +[0-9a-f]+$/m.exec(printed)!;
    const values = new Map(
      [...printed.matchAll(/^ETCD_([A-Z_]+)="(.*)"$/gm)].map(([, name, value]) => [name!, value!]),
    );
    expect([...values.keys()]).toEqual([
      'NAME',
      'INITIAL_CLUSTER',
      'INITIAL_ADVERTISE_PEER_URLS',
      'INITIAL_CLUSTER_STATE',
    ]);
    expect(await ctl(['member', 'list'])).toMatch(new RegExp(`^${id}, unstarted, , ${joining.peerUrl}, , true$`, 'm'));
    joining.start(
      ...[...values].map(([name, value]) => `--${name.toLowerCase().replaceAll('_', '-')}=${value}`),
      '--initial-cluster-token=etcd-cluster',
    );
    await joining.ready();
    expect(await ctl(['member', 'list'])).toMatch(new RegExp(`^${id}, started, m3, .*, true$`, 'm'));
    await until('promoted', async () => {
      const answer = await ctl(['member', 'promote', id!]);
      expect(answer).toMatch(new RegExp(`^Member +${id} promoted in cluster +[0-9a-f]+\\n$`));
      return true;
    });
    const elsewhere = joining.peerUrl.replace('127.0.0.1', 'localhost');
    expect(await ctl(['member', 'update', id!, `--peer-urls=${elsewhere}`])).toContain('updated in cluster');
    expect(await ctl(['member', 'list'])).toContain(`${id}, started, m3, ${elsewhere}, ${joining.clientUrl}, false`);

    expect(await ctl(['move-leader', id!], undefined, cluster.members)).toMatch(
      new RegExp(`^Leadership transferred from [0-9a-f]+ to ${id}\\n$`),
    );
    // Endpoint, id, versions and sizes; then whether it leads and whether it learns.
    expect(await ctl(['endpoint', 'status'], undefined, cluster.members)).toMatch(
      new RegExp(`^${joining.clientUrl}, ${id}, .*, true, false, `, 'm'),
    );
    expect(await ctl(['member', 'remove', id!])).toMatch(new RegExp(`^Member +${id} removed from cluster`));
    expect(await joining.ended()).toBe(1);
    await expect(ctl(['member', 'remove', id!])).rejects.toThrow('etcdserver: member not found');
  });

  test('finds a member that answers when one is gone', async () => {
    await cluster.members[0]!.stop('SIGKILL');
    expect(await ctl(['put', 'after', 'all'])).toBe('OK\n');
    expect(await ctl(['get', 'after', '--print-value-only'])).toBe('all\n');
  });
});
