/** The certificates of a cluster over its life, as the plan wants them, without an API server. */
import type { RaftCluster } from '../../../src/api/cluster.ts';
import { after, lifetimeOf } from '../../../src/controllers/tls/authority.ts';
import { type Role, textAt } from '../../../src/controllers/tls/inspect.ts';
import { type LeafWrite, type ManagedInput, planManaged } from '../../../src/controllers/tls/managed.ts';
import { authoritySecret, leafSecret } from '../../../src/controllers/tls/resources.ts';
import { issueLeaf, newAuthority } from '../../../src/controllers/tls/x509.ts';
import type { Secret } from '../../../src/kube/kinds.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { clusterOf, namespace } from '../objects.ts';

export type Secrets = { [S in Role | 'authority']?: Secret };

export interface Life {
  readonly secrets: Secrets;
  spec: ManagedInput['spec'];
  /** What has been done, in words. */
  readonly done: string[];
  /** Does all that the plan wants at this time, and returns what it says then. */
  live(now: number, unproven?: readonly string[]): Extract<ReturnType<typeof planManaged>, { kind: 'leaves' }>;
}

export function life(managed: object = {}): Life {
  const cluster: Live<RaftCluster> = clusterOf('c', { tls: { mode: 'Managed', managed } });
  const secrets: Secrets = {};
  const done: string[] = [];
  const write = ({ role, bundle, issue }: LeafWrite): void => {
    const pair = issue
      ? issueLeaf(issue.authority, issue.leaf, issue.lifetime)
      : { certificate: textAt(secrets[role]!, 'tls.crt')!, key: textAt(secrets[role]!, 'tls.key')! };
    secrets[role] = leafSecret(cluster, role, pair, bundle);
    done.push(`${issue ? 'issue' : 'trust'} ${role}`);
  };
  const self: Life = {
    secrets,
    spec: cluster.spec.tls.managed,
    done,
    live(now, unproven = []) {
      for (let round = 0; round < 6; round++) {
        const plan = planManaged({
          cluster: { name: 'c', namespace },
          spec: self.spec,
          secrets,
          unproven,
          now: new Date(now),
        });
        if (plan.kind === 'fault') throw new Error(plan.message);
        if (plan.kind === 'authority') {
          const lifetime = lifetimeOf(self.spec.caDays, now);
          const made = {
            client: newAuthority('raftsman c', lifetime),
            peer: newAuthority('raftsman c peers', lifetime),
          };
          secrets.authority = authoritySecret(cluster, after(plan.state, plan.step, made, now));
          done.push(plan.step.kind);
        } else if (plan.writes.length === 0) return plan;
        else plan.writes.forEach(write);
      }
      throw new Error(`there is always something left to do: ${done.slice(-12).join(', ')}`);
    },
  };
  return self;
}
