import { expect, test } from '@jest/globals';
import { type Day, print, storyMs } from '../day.ts';
import { condition, type Printed } from '../kubectl.ts';
import { LiveCluster, patienceMs } from '../live-cluster.ts';
import { example } from '../namespace.ts';

/** A store in the local bucket, and a policy that archives into it at every full minute. */
export async function archiveEveryMinute(day: Day): Promise<void> {
  const { kubectl, cluster } = day;
  await kubectl.apply(example('store-s3.yaml', { 'prefix: demo': `prefix: ${kubectl.namespace}` }));
  await kubectl.apply(
    example('policy.yaml', {
      'name: demo-minutely': 'name: minutely',
      'clusterName: demo': `clusterName: ${cluster.name}`,
    }),
  );
}

const complete = (snapshot: Printed) => condition(snapshot, 'Complete')?.status === 'True';
const revisionOf = (snapshot: Printed) => Number(snapshot.status?.['revision']);

/** Disaster and recovery: from then on the day's own cluster is gone. Its clients must be stopped by `compare` first. */
export function recovering(day: () => Day): void {
  test(
    'snapshots of the day are there by schedule, and after a disaster the last one is restored, write by write',
    async () => {
      const { kubectl, cluster, engine } = day();
      const before = (await cluster.get()).status?.revision ?? 0;
      await day().step('a snapshot by hand', async () => {
        await day().clients.more(200, patienceMs);
        await kubectl.apply(
          example('snapshot.yaml', {
            'name: demo-first': 'name: by-hand',
            'clusterName: demo': `clusterName: ${cluster.name}`,
          }),
        );
        await kubectl.untilCondition('raftsnapshot', 'by-hand', { type: 'Complete', status: 'True' }, patienceMs);
        await day().clients.more(200, patienceMs);
      });
      expect(await day().compare()).toEqual([]);
      const snapshots = await kubectl.list('raftsnapshots');
      const scheduled = snapshots.filter(({ metadata }) => metadata.name.startsWith('minutely-'));
      expect(scheduled.filter(complete).length).toBeGreaterThanOrEqual(1);
      const byHand = snapshots.find(({ metadata }) => metadata.name === 'by-hand')!;
      expect(revisionOf(byHand)).toBeGreaterThan(before);

      await kubectl.run(['delete', 'raftsnapshotpolicy', 'minutely']);
      await kubectl.run(['delete', 'raftcluster', cluster.name, '--wait=true']);
      await kubectl.run(['wait', '--for=delete', 'pod', '-l', 'app.kubernetes.io/component=member', '--timeout=60s']);
      await kubectl.run(['delete', 'pvc', '--all', '--wait=true']);

      const from = performance.now();
      const spec = { replicas: 3, engine: (await newest(day())) ?? {}, storage: { size: '1Gi' } };
      await kubectl.apply(
        JSON.stringify(
          {
            apiVersion: 'raftsman.dev/v1alpha1',
            kind: 'RaftRestore',
            metadata: { name: 'again' },
            spec: { source: { snapshotName: 'by-hand' }, target: { newCluster: { name: 'again', spec } } },
          },
          null,
          1,
        ),
      );
      await kubectl.untilCondition('raftrestore', 'again', { type: 'Complete', status: 'True' }, patienceMs);
      print(`${engine.type}: restored in ${((performance.now() - from) / 1000).toFixed(1)} s`);
      const again = await LiveCluster.of(kubectl, 'again');
      try {
        await again.calm(3);
        expect(await day().compareWith(again, revisionOf(byHand))).toEqual([]);
      } finally {
        await again.close();
      }
    },
    storyMs,
  );
}

/** `spec.engine` of a cluster of the version that the day ended with. */
async function newest({ engine }: Day): Promise<Readonly<Record<string, unknown>>> {
  const last = engine.updates.at(-1);
  return last === undefined ? engine.spec : { ...engine.spec, version: last };
}
