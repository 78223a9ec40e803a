import { describe, expect, test } from '@jest/globals';
import { diskOwners } from '../../../src/controllers/cluster/retention.ts';
import { clusterOf, diskOf } from '../objects.ts';

const disk = (ordinal: number, more: object = {}, token = 'token') => diskOf('c', ordinal, token, true, more);
const cluster = (whenDeleted: 'Delete' | 'Retain') =>
  clusterOf('c', { storage: { size: '1Gi', retention: { whenDeleted } } });
const owner = { apiVersion: 'raftsman.dev/v1alpha1', kind: 'RaftCluster', name: 'c', uid: 'uid-of-c' };
const pod = { apiVersion: 'v1', kind: 'Pod', name: 'c-0', uid: 'uid-of-c-0' };
const ownersOf = (whenDeleted: 'Delete' | 'Retain', ...disks: ReturnType<typeof disk>[]) =>
  diskOwners(cluster(whenDeleted), disks, 'token').map(({ name, ownerReferences }) => [name, ownerReferences]);

describe('disks and the cluster that they belong to', () => {
  test('are its own where they go with it, those of members that were removed as well', () => {
    expect(ownersOf('Delete', disk(0), disk(7))).toEqual([
      ['data-c-0', [owner]],
      ['data-c-7', [owner]],
    ]);
    expect(ownersOf('Delete', disk(0, { ownerReferences: [owner] }))).toEqual([]);
  });

  test('are nobody’s where they stay, and what others say of them stays either way', () => {
    expect(ownersOf('Retain', disk(0))).toEqual([]);
    expect(ownersOf('Retain', disk(0, { ownerReferences: [pod, owner] }))).toEqual([['data-c-0', [pod]]]);
    expect(ownersOf('Delete', disk(0, { ownerReferences: [pod] }))).toEqual([['data-c-0', [pod, owner]]]);
  });

  test('of another cluster, of another name or on their way out are let be', () => {
    const going = disk(1, { deletionTimestamp: '2026-11-22T00:00:00Z' });
    expect(ownersOf('Delete', disk(0, {}, 'another'), going, diskOf('d', 0, 'token'))).toEqual([]);
  });

  test('are written to as they were seen', () => {
    expect(diskOwners(cluster('Delete'), [disk(0)], 'token')).toMatchObject([
      { uid: 'uid-of-data-c-0', resourceVersion: '100' },
    ]);
  });
});
