import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createApplier } from '../../src/kube/apply.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { addFinalizer, hasFinalizer, removeFinalizer } from '../../src/kube/finalizers.ts';
import {
  configMaps,
  jobs,
  persistentVolumeClaims,
  podDisruptionBudgets,
  services,
  statefulSets,
} from '../../src/kube/kinds.ts';
import { needsApply } from '../../src/kube/needs-apply.ts';
import type { KubeObject, Manifest, ResourceType } from '../../src/kube/objects.ts';
import { type ApiServer, apiServer } from './api-server.ts';

let server: ApiServer;
let client: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await apiServer('kube-apply');
  client = server.client;
  namespace = await server.namespace('apply');
}, 600_000);

afterAll(async () => {
  await server?.stop();
});

const labels = { 'app.kubernetes.io/name': 'raftsman', 'raftsman.dev/cluster': 'c' };

/** Manifests as an operator writes them: defaults left out, quantities in another spelling, empty values in them. */
const manifests = (): readonly [string, ResourceType, Manifest][] => [
  [
    'StatefulSet',
    statefulSets,
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'c', namespace, labels },
      spec: {
        replicas: 3,
        serviceName: 'c-peers',
        podManagementPolicy: 'Parallel',
        selector: { matchLabels: labels },
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
        template: {
          metadata: { labels, annotations: {} },
          spec: {
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            securityContext: {
              runAsNonRoot: true,
              runAsUser: 65532,
              fsGroup: 65532,
              seccompProfile: { type: 'RuntimeDefault' },
            },
            nodeSelector: { 'kubernetes.io/os': 'linux' },
            tolerations: [{ key: 'dedicated', operator: 'Exists' }],
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: 'kubernetes.io/hostname',
                whenUnsatisfiable: 'ScheduleAnyway',
                labelSelector: { matchLabels: labels },
              },
            ],
            initContainers: [{ name: 'prepare', image: 'i', command: ['true'] }],
            containers: [
              {
                name: 'node',
                image: 'i',
                args: ['node', '--name=$(POD_NAME)'],
                env: [
                  { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
                  { name: 'CPUS', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
                  { name: 'STATE', valueFrom: { configMapKeyRef: { name: 'c-config', key: 'state' } } },
                  { name: 'EMPTY', value: '' },
                ],
                ports: [
                  { name: 'client', containerPort: 2379 },
                  { name: 'peer', containerPort: 2380 },
                ],
                readinessProbe: { httpGet: { path: '/readyz', port: 'client' }, periodSeconds: 1 },
                resources: { limits: { cpu: '1500m', memory: '1024Mi' }, requests: { cpu: 1, memory: '0.5Gi' } },
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ['ALL'] },
                },
                volumeMounts: [{ name: 'data', mountPath: '/data', readOnly: false }],
              },
            ],
            volumes: [{ name: 'tmp', emptyDir: {} }],
          },
        },
        volumeClaimTemplates: [
          {
            metadata: { name: 'data', labels },
            spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1024Mi' } } },
          },
        ],
      },
    },
  ],
  [
    'Service',
    services,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'c-peers', namespace, labels },
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: labels,
        ports: [
          { name: 'client', port: 2379, targetPort: 'client' },
          { name: 'peer', port: 2380, targetPort: 'peer' },
        ],
      },
    },
  ],
  [
    'PodDisruptionBudget',
    podDisruptionBudgets,
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'c', namespace, labels },
      spec: { maxUnavailable: 1, selector: { matchLabels: labels } },
    },
  ],
  [
    'ConfigMap',
    configMaps,
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'c-config', namespace, labels },
      data: { state: 'new', empty: '' },
    },
  ],
  [
    'PersistentVolumeClaim',
    persistentVolumeClaims,
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'c', namespace },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '0.5Gi' } } },
    },
  ],
  [
    'Job',
    jobs,
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'c', namespace, labels },
      spec: {
        backoffLimit: 0,
        suspend: true,
        ttlSecondsAfterFinished: 600,
        template: {
          metadata: { labels },
          spec: { restartPolicy: 'Never', containers: [{ name: 'job', image: 'i', args: ['job', 'save'] }] },
        },
      },
    },
  ],
];

