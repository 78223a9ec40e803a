import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../src/etcd/client.ts';
import { runJob } from '../../../src/jobs/job.ts';
import { verdict } from '../../archive/samples.ts';
import { etcdVersions } from '../../kubernetes/parts.ts';
import { Pods, volumeStore } from './pods.ts';

const quiet = { stdout: () => {}, stderr: () => {} };

describe.each([etcdVersions[0], etcdVersions[2]])('a member of etcd %s', (version) => {
  test('runs out of space, says so, and gets it back by compaction, defragmentation and disarming', async () => {
    const pods = await Pods.of({ version, engine: { quotaBytes: 16 * 1024 * 1024 } });
    try {
      await pods.form(1);
      const { engine } = pods;
      const at = [pods.endpoint('e-0')];
      const client = new EtcdClient({ endpoints: [at[0]!.url] });
      const put = () => client.put({ key: Buffer.from('k'), value: new Uint8Array(1_000_000) });
      while ((await verdict(put())) === 'good');
      const full = await engine.status(at[0]!);
      expect(full).toMatchObject({ alarms: [{ type: 'NoSpace', memberId: full.memberId }], errors: [] });
      await engine.compact(at, full.revision, { physical: true });
      expect(await verdict(engine.compact(at, full.revision))).toBe('ENGINE_REVISION_UNAVAILABLE');
      await engine.defragment(at[0]!, { timeoutMs: 60_000 });
      const after = await engine.status(at[0]!);
      expect(after.sizeBytes).toBeLessThan(full.sizeBytes / 4);
      expect(after.revision).toBe(full.revision);
      await engine.disarm(at, full.alarms[0]!);
      await engine.disarm(at, full.alarms[0]!);
      expect((await engine.status(at[0]!)).alarms).toEqual([]);
      await put();
      client.close();
    } finally {
      await pods.close();
    }
  }, 120_000);

  test('lives without a quorum, and is not ready: its probes tell the one from the other', async () => {
    const pods = await Pods.of({ version });
    const both = async () => [await pods.probe('e-0', '/livez'), await pods.probe('e-0', '/readyz')];
    try {
      await pods.form(3);
      expect(await both()).toEqual([200, 200]);
      await Promise.all([pods.kill('e-1'), pods.kill('e-2')]);
      await pods.until('e-0', '/readyz', 503);
      expect(await both()).toEqual([200, 503]);
      // One that starts alone is alive as well: nothing would come of the kubelet's killing it.
      await pods.kill('e-0');
      await pods.start('e-0');
      await pods.until('e-0', '/livez', 200);
      expect(await both()).toEqual([200, 503]);
      await pods.start('e-1');
      await pods.ready('e-0');
      expect(await both()).toEqual([200, 200]);
    } finally {
      await pods.close();
    }
  }, 120_000);

  test.each([
    ['whose log is damaged', 'member/wal', '.wal'],
    ['whose database is damaged', 'member/snap', 'db'],
  ])(
    '%s says so when it ends',
    async (_, folder, ending) => {
      const pods = await Pods.of({ version });
      try {
        await pods.form(1);
        const client = new EtcdClient({ endpoints: [pods.endpoint('e-0').url] });
        for (let at = 0; at < 50; at++)
          await client.put({ key: Buffer.from(`k${at}`), value: new Uint8Array(10_000).fill(7) });
        client.close();
        await pods.kill('e-0');
        const at = join(pods.disk('e-0'), 'etcd', folder);
        const file = join(at, readdirSync(at).find((name) => name.endsWith(ending))!);
        const bytes = readFileSync(file);
        // One byte of a value in the log (of zeros, etcd would take it for cut off and go on without); all of the database.
        if (ending === 'db') bytes.fill(0xa5);
        else bytes[100_000] = 1;
        writeFileSync(file, bytes);
        await pods.start('e-0');
        expect(await pods.ended('e-0')).not.toBe(0);
        const said = pods.engine.profile.crash(pods.log('e-0'));
        expect(said.verdict).toBe('corrupt');
      } finally {
        await pods.close();
      }
    },
    120_000,
  );

  test('that never wrote anything is saved and restored as nothing', async () => {
    const store = mkdtempSync(join(tmpdir(), 'raftsman-store-'));
    const { env, list } = volumeStore(store);
    const pods = await Pods.of({ version });
    const target = await Pods.of({ version, archive: { key: 'none.snap', env: list, volumeMounts: [], volumes: [] } });
    try {
      await pods.form(1);
      const job = { ...env, RAFTSMAN_TERMINATION_LOG: join(store, 'termination.json'), RAFTSMAN_PROGRESS_PORT: '0' };
      const flags = [`--endpoints=${pods.endpoint('e-0').url}`, '--engine=Etcd', '--key=none.snap'];
      expect(await runJob(['save', ...flags], job, quiet)).toBe(0);
      await target.form(1);
      const at = target.engine.profile.restoredRevision(0);
      const empty = await target.engine.fingerprint(target.endpoint('e-0'), at);
      expect(empty).toEqual({ ...(await pods.engine.fingerprint(pods.endpoint('e-0'))), revision: at });
      expect(empty.keys).toBe(0);
    } finally {
      await Promise.all([pods.close(), target.close()]);
      rmSync(store, { recursive: true, force: true });
    }
  }, 120_000);
});
