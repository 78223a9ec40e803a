/** Snapshots by schedule on a real node: they land, they are the ones that retention keeps, and suspending stops them. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { condition, type Kubectl } from './kubectl.ts';
import { example, newNamespace, ready, removeNamespace } from './namespace.ts';

let kubectl: Kubectl;
beforeAll(async () => {
  kubectl = await newNamespace('e2e-schedule');
});
afterAll(() => removeNamespace(kubectl));

test('a policy archives at the full minute, and the cluster shows the last and the next snapshot', async () => {
  await kubectl.apply(example('cluster.yaml', { 'replicas: 3': 'replicas: 1' }));
  await kubectl.apply(example('store-s3.yaml', { 'prefix: demo': 'prefix: e2e-schedule' }));
  await kubectl.apply(example('policy.yaml'));
  await ready(kubectl, 'demo');
  const snapshot = await kubectl.until(
    'a scheduled snapshot to complete',
    150_000,
    async () => (await kubectl.list('raftsnapshots')).find((one) => condition(one, 'Complete')?.status === 'True'),
    () => kubectl.run(['describe', 'raftsnapshotpolicy,raftsnapshot']),
  );
  // The name is the scheduled minute, so that a second run for the same time can make no second snapshot.
  const minute = Number(/^demo-minutely-(\d+)$/.exec(snapshot.metadata.name)?.[1]);
  expect(Math.abs(minute - Date.now() / 60_000)).toBeLessThan(4);
  const cluster = await kubectl.until('the cluster to show it', 30_000, async () => {
    const object = await kubectl.get('raftcluster', 'demo');
    return (object?.status?.['lastSnapshot'] as { name?: string } | undefined)?.name?.startsWith('demo-minutely-') &&
      object?.status?.['nextSnapshotTime'] !== undefined
      ? object
      : undefined;
  });
  expect(Date.parse(String(cluster.status?.['nextSnapshotTime'])) % 60_000).toBe(0);
  expect(await kubectl.run(['get', 'raftclusters'])).toMatch(/LAST-SNAPSHOT\s+NEXT-SNAPSHOT/);
}, 300_000);
