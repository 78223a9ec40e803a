/** The main job: what was written comes back from the archive, key by key, after everything else is gone. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { differences, digest, readData, writeData } from './data.ts';
import type { Kubectl } from './kubectl.ts';
import { example, newNamespace, ready, removeNamespace } from './namespace.ts';
import { onCluster } from './target.ts';

let kubectl: Kubectl;
beforeAll(async () => {
  kubectl = await newNamespace('e2e-recover');
});
afterAll(() => removeNamespace(kubectl));

test('a cluster whose objects and disks are deleted comes back from an S3 archive with every key, value, revision and version', async () => {
  await kubectl.apply(example('cluster.yaml'));
  await kubectl.apply(example('store-s3.yaml', { 'prefix: demo': 'prefix: e2e-recover' }));
  await ready(kubectl, 'demo');
  const written = await onCluster(kubectl, 'demo', (target) => writeData(target, 'recover', 1500));
  const before = await onCluster(kubectl, 'demo', readData);
  expect(differences(written.expected, before.items)).toEqual([]);

  await kubectl.apply(example('snapshot.yaml'));
  const taken = await kubectl.untilCondition(
    'raftsnapshot',
    'demo-first',
    { type: 'Complete', status: 'True' },
    120_000,
  );
  expect(Number(taken.status?.['revision'])).toBeGreaterThanOrEqual(written.revision);
  expect(taken.status?.['keys']).toBe(written.expected.size);
  expect(taken.status?.['progress']).toMatchObject({ percent: 100 });
  expect(taken.status?.['checksum']).toMatch(/^[0-9a-f]{64}$/);

  // What is written after the snapshot must not be in the restored cluster: it is the snapshot that comes back.
  await onCluster(kubectl, 'demo', (target) => writeData(target, 'later', 10));

  await kubectl.run(['delete', 'raftcluster', 'demo', '--wait=true']);
  await kubectl.run(['wait', '--for=delete', 'pod', '-l', 'app.kubernetes.io/component=member', '--timeout=60s']);
  await kubectl.run(['delete', 'pvc', '--all', '--wait=true']);

  await kubectl.apply(example('restore.yaml'));
  const restore = await kubectl.untilCondition(
    'raftrestore',
    'demo-restored',
    { type: 'Complete', status: 'True' },
    180_000,
  );
  const after = await onCluster(kubectl, 'demo-restored', readData);
  expect(differences(written.expected, after.items)).toEqual([]);
  expect(digest(after.items)).toBe(digest(before.items));
  expect(restore.status?.['restored']).toMatchObject({
    revision: taken.status?.['revision'],
    keys: written.expected.size,
    hash: taken.status?.['hash'],
  });

  // It goes on from there: a new write gets a revision after all that were restored.
  const more = await onCluster(kubectl, 'demo-restored', (target) => writeData(target, 'more', 10));
  expect(more.revision).toBeGreaterThan(written.revision);
}, 420_000);

test('a restored cluster survives the loss of all its pods at once, although its archive is gone', async () => {
  const before = await onCluster(kubectl, 'demo-restored', readData);
  await kubectl.run(['delete', 'raftsnapshotstore', 'archive']);
  const pods = await kubectl.list(
    'pods',
    '-l',
    'raftsman.dev/cluster=demo-restored,app.kubernetes.io/component=member',
  );
  const uids = new Set(pods.map((pod) => pod.metadata.uid));
  await kubectl.run(['delete', 'pod', '--grace-period=0', '--force', ...pods.map((pod) => pod.metadata.name)]);
  await kubectl.until('three new pods', 60_000, async () => {
    const now = await kubectl.list(
      'pods',
      '-l',
      'raftsman.dev/cluster=demo-restored,app.kubernetes.io/component=member',
    );
    return now.filter((pod) => !uids.has(pod.metadata.uid)).length === 3 && now.length === 3;
  });
  await ready(kubectl, 'demo-restored');
  const after = await onCluster(kubectl, 'demo-restored', readData);
  expect(digest(after.items)).toBe(digest(before.items));
}, 240_000);
