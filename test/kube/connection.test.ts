import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { connect, inCluster } from '../../src/kube/connection.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raftsman-connection-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

const kubeconfig = (user: string, server = 'https://127.0.0.1:6443') =>
  write(
    'kubeconfig',
    `apiVersion: v1
kind: Config
current-context: one
contexts:
- {name: one, context: {cluster: c, user: u, namespace: team}}
- {name: two, context: {cluster: c, user: u}}
clusters:
- {name: c, cluster: {server: '${server}', insecure-skip-tls-verify: true}}
users:
- name: u
  user: ${user}
`,
  );

describe('in a pod', () => {
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };

  test('server, namespace, token and CA come from the service account', async () => {
    write('token', 'secret\n');
    write('ca.crt', 'CA');
    write('namespace', 'raftsman-system');
    const connection = await connect({ env, serviceAccount: folder });
    expect(connection.server.href).toBe('https://[fd00::1]:6443/');
    expect(connection.namespace).toBe('raftsman-system');
    expect(await connection.credentials()).toEqual({ headers: { authorization: 'Bearer secret' }, tls: { ca: 'CA' } });
  });

  test('a token that kubelet rotated is read when the server refuses the old one', async () => {
    write('token', 'first');
    write('ca.crt', 'CA');
    write('namespace', 'ns');
    const connection = inCluster({ env, serviceAccount: folder });
    await connection.credentials();
    write('token', 'second');
    expect((await connection.credentials()).headers['authorization']).toBe('Bearer first');
    connection.forget();
    expect((await connection.credentials()).headers['authorization']).toBe('Bearer second');
  });

  test('a pod without a mounted service account is told what to do', () => {
    expect(() => inCluster({ env, serviceAccount: join(folder, 'none') })).toThrow(
      'automountServiceAccountToken: true',
    );
    expect(() => inCluster({ env: {} })).toThrow('point KUBECONFIG at a kubeconfig');
  });
});

describe('with a kubeconfig', () => {
  test('a token, a context’s namespace and TLS settings are taken', async () => {
    const connection = await connect({ kubeconfig: kubeconfig('{token: abc}') });
    expect(connection.namespace).toBe('team');
    expect(await connection.credentials()).toEqual({
      headers: { authorization: 'Bearer abc' },
      tls: { rejectUnauthorized: false },
    });
    expect((await connect({ kubeconfig: kubeconfig('{token: abc}'), context: 'two' })).namespace).toBe('default');
  });

  test('an exec plugin is run for a token, kept while it is valid, and run again when the server refuses it', async () => {
    const count = join(folder, 'runs');
    const plugin = write(
      'plugin',
      `#!/bin/sh
echo run >> '${count}'
n=$(wc -l < '${count}')
echo "{\\"apiVersion\\":\\"client.authentication.k8s.io/v1\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"t$((n))\\"}}"
`,
    );
    chmodSync(plugin, 0o755);
    const user = `{exec: {apiVersion: client.authentication.k8s.io/v1, command: '${plugin}', interactiveMode: Never}}`;
    const connection = await connect({ kubeconfig: kubeconfig(user) });
    const token = async () => (await connection.credentials()).headers['authorization'];
    expect([await token(), await token()]).toEqual(['Bearer t1', 'Bearer t1']);
    connection.forget();
    expect(await token()).toBe('Bearer t2');
  });

  test('what cannot work is said in one line: no file, no context, a broken plugin', async () => {
    await expect(connect({ kubeconfig: join(folder, 'none') })).rejects.toMatchObject({ code: 'KUBE_CONFIGURATION' });
    const file = kubeconfig('{token: abc}');
    await expect(connect({ kubeconfig: file, context: 'three' })).rejects.toThrow('no context three');
    const broken = await connect({
      kubeconfig: kubeconfig(`{exec: {apiVersion: v1, command: '${join(folder, 'absent')}'}}`),
    });
    await expect(broken.credentials()).rejects.toThrow('cannot be authenticated');
  });
});
