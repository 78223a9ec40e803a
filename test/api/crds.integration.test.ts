import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { customResourceDefinition } from '../../src/api/crd.ts';
import { group, kinds, type Manifest, type raftCluster, version, withDefaults } from '../../src/api/index.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { ApiError } from '../../src/kube/errors.ts';
import type { KubeObject, ResourceType } from '../../src/kube/objects.ts';
import { type ApiServer, apiServer } from '../kube/api-server.ts';
import { until } from '../kube/until.ts';
import { tool } from '../kubernetes/index.ts';
import {
  cluster,
  compaction,
  compactionPolicy,
  examples,
  policy,
  refused,
  restore,
  snapshot,
  store,
  transitions,
} from './manifests.ts';

interface Crd extends KubeObject {
  readonly spec?: unknown;
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
    readonly acceptedNames?: { readonly shortNames?: readonly string[] };
  };
}

interface Stored extends KubeObject {
  readonly spec?: unknown;
  readonly status?: Record<string, unknown>;
}

const crds: ResourceType<Crd> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

const typeOf = (kind: string): ResourceType<Stored> => {
  const found = kinds.find((definition) => definition.kind === kind)!;
  return { group, version, kind, plural: found.plural, namespaced: true };
};

let server: ApiServer;
let client: KubeClient;
let namespace: string;
let program: string;

/** Runs kubectl in our namespace; `input` is its standard input. */
function kubectlWith(input: string, ...args: string[]): string {
  const common = ['--kubeconfig', server.kubeconfig, '--namespace', namespace];
  return execFileSync(program, [...common, ...args], { encoding: 'utf8', input });
}

const kubectl = (...args: string[]): string => kubectlWith('', ...args);

beforeAll(async () => {
  server = await apiServer('api-crds');
  client = server.client;
  namespace = await server.namespace('api');
  program = await tool('kubectl');
  await Promise.all(kinds.map((kind) => client.apply(crds, customResourceDefinition(kind) as unknown as Crd)));
  for (const kind of kinds) {
    await until(async () => {
      const crd = await client.get(crds, { name: `${kind.plural}.${group}` });
      return crd.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True') ?? false;
    });
  }
}, 20 * 60_000);

afterAll(async () => {
  await server?.stop();
});

const here = (manifest: Manifest): Stored =>
  ({ ...manifest, metadata: { ...manifest.metadata, namespace } }) as unknown as Stored;

/** The error message of a request that must be refused. */
async function refusal(request: Promise<unknown>): Promise<string> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    expect(error.status).toBe(422);
    return error.message;
  }
  return 'it was accepted';
}

async function forgotten(manifest: Manifest): Promise<void> {
  await client.delete(typeOf(manifest.kind), { namespace, name: manifest.metadata.name });
}

describe('every kind', () => {
  test.each(kinds.map((kind) => [kind.kind, kind] as const))(
    '%s is established, structural and named',
    async (_, kind) => {
      const crd = await client.get(crds, { name: `${kind.plural}.${group}` });
      const conditions = crd.status?.conditions ?? [];
      expect(conditions).toContainEqual(expect.objectContaining({ type: 'Established', status: 'True' }));
      expect(conditions).toContainEqual(expect.objectContaining({ type: 'NamesAccepted', status: 'True' }));
      expect(conditions.filter(({ type }) => type === 'NonStructuralSchema')).toEqual([]);
      expect(crd.status?.acceptedNames?.shortNames).toEqual(kind.shortNames);
    },
  );

  test('comes with one `kubectl get raftsman`', () => {
    const listed = kubectl('api-resources', '--categories=raftsman', '--output=name').trim().split('\n').sort();
    expect(listed).toEqual(kinds.map(({ plural }) => `${plural}.${group}`).sort());
  });

  test('explains its fields', async () => {
    // The server publishes the schemas of new kinds a moment after it has established them.
    await until(() => {
      const groups = kubectl('get', '--raw', '/openapi/v3');
      if (!groups.includes(`"apis/${group}/${version}"`)) return false;
      const published = kubectl('get', '--raw', `/openapi/v3/apis/${group}/${version}`);
      return kinds.every(({ plural }) => published.includes(`/namespaces/{namespace}/${plural}/{name}"`));
    });
    expect(kubectl('explain', 'raftsnapshotpolicy.spec.schedule')).toContain('five cron fields');
    expect(kubectl('explain', 'raft.spec')).toMatch(/replicas\s+<integer>/);
  });
});

