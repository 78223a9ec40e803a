/** The labels and annotations that Raftsman puts on what it makes, and by which it finds it again. */
import type { KubeObject } from '../kube/objects.ts';
import { version } from '../version.ts';

export const MANAGED_BY = 'app.kubernetes.io/managed-by';
export const COMPONENT = 'app.kubernetes.io/component';
export const CLUSTER = 'raftsman.dev/cluster';
export const SNAPSHOT = 'raftsman.dev/snapshot';
export const RESTORE = 'raftsman.dev/restore';
export const POLICY = 'raftsman.dev/policy';

/** On snapshots of a policy: the scheduled time (RFC 3339), however late the snapshot was made. */
export const SCHEDULED_AT = 'raftsman.dev/scheduled-at';
/** On a cluster that a RaftRestore made: that restore's uid. A cluster without it belongs to somebody else. */
export const RESTORE_UID = 'raftsman.dev/restore-uid';
/** On disks and the configuration: the initial-cluster token under which the data on them was first written. */
export const TOKEN = 'raftsman.dev/cluster-token';
/** On disks: the cluster has once been complete, so an empty disk beside this one is a lost member. */
export const FORMED = 'raftsman.dev/formed';
/** On disks: `<cluster id>/<member id>` of the member whose data it holds. A member that was removed leaves it behind. */
export const MEMBER = 'raftsman.dev/member';
/** On member pods: a hash of what they run. A pod whose hash differs from the StatefulSet's is out of date. */
export const TEMPLATE = 'raftsman.dev/template';
/** On member pods: a hash of the CAs that they trust, where they read those only when they start. */
export const TRUST = 'raftsman.dev/trust';
/** On member pods: a hash of what they restore from. It counts only until the cluster has formed. */
export const RESTORE_TEMPLATE = 'raftsman.dev/restore-template';

export const MANAGED_SELECTOR = `${MANAGED_BY}=raftsman`;

export type Component = 'member' | 'snapshot' | 'restore';
export type Labels = Readonly<Record<string, string>>;

/** What selects the members of a cluster: these never change, since a StatefulSet's selector cannot. */
export function memberSelector(cluster: string): Labels {
  return {
    'app.kubernetes.io/name': 'raftsman',
    'app.kubernetes.io/instance': cluster,
    [COMPONENT]: 'member',
  };
}

export function isMember(pod: KubeObject): boolean {
  return pod.metadata.labels?.[COMPONENT] === 'member';
}

/** The labels of pods and disks. The version is not among them: a new operator must not restart members for a label. */
export function podLabels(cluster: string, component: Component): Labels {
  return {
    ...memberSelector(cluster),
    [COMPONENT]: component,
    'app.kubernetes.io/part-of': 'raftsman',
    [MANAGED_BY]: 'raftsman',
    [CLUSTER]: cluster,
  };
}

export function objectLabels(cluster: string, component: Component): Labels {
  return {
    ...podLabels(cluster, component),
    'app.kubernetes.io/version': version.replace(/[^A-Za-z0-9._-]/g, '_'),
  };
}

/** On a cluster that a RaftRestore made: the revision that its archive holds. */
export const RESTORE_REVISION = 'raftsman.dev/restore-revision';
/** On a snapshot that was taken ahead of a change of version: what members run after it. */
export const BEFORE_VERSION = 'raftsman.dev/before-version';
