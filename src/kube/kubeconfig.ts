import type { Agent } from 'node:http';
import type { RequestOptions } from 'node:https';
// The file rather than the package: its index loads a class for every kind of Kubernetes as well.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { Connection, ConnectOptions, Credentials } from './connection.ts';
import { ConfigurationError } from './errors.ts';

/** How long certificates and tokens read from files or plugins are used before client-node is asked again. */
const REREAD_MS = 10_000;

/** A connection as kubectl would make it; client-node does configuration, exec plugins, OIDC, token files, TLS. */
export function fromKubeconfig(options: ConnectOptions = {}): Connection {
  let config = load(options);
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new ConfigurationError(`the kubeconfig's context ${config.getCurrentContext()} has no cluster`);
  let server: URL;
  try {
    server = new URL(cluster.server);
  } catch (error) {
    throw new ConfigurationError(
      `the kubeconfig's cluster ${cluster.name} has no valid server: ${cluster.server}`,
      error,
    );
  }
  let cached: { readonly until: number; readonly credentials: Credentials } | undefined;
  return {
    server,
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? 'default',
    async credentials() {
      if (cached !== undefined && performance.now() < cached.until) return cached.credentials;
      const credentials = await ask(config);
      cached = { until: performance.now() + REREAD_MS, credentials };
      return credentials;
    },
    forget() {
      // Whatever client-node remembers (a plugin's token, an agent with an old certificate) goes with its KubeConfig.
      config = load(options);
      cached = undefined;
    },
  };
}

function load(options: ConnectOptions): KubeConfig {
  const config = new KubeConfig();
  const file = options.kubeconfig ?? options.env?.['KUBECONFIG'];
  try {
    if (file !== undefined) config.loadFromFile(file);
    else config.loadFromDefault();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`the kubeconfig ${file ?? '(default)'} cannot be read: ${reason}`, error);
  }
  if (options.context !== undefined) {
    if (config.getContextObject(options.context) === null) {
      throw new ConfigurationError(`the kubeconfig has no context ${options.context}: see kubectl config get-contexts`);
    }
    config.setCurrentContext(options.context);
  }
  return config;
}

async function ask(config: KubeConfig): Promise<Credentials> {
  const filled: RequestOptions & { ca?: string | Buffer; cert?: string | Buffer; key?: string | Buffer } = {
    headers: {},
  };
  try {
    await config.applyToHTTPSOptions(filled);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`the kubeconfig's user cannot be authenticated: ${reason}`, error);
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(filled.headers ?? {})) {
    if (value !== undefined) headers[name.toLowerCase()] = String(value);
  }
  if (filled.auth) headers['authorization'] = `Basic ${Buffer.from(filled.auth).toString('base64')}`;
  return {
    headers,
    tls: {
      ...(filled.ca === undefined ? {} : { ca: filled.ca }),
      ...(filled.cert === undefined ? {} : { cert: filled.cert }),
      ...(filled.key === undefined ? {} : { key: filled.key }),
      ...(filled.servername === undefined ? {} : { servername: filled.servername }),
      ...(filled.rejectUnauthorized === undefined ? {} : { rejectUnauthorized: filled.rejectUnauthorized }),
    },
    // client-node's own agents do not keep connections alive; only behind a proxy do we need them.
    ...(config.getCurrentCluster()?.proxyUrl ? { agent: filled.agent as Agent } : {}),
  };
}
