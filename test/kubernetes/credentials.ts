import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Addresses } from './addresses.ts';
import type { Access } from './api.ts';
import { type Authority, issue, newAuthority, newSigningKey, type Pair, type Subject } from './certificates.ts';
import { inside } from './places.ts';

export const API_PORT = 6443;
export const NODE_NAME = 'node';

const SUBJECTS = {
  admin: { commonName: 'admin', organizations: ['system:masters'] },
  // The controller manager acts for all its controllers itself, which spares making an account and a token for each.
  'controller-manager': { commonName: 'system:kube-controller-manager', organizations: ['system:masters'] },
  'kubelet-client': { commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'] },
  scheduler: { commonName: 'system:kube-scheduler' },
  proxy: { commonName: 'system:kube-proxy' },
  storage: { commonName: 'local-provisioner', organizations: ['system:masters'] },
  dns: { commonName: 'coredns', organizations: ['system:masters'] },
  node: { commonName: `system:node:${NODE_NAME}`, organizations: ['system:nodes'] },
} as const satisfies Record<string, Subject>;

type User = keyof typeof SUBJECTS;

export const serverUrl = (addresses: Addresses): string => `https://${addresses.node}:${API_PORT}`;

function kubeconfig(context: string, addresses: Addresses, authority: Authority, user: string, pair: Pair): string {
  const encoded = (text: string) => Buffer.from(text).toString('base64');
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': context,
      clusters: [
        {
          name: context,
          cluster: { server: serverUrl(addresses), 'certificate-authority-data': encoded(authority.certificate) },
        },
      ],
      users: [
        {
          name: user,
          user: { 'client-certificate-data': encoded(pair.certificate), 'client-key-data': encoded(pair.key) },
        },
      ],
      contexts: [{ name: context, context: { cluster: context, user } }],
    },
    { version: '1.1' },
  );
}

/** Where the files that `writeCredentials` writes are, as the cluster's processes see them. */
export const pki = {
  authority: `${inside.state}/pki/ca.crt`,
  serviceAccountKey: `${inside.state}/pki/sa.key`,
  serviceAccountPublicKey: `${inside.state}/pki/sa.pub`,
  certificate: (name: string) => `${inside.state}/pki/${name}.crt`,
  key: (name: string) => `${inside.state}/pki/${name}.key`,
  kubeconfig: (user: User) => `${inside.state}/pki/${user}.kubeconfig`,
} as const;

/** Makes all keys, certificates and kubeconfigs of a cluster; `kubeconfig` in its folder is the person's. */
export function writeCredentials(name: string, folder: string, addresses: Addresses): void {
  const place = (file: string) => join(folder, 'pki', file);
  const secret = (file: string, text: string) => writeFileSync(place(file), text, { mode: 0o600 });
  mkdirSync(join(folder, 'pki'), { recursive: true });

  const authority = newAuthority('raftsman-local-kubernetes');
  const context = `raftsman-${name}`;
  secret('ca.crt', authority.certificate);
  const signing = newSigningKey();
  secret('sa.key', signing.key);
  secret('sa.pub', signing.publicKey);

  const pair = (file: string, made: Pair) => {
    secret(`${file}.crt`, made.certificate);
    secret(`${file}.key`, made.key);
  };
  const service = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
  ];
  const hosts = [...service, 'localhost', '127.0.0.1', addresses.node, addresses.firstService];
  pair('apiserver', issue(authority, { commonName: 'kube-apiserver', hosts }));
  pair('kubelet', issue(authority, { commonName: NODE_NAME, hosts: [NODE_NAME, addresses.node] }));

  for (const user of Object.keys(SUBJECTS) as User[]) {
    const made = issue(authority, SUBJECTS[user]);
    pair(user, made);
    secret(`${user}.kubeconfig`, kubeconfig(context, addresses, authority, user, made));
    if (user === 'admin') {
      writeFileSync(join(folder, 'kubeconfig'), kubeconfig(context, addresses, authority, 'admin', made), {
        mode: 0o600,
      });
    }
  }
}

/** The administrator's access, read back from the cluster's folder. */
export function readAccess(folder: string, addresses: Addresses): Access {
  const text = (file: string) => readFileSync(join(folder, 'pki', file), 'utf8');
  return {
    server: serverUrl(addresses),
    authority: text('ca.crt'),
    certificate: text('admin.crt'),
    key: text('admin.key'),
  };
}
