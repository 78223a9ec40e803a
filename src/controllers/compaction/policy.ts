/** What a RaftCompactionPolicy adds to a policy: compactions are made, and what they found is kept for keepSeconds. */
import type { RaftCluster } from '../../api/cluster.ts';
import type { RaftCompaction, RaftCompactionPolicy } from '../../api/compaction.ts';
import { timestamp } from '../../api/conditions.ts';
import { raftCluster, raftCompaction, raftCompactionPolicy } from '../../api/kinds.ts';
import { apiVersion } from '../../api/meta.ts';
import type { Live, ResourceType } from '../../kube/objects.ts';
import type { ControllerDefinition } from '../../runtime/contract.ts';
import { CLUSTER, MANAGED_BY, POLICY, SCHEDULED_AT } from '../labels.ts';
import { clusterObstacle, clusterWatch, policyController } from '../policy/controller.ts';
import type { RunKind } from '../policy/plan.ts';
import { selections, type World } from '../world.ts';
import { merge, past, runSamples, since, thin } from './history.ts';

/** A revision that was current keepSeconds ago is known to within a tenth of that. */
const DIVISOR = 10;
/** As many as the schema allows. */
const MOST_SAMPLES = 16;

export const compactionRuns: RunKind<RaftCompactionPolicy, RaftCompaction> = {
  run: 'compaction',
  scheduledReason: 'CompactionScheduled',
  lastName: 'lastCompactionName',
  retention: ({ spec }) => ({ last: spec.successfulHistoryLimit, failed: spec.failedHistoryLimit }),
  make: ({ metadata, spec }, name, scheduled) => ({
    apiVersion,
    kind: 'RaftCompaction',
    metadata: {
      name,
      namespace: metadata.namespace ?? 'default',
      labels: { [MANAGED_BY]: 'raftsman', [POLICY]: metadata.name, [CLUSTER]: spec.clusterName },
      annotations: { [SCHEDULED_AT]: timestamp(scheduled) },
    },
    spec: {
      clusterName: spec.clusterName,
      disarm: spec.disarm,
      ...(spec.keepRevisions === undefined ? {} : { keepRevisions: spec.keepRevisions }),
      ...(spec.keepSeconds === undefined ? {} : { keepSeconds: spec.keepSeconds }),
      ...(spec.defragment === undefined ? {} : { defragment: spec.defragment }),
    },
  }),
  more: remembered,
};

/** Without it, an operator that starts anew would know nothing of the time before. */
function remembered({ spec, status }: Live<RaftCompactionPolicy>, runs: readonly Live<RaftCompaction>[], now: Date) {
  const { keepSeconds } = spec;
  if (keepSeconds === undefined) return { clusterId: undefined, revisions: undefined };
  const begun = runs.filter((run) => run.status?.startTime !== undefined);
  const newest = begun.sort((a, b) => (a.status!.startTime! < b.status!.startTime! ? 1 : -1))[0];
  const clusterId = newest?.status?.clusterId ?? status?.clusterId;
  if (clusterId === undefined) return {};
  const old = status?.clusterId === clusterId ? (status.revisions ?? []) : [];
  const samples = merge(past([old, ...begun.map((run) => runSamples(run.status, clusterId))].flat(), now));
  const last = samples.at(-1);
  if (!last) return {};
  const end = new Date(last.time);
  return { clusterId, revisions: thin(since(samples, keepSeconds, end), end, DIVISOR).slice(-MOST_SAMPLES) };
}

export function compactionPolicyController(world: World): ControllerDefinition<RaftCompactionPolicy> {
  const { views } = world;
  const { own } = selections(world.namespace);
  return policyController(world, {
    name: 'compactionpolicy',
    runs: compactionRuns,
    policyType: raftCompactionPolicy as ResourceType<RaftCompactionPolicy>,
    policies: views.compactionPolicies,
    runType: raftCompaction as ResourceType<RaftCompaction>,
    made: views.compactions,
    look: ({ spec }, _, near) => ({
      obstacle: clusterObstacle(spec.clusterName, views.clusters.get(near(spec.clusterName)), 'compactions'),
    }),
    watches: [clusterWatch(raftCluster as ResourceType<RaftCluster>, own, views.compactionPolicies)],
  });
}
