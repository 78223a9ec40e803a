/**
 * Asks members to show that they have what the last step of a change of CAs gave them: that they accept a certificate of
 * the new one, or serve with one. Files that kubelet has not yet brought, or that a process has not read, show here.
 */
import type { RaftCluster } from '../../api/cluster.ts';
import type { Key, Live } from '../../kube/objects.ts';
import { isMember } from '../labels.ts';
import { hashOf } from '../manifests.ts';
import { Polls } from '../polls.ts';
import type { World } from '../world.ts';
import { type Credentials, endpointOf } from './state.ts';

const TIMEOUT_MS = 2_500;
const RETRY_MS = 5_000;

export interface ProofPolls {
  /** The members that have not accepted these credentials yet. Asks them from now on; nobody without credentials. */
  unproven(key: Key, cluster: Live<RaftCluster>, credentials: Credentials | undefined): readonly string[];
  forget(key: Key): void;
  close(): void;
}

export function proofPolls(world: World, controller: string): ProofPolls {
  const polls = new Polls<true>({
    clock: world.clock,
    timeoutMs: TIMEOUT_MS,
    concurrency: 16,
    // Once is enough: what a member has, it does not lose again.
    everyMs: ({ failures }) => (failures > 0 ? RETRY_MS : undefined),
    wake: (key) => world.manager.enqueue(controller, key),
  });
  return {
    unproven(key, cluster, credentials) {
      if (!credentials) {
        polls.ask(key, []);
        return [];
      }
      const engine = world.engine(cluster.spec.engine.type);
      const members = world.views.pods.byIndex('cluster', key).filter(isMember);
      const what = hashOf(credentials);
      polls.ask(
        key,
        members.flatMap((pod) => {
          const endpoint = endpointOf(cluster, pod, credentials);
          if (!endpoint || pod.metadata.deletionTimestamp !== undefined) return [];
          return {
            id: pod.metadata.name,
            of: `${pod.metadata.uid} ${endpoint.url} ${what}`,
            ask: async (signal: AbortSignal): Promise<true> => {
              await engine.status(endpoint, { signal, timeoutMs: TIMEOUT_MS });
              return true;
            },
          };
        }),
      );
      const answers = polls.answers(key);
      return members.map(({ metadata }) => metadata.name).filter((name) => answers.get(name)?.value !== true);
    },
    forget: (key) => polls.ask(key, []),
    close: () => polls.close(),
  };
}
