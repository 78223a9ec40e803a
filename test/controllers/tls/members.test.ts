import { describe, expect, test } from '@jest/globals';
import { originOf } from '../../../src/controllers/cluster/origin.ts';
import { type ClusterInput, clusterObjects, memberTemplate } from '../../../src/controllers/cluster/resources.ts';
import { TEMPLATE, TRUST } from '../../../src/controllers/labels.ts';
import { saveJob } from '../../../src/controllers/snapshot/resources.ts';
import { certificateOf } from '../../../src/controllers/tls/cert-manager.ts';
import { ownedBy } from '../../../src/kube/objects.ts';
import { clusterOf, ownerOf, settings, snapshotOf, storeOf } from '../objects.ts';

function input(spec: object, more: Partial<ClusterInput> = {}): ClusterInput {
  const cluster = clusterOf('demo', { tls: { mode: 'Managed' }, ...spec });
  return { cluster, owner: ownedBy(cluster), settings, token: 't', formed: false, size: 3, trust: 'a', ...more };
}

const etcd = { engine: { type: 'Etcd' } };

describe('what members are given', () => {
  test.each([
    ['embedded', {}],
    ['etcd', etcd],
  ])('%s members get one volume of all their certificates, https addresses and ask for certificates', (_, spec) => {
    const { spec: pod } = memberTemplate(input(spec)) as unknown as {
      spec: { volumes: unknown[]; containers: { args: string[]; volumeMounts: unknown[] }[] };
    };
    const items = (role: string) => ['tls.crt', 'tls.key', 'ca.crt'].map((key) => ({ key, path: `${role}/${key}` }));
    expect(pod.volumes).toContainEqual({
      name: 'certificates',
      projected: {
        defaultMode: 0o440,
        sources: ['server', 'peer'].map((role) => ({ secret: { name: `demo-${role}-tls`, items: items(role) } })),
      },
    });
    const [member] = pod.containers;
    expect(member!.volumeMounts).toContainEqual({
      name: 'certificates',
      mountPath: '/etc/raftsman/tls',
      readOnly: true,
    });
    for (const flag of [
      '--listen-client-urls=https://0.0.0.0:2379',
      '--initial-advertise-peer-urls=https://$(POD_NAME).demo-peers.default.svc:2380',
      '--listen-metrics-urls=http://0.0.0.0:2381',
      '--cert-file=/etc/raftsman/tls/server/tls.crt',
      '--client-cert-auth=true',
      '--peer-trusted-ca-file=/etc/raftsman/tls/peer/ca.crt',
      '--peer-client-cert-auth=true',
    ])
      expect(member!.args).toContain(flag);
    expect((clusterObjects(input(spec)).config as { data?: Record<string, string> }).data?.['initial-cluster']).toMatch(
      /^demo-0=https:\/\/demo-0\.demo-peers\.default\.svc:2380,/,
    );
  });

  test('members of etcd are replaced when whom they trust changes, embedded ones read it again', () => {
    const hashes = (spec: object, trust: string): Readonly<Record<string, string | undefined>> =>
      memberTemplate(input(spec, { trust })).metadata.annotations;
    expect(hashes(etcd, 'a')[TRUST]).toBe('a');
    expect(hashes(etcd, 'a')[TEMPLATE]).not.toBe(hashes(etcd, 'b')[TEMPLATE]);
    expect(hashes({}, 'a')[TEMPLATE]).toBe(hashes({}, 'b')[TEMPLATE]);
  });

  test.each([
    ['3.6.8', '--peer-skip-client-san-verification=true'],
    ['3.5.26', '--experimental-peer-skip-client-san-verification=true'],
  ])('etcd %s knows its peers by their CA, and does not ask DNS for them', (version, flag) => {
    const { spec } = memberTemplate(input({ engine: { type: 'Etcd', version } }));
    expect((spec.containers[0] as unknown as { args: string[] }).args).toContain(flag);
  });

  test('given Secrets are mounted by their own names', () => {
    const tls = { mode: 'Secrets', secrets: { server: 'x', peer: 'y', client: 'z' } };
    const text = JSON.stringify(memberTemplate(input({ tls })));
    expect(text).toContain('"name":"x","items"');
    expect(text).toContain('"name":"y","items"');
    expect(text).not.toContain('"name":"z"');
  });

  test('plain text has none of it', () => {
    const text = JSON.stringify(clusterObjects(input({ tls: { mode: 'Disabled' } })));
    expect(text).not.toMatch(/https|tls|certificates/);
  });

  test('a Job that saves gets the client certificate, one that deletes gets none', () => {
    const cluster = clusterOf('c', { tls: { mode: 'Managed' } });
    const job = saveJob({
      name: 'n-save',
      snapshot: snapshotOf(),
      owner: ownerOf('RaftSnapshot', 'n'),
      cluster,
      store: storeOf().spec,
      key: 'k',
      settings,
    });
    const text = JSON.stringify(job);
    expect(text).toContain('--endpoints=https://c-0.c-peers.default.svc:2379');
    expect(text).toContain('--tls-dir=/etc/raftsman/tls/client');
    expect(text).toContain('"secret":{"name":"c-client-tls"');
  });
});

describe('members that were made without certificates', () => {
  const statefulSet = (mode: string) => clusterObjects(input({ tls: { mode } })).statefulSet as never;
  const reasonOf = (spec: object, made: string) =>
    originOf({ cluster: clusterOf('demo', spec), children: { statefulSet: statefulSet(made) }, disks: [] }).blocked
      ?.reason;

  test('are left as they are: one by one they would be cut off', () => {
    expect(reasonOf({ tls: { mode: 'Managed' } }, 'Disabled')).toBe('PlainTextMembers');
    expect(reasonOf({ tls: { mode: 'Managed' } }, 'Managed')).toBeUndefined();
    expect(reasonOf({ tls: { mode: 'Disabled' } }, 'Disabled')).toBeUndefined();
  });
});

describe('what cert-manager is asked for', () => {
  test('a certificate for both ends between peers, labelled so that the operator finds the Secret', () => {
    const certManager = { issuerRef: { name: 'ours', kind: 'ClusterIssuer' } };
    const cluster = clusterOf('demo', { tls: { mode: 'CertManager', certManager } });
    expect(certificateOf('peer', cluster)['spec']).toMatchObject({
      secretName: 'demo-peer-tls',
      secretTemplate: { labels: { 'raftsman.dev/cluster': 'demo', 'app.kubernetes.io/managed-by': 'raftsman' } },
      commonName: 'demo-peer',
      dnsNames: ['*.demo-peers.default.svc'],
      usages: ['digital signature', 'server auth', 'client auth'],
      duration: '2160h0m0s',
      renewBefore: '720h0m0s',
      issuerRef: { name: 'ours', kind: 'ClusterIssuer', group: 'cert-manager.io' },
    });
    expect(certificateOf('client', cluster)['spec']).not.toHaveProperty('dnsNames');
  });
});
