import { describe, expect, test } from '@jest/globals';
import { type ClusterInput, clusterObjects, memberTemplate } from '../../../src/controllers/cluster/resources.ts';
import { DEFRAGMENT_TIMEOUT_MS } from '../../../src/controllers/compaction/plan.ts';
import { RESTORE_TEMPLATE, TEMPLATE } from '../../../src/controllers/labels.ts';
import type { Member } from '../../../src/engines/engine.ts';
import { ownedBy } from '../../../src/kube/objects.ts';
import { expectGolden } from '../golden.ts';
import { checksumHex, clusterOf, settings, storeOf } from '../objects.ts';

function input(spec: object = {}, more: Partial<ClusterInput> = {}): ClusterInput {
  const cluster = clusterOf('demo', spec);
  return {
    cluster,
    owner: ownedBy(cluster),
    settings,
    token: 'default-demo-uid',
    formed: false,
    size: cluster.spec.replicas,
    ...more,
  };
}

const store = storeOf('s', true, {
  s3: { bucket: 'snaps', endpoint: 'http://s3:9000', credentialsSecret: { name: 'cred' } },
});
const bootstrap = { store: store.spec, key: 'default/c/n.snap', checksum: checksumHex };
const hashes = (given: ClusterInput) => memberTemplate(given).metadata.annotations;

