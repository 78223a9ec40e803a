/**
 * Connections over TLS, dialled and listened for. Whoever is handed over has shown what was asked of it; who has not is gone,
 * and said why once.
 */
import { lookup as resolve } from 'node:dns';
import { connect, isIP, type LookupFunction, type Server, type Socket } from 'node:net';
import { connect as connectSecurely, createServer, type TLSSocket } from 'node:tls';
import type { Certificates } from './certificates.ts';
import { hostAndPort, isSecure } from './urls.ts';

const handshakeWithinMs = 5000;

/** One side does not accept the other's certificate, or only one speaks TLS. */
export class InsecureError extends Error {
  override readonly name = 'InsecureError';
  readonly code = 'PEER_NOT_SECURE';
}

export interface Dialled {
  readonly socket: Socket;
  /** Calls back when the connection is there, and secured when the URL asks for that. */
  readonly onReady: (act: () => void) => void;
  /** The connection's error in words, when it is about security; otherwise the error itself. */
  readonly explain: (error: Error) => Error;
}

/**
 * With https the other side's certificate is for the host of the URL, and this member shows its own when it is asked.
 * `seen`: the address from which the other side was last heard, for when its name cannot be resolved.
 */
export function dialUrl(url: string, certificates: Certificates | undefined, seen: Seen = () => undefined): Dialled {
  const { host, port } = hostAndPort(url);
  const lookup = lookupOr(seen);
  if (!isSecure(url)) {
    const socket = connect({ host, port, lookup });
    return { socket, onReady: (act) => void socket.once('connect', act), explain: explainPlain };
  }
  const socket = connectSecurely({
    host,
    port,
    lookup,
    // An address may not be asked for by name (RFC 6066 §3); the certificate must hold it all the same.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    secureContext: certificates?.context,
    rejectUnauthorized: true,
  });
  let isSecured = false;
  const onReady = (act: () => void): void => {
    socket.once('secureConnect', () => {
      isSecured = true;
      const objection = certificates?.objection(socket);
      if (objection === undefined) act();
      else socket.destroy(new InsecureError(objection));
    });
  };
  return { socket, onReady, explain: (error) => explainSecure(error, isSecured) };
}

export type Seen = () => string | undefined;

/** DNS hears of a new pod late, and goes on saying for as long as half a minute that there is none, when it was asked too soon. */
function lookupOr(seen: Seen): LookupFunction {
  return (host, options, callback) => {
    resolve(host, options, (error, found, family) => {
      const address = error === null ? undefined : seen();
      if (address === undefined) callback(error, found, family);
      else if (options.all) callback(null, [{ address, family: isIP(address) }]);
      else callback(null, address, isIP(address));
    });
  };
}

function explainPlain(error: Error): Error {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ECONNRESET') return error;
  const message = `${error.message}: does it listen with TLS, so that its URL must begin with https?`;
  return Object.assign(new Error(message, { cause: error }), { code });
}

function explainSecure(error: Error, isSecured: boolean): Error {
  // Of a name with several addresses, none of which could be connected to. It has the first one's code.
  if (error instanceof AggregateError) return error;
  const { code = '', syscall } = error as NodeJS.ErrnoException;
  // In TLS 1.3 the other side looks at our certificate only when this side believes that all is well.
  const isRefusal = code === 'ECONNRESET' || code === 'EPIPE' || code.startsWith('ERR_SSL');
  // Without a code, or of a system call: nobody listens, no way there, no answer in time.
  const isHandshake = !isSecured && code !== '' && syscall === undefined;
  return isRefusal || isHandshake ? new InsecureError(reasonOf(error), { cause: error }) : error;
}

export interface SecureServerOptions {
  readonly certificates: Certificates;
  readonly onConnection: (socket: TLSSocket) => void;
  /** Somebody came who did not get that far. */
  readonly onRefused: (address: string, reason: string) => void;
  /** What is spoken inside (RFC 7301); whoever offers something else only is refused. */
  readonly protocol?: string;
}

/** Not listening yet. `close` also ends connections that are still being secured. */
export function secureServer({ certificates, onConnection, onRefused, protocol }: SecureServerOptions): Server {
  const server = createServer({
    requestCert: certificates.areRequired,
    rejectUnauthorized: certificates.areRequired,
    handshakeTimeout: handshakeWithinMs,
    ...(protocol === undefined ? {} : { ALPNProtocols: [protocol] }),
  });
  // Every connection takes the newest context. `setSecureContext` is there for that, but loses `allowPartialTrustChain`.
  Object.defineProperty(server, '_sharedCreds', { get: () => certificates.context });
  const unsecured = new Set<Socket>();
  /** Of sockets as they came: it is not known any more when one has been refused. */
  const addresses = new WeakMap<Socket, string>();
  const rawOf = (socket: TLSSocket): Socket => (socket as unknown as { readonly _parent: Socket })._parent;
  const addressOf = (socket: TLSSocket): string => addresses.get(rawOf(socket)) ?? 'unknown';
  server.prependListener('connection', (socket: Socket) => {
    addresses.set(socket, String(socket.remoteAddress));
    unsecured.add(socket);
    socket.once('close', () => unsecured.delete(socket));
  });
  server.on('secureConnection', (socket) => {
    unsecured.delete(rawOf(socket));
    const objection = certificates.areRequired ? certificates.objection(socket) : undefined;
    if (objection === undefined) return onConnection(socket);
    onRefused(addressOf(socket), objection);
    socket.on('error', () => {});
    socket.destroy();
  });
  server.on('tlsClientError', (error, socket) => {
    const { authorizationError } = socket;
    // Node leaves one open that takes too long.
    socket.destroy();
    // Ports are probed, and members die, at any moment.
    if (!authorizationError && (error as NodeJS.ErrnoException).code === 'ECONNRESET') return;
    onRefused(addressOf(socket), authorizationError ? untrusted(String(authorizationError)) : reasonOf(error));
  });
  const close = server.close.bind(server);
  server.close = (callback) => {
    close(callback);
    for (const socket of unsecured) socket.destroy();
    return server;
  };
  return server;
}

const untrusted = (code: string): string =>
  `its certificate is not accepted (${code}): is it of the authority trusted here?`;

/** Words for what OpenSSL and Node call it. */
function reasonOf(error: Error): string {
  const { code = '', reason } = error as NodeJS.ErrnoException & { reason?: string };
  switch (code) {
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE':
      return 'it shows no certificate';
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_HTTP_REQUEST':
    case 'ERR_SSL_BAD_RECORD_TYPE':
      return 'it does not speak TLS: does its URL for this member begin with https?';
    case 'ERR_TLS_HANDSHAKE_TIMEOUT':
      return `it did not finish the handshake within ${handshakeWithinMs} ms`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `it ended the connection (${error.message}): it may not speak TLS, or not accept the certificate of this member`;
    default:
      return reason ?? (code === '' || error.message.includes(code) ? error.message : `${error.message} (${code})`);
  }
}
