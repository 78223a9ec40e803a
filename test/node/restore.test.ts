/** Which archives a new cluster begins with, and where it gets them from. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { convertToFile } from '../../src/archive/convert.ts';
import { openSource } from '../../src/archive/sources/open.ts';
import { runJob } from '../../src/jobs/job.ts';
import { archiveOf, goodPieces, sampleState } from '../archive/samples.ts';
import { goraftFile, goraftJson } from '../archive/sources/samples.ts';
import { bytes, run, TestCluster, type TestMember } from './members.ts';

const clusters: TestCluster[] = [];
afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.end()));
});

async function newCluster(size: number, token?: string): Promise<TestCluster> {
  const cluster = await TestCluster.create(size, [], token);
  clusters.push(cluster);
  return cluster;
}

/** A job as its pod runs it, with the volume of a store mounted at `mount`. */
async function job(mount: string, ...argv: string[]): Promise<void> {
  const said: string[] = [];
  const env = {
    RAFTSMAN_STORE: JSON.stringify({ volume: { claimName: 'archive' } }),
    RAFTSMAN_STORE_MOUNT: mount,
    RAFTSMAN_TERMINATION_LOG: join(mount, '.termination'),
    RAFTSMAN_PROGRESS_PORT: '0',
  };
  const say = (text: string) => said.push(text);
  expect([await runJob(argv, env, { stdout: say, stderr: say }), said.join('')]).toEqual([0, expect.any(String)]);
}

test('HR-09: members that share a store begin with an archive in it, and none gets its state from another', async () => {
  const source = await newCluster(1);
  await source.start();
  const [from] = source.members as [TestMember];
  for (let i = 0; i < 60; i++) await from.client.put({ key: bytes(`key-${i}`), value: sampleState(500, i) });
  const store = join(source.folder, 'store');
  await mkdir(store);
  await job(store, 'save', `--endpoints=${from.clientUrl}`, '--key=ns/a.snap');
  // Whoever wrote it is gone, and so is its disk.
  await from.stop('SIGKILL');
  await rm(from.dataDir, { recursive: true });

  const target = await newCluster(3, 'restored');
  for (const member of target.members) {
    const fetched = join(target.folder, `${member.name}.snap`);
    await job(store, 'fetch', '--key=ns/a.snap', `--output=${fetched}`);
    member.start(`--restore-archive=${fetched}`);
  }
  for (const member of target.members) {
    await member.ready();
    const { count } = await member.client.range({ key: bytes('key-'), rangeEnd: bytes('key.') });
    expect(count).toBe(60);
    // Nothing of it came over the network.
    expect(await member.metric('raftsman_snapshots_received_total')).toBe(0);
  }
});

describe('the archive of another program', () => {
  test('NS-11 is refused with the reason before anything is there, whoever wrote it', async () => {
    const target = await newCluster(1);
    const [member] = target.members as [TestMember];
    const { folder } = target;
    await writeFile(join(folder, '2_17.ss'), goraftFile(goraftJson(sampleState(300))));
    const converted = join(folder, 'converted.snap');
    await convertToFile(await openSource(join(folder, '2_17.ss')), converted, { now: new Date(0) });
    const foreign = join(folder, 'other.snap');
    await writeFile(foreign, await archiveOf(goodPieces()));
    for (const [archive, said] of [
      [converted, 'its state.bin is the state of Goraft, converted from a goraft snapshot file, and no key-values'],
      [foreign, 'it was not made by Raftsman'],
    ] as const) {
      const { code, stderr } = await run(['node', ...member.args, '--log-level=error', `--restore-archive=${archive}`]);
      expect([code, stderr.trimEnd().split('\n').length]).toEqual([1, 1]);
      expect(stderr).toContain(
        `cannot restore from ${archive}: the archive is whole, but ${said}: the engine Embedded cannot use it. Nothing was changed`,
      );
      expect(await readdir(member.dataDir)).not.toContain('member');
    }
    // The member comes up as if nothing had been tried.
    member.start();
    await member.ready();
    expect((await member.client.range({ key: bytes('\0'), rangeEnd: bytes('\0') })).count).toBe(0);
  });
});
