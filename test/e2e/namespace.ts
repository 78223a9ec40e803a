/** A namespace of a test's own, which enforces the strictest pod rules, with a store in the local S3 server. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Kubectl } from './kubectl.ts';

export const root = join(import.meta.dirname, '../..');

function env(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run this with make test-e2e, which starts the node`);
  return value;
}

export const kubeconfig = () => env('RAFTSMAN_E2E_KUBECONFIG');
export const helm = () => env('RAFTSMAN_E2E_HELM');

export async function newNamespace(name: string): Promise<Kubectl> {
  const kubectl = new Kubectl({ kubectl: env('RAFTSMAN_E2E_KUBECTL'), kubeconfig: kubeconfig(), namespace: name });
  await kubectl.apply(`apiVersion: v1
kind: Namespace
metadata:
  name: ${name}
  labels:
    pod-security.kubernetes.io/enforce: restricted
`);
  return kubectl;
}

export async function removeNamespace(kubectl: Kubectl): Promise<void> {
  await kubectl.run(['delete', 'namespace', kubectl.namespace, '--wait=true', '--timeout=120s']);
}

/** A manifest of examples/, with pieces of it replaced; a piece that is not there is a mistake of the test. */
export function example(file: string, replacements: Readonly<Record<string, string>> = {}): string {
  let text = readFileSync(join(root, 'examples', file), 'utf8');
  for (const [from, to] of Object.entries(replacements)) {
    if (!text.includes(from)) throw new Error(`examples/${file} does not contain "${from}"`);
    text = text.replaceAll(from, to);
  }
  return text;
}

export async function ready(kubectl: Kubectl, cluster: string, timeoutMs = 120_000): Promise<void> {
  await kubectl.untilCondition('raftcluster', cluster, { type: 'Ready', status: 'True' }, timeoutMs);
}
