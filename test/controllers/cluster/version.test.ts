import { describe, expect, test } from '@jest/globals';
import { maxRunName } from '../../../src/api/snapshot.ts';
import {
  type MemberVersion,
  planVersion,
  snapshotName,
  type VersionInput,
} from '../../../src/controllers/cluster/version.ts';
import { embeddedProfile } from '../../../src/engines/embedded/profile.ts';
import { etcdProfile } from '../../../src/engines/etcd/profile.ts';
import { clusterOf, condition, formedStatus, policyOf, settings, snapshotOf } from '../objects.ts';

interface Scene extends Partial<Omit<VersionInput, 'members' | 'cluster' | 'image'>> {
  readonly engine?: object;
  readonly generation?: number;
  readonly said?: string;
}

/** Members by the version that they run and whether they run what spec says: `3.5.35` does not, `3.6.8!` does. */
function input(versions: string, { engine = {}, generation = 1, said, ...rest }: Scene = {}): VersionInput {
  const profile = etcdProfile;
  const status = { ...formedStatus, ...(said === undefined ? {} : { version: said }) };
  const cluster = clusterOf('c', { engine: { type: 'Etcd', ...engine } }, status, { generation });
  const image = profile.image(cluster.spec.engine, settings);
  const members = versions.split(' ').map((text, ordinal): MemberVersion => {
    const version = text.replace('!', '');
    const outdated = !text.endsWith('!');
    return {
      name: `c-${ordinal}`,
      outdated,
      image: outdated ? `etcd:v${version}` : image,
      ...(version === 'silent' ? {} : { version }),
    };
  });
  const policies = [policyOf()];
  return { cluster, profile, image, members, formed: true, quorum: true, snapshots: [], policies, ...rest };
}

const plan = (versions: string, scene?: Scene) => planVersion(input(versions, scene));
const to = (version: string): Scene => ({ engine: { version } });
const nameFor = (version: string) => {
  const { cluster, image } = input('3.5.35', to(version));
  return snapshotName(cluster, image);
};

describe('which version members may run', () => {
  test.each([
    ['a downgrade', '3.6.8 3.6.8 3.6.8', '3.5.35'],
    ['a minor that is skipped', '3.5.35 3.5.35 3.5.35', '3.7.0'],
    ['a minor that the last members would skip', '3.6.8! 3.5.35 3.5.35', '3.7.0'],
  ])('%s is refused, and says why', (_, versions, version) => {
    const made = plan(versions.replaceAll('!', ''), to(version));
    expect(made).toMatchObject({ kind: 'refused', held: { reason: 'VersionRefused' } });
    expect(JSON.stringify(made)).toContain(version.slice(0, 3));
  });

  test('what is no version is refused, also before there is any member', () => {
    expect(plan('3.6.8! 3.6.8!', to('newest'))).toMatchObject({ kind: 'refused', held: { reason: 'EngineInvalid' } });
    expect(planVersion({ ...input('', to('3')), members: [], formed: false })).toMatchObject({ kind: 'refused' });
  });

  test('a flag that is not for people to set is refused before a member fails for it', () => {
    const flags = { 'data-dir': '/elsewhere' };
    expect(plan('3.6.8! 3.6.8!', { engine: { flags } })).toMatchObject({ held: { reason: 'EngineInvalid' } });
  });

  test('midway, the members that are new can go back as long as an old one runs, and need no snapshot for it', () => {
    expect(plan('3.5.35! 3.5.35! 3.6.8', to('3.5.35'))).toEqual({ kind: 'free' });
    expect(plan('3.6.8 3.6.8 3.6.8', to('3.5.35'))).toMatchObject({ kind: 'refused' });
  });

  test('while nobody answers, what they said last counts', () => {
    const scene = { ...to('3.5.35'), quorum: false };
    expect(plan('silent silent silent', { ...scene, said: '3.6.8' })).toMatchObject({ kind: 'refused' });
    expect(plan('silent silent silent', { ...scene, said: '3.5.35' })).toEqual({ kind: 'free' });
  });

  test('the image is what counts: a member that runs it knows what is in it', () => {
    const engine = { image: 'mirror/etcd:stable' };
    expect(plan('3.6.8 3.6.8 3.5.35!', { engine })).toMatchObject({ kind: 'free' });
    expect(plan('3.6.8 3.6.8 3.6.8', { engine: { image: 'mirror/etcd:v3.5.35' } })).toMatchObject({ kind: 'refused' });
    expect(plan('3.6.8 3.6.8 3.6.8', { engine: { image: 'mirror/etcd:v3.6.8' } })).toEqual({ kind: 'free' });
  });
});

