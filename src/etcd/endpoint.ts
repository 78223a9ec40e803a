import { status } from '@grpc/grpc-js';
import { EtcdError } from './errors.ts';

export interface EtcdAddress {
  readonly host: string;
  readonly port: number;
  /** `host:port` as gRPC wants it, IPv6 in brackets. */
  readonly authority: string;
  /** Of an https URL. */
  readonly isSecure: boolean;
}

const form = 'write http://host:port or https://host:port';

/** Fails with `ETCD_INVALID_ENDPOINT`, which names the URL and what is wrong with it. */
export function parseEndpoint(url: string): EtcdAddress {
  const refuse = (what: string): never => {
    throw new EtcdError('ETCD_INVALID_ENDPOINT', status.INVALID_ARGUMENT, `endpoint "${url}" ${what}: ${form}`);
  };
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return refuse('is no URL');
  }
  const { protocol, hostname, pathname } = parsed;
  if (protocol !== 'http:' && protocol !== 'https:') return refuse('has a scheme other than http and https');
  if (pathname !== '/' && pathname !== '') return refuse('has a path');
  const isSecure = protocol === 'https:';
  // A URL forgets its port when that is its scheme's own.
  const ownPort = isSecure ? 443 : 80;
  if (parsed.port === '' && !new RegExp(`:${ownPort}/?$`).test(url)) return refuse('has no port');
  const port = parsed.port === '' ? ownPort : Number(parsed.port);
  return { host: hostname.replace(/^\[|\]$/g, ''), port, authority: `${hostname}:${port}`, isSecure };
}
