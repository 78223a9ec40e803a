import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { verifyArchiveFile } from '../../../src/archive/file.ts';
import { runArchive } from '../../../src/cli/archive.ts';
import { EmbeddedEngine } from '../../../src/engines/embedded/embedded.ts';
import { EngineError, type MemberStatus } from '../../../src/engines/engine.ts';
import { digestKeys } from '../../../src/engines/etcd/digest.ts';
import { EtcdClient } from '../../../src/etcd/client.ts';
import { runJob } from '../../../src/jobs/job.ts';
import { type ArchiveResult, parseOutcome } from '../../../src/jobs/result.ts';
import { collect, verdict } from '../../archive/samples.ts';
import { startSingle } from '../../etcd/single.ts';
import { versions } from '../../kubernetes/parts.ts';
import { Pods, volumeStore } from './pods.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const all = (pods: Pods, names: readonly string[]) => names.map((name) => pods.endpoint(name));
const members = ['e-0', 'e-1', 'e-2'];

async function reason(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'good',
    (error: unknown) => (error instanceof EngineError ? error.reason : error),
  );
}

/** What a cluster's data may be: replaced, deleted, compacted, bound to a lease, large, and of any bytes. */
async function fill(pods: Pods): Promise<void> {
  const client = new EtcdClient({ endpoints: all(pods, members).map(({ url }) => url) });
  for (let at = 0; at < 300; at++)
    await client.put({ key: bytes(`k${at % 100}`), value: bytes(`value ${at}`.repeat(at)) });
  await client.put({ key: Uint8Array.of(0, 255, 10), value: new Uint8Array(1_000_000).fill(7) });
  await client.put({ key: bytes('empty'), value: new Uint8Array() });
  await client.deleteRange({ key: bytes('k1'), rangeEnd: bytes('k3') });
  const { header } = await client.put({ key: bytes('late'), value: bytes('1') });
  await client.compact(header!.revision - 5, true);
  await client.deleteRange({ key: bytes('late') });
  client.close();
}

