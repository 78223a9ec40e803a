/** What happens to clusters in the soak: everyday operations and faults. Each leaves all data on a majority of the disks. */
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';
import { systemNamespace } from '../e2e/install.ts';
import { LiveCluster } from '../e2e/live-cluster.ts';
import type { Life } from './life.ts';

export interface Deed {
  readonly name: string;
  readonly weight: number;
  /** Fewer members than this do not survive it. */
  readonly atLeast: number;
  /** Clients cannot write all the while: the pause says nothing. */
  readonly outage?: true;
  readonly run: (life: Life) => Promise<unknown>;
}

/** A random member, as a pod's name. */
async function someMember({ cluster, chance }: Life): Promise<string> {
  return chance.pick(await cluster.pods()).metadata.name;
}

async function scaleTo(life: Life, sizes: readonly number[]): Promise<void> {
  const { spec } = await life.cluster.get();
  const to = life.chance.pick(sizes.filter((size) => size !== spec.replicas));
  await life.cluster.scale(to);
}

const deeds: readonly Deed[] = [
  { name: 'scale', weight: 4, atLeast: 1, run: (life) => scaleTo(life, [3, 5]) },
  { name: 'scale to one', weight: 1, atLeast: 3, run: (life) => scaleTo(life, [1]) },
  {
    name: 'scaled up and down at once',
    weight: 1,
    atLeast: 3,
    run: async (life) => {
      await scaleTo(life, [3, 5]);
      await delay(life.chance.below(5000));
      await scaleTo(life, [3, 5]);
    },
  },
  {
    name: 'update',
    weight: 2,
    atLeast: 3,
    run: ({ cluster, chance }) =>
      cluster.edit({ podTemplate: { metadata: { annotations: { 'example.org/soak': `${chance.below(2 ** 30)}` } } } }),
  },
  {
    name: 'pod deleted',
    weight: 3,
    atLeast: 1,
    run: async (life) => life.kubectl.run(['delete', 'pod', await someMember(life), '--wait=false']),
  },
  {
    name: 'pod gone without a farewell',
    weight: 2,
    atLeast: 1,
    run: async (life) =>
      life.kubectl.run(['delete', 'pod', await someMember(life), '--grace-period=0', '--force', '--wait=false']),
  },
  {
    name: 'kill -9',
    weight: 3,
    atLeast: 1,
    run: async (life) => life.cluster.signal(await someMember(life), 'SIGKILL'),
  },
  {
    name: 'kill -9 of all',
    weight: 1,
    atLeast: 1,
    outage: true,
    run: async ({ cluster }) => {
      for (const { metadata } of await cluster.pods()) await cluster.signal(metadata.name, 'SIGKILL');
    },
  },
  {
    name: 'stopped for a while',
    weight: 3,
    atLeast: 3,
    run: async (life) => {
      const member = await someMember(life);
      await life.cluster.signal(member, 'SIGSTOP');
      try {
        await delay(500 + life.chance.below(15_000));
      } finally {
        // The kubelet may have started it anew meanwhile.
        await life.cluster.signal(member, 'SIGCONT').catch(() => {});
      }
    },
  },
  {
    name: 'disk deleted',
    weight: 2,
    atLeast: 3,
    run: async (life) => {
      const member = await someMember(life);
      await life.kubectl.run(['delete', `pvc/data-${member}`, `pod/${member}`, '--wait=false']);
    },
  },
  {
    name: 'data damaged',
    weight: 1,
    atLeast: 3,
    run: async (life) => life.cluster.rot(await someMember(life), life.engine.damage),
  },
  {
    name: 'hibernated',
    weight: 1,
    atLeast: 1,
    outage: true,
    run: async ({ cluster }) => {
      const { spec } = await cluster.get();
      await cluster.scale(0);
      await cluster.until('to have no pods', 120_000, async () => (await cluster.pods()).length === 0);
      await cluster.scale(spec.replicas);
    },
  },
  {
    name: 'operator killed in the middle of a scaling',
    weight: 2,
    atLeast: 3,
    run: async (life) => {
      await scaleTo(life, [3, 5]);
      await delay(life.chance.below(4000));
      const operator = ['delete', 'pod', '-l', 'app.kubernetes.io/name=raftsman', '--grace-period=0', '--force'];
      await life.kubectl.in(systemNamespace).run(operator);
    },
  },
  {
    name: 'history compacted',
    weight: 1,
    atLeast: 1,
    run: async ({ cluster, clients }) => {
      // Clients of a round that has just begun know of no revision; one before what was let go the last time is refused.
      await clients.more(1, 60_000);
      const client = new EtcdClient({ endpoints: await cluster.urls(), ...cluster.connection() });
      try {
        await client.compact(clients.revision, true);
      } finally {
        client.close();
      }
    },
  },
  { name: 'snapshot', weight: 1, atLeast: 1, run: (life) => snapshot(life) },
  { name: 'restore into another cluster', weight: 1, atLeast: 1, run: (life) => restore(life) },
];

export const deedsFor = (size: number): readonly Deed[] => deeds.filter(({ atLeast }) => size >= atLeast);

/** Takes one and waits for it; gives its name and the revision that it holds. */
async function snapshot({ kubectl, cluster, chance }: Life): Promise<{ name: string; revision: number }> {
  const name = `soak-${cluster.name}-${chance.below(2 ** 31).toString(36)}`;
  await kubectl.apply(
    manifest('RaftSnapshot', name, { clusterName: cluster.name, storeName: 'archive', deletionPolicy: 'Delete' }),
  );
  const taken = await kubectl.untilCondition('raftsnapshot', name, { type: 'Complete', status: 'True' }, 300_000);
  return { name, revision: Number(taken.status?.['revision']) };
}

/** All that was acknowledged up to the snapshot is in the restored cluster, and nothing else. */
async function restore(life: Life): Promise<void> {
  const { kubectl, cluster, engine } = life;
  const { name: snapshotName, revision } = await snapshot(life);
  const name = `${cluster.name}-again`;
  const spec = { replicas: 1, engine: engine.spec, storage: { size: '1Gi' } };
  const target = { newCluster: { name, spec } };
  await kubectl.apply(manifest('RaftRestore', name, { source: { snapshotName }, target }));
  try {
    await kubectl.untilCondition('raftrestore', name, { type: 'Complete', status: 'True' }, 300_000);
    const again = await LiveCluster.of(kubectl, name);
    try {
      await again.calm(1, 120_000);
      await life.compareWith(again, revision);
    } finally {
      await again.close();
    }
  } finally {
    await kubectl.run(['delete', `raftrestore/${name}`, `raftcluster/${name}`, '--ignore-not-found', '--wait=true']);
    const left = ['-l', `raftsman.dev/cluster=${name}`];
    await kubectl.run(['wait', '--for=delete', 'pod', ...left, '--timeout=120s']);
    await kubectl.run(['delete', 'pvc', ...left]);
    await kubectl.run(['delete', 'raftsnapshot', snapshotName]);
  }
}

export const manifest = (kind: string, name: string, spec: object): string =>
  JSON.stringify({ apiVersion: 'raftsman.dev/v1alpha1', kind, metadata: { name }, spec }, null, 1);
