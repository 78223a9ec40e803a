import { readFileSync } from 'node:fs';
import type { Agent } from 'node:http';
import { isIPv6 } from 'node:net';
import { ConfigurationError } from './errors.ts';

/** What one request needs beside its own headers and body. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** Set where the way leads through a proxy: takes the place of our own agent. */
  readonly agent?: Agent;
}

/** Where the API server is and how to be let in. */
export interface Connection {
  readonly server: URL;
  /** The namespace of the kubeconfig's context, or of our own pod; `default` otherwise. */
  readonly namespace: string;
  /** Asked before every request: tokens and certificates are rotated under a running process. */
  credentials(): Promise<Credentials>;
  /** The server refused the credentials (401): read or fetch them anew the next time. */
  forget(): void;
}

export interface ConnectOptions {
  /** A kubeconfig file; `$KUBECONFIG`, `~/.kube/config` or the pod's own service account when absent. */
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Where the pod's service account is mounted (a folder; for tests). */
  readonly serviceAccount?: string;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Kubelet renews a projected token long before it expires; client-go, too, looks once a minute. */
const REREAD_MS = 60_000;

/**
 * In a pod without a kubeconfig we read the service account ourselves: two variables and three files. Everything else
 * (contexts, exec plugins, OIDC, client certificates, proxies) is client-node's work. It is imported only then: it costs
 * 30 to 80 MB of resident memory, which an operator in a pod would hold for nothing.
 */
export async function connect(options: ConnectOptions = {}): Promise<Connection> {
  const env = options.env ?? process.env;
  const inPod = env['KUBERNETES_SERVICE_HOST'] !== undefined && env['KUBECONFIG'] === undefined;
  if (inPod && options.kubeconfig === undefined && options.context === undefined) return inCluster(options);
  const { fromKubeconfig } = await import('./kubeconfig.ts');
  return fromKubeconfig(options);
}

/** The connection that every pod with a service account has. Throws ConfigurationError when it is not mounted. */
export function inCluster(options: ConnectOptions = {}): Connection {
  const env = options.env ?? process.env;
  const folder = options.serviceAccount ?? SERVICE_ACCOUNT;
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'] ?? '443';
  if (!host) {
    throw new ConfigurationError(
      'KUBERNETES_SERVICE_HOST is not set: run in a pod, or point KUBECONFIG at a kubeconfig',
    );
  }
  const read = (name: string): string => {
    try {
      return readFileSync(`${folder}/${name}`, 'utf8');
    } catch (error) {
      throw new ConfigurationError(
        `${folder}/${name} cannot be read: give the pod a service account with automountServiceAccountToken: true`,
        error,
      );
    }
  };
  let cached: { readonly until: number; readonly credentials: Credentials } | undefined;
  return {
    server: new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`),
    namespace: read('namespace').trim() || 'default',
    async credentials() {
      if (cached === undefined || performance.now() >= cached.until) {
        const credentials = {
          headers: { authorization: `Bearer ${read('token').trim()}` },
          tls: { ca: read('ca.crt') },
        };
        cached = { until: performance.now() + REREAD_MS, credentials };
      }
      return cached.credentials;
    },
    forget() {
      cached = undefined;
    },
  };
}
