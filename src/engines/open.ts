/** The register of engines: the one place that knows them all. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EmbeddedEngine } from './embedded/embedded.ts';
import { embeddedProfile } from './embedded/profile.ts';
import { type Endpoint, type Engine, EngineError, type EngineType } from './engine.ts';
import { EtcdEngine } from './etcd/etcd.ts';
import { etcdProfile } from './etcd/profile.ts';
import type { EngineProfile } from './profile.ts';

export const engineTypes: readonly EngineType[] = ['Embedded', 'Etcd'];

/** What the members of an engine run. */
export function profileOf(type: EngineType): EngineProfile {
  switch (type) {
    case 'Embedded':
      return embeddedProfile;
    case 'Etcd':
      return etcdProfile;
  }
}

/** `ENGINE_UNKNOWN` for a type that this version does not know. */
export function openEngine(type: string): Engine {
  switch (type) {
    case 'Embedded':
      return new EmbeddedEngine();
    case 'Etcd':
      return new EtcdEngine();
    default:
      throw new EngineError('ENGINE_UNKNOWN', `unknown engine "${type}": use ${engineTypes.join(', ')}`);
  }
}

/** `URL[,URL…]` as in etcdctl's `--endpoints`; a bare `host:port` means http. */
export function parseEndpoints(text: string): Endpoint[] {
  const urls = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => (part.includes('://') ? part : `http://${part}`));
  const wrong = urls.find((url) => !URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol));
  if (wrong !== undefined || urls.length === 0) {
    throw new EngineError('ENGINE_ENDPOINT_INVALID', `"${wrong ?? text}" is not an endpoint: use http://host:port`);
  }
  return urls.map((url) => ({ url }));
}

/** The client's certificate and whom it trusts, from the files that Kubernetes makes of a Secret. */
export async function withCertificates(
  endpoints: readonly Endpoint[],
  folder: string | undefined,
): Promise<Endpoint[]> {
  if (folder === undefined) return [...endpoints];
  const [ca, cert, key] = await Promise.all(
    ['ca.crt', 'tls.crt', 'tls.key'].map((name) => readFile(join(folder, name))),
  );
  return endpoints.map(({ url }) => ({ url, tls: { ca: ca!, cert: cert!, key: key! } }));
}
