/**
 * The story of the demo, told on whatever Kubernetes it is given: a cluster, data, an on-demand and a scheduled snapshot,
 * disaster, and a new cluster from the archive with every key in it. Each step throws when it is not as it should be.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { differences, digest, type KeyValue, readData, type Written, writeData } from '../e2e/data.ts';
import { operatorReady } from '../e2e/install.ts';
import { condition, type Kubectl, type Printed } from '../e2e/kubectl.ts';
import { onCluster } from '../e2e/target.ts';
import { type Steps, table } from './steps.ts';

const examples = join(import.meta.dirname, '../../examples');
const example = (file: string) => readFileSync(join(examples, file), 'utf8');

const keys = 2000;

export interface Story {
  readonly kubectl: Kubectl;
  readonly steps: Steps;
  /** A manifest that makes the RaftSnapshotStore `archive` and what it needs. */
  readonly store: string;
  /** Where the store keeps its archives, for people: `bucket raftsman`. */
  readonly storeName: string;
}

function bytes(count: number): string {
  return count < 10_240
    ? `${count} B`
    : count < 10 * 1048576
      ? `${(count / 1024).toFixed(1)} KiB`
      : `${(count / 1048576).toFixed(1)} MiB`;
}

function progressOf(object: Printed): string {
  const at = object.status?.['progress'] as { percent?: number; bytes?: number } | undefined;
  const complete = condition(object, 'Complete');
  return `${complete?.reason ?? 'Pending'}${at?.percent === undefined ? '' : ` ${at.percent} % (${bytes(at.bytes ?? 0)})`}`;
}

const revisionOf = (object: Printed) => Number(object.status?.['revision'] ?? Number.NaN);

/** The first snapshot of the policy that is complete. */
async function scheduledSnapshot(kubectl: Kubectl, policy: string, timeoutMs: number): Promise<Printed> {
  return kubectl.until(
    `a snapshot by the schedule of ${policy}`,
    timeoutMs,
    async () => {
      const made = (await kubectl.list('raftsnapshots')).filter((one) => one.metadata.name.startsWith(`${policy}-`));
      const failed = made.find((one) => condition(one, 'Complete')?.reason === 'Failed');
      if (failed) throw new Error(`${failed.metadata.name} failed: ${condition(failed, 'Complete')?.message}`);
      return made.find((one) => condition(one, 'Complete')?.status === 'True');
    },
    () => kubectl.run(['describe', 'raftsnapshotpolicy', policy]),
  );
}

