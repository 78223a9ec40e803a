import { Agent, request } from 'node:https';
import { Failure } from './failure.ts';

export interface Access {
  /** `https://address:port` */
  readonly server: string;
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The little of the Kubernetes API that bringing a cluster up needs; kubectl takes half a second for each of these. */
export class Api {
  readonly #access: Access;
  readonly #agent: Agent;

  constructor(access: Access) {
    this.#access = access;
    this.#agent = new Agent({
      keepAlive: true,
      ca: access.authority,
      cert: access.certificate,
      key: access.key,
    });
  }

  request(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<Answer> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const call = request(
        new URL(path, this.#access.server),
        {
          method,
          agent: this.#agent,
          timeout: 10_000,
          headers:
            payload === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(payload) },
        },
        (response) => {
          let text = '';
          response
            .setEncoding('utf8')
            .on('data', (chunk: string) => {
              text += chunk;
            })
            .on('error', reject)
            .on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
        },
      );
      call.on('timeout', () => call.destroy(new Error(`no answer from ${this.#access.server} within 10 s`)));
      call.on('error', reject);
      call.end(payload);
    });
  }

  async get(path: string): Promise<unknown> {
    const answer = await this.request('GET', path);
    if (answer.status !== 200)
      throw new Failure('API_FAILED', `GET ${path}: ${answer.status} ${answer.body.slice(0, 300)}`);
    return JSON.parse(answer.body);
  }

  /** Server-side apply: makes the object or brings it to this state. */
  async apply(manifest: Manifest): Promise<void> {
    const path = `${pathOf(manifest)}?fieldManager=local-kubernetes&force=true`;
    const answer = await this.request('PATCH', path, manifest, 'application/apply-patch+yaml');
    if (answer.status !== 200 && answer.status !== 201) {
      const what = `${manifest.kind} ${manifest.metadata.name}`;
      throw new Failure('API_FAILED', `${what}: ${answer.status} ${answer.body.slice(0, 500)}`);
    }
  }

  /** Whether `path` answers 200 now; a connection that fails is a no. */
  async answers(path: string): Promise<boolean> {
    try {
      return (await this.request('GET', path)).status === 200;
    } catch {
      return false;
    }
  }

  close(): void {
    this.#agent.destroy();
  }
}

const PLURALS: Readonly<Record<string, string>> = { StorageClass: 'storageclasses', Endpoints: 'endpoints' };
const CLUSTER_WIDE = new Set(['Namespace', 'StorageClass', 'ClusterRole', 'ClusterRoleBinding', 'PersistentVolume']);

export function pathOf({ apiVersion, kind, metadata }: Manifest): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const plural = PLURALS[kind] ?? `${kind.toLowerCase()}s`;
  const namespace = CLUSTER_WIDE.has(kind) ? '' : `/namespaces/${metadata.namespace ?? 'default'}`;
  return `${root}${namespace}/${plural}/${metadata.name}`;
}