describe('apply against a real API server', () => {
  test('of every kind that we write: once applied, the pure comparison finds nothing to do, and no request is sent', async () => {
    for (const [, type, manifest] of manifests()) {
      const applier = createApplier(client);
      expect(await applier.apply(type, manifest, undefined)).toBe(true);
      const live = await client.get(type, manifest.metadata as { namespace: string; name: string });
      expect([manifest.kind, needsApply(manifest, live)]).toEqual([manifest.kind, false]);
      const before = client.requests;
      // A fresh applier remembers nothing, as after a restart.
      expect(await createApplier(client).apply(type, manifest, live)).toBe(false);
      expect(client.requests).toBe(before);
    }
  });

  const config = (data: Record<string, string> | undefined, name = 'fields'): Manifest => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace },
    ...(data === undefined ? {} : { data }),
  });
  const get = (name: string) => client.get(configMaps, { namespace, name });

  test('a field that we no longer want is removed; one of somebody else’s stays', async () => {
    const applier = createApplier(client);
    await applier.apply(configMaps, config({ a: '1', b: '2' }), undefined);
    await client.patch(configMaps, { namespace, name: 'fields' }, { data: { theirs: 'x' } });
    expect(await applier.apply(configMaps, config({ a: '1' }), await get('fields'))).toBe(true);
    expect((await get('fields')).data).toEqual({ a: '1', theirs: 'x' });
    expect(await applier.apply(configMaps, config({ a: '1' }), await get('fields'))).toBe(false);
  });

  test('a value that somebody else overwrote is put back, and one that somebody took over with our value is ours again', async () => {
    const applier = createApplier(client);
    await applier.apply(configMaps, config({ a: '1' }, 'taken'), undefined);
    await client.patch(configMaps, { namespace, name: 'taken' }, { data: { a: '2' } });
    await client.apply(configMaps, config({ a: '3' }, 'taken'), { fieldManager: 'kubectl' });
    expect(await applier.apply(configMaps, config({ a: '1' }, 'taken'), await get('taken'))).toBe(true);
    expect((await get('taken')).data).toEqual({ a: '1' });
    expect(needsApply(config({ a: '1' }, 'taken'), await get('taken'))).toBe(false);
  });

  test('where the server writes a value in its own way for ever, one request is sent, not one per look', async () => {
    const applier = createApplier(client);
    const odd: Manifest = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'odd', namespace },
      // The server always adds what belongs to `None`: it owns nothing of ours, but our list is never its list.
      spec: { clusterIP: 'None', clusterIPs: [], ports: [{ name: 'a', port: 1 }] },
    };
    const live = () => client.find(services, { namespace, name: 'odd' });
    const sent: boolean[] = [];
    for (let look = 0; look < 5; look++) sent.push(await applier.apply(services, odd, await live()));
    expect(sent.filter(Boolean).length).toBeLessThanOrEqual(2);
    expect(sent.slice(2)).toEqual([false, false, false]);
  });

  test('status is applied through its own door and compared by itself', async () => {
    const applier = createApplier(client);
    // A Service's conditions: no controller of the control plane writes them.
    const ref = { namespace, name: 'c-peers' };
    const status = (message: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: ref,
      ...{
        status: {
          conditions: [
            { type: 'Ours', status: 'True', reason: 'Because', message, lastTransitionTime: '2030-01-01T00:00:00Z' },
          ],
        },
      },
    });
    const type = services as ResourceType;
    expect(await applier.applyStatus(type, status('one'), await client.get(type, ref))).toBe(true);
    expect(await createApplier(client).applyStatus(type, status('one'), await client.get(type, ref))).toBe(false);
    expect(await applier.applyStatus(type, status('two'), await client.get(type, ref))).toBe(true);
    expect(await client.get(type, ref)).toMatchObject({ status: { conditions: [{ message: 'two' }] } });
  });
});

describe('finalizers against a real API server', () => {
  const FINALIZER = 'raftsman.dev/archive';
  const make = (name: string, finalizers?: string[]) =>
    client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace, ...(finalizers === undefined ? {} : { finalizers }) },
    });

  test('is put on once, keeps the object while it is deleted, and lets it go when taken off', async () => {
    const made = await make('kept', ['example.com/theirs']);
    const held = await addFinalizer(client, configMaps, made, FINALIZER);
    expect(held.metadata.finalizers).toEqual(['example.com/theirs', FINALIZER]);
    const before = client.requests;
    expect(await addFinalizer(client, configMaps, held, FINALIZER)).toBe(held);
    expect(client.requests).toBe(before);
    await client.delete(configMaps, { namespace, name: 'kept' });
    const dying = await client.get(configMaps, { namespace, name: 'kept' });
    expect(dying.metadata.deletionTimestamp).toBeDefined();
    await removeFinalizer(client, configMaps, dying, FINALIZER);
    const left = await client.get(configMaps, { namespace, name: 'kept' });
    expect(left.metadata.finalizers).toEqual(['example.com/theirs']);
    await removeFinalizer(client, configMaps, left, 'example.com/theirs');
    expect(await client.find(configMaps, { namespace, name: 'kept' })).toBeUndefined();
    await removeFinalizer(client, configMaps, left, FINALIZER);
  });

  test('works from a stale object: what others added meanwhile stays', async () => {
    const stale = await make('stale');
    await addFinalizer(client, configMaps, stale, 'example.com/theirs');
    const held = await addFinalizer(client, configMaps, stale, FINALIZER);
    expect(held.metadata.finalizers).toEqual(['example.com/theirs', FINALIZER]);
    await removeFinalizer(
      client,
      configMaps,
      { ...held, metadata: { ...held.metadata, finalizers: [FINALIZER] } },
      FINALIZER,
    );
    expect((await read('stale')).metadata.finalizers).toEqual(['example.com/theirs']);
  });

  test('never touches a namesake of another uid, nor one that is being deleted', async () => {
    const first = await make('namesake');
    await client.delete(configMaps, { namespace, name: 'namesake' });
    await make('namesake');
    await addFinalizer(client, configMaps, first, FINALIZER);
    expect(hasFinalizer(await read('namesake'), FINALIZER)).toBe(false);
    const dying = await make('dying', ['example.com/theirs']);
    await client.delete(configMaps, { namespace, name: 'dying' });
    const now = await read('dying');
    expect(await addFinalizer(client, configMaps, now, FINALIZER)).toBe(now);
    await removeFinalizer(client, configMaps, dying, 'example.com/theirs');
  });

  const read = (name: string) => client.get(configMaps, { namespace, name });
});
