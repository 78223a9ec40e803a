/** What keeps others from harming the members: evictions within what the quorum can spare, and the network. Pure. */
import type { NetworkPolicySettings } from '../../api/network.ts';
import { CLUSTER, COMPONENT, memberSelector } from '../labels.ts';
import { PORTS } from '../names.ts';
import { quorumOf } from './quorum.ts';

type Json = Readonly<Record<string, unknown>>;

/** How many of so many voters may be away while the others can still write. */
export function spare(voters: number): number {
  return Math.max(0, voters - quorumOf(voters));
}

/**
 * How many pods of a cluster may be evicted at once. All members' pods are counted, learners too, and what may be away is
 * counted in voters: an eviction of a learner takes from the same budget, so that the voters can only lose fewer. (A budget
 * for the voters alone needs a label on their pods; one that comes late, as after a restart, leaves a voter with no budget.)
 *
 * While the number of voters changes, the smaller number counts of what is and what comes next: the budget is narrowed
 * before a voter leaves. At rest one may be away even where none can be spared: otherwise no node with a cluster of one or
 * two members could ever be drained, and a short silence is the lesser evil.
 */
export function mayBeEvicted(voters: number, asked: number): number {
  if (asked === 0 || voters === asked) return Math.max(1, spare(voters));
  return Math.min(spare(voters), spare(voters + Math.sign(asked - voters)));
}

/** As many evictions as mayBeEvicted allows; what is not ready anyway may always be evicted. */
export function disruptionBudgetSpec(cluster: string, voters: number, asked: number): Json {
  return {
    maxUnavailable: mayBeEvicted(voters, asked),
    unhealthyPodEvictionPolicy: 'AlwaysAllow',
    selector: { matchLabels: memberSelector(cluster) },
  };
}

/**
 * Peers come from members of this very cluster. Clients are the operator, this cluster's pods (its Jobs and members) and
 * whom the spec names, or else the namespace. Whoever scrapes metrics may be anywhere. Policies only ever add up, so this
 * one opens nothing wider than a cluster needs: elsewhere it would undo somebody's own refusal.
 */
export function networkPolicySpec(
  cluster: string,
  clients: NetworkPolicySettings['clients'],
  operatorNamespace: string | undefined,
): Json {
  const operator = {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': operatorNamespace } },
    podSelector: { matchLabels: { 'app.kubernetes.io/name': 'raftsman', [COMPONENT]: 'operator' } },
  };
  return {
    podSelector: { matchLabels: memberSelector(cluster) },
    policyTypes: ['Ingress'],
    ingress: [
      { from: [{ podSelector: { matchLabels: memberSelector(cluster) } }], ports: [tcp(PORTS.peer)] },
      {
        from: [
          { podSelector: { matchLabels: { [CLUSTER]: cluster } } },
          // An operator outside of Kubernetes is no pod: its address is for spec.networkPolicy.clients to name.
          ...(operatorNamespace === undefined ? [] : [operator]),
          ...(clients ?? [{ podSelector: {} }]),
        ],
        ports: [tcp(PORTS.client)],
      },
      { ports: [tcp(PORTS.metrics)] },
    ],
  };
}

function tcp(port: number): Json {
  return { protocol: 'TCP', port };
}
