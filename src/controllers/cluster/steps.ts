/** Performs a step. Facts that a step rests on are read anew first: the plan may come from an old view. */
import type { RaftCluster } from '../../api/cluster.ts';
import { raftSnapshot } from '../../api/kinds.ts';
import type { RaftSnapshot } from '../../api/snapshot.ts';
import { pods } from '../../kube/kinds.ts';
import { keyOf, type Live, type ResourceType, refOf } from '../../kube/objects.ts';
import type { World } from '../world.ts';
import { createOnce } from '../writes.ts';
import type { ClusterStep } from './step.ts';

export async function performStep(
  world: World,
  cluster: Live<RaftCluster>,
  step: ClusterStep,
  signal: AbortSignal,
): Promise<void> {
  const { namespace = '' } = refOf(keyOf(cluster));
  switch (step.kind) {
    case 'replaceMember':
      await world.client.delete(pods, { namespace, name: step.pod }, { preconditions: { uid: step.uid }, signal });
      return;
    case 'createSnapshot':
      await createOnce(
        world.client,
        raftSnapshot as ResourceType<RaftSnapshot>,
        world.views.snapshots,
        cluster,
        step.snapshot,
      );
      return;
    case 'addMember':
    case 'promoteMember':
    case 'removeMember':
    case 'moveLeader':
    case 'renewDisk':
      throw new Error(`${step.kind} is not performed yet`);
  }
}
