/**
 * One member of ours and one of etcd, each started with the very same flags about TLS; etcd's own command line, unmodified, and
 * our client come to both.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { ClientTls } from '../../src/etcd/security.ts';
import { newAuthority } from '../kubernetes/certificates.ts';
import { tool } from '../kubernetes/index.ts';
import { bytes, TestCluster, type TestMember, type TestTls, textOf, until } from '../node/members.ts';
import { clientOf, MountedSecret, serving } from '../node/tls-files.ts';

const exec = promisify(execFile);
const building = 10 * 60_000;
const [ours, strange] = [newAuthority('ours'), newAuthority('strange')];

describe.each(['raftsman node', 'etcd'] as const)('%s with TLS', (kind) => {
  let cluster: TestCluster;
  let member: TestMember;
  let etcd: ChildProcess | undefined;
  let etcdctl: string;
  let calls = 0;

  beforeAll(async () => {
    etcdctl = await tool('etcdctl');
    const tls: { flags: string[]; client: ClientTls } & TestTls = { flags: [], client: clientOf(ours) };
    cluster = await TestCluster.create(1, [], 'tls', tls);
    const content = { pair: serving(ours), authorities: [ours] };
    const secret = await MountedSecret.create(join(cluster.folder, 'secret'), content);
    [member] = cluster.members as [TestMember];
    const flags = [...secret.flags('client'), ...secret.flags('peer')];
    if (kind === 'etcd') etcd = spawn(await tool('etcd'), [...member.args, ...flags], { stdio: 'ignore' });
    else member.start(...flags);
    await until('it serves', async () => (await member.client.status()).leader !== '0');
  }, building);

  afterAll(async () => {
    if (etcd?.exitCode === null) {
      etcd.kill('SIGKILL');
      await once(etcd, 'exit');
    }
    await cluster?.end();
  });

  async function ctl(args: readonly string[], given: ClientTls, url = member.clientUrl): Promise<string> {
    const number = calls++;
    const file = async (name: string, content: Uint8Array | undefined): Promise<string> => {
      const path = join(cluster.folder, `${number}-${name}`);
      await writeFile(path, content ?? '');
      return path;
    };
    const own = given.cert
      ? [`--cert=${await file('c.crt', given.cert)}`, `--key=${await file('c.key', given.key)}`]
      : [];
    const trusted = `--cacert=${await file('ca.crt', given.ca)}`;
    const all = [`--endpoints=${url}`, '--command-timeout=5s', '--dial-timeout=3s', trusted, ...own, ...args];
    const { stdout } = await exec(etcdctl, all, { env: { ...process.env, ETCDCTL_API: '3' } });
    return stdout;
  }

  test('etcdctl puts, gets, asks for health and members, and saves a snapshot', async () => {
    const good = clientOf(ours);
    expect(await ctl(['put', 'a', '1'], good)).toBe('OK\n');
    expect(
      await ctl(['get', 'a', '--print-value-only'], good, member.clientUrl.replace('127.0.0.1', 'localhost')),
    ).toBe('1\n');
    expect(JSON.parse(await ctl(['endpoint', 'health', '--write-out=json'], good))).toMatchObject([{ health: true }]);
    expect(await ctl(['member', 'list'], good)).toContain(`${member.peerUrl}, ${member.clientUrl}, false`);
    expect(await ctl(['snapshot', 'save', join(cluster.folder, 'saved.db')], good)).toContain('Snapshot saved');
  });

  test('etcdctl without a certificate, with one of another authority, and without TLS is refused', async () => {
    const refused = [
      [{ ca: clientOf(ours).ca! }, member.clientUrl],
      [clientOf(strange, [ours]), member.clientUrl],
      [clientOf(ours, [strange]), member.clientUrl],
      [clientOf(ours), member.clientUrl.replace('https', 'http')],
    ] as const;
    // It tries again until its time is up, whatever the reason.
    await Promise.all(refused.map(([given, url]) => expect(ctl(['put', 'no', '1'], given, url)).rejects.toThrow()));
    expect((await member.client.range({ key: bytes('no') })).count).toBe(0);
  });

  test('our client writes and reads, and is told why it may not', async () => {
    await member.client.put({ key: bytes('b'), value: bytes('2') });
    expect(textOf((await member.client.range({ key: bytes('b') })).kvs[0]!.value)).toBe('2');
    const { chunks, sizeBytes } = await member.client.snapshot();
    let size = 0;
    for await (const chunk of chunks) size += chunk.length;
    expect(size).toBe(sizeBytes);
    const refusals = [
      [{ ca: clientOf(ours).ca! }, 'ETCD_TLS_REFUSED', /certificate required|bad certificate/],
      [clientOf(ours, [strange]), 'ETCD_TLS_REFUSED', /unable to verify|unable to get|self-signed/],
      [{ ...clientOf(ours), serverName: 'elsewhere' }, 'ETCD_TLS_REFUSED', /Host: elsewhere/],
    ] as const;
    for (const [tls, code, message] of refusals) {
      const client = new EtcdClient({ endpoints: [member.clientUrl], tls, deadlineMs: 5000 });
      const put = client.put({ key: bytes('no'), value: bytes('1') });
      await expect(put).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
      client.close();
    }
  });
});