describe('etcd as an engine', () => {
  let pods: Pods;
  beforeAll(async () => {
    pods = await Pods.of();
    await pods.form(3);
    await fill(pods);
  }, 600_000);
  afterAll(() => pods?.close());

  async function statusOf(name: string): Promise<MemberStatus> {
    return pods.engine.status(pods.endpoint(name));
  }

  /** All members have applied what the leader has. */
  async function settled(): Promise<MemberStatus[]> {
    for (;;) {
      const found = await Promise.all(members.map(statusOf));
      if (new Set(found.map(({ revision }) => revision)).size === 1 && found.every(({ leaderId }) => leaderId))
        return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  test('each member says who it is, whom it knows and what it holds', async () => {
    const found = await settled();
    expect(found.map(({ name }) => name)).toEqual(members);
    expect(new Set(found.map(({ clusterId, leaderId }) => `${clusterId} ${leaderId}`)).size).toBe(1);
    for (const each of found) {
      expect(each).toMatchObject({ version: versions.etcd, isLearner: false, alarms: [], errors: [] });
      expect(each.members.map(({ name }) => name).sort()).toEqual(members);
      expect(each.sizeInUseBytes).toBeLessThanOrEqual(each.sizeBytes);
    }
  });

  const statusOfFile = (file: string) =>
    JSON.parse(execFileSync(pods.tools.etcdutl, ['snapshot', 'status', file, '-w', 'json'], { encoding: 'utf8' })) as {
      readonly revision: number;
      readonly totalKey: number;
      readonly hash: number;
    };

  test('the snapshot is the file that etcdctl saves, and its facts are those that etcdutl finds', async () => {
    await settled();
    const file = join(pods.folder, 'oracle.db');
    const { url } = pods.endpoint('e-0');
    execFileSync(pods.tools.etcdctl, ['--endpoints', url, 'snapshot', 'save', file], { stdio: 'ignore' });
    const oracle = statusOfFile(file);
    const spooled: number[] = [];
    const snapshot = await pods.engine.openSnapshot(all(pods, members), {
      spoolFolder: pods.folder,
      onSpooled: (at) => spooled.push(at),
    });
    const status = await statusOf('e-0');
    expect(snapshot.facts).toMatchObject({
      index: status.appliedIndex,
      term: status.term,
      revision: oracle.revision,
      clusterId: status.clusterId,
      engineVersion: versions.etcd,
    });
    expect(snapshot.facts.revision).toBe(status.revision);
    expect(new Set(snapshot.facts.configuration)).toEqual(
      new Set(status.members.map(({ id, peerUrls }) => ({ id, address: peerUrls[0], suffrage: 'voter' }))),
    );
    expect(spooled.at(-1)).toBe(snapshot.sizeBytes);
    // Two of them differ in the number of etcd's last transaction, and in nothing that etcdutl sees.
    const own = join(pods.folder, 'own.db');
    writeFileSync(own, await collect(snapshot.chunks));
    expect(statSync(own).size).toBe(statSync(file).size);
    expect(statusOfFile(own)).toEqual(oracle);
  });

  test('a snapshot that is given up, at any point, leaves no file', async () => {
    const [endpoint] = all(pods, members);
    const spoolFolder = mkdtempSync(join(pods.folder, 'spool-'));
    const abort = new AbortController();
    const { signal } = abort;
    const given = { signal, spoolFolder, onSpooled: () => abort.abort() };
    expect(await verdict(pods.engine.openSnapshot([endpoint!], given))).not.toBe('good');
    expect(await verdict(pods.engine.fingerprint(endpoint!, undefined, { signal }))).toBe('ENGINE_UNAVAILABLE');
    const later = new AbortController();
    const snapshot = await pods.engine.openSnapshot([endpoint!], { signal: later.signal, spoolFolder });
    later.abort();
    expect(await verdict(collect(snapshot.chunks))).not.toBe('good');
    snapshot.close();
    expect(readdirSync(spoolFolder)).toEqual([]);
  });

  test('a fingerprint is equal on all members, is of a revision, and every part of a record counts', async () => {
    const [first] = await settled();
    const at = first!.revision;
    const found = await Promise.all(members.map((name) => pods.engine.fingerprint(pods.endpoint(name), at)));
    expect(new Set(found.map(({ hash }) => hash)).size).toBe(1);
    // k0..k99 without k1, k10..k19, k2 and k20..k29; the bytes and the empty one.
    expect(found[0]).toMatchObject({ revision: at, keys: 80 });
    const client = new EtcdClient({ endpoints: [pods.endpoint('e-1').url] });
    const { kvs } = await client.range({ key: bytes('k5') });
    await client.put({ key: bytes('k5'), value: kvs[0]!.value });
    client.close();
    await settled();
    const later = await pods.engine.fingerprint(pods.endpoint('e-1'));
    expect(later).toMatchObject({ revision: at + 1, keys: 80 });
    expect(later.hash).not.toBe(found[0]!.hash);
    expect(await pods.engine.fingerprint(pods.endpoint('e-2'), at)).toEqual(found[0]);
    expect(await verdict(pods.engine.fingerprint(pods.endpoint('e-0'), 3))).toBe('ENGINE_REVISION_UNAVAILABLE');
    expect(await verdict(pods.engine.fingerprint(pods.endpoint('e-0'), at + 99))).toBe('ENGINE_REVISION_UNAVAILABLE');
  });

  test('a fingerprint does not depend on how many keys are read at once', async () => {
    const [{ revision }] = (await settled()) as [MemberStatus];
    const { url } = pods.endpoint('e-0');
    const whole = await pods.engine.fingerprint({ url }, revision);
    const client = new EtcdClient({ endpoints: [url] });
    for (const [mostNames, mostValues] of [
      [1, 1],
      [7, 3],
      [80, 80],
      [81, 79],
    ] as const) {
      expect(await digestKeys(client, revision, () => ({}), { mostNames, mostValues })).toEqual(whole);
    }
    client.close();
  });

  test('a member that is stopped but holds its port is told from one that has ended', async () => {
    const [first] = await settled();
    const name = members.find((each) => each !== first!.members.find(({ id }) => id === first!.leaderId)?.name)!;
    await pods.freeze(name);
    try {
      expect(await reason(pods.engine.status(pods.endpoint(name), { timeoutMs: 800 }))).toBe('timeout');
    } finally {
      process.kill(pods.pid(name), 'SIGCONT');
    }
    await pods.kill(name);
    expect(await reason(pods.engine.status(pods.endpoint(name), { timeoutMs: 800 }))).toBe('refused');
    await pods.start(name);
    await pods.ready(name);
  });

  test('a learner joins on an empty disk, gets its vote when it has caught up, leads, and leaves', async () => {
    const { engine } = pods;
    const others = all(pods, members);
    pods.config['initial-cluster-state'] = 'existing';
    pods.config['formed'] = 'true';
    expect(await pods.prepare('e-3')).toMatchObject({ status: 1, container: 'prepare' });
    const peerUrls = [pods.peerUrl('e-3')];
    // etcd takes nobody in before all members have been connected for five seconds.
    const added = await patiently(() => engine.addMember(others, { peerUrls, learner: true }));
    expect(added).toMatchObject({ name: '', peerUrls, isLearner: true });
    expect(await verdict(engine.addMember(others, { peerUrls, learner: true }))).toBe('ENGINE_MEMBER_EXISTS');
    pods.config['initial-cluster'] += `,e-3=${peerUrls[0]}`;
    pods.config['joining'] = 'e-3';
    expect(await verdict(engine.promoteMember(others, added.id))).toBe('ENGINE_LEARNER_BEHIND');
    await pods.start('e-3');
    await patiently(async () => {
      expect(await statusOf('e-3')).toMatchObject({ memberId: added.id, isLearner: true, members: [] });
    });
    await patiently(() => engine.promoteMember(others, added.id));
    expect(await verdict(engine.promoteMember(others, added.id))).toBe('ENGINE_NOT_LEARNER');
    await pods.ready('e-3');
    const list = await engine.members(others);
    const leaderOf = async () => list.find(({ id }) => id === leaderId)!.name;
    const { leaderId } = await statusOf('e-3');
    const leader = await leaderOf();
    const follower = members.find((name) => name !== leader)!;
    expect(await verdict(engine.moveLeader(pods.endpoint(follower), added.id))).toBe('ENGINE_NOT_LEADER');
    await engine.moveLeader(pods.endpoint(leader), added.id);
    expect((await statusOf('e-3')).leaderId).toBe(added.id);
    const { id } = list.find(({ name }) => name === leader)!;
    await engine.moveLeader(pods.endpoint('e-3'), id);
    await engine.removeMember(others, added.id);
    expect(await verdict(engine.removeMember(others, added.id))).toBe('ENGINE_MEMBER_NOT_FOUND');
    expect((await engine.members(others)).map(({ name }) => name).sort()).toEqual(members);
    await pods.kill('e-3');
    await pods.start('e-3');
    // It ends by itself, and well when it knows already that it was removed, so that its last words do not count.
    expect([0, 1]).toContain(await pods.ended('e-3'));
  }, 60_000);

  describe('an archive of it', () => {
    let store: string;
    let saved: ArchiveResult;
    const job = async (...argv: string[]) => {
      const log = join(store, 'termination.json');
      const env = { ...volumeStore(store).env, RAFTSMAN_TERMINATION_LOG: log, RAFTSMAN_PROGRESS_PORT: '0' };
      const quiet = { stdout: () => {}, stderr: () => {} };
      const status = await runJob(argv, env, quiet);
      return { status, outcome: parseOutcome(readFileSync(log, 'utf8')) };
    };
    beforeAll(async () => {
      store = mkdtempSync(join(tmpdir(), 'raftsman-store-'));
      const urls = all(pods, members).map(({ url }) => url);
      const { status, outcome } = await job('save', `--endpoints=${urls.join(',')}`, '--engine=Etcd', '--key=a.snap');
      expect(status).toBe(0);
      saved = outcome as ArchiveResult;
    });
    afterAll(() => rmSync(store, { recursive: true, force: true }));

    test('is made by the archive command too', async () => {
      const file = join(store, 'by-hand.snap');
      const say = { stdout: (text: string) => said.push(text), stderr: (text: string) => said.push(text) };
      const said: string[] = [];
      const flags = ['--engine=Etcd', `--endpoints=${pods.endpoint('e-2').url}`];
      expect(await runArchive(['save', ...flags, file], { ...say, env: {} })).toBe(0);
      expect(said.join()).toContain(`${saved.keys} keys at revision ${saved.revision}`);
      const { meta } = await verifyArchiveFile(file);
      expect(meta.raftsman).toMatchObject({ engine: 'Etcd', keys: saved.keys, hash: saved.hash });
    });

    test('says what it holds, and is refused where another engine is asked for', async () => {
      const { revision } = await statusOf('e-0');
      expect(saved).toMatchObject({ engine: 'Etcd', engineVersion: versions.etcd, revision, keys: 80 });
      const { meta } = await verifyArchiveFile(join(store, 'a.snap'));
      expect(meta.configuration.servers).toHaveLength(3);
      execFileSync('tar', ['-xzf', join(store, 'a.snap'), '-C', store, 'state.bin']);
      expect(statusOfFile(join(store, 'state.bin'))).toMatchObject({ revision });
      expect(await job('verify', '--key=a.snap', '--engine=Etcd')).toEqual({ status: 0, outcome: saved });
      expect(await job('verify', '--key=a.snap', '--engine=Embedded')).toMatchObject({
        status: 3,
        outcome: {
          error: { code: 'ARCHIVE_FOREIGN', message: expect.stringContaining('holds the state of the engine Etcd') },
        },
      });
    });

    test('of an embedded cluster cannot become one of etcd', async () => {
      const single = await startSingle();
      expect(await job('save', `--endpoints=${single.url}`, '--key=e.snap')).toMatchObject({ status: 0 });
      await single.close();
      const target = await Pods.of({
        archive: { key: 'e.snap', env: volumeStore(store).list, volumeMounts: [], volumes: [] },
      });
      try {
        target.config['initial-cluster'] = `e-0=${target.peerUrl('e-0')}`;
        expect(await target.prepare('e-0')).toMatchObject({ status: 3, container: 'fetch' });
      } finally {
        await target.close();
      }
    });

    test('makes three members whose data are those of the archive, and who never start on less', async () => {
      const target = await Pods.of({
        archive: {
          key: 'a.snap',
          checksum: saved.checksum,
          env: volumeStore(store).list,
          volumeMounts: [],
          volumes: [],
        },
      });
      try {
        await target.form(3);
        const at = target.engine.profile.restoredRevision(saved.revision!);
        for (const name of members) {
          const { keys, hash } = await target.engine.fingerprint(target.endpoint(name), at);
          expect({ keys, hash }).toEqual({ keys: saved.keys, hash: saved.hash });
          expect((await target.engine.status(target.endpoint(name))).revision).toBe(at);
          // Nobody reads, or watches from, a revision that the cluster of the archive knew: it is said to be compacted.
          const client = new EtcdClient({ endpoints: [target.endpoint(name).url] });
          for (const revision of [saved.revision!, at - 1])
            expect(await verdict(client.range({ key: bytes('k5'), revision }))).toBe('ETCD_COMPACTED');
          client.close();
        }
        // A pod that is made anew before the cluster is known to have formed keeps what it has.
        const client = new EtcdClient({ endpoints: [target.endpoint('e-0').url] });
        await client.put({ key: bytes('new'), value: bytes('1') });
        await target.kill('e-1');
        await target.start('e-1');
        await target.ready('e-1');
        // And one whose node restarts afterwards neither fetches nor restores.
        target.config['initial-cluster-state'] = 'existing';
        target.config['formed'] = 'true';
        rmSync(join(store, 'a.snap'));
        await target.kill('e-1');
        await target.start('e-1');
        await target.ready('e-1');
        const { kvs } = await client.range({ key: bytes('new') });
        expect(Buffer.from(kvs[0]!.value).toString()).toBe('1');
        client.close();
        await target.kill('e-1');
        rmSync(target.disk('e-1'), { recursive: true });
        const lost = await target.prepare('e-1');
        expect(lost).toMatchObject({ status: 1, container: 'prepare' });
        expect(target.engine.profile.crash(lost.output)).toMatchObject({
          verdict: 'lost',
          text: expect.stringMatching(/^ETCD_DATA_LOST: the disk of e-1 holds no data/),
        });
      } finally {
        await target.close();
      }
    }, 60_000);
  });

  test('an embedded engine finds no snapshot of its own in it', async () => {
    const engine = new EmbeddedEngine();
    expect(await verdict(engine.openSnapshot(all(pods, members)))).toBe('ENGINE_REFUSED');
    engine.close();
  });
});

async function patiently<T>(action: () => Promise<T>): Promise<T> {
  const end = performance.now() + 20_000;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
