/** What the operator asks of the API server while nothing happens, by its own count. */
import { setTimeout as delay } from 'node:timers/promises';
import { leases, pods } from '../../src/kube/kinds.ts';
import type { KubeObject, ResourceType } from '../../src/kube/objects.ts';
import { systemNamespace } from '../e2e/install.ts';
import { type Ground, Watching } from './ground.ts';

const settleMs = 15_000;
const windowMs = 60_000;

interface Count {
  readonly requests: number;
  /** Watches begun and lists made to begin them: the server ends every watch after a few minutes. */
  readonly watching: number;
}

/** Requests in a minute of calm beside renewals of the Lease and watches. Begins and ends with a renewal, for exactness. */
export async function idleRequests({ client }: Ground): Promise<number> {
  const watching = await Watching.start(client, systemNamespace, [leases] as ResourceType<KubeObject>[]);
  let renewals = 0;
  let last: string | undefined;
  const renewed = async (): Promise<void> => {
    const before = renewals;
    await watching.until('the Lease is renewed', 30_000, () => {
      const version = watching.get(leases, 'raftsman-operator')?.metadata.resourceVersion;
      if (version !== last) renewals++;
      last = version;
      return renewals > before;
    });
  };
  try {
    await delay(settleMs);
    await renewed();
    await renewed();
    const [from, begun] = [renewals, await count(client)];
    const end = performance.now() + windowMs;
    while (performance.now() < end) await renewed();
    const ended = await count(client);
    const all = ended.requests - begun.requests;
    return all - (renewals - from) - (ended.watching - begun.watching);
  } finally {
    await watching.stop();
  }
}

async function count(client: Ground['client']): Promise<Count> {
  const { items } = await client.list(pods, {
    namespace: systemNamespace,
    labelSelector: 'app.kubernetes.io/component=operator',
  });
  const ip = items.find(({ status }) => status?.podIP !== undefined)!.status!.podIP!;
  const text = await (await fetch(`http://${ip}:8080/metrics`)).text();
  const sum = (pattern: RegExp) => [...text.matchAll(pattern)].reduce((all, [, value]) => all + Number(value), 0);
  return {
    requests: sum(/^raftsman_api_requests (\d+)/gm),
    watching: sum(/^raftsman_reflector_events_total\{[^}]*event="(?:watch|list)"[^}]*\} (\d+)/gm),
  };
}