export async function tell({ kubectl, steps, store, storeName }: Story): Promise<void> {
  await steps.run('apply examples/cluster.yaml, the store and examples/policy.yaml', async () => {
    await kubectl.apply([example('cluster.yaml'), store, example('policy.yaml')].join('---\n'));
  });

  await steps.run('the operator is ready', () => operatorReady(kubectl));
  await steps.run('three members elect a leader', async (note) => {
    const cluster = await kubectl.untilCondition('raftcluster', 'demo', { type: 'Ready', status: 'True' }, 120_000);
    note(`${cluster.status?.['leader']} leads`);
  });
  steps.show(await kubectl.run(['get', 'raftcluster,pods,persistentvolumeclaims']));

  const written: Written = await steps.run('write data', async (note) => {
    const result = await onCluster(kubectl, 'demo', (target) => writeData(target, 'demo', keys));
    note(
      `${result.puts} puts and ${result.deletes} deletes leave ${result.expected.size} keys at revision ${result.revision}`,
    );
    return result;
  });
  const before: KeyValue[] = await steps.run('read it back from the cluster', async (note) => {
    const { items } = await onCluster(kubectl, 'demo', readData);
    const wrong = differences(written.expected, items);
    if (wrong.length > 0) throw new Error(`the cluster does not hold what was written: ${wrong.join('; ')}`);
    note(`${items.length} keys, all as written`);
    return items;
  });

  const taken = await steps.run('an on-demand snapshot: apply examples/snapshot.yaml', async (note) => {
    await kubectl.apply(example('snapshot.yaml'));
    const done = await kubectl.untilCondition(
      'raftsnapshot',
      'demo-first',
      { type: 'Complete', status: 'True' },
      120_000,
      (object) => note(progressOf(object)),
    );
    if (!(revisionOf(done) >= written.revision))
      throw new Error(
        `the snapshot is at revision ${revisionOf(done)}, older than the last write at ${written.revision}`,
      );
    note(`revision ${revisionOf(done)}, ${bytes(Number(done.status?.['sizeBytes']))} in ${storeName}`);
    return done;
  });

  const scheduled = await steps.run('a scheduled snapshot, due at the next full minute', async (note) => {
    const done = await scheduledSnapshot(kubectl, 'demo-minutely', 150_000);
    note(`${done.metadata.name}, revision ${revisionOf(done)}`);
    return done;
  });
  steps.show(await kubectl.run(['get', 'raftsnapshots,raftsnapshotpolicies,raftsnapshotstores']));

  await steps.run('disaster: delete the cluster and its disks', async (note) => {
    await kubectl.run(['delete', 'raftsnapshotpolicy', 'demo-minutely']);
    await kubectl.run(['delete', 'raftcluster', 'demo', '--wait=true']);
    await kubectl.run([
      'wait',
      '--for=delete',
      'pod',
      '-l',
      'raftsman.dev/cluster=demo,app.kubernetes.io/component=member',
      '--timeout=60s',
    ]);
    await kubectl.run(['delete', 'persistentvolumeclaim', '-l', 'raftsman.dev/cluster=demo', '--wait=true']);
    const left = await kubectl.list(
      'pods,persistentvolumeclaims',
      '-l',
      'raftsman.dev/cluster=demo,app.kubernetes.io/component=member',
    );
    if (left.length > 0) throw new Error(`${left.map((one) => one.metadata.name).join(', ')} should be gone`);
    note('no member and no disk is left');
  });

  const restore = await steps.run('a new cluster from the archive: apply examples/restore.yaml', async (note) => {
    await kubectl.apply(example('restore.yaml'));
    return kubectl.untilCondition(
      'raftrestore',
      'demo-restored',
      { type: 'Complete', status: 'True' },
      180_000,
      (object) => note(progressOf(object)),
    );
  });
  steps.show(await kubectl.run(['get', 'raftrestores,raftclusters']));

  const { items: after, revision: afterRevision } = await steps.run(
    'read every key from the new cluster',
    async (note) => {
      const { items, revision } = await onCluster(kubectl, 'demo-restored', readData);
      const wrong = differences(written.expected, items);
      if (wrong.length > 0) throw new Error(`the restored data differ: ${wrong.join('; ')}`);
      if (digest(items) !== digest(before))
        throw new Error('the restored keys have other revisions or versions than before');
      note(`${items.length} keys, all as written, with their revisions and versions`);
      return { items, revision };
    },
  );

  const restored = restore.status?.['restored'] as { revision?: number; hash?: string } | undefined;
  steps.show(
    table([
      ['', 'keys', 'revision', 'size', 'SHA-256 of keys, values, revisions'],
      ['written', written.expected.size, written.revision, bytes(written.bytes), digest(before)],
      [
        `archived on demand (${taken.metadata.name})`,
        Number(taken.status?.['keys']),
        revisionOf(taken),
        bytes(Number(taken.status?.['sizeBytes'])),
        `state hash ${taken.status?.['hash']}`,
      ],
      [
        `archived by schedule (${scheduled.metadata.name})`,
        Number(scheduled.status?.['keys']),
        revisionOf(scheduled),
        bytes(Number(scheduled.status?.['sizeBytes'])),
        `state hash ${scheduled.status?.['hash']}`,
      ],
      [
        'restored, as the members say',
        after.length,
        restored?.revision ?? Number.NaN,
        '',
        `state hash ${restored?.hash}`,
      ],
      ['read back', after.length, afterRevision, '', digest(after)],
    ]),
  );
}
