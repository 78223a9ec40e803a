/** A disk that fails under a running member: it stops with one line, tries nothing again, and acknowledged nothing false. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { bytes, run, TestCluster, type TestMember, textOf, until } from './members.ts';

const clusters: TestCluster[] = [];
afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.end()));
});

async function started(size: number) {
  const cluster = await TestCluster.create(size, ['--log-level=error']);
  clusters.push(cluster);
  const disks = cluster.members.map((member) => {
    const [when, told] = [join(cluster.folder, `${member.name}.fail`), join(cluster.folder, `${member.name}.told`)];
    member.environment = {
      NODE_OPTIONS: `--disable-warning=ExperimentalWarning --import=${resolve(import.meta.dirname, 'failing-disk.ts')}`,
      FAIL_WHEN: when,
      FAIL_TOLD: told,
    };
    return {
      fail: (how: string) => writeFile(when, how),
      heal: () => rm(when),
      calls: async () => (await readFile(told, 'utf8')).trimEnd().split('\n'),
    };
  });
  await cluster.start();
  return { cluster, members: cluster.members, disks };
}

const put = (member: TestMember, key: string, value = 'v') =>
  member.client.put({ key: bytes(key), value: bytes(value) });

async function keys(member: TestMember): Promise<string[]> {
  const { kvs } = await member.client.range({ key: bytes('k'), rangeEnd: bytes('l') });
  return kvs.map(({ key }) => textOf(key));
}

describe('a log that cannot be written', () => {
  test.each([
    ['write', 'EIO'],
    ['sync', 'EIO'],
  ])(
    '%s fails: exit 1 with one line, no second try, the write not acknowledged, and a restart has all that was',
    async (how, code) => {
      const { members, disks } = await started(1);
      const [[member], [disk]] = [members as [TestMember], disks as [(typeof disks)[0]]];
      await put(member, 'k1');
      await disk.fail(how);
      const outcome = await put(member, 'k2').then(
        () => 'acknowledged',
        () => 'refused',
      );
      expect(outcome).toBe('refused');
      expect(await member.ended()).toBe(1);
      expect(member.output.trimEnd().split('\n')).toEqual([
        expect.stringMatching(
          new RegExp(`^raftsman node: \\w+: cannot write the log in .*wal: ${code}: .*; the member must stop$`),
        ),
      ]);
      expect(await disk.calls()).toEqual(['write']);
      await disk.heal();
      member.start();
      await member.ready();
      const found = await keys(member);
      expect(found.filter((key) => key !== 'k2')).toEqual(['k1']);
      // What a failed sync left may have become durable after all; then it is so for good.
      if (how !== 'sync') expect(found).toEqual(['k1']);
      await put(member, 'k3');
      await member.stop('SIGKILL');
      member.start();
      await member.ready();
      expect(await keys(member)).toEqual([...found, 'k3']);
    },
  );

  test('RS-24 full: the write waits and is acknowledged when there is room, reads go on, and the alarm is told meanwhile', async () => {
    const { members, disks } = await started(1);
    const [[member], [disk]] = [members as [TestMember], disks as [(typeof disks)[0]]];
    await put(member, 'k1');
    await disk.fail('full');
    let outcome = 'waiting';
    const second = put(member, 'k2').then(
      () => 'acknowledged',
      (error: Error) => error.message,
    );
    void second.then((how) => {
      outcome = how;
    });
    await until('the log waiting', async () => (await member.metric('raftsman_disk_full')) === 1);
    expect(await keys(member)).toEqual(['k1']);
    await expect(put(member, 'k3')).rejects.toMatchObject({ code: 'ETCD_NO_SPACE' });
    expect((await member.client.alarms()).alarms).toHaveLength(1);
    expect(await member.http('/health')).toEqual({ status: 503, text: '{"health":"false","reason":"ALARM NOSPACE"}' });
    expect((await member.http('/readyz')).status).toBe(200);
    expect([outcome, member.isRunning]).toEqual(['waiting', true]);
    await disk.heal();
    expect(await second).toBe('acknowledged');
    // The alarm that was on its way meanwhile may still come, and is lifted by the next look at the disk.
    await until('puts taken again', async () => (await put(member, 'k3')) !== undefined);
    await member.stop('SIGKILL');
    member.start();
    await member.ready();
    expect(await keys(member)).toEqual(['k1', 'k2', 'k3']);
  });

  test('RS-24 full: killed while it waits, it has what was acknowledged, and told to stop, it stops', async () => {
    const { members, disks } = await started(1);
    const [[member], [disk]] = [members as [TestMember], disks as [(typeof disks)[0]]];
    const waiting = async (key: string): Promise<void> => {
      await disk.fail('full');
      put(member, key).catch(() => {});
      await until('the log waiting', async () => (await member.metric('raftsman_disk_full')) === 1);
    };
    await put(member, 'k1');
    await waiting('k2');
    await member.stop('SIGKILL');
    await disk.heal();
    member.start();
    await member.ready();
    expect(await keys(member)).toEqual(['k1']);
    await until('puts taken', async () => (await put(member, 'k3')) !== undefined);
    await waiting('k4');
    expect(await member.stop()).toBe(0);
    await disk.heal();
    member.start();
    await member.ready();
    expect(await keys(member)).toEqual(['k1', 'k3']);
  });

  test('the zeros ahead of the records fail: the member stops although its records could be written', async () => {
    const { members, disks } = await started(1);
    const [[member], [disk]] = [members as [TestMember], disks as [(typeof disks)[0]]];
    await put(member, 'k1');
    await disk.fail('zero');
    const acknowledged: string[] = ['k1'];
    for (let i = 2; i < 40 && member.isRunning; i++) {
      await put(member, `k${i}`, 'x'.repeat(100_000)).then(
        () => acknowledged.push(`k${i}`),
        () => {},
      );
    }
    expect(await member.ended()).toBe(1);
    expect(member.output).toMatch(/^raftsman node: \w+: cannot write the log in .*EIO.*; the member must stop\n$/);
    expect((await disk.calls()).filter((call) => call === 'datasync')).toHaveLength(1);
    await disk.heal();
    member.start();
    await member.ready();
    expect(await keys(member)).toEqual(expect.arrayContaining(acknowledged));
  });

  test('the leader’s fails: it stops, the others elect another and have every acknowledged write', async () => {
    const { cluster, members, disks } = await started(3);
    const leader = await cluster.leader();
    const at = members.indexOf(leader);
    await put(leader, 'k1');
    await disks[at]!.fail('write');
    await put(leader, 'k2').catch(() => {});
    expect(await leader.ended()).toBe(1);
    expect(leader.output.trimEnd().split('\n')).toHaveLength(1);
    const other = await cluster.leader();
    await put(other, 'k3');
    expect(await keys(other)).toEqual(expect.arrayContaining(['k1', 'k3']));
  });
});

describe('a log that cannot be read', () => {
  test('RA-18 the start fails with one line that names file and offset', async () => {
    const { members, disks } = await started(1);
    const [[member], [disk]] = [members as [TestMember], disks as [(typeof disks)[0]]];
    await put(member, 'k1');
    await member.stop();
    await disk.fail('read 0');
    const { code, stderr } = await run(['node', ...member.args], member.environment);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^raftsman node: \w+: \S+\.wal cannot be read at offset 0: EIO: .*does not start without it.*\n$/,
    );
    await disk.heal();
    member.start();
    await member.ready();
    expect(await keys(member)).toEqual(['k1']);
  });
});
