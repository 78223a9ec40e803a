/** How a connection to an endpoint is secured: from the endpoint's scheme and the certificates given for it. */
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { checkServerIdentity, createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials, status } from '@grpc/grpc-js';
import type { EtcdAddress } from './endpoint.ts';
import { EtcdError } from './errors.ts';

/** PEM. Without `ca` the public authorities that Node knows are trusted; `cert` and `key` go together. */
export interface ClientTls {
  readonly ca?: Uint8Array;
  /** The client's own, followed by intermediates where there are any. */
  readonly cert?: Uint8Array;
  readonly key?: Uint8Array;
  /** What the server's certificate must be for, where it is not the endpoint's host. */
  readonly serverName?: string;
}

export interface ChannelSecurity {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

const asBuffer = (bytes: Uint8Array | undefined): Buffer | undefined =>
  bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Fails with `ETCD_TLS_INVALID`. */
export function secureContextOf({ ca, cert, key }: ClientTls): SecureContext {
  if ((cert === undefined) !== (key === undefined)) {
    throw invalid(`a certificate and its key are given together, and the ${cert ? 'key' : 'certificate'} is missing`);
  }
  const given = { ca: asBuffer(ca), cert: asBuffer(cert), key: asBuffer(key) };
  try {
    // OpenSSL takes any bytes for authorities, and trusts nobody then.
    if (given.ca) new X509Certificate(given.ca);
    // An authority may be an intermediate one without its root, as etcd's own clients take it.
    return createSecureContext({ ...given, minVersion: 'TLSv1.2', allowPartialTrustChain: true });
  } catch (error) {
    throw invalid(`the CA, certificate or key cannot be used: ${(error as Error).message}`, error);
  }
}

function invalid(message: string, cause?: unknown): EtcdError {
  return new EtcdError('ETCD_TLS_INVALID', status.INVALID_ARGUMENT, message, { cause });
}

/** `context` makes the connections of https endpoints; those of http endpoints are not secured. */
export function securityOf(
  { isSecure, host }: EtcdAddress,
  context: () => SecureContext,
  serverName: string | undefined,
): ChannelSecurity {
  if (!isSecure) return { credentials: credentials.createInsecure(), options: {} };
  const name = serverName ?? host;
  if (isIP(name) === 0) {
    const options = serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName };
    return { credentials: credentials.createFromSecureContext(context()), options };
  }
  // An address may not be asked for by name (RFC 6066 §3), and gRPC would. What the certificate must hold is the address.
  const checkAddress = (_: string, certificate: PeerCertificate): Error | undefined =>
    checkServerIdentity(name, certificate);
  return {
    credentials: credentials.createFromSecureContext(context(), { checkServerIdentity: checkAddress }),
    options: { 'grpc.ssl_target_name_override': 'address.invalid' },
  };
}

/** What went wrong when a secure connection was made; undefined when it was not the security. */
export function refusalIn(details: string): string | undefined {
  const what =
    /^No connection established\. Last error: (?:\w*Error(?: \[\w+\])?: )?(.*?)(?: \([^()]*Z\))?\. Resolution note:/s.exec(
      details,
    )?.[1];
  if (what === undefined || !/certificate|SSL routines|secure TLS connection/.test(what)) return undefined;
  // OpenSSL's `4012:error:0A000418:SSL routines:function:reason:file:line:SSL alert number 48`.
  return /SSL routines:[^:]*:([^:]*):/.exec(what)?.[1] ?? what;
}
