/** What goes wrong on the worst night: archives that are not what they should be, and things that are missing. */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { differences, readData, writeData } from './data.ts';
import { condition, type Kubectl } from './kubectl.ts';
import { example, newNamespace, ready, removeNamespace, root } from './namespace.ts';
import { onCluster } from './target.ts';

let kubectl: Kubectl;
beforeAll(async () => {
  kubectl = await newNamespace('e2e-adversity');
});
afterAll(() => removeNamespace(kubectl));

const inPod = (script: string) => `apiVersion: v1
kind: Pod
metadata:
  name: hand-${createHash('sha256').update(script).digest('hex').slice(0, 8)}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: hand
      image: raftsman:e2e
      imagePullPolicy: Never
      command: [node, -e, ${JSON.stringify(script)}]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: store, mountPath: /store}]
  volumes: [{name: store, persistentVolumeClaim: {claimName: archives}}]
`;

/** Does something to the files of the volume store, as a careless hand or a bad disk would. */
async function byHand(script: string): Promise<void> {
  const manifest = inPod(script);
  const name = /name: (hand-\w+)/.exec(manifest)![1]!;
  await kubectl.apply(manifest);
  await kubectl.until(
    `${name} to end`,
    60_000,
    async () => {
      const phase = (await kubectl.get('pod', name))?.status?.['phase'];
      if (phase === 'Failed') throw new Error(`${name} failed: ${await kubectl.run(['logs', name])}`);
      return phase === 'Succeeded';
    },
    () => kubectl.run(['describe', 'pod', name]),
  );
  await kubectl.run(['delete', 'pod', name]);
}

test('a snapshot waits for its cluster and its store, says so, and completes by itself when they appear', async () => {
  await kubectl.apply(example('snapshot.yaml', { 'storeName: archive': 'storeName: archive-volume' }));
  const waiting = await kubectl.until('the snapshot to say what is missing', 30_000, async () => {
    const object = await kubectl.get('raftsnapshot', 'demo-first');
    return condition(object, 'Complete') ? object : undefined;
  });
  expect(condition(waiting, 'Complete')).toMatchObject({ status: 'False' });
  expect(condition(waiting, 'Complete')?.message).toMatch(/demo|archive-volume/);
  await kubectl.apply(example('store-volume.yaml'));
  await kubectl.apply(example('cluster.yaml'));
  await ready(kubectl, 'demo');
  const done = await kubectl.untilCondition(
    'raftsnapshot',
    'demo-first',
    { type: 'Complete', status: 'True' },
    180_000,
  );
  expect(done.status?.['key']).toBeDefined();
}, 300_000);

test('archives that are truncated, padded, damaged or foreign fail a restore before anything is created', async () => {
  const key = String((await kubectl.get('raftsnapshot', 'demo-first'))?.status?.['key']);
  const file = `/store/raftsman/${key}`;
  await byHand(`
    const fs = require('fs'); const zlib = require('zlib');
    const good = fs.readFileSync(${JSON.stringify(file)});
    fs.mkdirSync('/store/raftsman/bad', { recursive: true });
    const damaged = Buffer.from(good); damaged[good.length >> 1] ^= 1;
    fs.writeFileSync('/store/raftsman/bad/truncated.tar.gz', good.subarray(0, good.length - 1));
    fs.writeFileSync('/store/raftsman/bad/padded.tar.gz', Buffer.concat([good, Buffer.alloc(512)]));
    fs.writeFileSync('/store/raftsman/bad/damaged.tar.gz', damaged);
    fs.writeFileSync('/store/raftsman/bad/foreign.tar.gz', zlib.gzipSync('not a tar at all'));
  `);
  const kinds = ['truncated', 'padded', 'damaged', 'foreign', 'missing'];
  for (const kind of kinds) {
    await kubectl.apply(
      example('restore-from-archive.yaml', {
        'name: demo-from-archive': `name: from-${kind}`,
        'storeName: archive': 'storeName: archive-volume',
        'key: default/demo/demo-first-1f3c9a20.snap': `key: bad/${kind}.tar.gz`,
      }),
    );
  }
  for (const kind of kinds) {
    const failed = await kubectl.until(
      `the restore of the ${kind} archive to end`,
      180_000,
      async () => {
        const object = await kubectl.get('raftrestore', `from-${kind}`);
        return ['Failed', 'Rejected', 'Succeeded'].includes(condition(object, 'Complete')?.reason ?? '')
          ? object
          : undefined;
      },
      () => kubectl.run(['describe', 'raftrestore', `from-${kind}`]),
    );
    expect({ kind, ...condition(failed, 'Complete') }).toMatchObject({
      kind,
      status: 'False',
      reason: expect.stringMatching(/Failed|Rejected/),
    });
    expect(condition(failed, 'Complete')?.message).toContain(`bad/${kind}.tar.gz`);
    expect(await kubectl.get('raftcluster', `from-${kind}`)).toBeUndefined();
    expect(await kubectl.get('statefulset', `from-${kind}`)).toBeUndefined();
  }
}, 420_000);

test('a restore never touches a cluster that exists', async () => {
  const written = await onCluster(kubectl, 'demo', (target) => writeData(target, 'mine', 50));
  await kubectl.apply(example('restore.yaml', { 'name: demo-restored': 'name: demo' }));
  const rejected = await kubectl.until(
    'the restore to be rejected',
    60_000,
    async () => {
      const object = await kubectl.get('raftrestore', 'demo');
      return condition(object, 'Complete')?.reason === 'Rejected' ? object : undefined;
    },
    () => kubectl.run(['describe', 'raftrestore', 'demo']),
  );
  expect(condition(rejected, 'Complete')?.message).toMatch(/demo.*exists/);
  const { items } = await onCluster(kubectl, 'demo', readData);
  expect(differences(written.expected, items)).toEqual([]);
}, 180_000);

test('a store whose Secret or bucket is missing says so, and heals by itself', async () => {
  const [secret, store] = example('store-s3.yaml').split('---\n') as [string, string];
  const named = (text: string) =>
    text.replaceAll('archive-credentials', 'late-credentials').replace('name: archive\n', 'name: late\n');
  await kubectl.apply(named(store));
  const missing = await kubectl.untilCondition('raftsnapshotstore', 'late', { type: 'Ready', status: 'False' }, 30_000);
  expect(condition(missing, 'Ready')?.message).toMatch(/late-credentials/);
  await kubectl.apply(named(secret));
  await kubectl.untilCondition('raftsnapshotstore', 'late', { type: 'Ready', status: 'True' }, 90_000);

  await kubectl.apply(
    named(store).replace('name: late\n', 'name: nowhere\n').replace('bucket: raftsman', 'bucket: no-such-bucket'),
  );
  const nowhere = await kubectl.untilCondition(
    'raftsnapshotstore',
    'nowhere',
    { type: 'Ready', status: 'False' },
    30_000,
  );
  expect(condition(nowhere, 'Ready')?.message).toMatch(/no-such-bucket/);
}, 240_000);

test('every example is accepted by the API server', async () => {
  for (const file of readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.yaml'))) {
    // Those of cert-manager need its CRDs.
    const ours = example(file)
      .split(/^---$/m)
      .filter((manifest) => !manifest.includes('apiVersion: cert-manager.io/'));
    await kubectl.in('default').run(['apply', '--dry-run=server', '-f', '-'], ours.join('---'));
  }
}, 120_000);