describe('a valid manifest', () => {
  test.each(examples.map((example) => [example.title, example.manifest] as const))(
    '%s is accepted, and stored with the defaults that withDefaults says',
    async (_, manifest) => {
      const created = await client.create(typeOf(manifest.kind), here(manifest));
      const kind = kinds.find((definition) => definition.kind === manifest.kind)!;
      expect(created.spec).toEqual(withDefaults(kind as typeof raftCluster, manifest).spec);
      await forgotten(manifest);
    },
  );

  test('loses no field that the schema has: strict validation finds nothing unknown', () => {
    const items = examples.map(({ manifest }, at) => ({
      ...manifest,
      metadata: { ...manifest.metadata, name: `${manifest.metadata.name.slice(0, 30)}-${at}` },
    }));
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    const said = kubectlWith(list, 'create', '--dry-run=server', '--validate=strict', '--filename=-');
    expect(said.trim().split('\n')).toHaveLength(examples.length);
  });
});

describe('an invalid manifest is refused at apply, with a message that names the field', () => {
  test.each(refused.map((example) => [example.title, example] as const))('%s', async (_, { manifest, message }) => {
    const said = await refusal(client.create(typeOf(manifest.kind), here(manifest)));
    if (said === 'it was accepted') await forgotten(manifest);
    for (const part of message) expect(said).toContain(part);
  });
});

describe('a change', () => {
  test.each(transitions.map((change) => [change.title, change] as const))(
    'of %s is accepted or refused as the schema says',
    async (_, { manifest, patch, message }) => {
      const type = typeOf(manifest.kind);
      await client.create(type, here(manifest));
      const request = client.patch(type, { namespace, name: manifest.metadata.name }, { spec: patch });
      if (message === undefined) await request;
      else expect(await refusal(request)).toContain(message);
      await forgotten(manifest);
    },
  );
});

describe('subresources', () => {
  test('status is written apart from spec, and takes what the schema describes', async () => {
    const type = typeOf('RaftCluster');
    const created = await client.create(type, here({ ...cluster({}, 'apart'), status: { leader: 'ignored' } }));
    expect(created.status).toBeUndefined();
    const written = await client.patch(
      type,
      { namespace, name: 'apart' },
      { spec: { paused: true }, status: { leader: 'apart-0', replicas: 3, revision: Number.MAX_SAFE_INTEGER } },
      { subresource: 'status' },
    );
    expect(written.status).toMatchObject({ leader: 'apart-0', revision: Number.MAX_SAFE_INTEGER });
    expect(written.spec).toMatchObject({ paused: false });
    expect(written.metadata.generation).toBe(1);
    const said = await refusal(
      client.patch(type, { namespace, name: 'apart' }, { status: { term: -1 } }, { subresource: 'status' }),
    );
    expect(said).toContain('status.term');
    await forgotten(cluster({}, 'apart'));
  });

  test('scale shows the members and their selector, and changes how many there should be', async () => {
    const type = typeOf('RaftCluster');
    await client.create(type, here(cluster({}, 'scaled')));
    const selector = 'raftsman.dev/cluster=scaled';
    await client.patch(
      type,
      { namespace, name: 'scaled' },
      { status: { replicas: 3, selector } },
      { subresource: 'status' },
    );
    const path = `/apis/${group}/${version}/namespaces/${namespace}/raftclusters/scaled/scale`;
    expect(JSON.parse(kubectl('get', '--raw', path))).toMatchObject({
      kind: 'Scale',
      spec: { replicas: 3 },
      status: { replicas: 3, selector },
    });
    kubectl('scale', 'raftcluster', 'scaled', '-n', namespace, '--replicas=5');
    expect(await client.get(type, { namespace, name: 'scaled' })).toMatchObject({ spec: { replicas: 5 } });
    await forgotten(cluster({}, 'scaled'));
  });
});

