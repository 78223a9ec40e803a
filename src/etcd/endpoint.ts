import { status } from '@grpc/grpc-js';
import { EtcdError } from './errors.ts';

export interface EtcdAddress {
  readonly host: string;
  readonly port: number;
  /** `host:port` as gRPC wants it, IPv6 in brackets. */
  readonly authority: string;
}

/** Fails with `ETCD_INVALID_ENDPOINT`, which names the URL and what is wrong with it. */
export function parseEndpoint(url: string): EtcdAddress {
  const refuse = (what: string): never => {
    throw new EtcdError('ETCD_INVALID_ENDPOINT', status.INVALID_ARGUMENT, `endpoint "${url}" ${what}`);
  };
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return refuse('is no URL: write http://host:port');
  }
  // The place where TLS comes in: credentials are made from the scheme, here for the client and in server.ts.
  if (parsed.protocol === 'https:') return refuse('asks for TLS, which is not there yet: use http://');
  if (parsed.protocol !== 'http:') return refuse('has a scheme other than http: write http://host:port');
  if (parsed.pathname !== '/' && parsed.pathname !== '') return refuse('has a path: write http://host:port');
  if (parsed.port === '' && !/:80\/?$/.test(url)) return refuse('has no port: write http://host:port');
  const port = parsed.port === '' ? 80 : Number(parsed.port);
  return { host: parsed.hostname.replace(/^\[|\]$/g, ''), port, authority: `${parsed.hostname}:${port}` };
}
