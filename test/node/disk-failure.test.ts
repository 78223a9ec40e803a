/** A disk that fails under a running member: it stops with one line, tries nothing again, and acknowledged nothing false. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { bytes, run, TestCluster, type TestMember, textOf } from './members.ts';

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
    ['full', 'ENOSPC'],
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
      // A write that was cut short is gone on with once: that is what tells that the disk is full.
      expect(await disk.calls()).toEqual(how === 'full' ? ['write', 'write'] : ['write']);
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
