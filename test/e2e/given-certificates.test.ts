/** Certificates that somebody else issues, for etcd itself: it serves whoever has one of them, and nobody else. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { roles } from '../../src/controllers/tls/inspect.ts';
import { leafOf, secretNames } from '../../src/controllers/tls/names.ts';
import { issueLeaf, newAuthority, type Pair } from '../../src/controllers/tls/x509.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import { differences, readData, writeData } from './data.ts';
import type { Kubectl } from './kubectl.ts';
import { newNamespace, ready, removeNamespace } from './namespace.ts';
import { onCluster, type Target } from './target.ts';

const namespace = 'e2e-given';
const name = 'given';
const day = 24 * 60 * 60_000;
const lifetime = { notBefore: Date.now() - 60_000, notAfter: Date.now() + 90 * day };

let kubectl: Kubectl;
beforeAll(async () => {
  kubectl = await newNamespace(namespace);
});
afterAll(() => removeNamespace(kubectl));

/** As an issuer of one's own would fill them. */
function secretsOf(ca: Pair): readonly object[] {
  return roles.map((role) => {
    const { certificate, key } = issueLeaf(ca, leafOf(role, name, namespace), lifetime);
    const stringData = { 'tls.crt': certificate, 'tls.key': key, 'ca.crt': ca.certificate };
    return { apiVersion: 'v1', kind: 'Secret', metadata: { name: secretNames[role](name) }, stringData };
  });
}

async function reads({ url }: Target, tls: Target['tls']): Promise<unknown> {
  const client = new EtcdClient({ endpoints: [url], deadlineMs: 5_000, ...(tls ? { tls } : {}) });
  try {
    return await client.range({ key: Buffer.from('anything') });
  } finally {
    client.close();
  }
}

test('etcd starts with given Secrets, forms a cluster with them, and refuses strangers and the clear', async () => {
  const ca = newAuthority('an issuer of ours', lifetime);
  for (const secret of secretsOf(ca)) await kubectl.apply(JSON.stringify(secret));
  const secrets = Object.fromEntries(roles.map((role) => [role, secretNames[role](name)]));
  await kubectl.apply(
    JSON.stringify({
      apiVersion: 'raftsman.dev/v1alpha1',
      kind: 'RaftCluster',
      metadata: { name },
      spec: {
        replicas: 3,
        engine: { type: 'Etcd' },
        storage: { size: '128Mi' },
        tls: { mode: 'Secrets', secrets },
      },
    }),
  );
  await ready(kubectl, name);
  await onCluster(kubectl, name, async (target) => {
    const { expected } = await writeData(target, 'given', 50);
    expect(differences(expected, (await readData(target)).items)).toEqual([]);
    const stranger = issueLeaf(newAuthority('a stranger', lifetime), leafOf('client', name, namespace), lifetime);
    const [cert, key] = [Buffer.from(stranger.certificate), Buffer.from(stranger.key)];
    await expect(reads(target, { ...target.tls!, cert, key })).rejects.toThrow();
    await expect(reads({ url: target.url.replace('https:', 'http:') }, undefined)).rejects.toThrow();
    // It was they who were refused, and not everybody.
    await reads(target, target.tls);
  });
  const { status } = (await kubectl.get('raftcluster', name))!;
  expect(status).toMatchObject({
    conditions: expect.arrayContaining([expect.objectContaining({ type: 'CertificatesReady', status: 'True' })]),
  });
}, 300_000);