describe('`kubectl get`', () => {
  const time = '2026-07-01T00:00:00Z';
  const condition = (type: string, status: string, reason: string) => ({
    type,
    status,
    reason,
    message: '',
    lastTransitionTime: time,
  });
  const written = async (manifest: Manifest, status: object) => {
    await client.create(typeOf(manifest.kind), here(manifest));
    const ref = { namespace, name: manifest.metadata.name };
    await client.patch(typeOf(manifest.kind), ref, { status }, { subresource: 'status' });
  };
  const rows = (...args: string[]) =>
    kubectl('get', ...args)
      .trim()
      .split('\n')
      .map((line) => line.split(/\s{2,}/));

  test('of a cluster answers: is it well, who leads, when was the last snapshot, when is the next', async () => {
    await written(cluster({}, 'shown'), {
      conditions: [condition('Ready', 'True', 'AllMembersReady')],
      membersReady: '3/3',
      leader: 'shown-2',
      lastSnapshot: { name: 's', time },
      nextSnapshotTime: '2099-01-01T02:30:00Z',
      revision: 41,
    });
    const [head, row] = rows('raft', 'shown');
    expect(head).toEqual(['NAME', 'READY', 'MEMBERS', 'LEADER', 'LAST-SNAPSHOT', 'NEXT-SNAPSHOT', 'AGE']);
    expect(row).toEqual([
      'shown',
      'True',
      '3/3',
      'shown-2',
      expect.stringMatching(/^\d+[dhy]/),
      '2099-01-01T02:30:00Z',
      expect.any(String),
    ]);
    expect(rows('raft', 'shown', '--output=wide')[1]).toContain('41');
  });

  test('of the other kinds shows how they are', async () => {
    await written(store({ s3: { bucket: 'archives' } }, 'shown'), {
      conditions: [condition('Ready', 'False', 'BucketMissing')],
    });
    await written(snapshot({}, 'shown'), {
      conditions: [condition('Complete', 'True', 'Succeeded')],
      progress: { percent: 100, bytes: 5 },
      revision: 9,
      sizeBytes: 2048,
    });
    await written(policy({}, 'shown'), {
      conditions: [condition('Ready', 'True', 'Scheduled')],
      nextScheduleTime: time,
    });
    await written(restore({}, 'shown'), {
      conditions: [condition('Verified', 'True', 'Verified'), condition('Complete', 'False', 'Rejected')],
    });
    await written(compaction({}, 'shown'), {
      conditions: [condition('Complete', 'True', 'Succeeded')],
      compactedRevision: 700,
      reclaimedBytes: 4096,
    });
    await written(compactionPolicy({}, 'shown'), {
      conditions: [condition('Ready', 'True', 'Scheduled')],
      nextScheduleTime: time,
    });
    expect(rows('rcomp', 'shown')[1]).toEqual(expect.arrayContaining(['demo', 'True', 'Succeeded', '700', '4096']));
    expect(rows('rcp', 'shown')[1]).toEqual(expect.arrayContaining(['demo', '30 2 * * *', 'True', time]));
    expect(rows('rsstore', 'shown')[1]).toEqual(expect.arrayContaining(['False', 'BucketMissing', 'archives']));
    expect(rows('rsnap', 'shown')[1]).toEqual(
      expect.arrayContaining(['demo', 'True', 'Succeeded', '100', '9', '2048']),
    );
    expect(rows('rsp', 'shown')[1]).toEqual(expect.arrayContaining(['30 2 * * *', 'Etc/UTC', 'false', 'True', time]));
    expect(rows('rrestore', 'shown')[1]).toEqual(expect.arrayContaining(['again', 'True', 'False', 'Rejected']));
  });

  test('selects snapshots by cluster on the server', async () => {
    await written(snapshot({ clusterName: 'elsewhere' }, 'other'), {});
    expect(kubectl('get', 'rsnap', '--field-selector=spec.clusterName=elsewhere', '--output=name').trim()).toBe(
      'raftsnapshot.raftsman.dev/other',
    );
  });
});