describe('a snapshot first', () => {
  const ended = (reason: 'Succeeded' | 'Failed') =>
    snapshotOf(
      nameFor('3.6.8'),
      {},
      {
        completionTime: '2026-11-22T02:13:00Z',
        conditions: [condition('Complete', reason === 'Succeeded' ? 'True' : 'False', reason, 'bucket is full')],
      },
    );

  test('is made of the cluster, into the store of its policy, and belongs to nobody', () => {
    const made = plan('3.5.35 3.5.35 3.5.35', to('3.6.8'));
    expect(made).toMatchObject({
      kind: 'snapshot',
      make: {
        kind: 'RaftSnapshot',
        metadata: {
          name: nameFor('3.6.8'),
          labels: { 'raftsman.dev/cluster': 'c' },
          annotations: { 'raftsman.dev/before-version': '3.6.8' },
        },
        spec: { clusterName: 'c', storeName: 's', deletionPolicy: 'Retain' },
      },
    });
    expect(JSON.stringify(made)).not.toContain('ownerReferences');
  });

  test('is waited for, and what it waits for itself is said', () => {
    const running = snapshotOf(
      nameFor('3.6.8'),
      {},
      { conditions: [condition('Complete', 'False', 'StoreNotReady', 'the store is not ready')] },
    );
    const waits = plan('3.5.35 3.5.35', { ...to('3.6.8'), snapshots: [running] });
    expect(waits).toEqual({
      kind: 'snapshot',
      message: `RaftSnapshot ${nameFor('3.6.8')} comes before 3.6.8: the store is not ready`,
    });
    expect(plan('3.5.35 3.5.35', { ...to('3.6.8'), snapshots: [ended('Succeeded')] })).toEqual({ kind: 'free' });
  });

  test('that failed stops the change and says so; a spec that is changed tries anew', () => {
    const failed = plan('3.5.35 3.5.35', { ...to('3.6.8'), snapshots: [ended('Failed')] });
    expect(failed).toMatchObject({ kind: 'failed', held: { reason: 'SnapshotFailed' } });
    expect(JSON.stringify(failed)).toContain('bucket is full');
    const again = plan('3.5.35 3.5.35', { ...to('3.6.8'), snapshots: [ended('Failed')], generation: 2 });
    expect(again).toMatchObject({ kind: 'snapshot', make: {} });
  });

  test('is not needed for what changes no version, for a cluster that has not formed, and once a member runs the version', () => {
    expect(plan('3.6.8 3.6.8', to('3.6.8'))).toEqual({ kind: 'free' });
    expect(plan('3.5.35 3.5.35', { ...to('3.6.8'), formed: false })).toEqual({ kind: 'free' });
    expect(plan('3.5.35 3.5.35 3.6.8!', to('3.6.8'))).toEqual({ kind: 'free' });
    expect(plan('3.5.35 3.5.35 silent', to('3.6.8'))).toMatchObject({ kind: 'snapshot' });
  });

  test('cannot be taken without a policy or a quorum: that is said, and the change goes on', () => {
    const without = plan('3.5.35 3.5.35', { ...to('3.6.8'), policies: [] });
    expect(without).toMatchObject({ kind: 'free', note: expect.stringContaining('RaftSnapshotPolicy') as never });
    const lost = plan('3.5.35 silent silent', { ...to('3.6.8'), quorum: false });
    expect(lost).toMatchObject({ kind: 'free', note: expect.stringContaining('too few') as never });
  });

  test('goes to the store of a policy that can take snapshots at present', () => {
    const named = (name: string, storeName: string, ready: boolean) => {
      const policy = policyOf(
        { storeName },
        { conditions: [condition('Ready', ready ? 'True' : 'False', 'Scheduled')] },
      );
      return { ...policy, metadata: { ...policy.metadata, name } };
    };
    const policies = [named('a', 'broken', false), named('b', 'good', true), named('c', 'other', true)];
    expect(plan('3.5.35', { ...to('3.6.8'), policies })).toMatchObject({ make: { spec: { storeName: 'good' } } });
    const broken = policies.slice(0, 1);
    expect(plan('3.5.35', { ...to('3.6.8'), policies: broken })).toMatchObject({
      make: { spec: { storeName: 'broken' } },
    });
  });

  test('comes before another image of the embedded engine, whose members do not say which release they are', () => {
    const embedded = { profile: embeddedProfile, engine: { type: 'Embedded', image: 'raftsman:next' } };
    expect(plan('3.6.0 3.6.0', embedded)).toMatchObject({ kind: 'snapshot' });
    const own = { profile: embeddedProfile, engine: { type: 'Embedded' } };
    expect(plan('3.6.0 3.6.0', own)).toMatchObject({ kind: 'snapshot' });
    expect(planVersion({ ...input('3.6.0 3.6.0', own), image: 'etcd:v3.6.0' })).toEqual({ kind: 'free' });
    // One that runs it already, and members that cannot say anything but run the same image.
    expect(plan('3.6.0 3.6.0!', own)).toEqual({ kind: 'free' });
    const silent = planVersion({ ...input('silent silent', own), image: 'etcd:vsilent' });
    expect(silent).toEqual({ kind: 'free' });
  });

  test('has a name that the API takes, however long the cluster’s is, and another for each cluster', () => {
    const long = 'a'.repeat(40);
    const name = snapshotName(clusterOf(long), 'etcd:v3.6.8');
    expect(name.length).toBeLessThanOrEqual(maxRunName);
    expect(name).toMatch(/^a+-before-[0-9a-f]{10}$/);
    expect(snapshotName(clusterOf(long, {}, undefined, { uid: 'another' }), 'etcd:v3.6.8')).not.toBe(name);
    expect(snapshotName(clusterOf(long), 'etcd:v3.6.9')).not.toBe(name);
  });
});