describe('the objects of a RaftCluster', () => {
  test('golden: three members from nothing', () => {
    expectGolden('cluster.yaml', Object.values(clusterObjects(input())));
  });

  test('golden: one member restored from an archive in S3, with a pod template', () => {
    const spec = {
      replicas: 1,
      podTemplate: {
        metadata: { labels: { team: 'a', 'app.kubernetes.io/name': 'mine' }, annotations: { note: 'x' } },
        resources: { limits: { memory: '1Gi' } },
        topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
      },
    };
    expectGolden('cluster-restored.yaml', Object.values(clusterObjects(input(spec, { bootstrap }))));
  });

  test('golden: three members of etcd restored from an archive, with certificates', () => {
    const engine = {
      type: 'Etcd',
      version: '3.5.35',
      quotaBytes: 4_294_967_296,
      flags: { 'max-request-bytes': '2097152' },
    };
    const { statefulSet } = clusterObjects(input({ engine, tls: { mode: 'Managed' } }, { bootstrap }));
    expectGolden('etcd-restored.yaml', [statefulSet]);
  });

  test('no member of etcd is restarted while a compaction waits for its defragmentation', () => {
    const [container] = memberTemplate(input({ engine: { type: 'Etcd' } })).spec.containers;
    const { livenessProbe } = container as unknown as { livenessProbe: Record<string, number> };
    // The first probe that fails may begin as soon as the member falls silent.
    const shortest = (livenessProbe['failureThreshold']! - 1) * livenessProbe['periodSeconds']! * 1000;
    expect(shortest).toBeGreaterThan(DEFRAGMENT_TIMEOUT_MS + 60_000);
  });

  test('labels of the pod template never displace those that select members', () => {
    const given = input({ podTemplate: { metadata: { labels: { 'app.kubernetes.io/name': 'mine' } } } });
    expect(memberTemplate(given).metadata.labels).toMatchObject({ 'app.kubernetes.io/name': 'raftsman' });
  });

  test("the pod template's PriorityClass reaches the pods, and without one they name none", () => {
    const given = input({ podTemplate: { priorityClassName: 'raft-members' } });
    expect(clusterObjects(given).statefulSet['spec']).toMatchObject({
      template: { spec: { priorityClassName: 'raft-members' } },
    });
    expect(memberTemplate(input()).spec).not.toHaveProperty('priorityClassName');
    expect(hashes(given)[TEMPLATE]).not.toBe(hashes(input())[TEMPLATE]);
  });

  test('forming changes the configuration and no pod: nobody is restarted for it', () => {
    const before = clusterObjects(input());
    const after = clusterObjects(input({}, { formed: true }));
    expect(before.config['data']).toMatchObject({ 'initial-cluster-state': 'new', joining: '' });
    expect(after.config['data']).toMatchObject({ 'initial-cluster-state': 'existing', joining: '' });
    expect(after.statefulSet).toEqual(before.statefulSet);
  });

  test('the archive leaves the template once the cluster has formed, and the hash that restarts members stays', () => {
    const before = input({}, { bootstrap });
    const after = input({}, { formed: true });
    expect(hashes(before)[TEMPLATE]).toBe(hashes(after)[TEMPLATE]);
    expect(hashes(before)[RESTORE_TEMPLATE]).toBeDefined();
    expect(hashes(after)[RESTORE_TEMPLATE]).toBeUndefined();
    expect(JSON.stringify(clusterObjects(after).statefulSet)).not.toContain('restore');
  });

  test.each([
    ['an image', { engine: { image: 'other:1' } }],
    ['a flag', { log: { snapshotThreshold: 5 } }],
    ['a resource', { podTemplate: { resources: { requests: { cpu: '1' } } } }],
    ['an annotation', { podTemplate: { metadata: { annotations: { a: 'b' } } } }],
  ])('%s changes the hash of the template', (_, spec) => {
    expect(hashes(input(spec))[TEMPLATE]).not.toBe(hashes(input())[TEMPLATE]);
  });

  const member = (ordinal: number, isLearner = false): Member => ({
    id: `${ordinal}a`,
    name: `demo-${ordinal}`,
    peerUrls: [`http://demo-${ordinal}.demo-peers.default.svc:2380`],
    clientUrls: [],
    isLearner,
  });
  const maxUnavailable = (given: ClusterInput) =>
    (clusterObjects(given).disruptionBudget as { spec?: { maxUnavailable?: number } }).spec?.maxUnavailable;

  test('what the quorum of the voters can spare may be evicted: a learner counts for nothing', () => {
    expect(maxUnavailable(input())).toBe(1);
    const voters = [0, 1, 2, 3, 4].map((ordinal) => member(ordinal));
    expect(maxUnavailable(input({ replicas: 5 }, { formed: true, size: 5, list: voters }))).toBe(2);
    const learning = [...voters.slice(0, 4), member(4, true)];
    expect(maxUnavailable(input({ replicas: 5 }, { formed: true, size: 5, list: learning }))).toBe(1);
  });

  test('no disk goes with the StatefulSet, which somebody may delete: those that go with the cluster are its own', () => {
    const storage = { size: '1Gi', retention: { whenDeleted: 'Delete' } };
    expect(clusterObjects(input({ storage })).statefulSet['spec']).toMatchObject({
      persistentVolumeClaimRetentionPolicy: { whenScaled: 'Retain', whenDeleted: 'Retain' },
    });
  });

  test('disks go only with pods of members that were removed, not with those that somebody takes from the StatefulSet', () => {
    const storage = { size: '1Gi', retention: { whenScaled: 'Delete' } };
    const policy = (more: object) =>
      (
        clusterObjects(input({ storage }, { formed: true, size: 3, ...more })).statefulSet['spec'] as Record<
          string,
          unknown
        >
      )['persistentVolumeClaimRetentionPolicy'];
    expect(policy({ shrinks: false })).toMatchObject({ whenScaled: 'Retain' });
    expect(policy({ shrinks: true })).toMatchObject({ whenScaled: 'Delete' });
  });

  test('hibernated, a cluster has no pods, and its disks stay whatever becomes of disks when it is scaled', () => {
    const storage = { size: '1Gi', retention: { whenScaled: 'Delete' } };
    const awake = clusterObjects(input({ storage }, { formed: true, size: 3 }));
    const asleep = clusterObjects(input({ storage, replicas: 0 }, { formed: true, size: 3, shrinks: true }));
    expect(awake.statefulSet['spec']).toMatchObject({ replicas: 3 });
    expect(asleep.statefulSet['spec']).toMatchObject({
      replicas: 0,
      persistentVolumeClaimRetentionPolicy: { whenScaled: 'Retain', whenDeleted: 'Retain' },
    });
    // What members read stays, so that they wake as they fell asleep.
    expect(asleep.config).toEqual(awake.config);
    expect(asleep.disruptionBudget['spec']).toEqual(awake.disruptionBudget['spec']);
  });

  test('a cluster that wants no NetworkPolicy has none', () => {
    expect(clusterObjects(input({ networkPolicy: { enabled: false } })).networkPolicy).toBeUndefined();
  });

  test('a volume store is mounted read-only while members fetch from it', () => {
    const volume = storeOf('v', true, { volume: { claimName: 'archives', path: 'raft' } });
    const template = memberTemplate(input({}, { bootstrap: { store: volume.spec, key: 'k' } }));
    expect(template.spec).toMatchObject({
      initContainers: [{ volumeMounts: [{ name: 'data' }, { name: 'store', mountPath: '/store', readOnly: true }] }],
      volumes: [{ name: 'store', persistentVolumeClaim: { claimName: 'archives' } }],
    });
  });

  test('no pod gets a token of the API server, root, or a writable root file system', () => {
    const { spec } = memberTemplate(input({}, { bootstrap }));
    expect(spec).toMatchObject({ automountServiceAccountToken: false, securityContext: { runAsNonRoot: true } });
    const containers = [...spec.containers, ...(spec.initContainers ?? [])];
    expect(containers).toHaveLength(2);
    for (const { securityContext } of containers)
      expect(securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
  });
});
