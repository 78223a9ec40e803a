/** What a compaction plans, done to real members of etcd: their files shrink, and writers hardly notice. */
import { describe, expect, test } from '@jest/globals';
import type { RaftCompaction, RaftCompactionStatus } from '../../../src/api/compaction.ts';
import { raftCompaction, withDefaults } from '../../../src/api/kinds.ts';
import { apiVersion } from '../../../src/api/meta.ts';
import type { Crew } from '../../../src/controllers/cluster/steps.ts';
import { performStep } from '../../../src/controllers/compaction/perform.ts';
import { planCompaction } from '../../../src/controllers/compaction/plan.ts';
import { EtcdClient } from '../../../src/etcd/client.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { verdict } from '../../archive/samples.ts';
import { Clients } from '../../clients/clients.ts';
import { Pods } from '../../engines/etcd/pods.ts';
import { clusterOf, formedStatus, meta } from '../objects.ts';

const MiB = 1024 * 1024;

async function crewOf(pods: Pods, names: readonly string[]): Promise<Crew> {
  const { engine } = pods;
  const present = await Promise.all(
    names.map(async (name) => ({
      name,
      endpoint: pods.endpoint(name),
      status: await engine.status(pods.endpoint(name)),
    })),
  );
  const leader = present.find(({ status }) => status.leaderId === status.memberId)!;
  const endpoints = present.map(({ endpoint }) => endpoint);
  return { engine, present, leader, endpoints, list: await engine.members(endpoints) };
}

/** What the controller does with the API server, without one. */
async function compact(
  pods: Pods,
  names: readonly string[],
  spec: object,
): Promise<RaftCompaction & { trail: string[] }> {
  let cluster = clusterOf('e', {}, { ...formedStatus, clusterId: '' });
  let compaction = withDefaults(raftCompaction, {
    apiVersion,
    kind: 'RaftCompaction',
    metadata: meta('x'),
    spec: { clusterName: 'e', ...spec },
  }) as Live<RaftCompaction>;
  const trail: string[] = [];
  let inUseBefore: Map<string, number> | undefined;
  const wrote = (status: RaftCompactionStatus) => {
    compaction = { ...compaction, status };
  };
  for (let turn = 0; compaction.status?.completionTime === undefined; turn++) {
    if (turn > 200) throw new Error(`goes on and on: ${trail.join(', ')}`);
    const crew = await crewOf(pods, names);
    const { clusterId } = crew.leader.status;
    cluster = { ...cluster, status: { ...cluster.status, clusterId } };
    const observed = { compaction, cluster, readers: [], samples: [], quotaBounds: 'sizeBytes' as const, crew };
    const { actions, requeueAfterMs = 0 } = planCompaction(
      { ...observed, ...(inUseBefore ? { inUseBefore } : {}) },
      new Date(),
    );
    inUseBefore = new Map(crew.present.map(({ name, status }) => [name, status.sizeInUseBytes]));
    for (const action of actions) {
      if (action.kind === 'lock') cluster = { ...cluster, status: { ...cluster.status, operation: action.operation } };
      if (action.kind === 'status') wrote(action.status);
      if (action.kind !== 'step') continue;
      trail.push(action.step.kind === 'defragment' ? `defragment ${action.step.member}` : action.step.kind);
      const signal = AbortSignal.timeout(60_000);
      const { facts } = await performStep(action.step, crew, compaction.status ?? {}, systemClock, signal);
      wrote({ ...compaction.status, ...facts });
    }
    await new Promise((done) => setTimeout(done, requeueAfterMs));
  }
  return { ...compaction, trail };
}

describe('etcd', () => {
  test('three members win their free space back one after the other, the leader last, while clients write', async () => {
    const pods = await Pods.of();
    const names = ['e-0', 'e-1', 'e-2'];
    try {
      await pods.form(3);
      const client = new EtcdClient({ endpoints: names.map((name) => pods.endpoint(name).url), deadlineMs: 20_000 });
      for (let at = 0; at < 25; at++) await client.put({ key: Buffer.from('large'), value: new Uint8Array(MiB) });
      const { leader } = await crewOf(pods, names);

      const clients = new Clients({
        endpoints: () => names.map((name) => pods.endpoint(name).url),
        seed: 'w',
        paceMs: 1,
      });
      const before = performance.now();
      const defragment = { freeRatioPercent: 30, minReclaimBytes: 5 * MiB };
      const { status, trail } = await compact(pods, names, { keepRevisions: 0, defragment });
      await clients.more(10);
      await clients.stop();

      expect(trail[0]).toBe('compact');
      expect(trail.slice(-2)).toEqual(['moveLeader', `defragment ${leader.name}`]);
      for (const member of status!.members!) {
        expect(member.result).toBe('Defragmented');
        // One that had not applied the last of the 25 was a little smaller.
        expect(member.sizeBytesBefore).toBeGreaterThan(20 * MiB);
        expect(member.sizeBytesAfter).toBeLessThan(10 * MiB);
      }
      expect(status!.reclaimedBytes).toBeGreaterThan(45 * MiB);
      for (const name of names) expect((await clients.compare(pods.endpoint(name).url)).wrong).toEqual([]);
      expect(clients.longestPauseMs(before)).toBeLessThan(10_000);
      client.close();
    } finally {
      await pods.close();
    }
  }, 300_000);

  test('a member that has refused writes for want of space takes them again', async () => {
    const pods = await Pods.of({ engine: { quotaBytes: 32 * MiB } });
    try {
      await pods.form(1);
      const client = new EtcdClient({ endpoints: [pods.endpoint('e-0').url] });
      const put = () => client.put({ key: Buffer.from('k'), value: new Uint8Array(MiB) });
      while ((await verdict(put())) === 'good');
      const { trail, status } = await compact(pods, ['e-0'], {
        keepRevisions: 0,
        defragment: { freeRatioPercent: 10, minReclaimBytes: 0 },
      });
      expect(trail).toEqual(['compact', 'defragment e-0', 'disarm']);
      expect(status).toMatchObject({ disarmed: true });
      await put();
      client.close();
    } finally {
      await pods.close();
    }
  }, 120_000);
});
