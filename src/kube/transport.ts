import { createHash } from 'node:crypto';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { version } from '../version.ts';
import { type Clock, pause } from './clock.ts';
import type { Connection, Credentials } from './connection.ts';
import { ApiError, type Status, TransportError } from './errors.ts';

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query, beginning with `/`. */
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  /** Milliseconds until the response's headers (a stream) or its end (anything else). */
  readonly timeoutMs: number;
  /** May be sent again when the connection broke before an answer. */
  readonly repeatable: boolean;
}

/** HTTP to the API server: connection pool, credentials, limits, and errors as ApiError or TransportError. */
export interface Transport {
  json(call: Call): Promise<unknown>;
  /** Resolves with a successful response whose body the caller reads (and destroys). */
  stream(call: Call): Promise<IncomingMessage>;
  readonly requests: number;
  close(): void;
}

/** Waits that a 429 asks for are honoured here up to so often; then the caller gets the ApiError. */
const THROTTLED_TRIES = 4;
const MAX_BODY_BYTES = 256 * 1024 * 1024;

export function createTransport(connection: Connection, clock: Clock): Transport {
  const secure = connection.server.protocol === 'https:';
  let pool: { readonly digest: string; readonly agent: http.Agent } | undefined;
  let requests = 0;
  let closed = false;

  const agentFor = (credentials: Credentials): http.Agent => {
    if (credentials.agent !== undefined) return credentials.agent;
    const { ca, cert, key, servername, rejectUnauthorized } = credentials.tls;
    const hash = createHash('sha256');
    for (const part of [ca, cert, key, servername, String(rejectUnauthorized)]) hash.update(part ?? '').update('\0');
    const digest = hash.digest('base64');
    if (pool?.digest === digest) return pool.agent;
    if (pool !== undefined) retire(pool.agent);
    const options = { keepAlive: true, keepAliveMsecs: 30_000, maxFreeSockets: 16, scheduling: 'lifo' as const };
    const agent = secure ? new https.Agent({ ...options, ...credentials.tls }) : new http.Agent(options);
    pool = { digest, agent };
    return agent;
  };

  const once = async (call: Call): Promise<IncomingMessage> => {
    if (closed) throw new TransportError(`${describe(call)}: the client is closed`);
    const credentials = await connection.credentials();
    // After the last wait: an abort that came before we listen for it would never be heard of.
    if (call.signal?.aborted) throw new TransportError(`${describe(call)}: aborted`, call.signal.reason);
    const payload = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    return await new Promise<IncomingMessage>((resolve, reject) => {
      requests++;
      const request = (secure ? https : http).request(new URL(join(connection.server, call.path)), {
        method: call.method,
        agent: agentFor(credentials),
        headers: {
          accept: 'application/json',
          'user-agent': `raftsman/${version}`,
          ...credentials.headers,
          ...(payload === undefined
            ? {}
            : { 'content-type': call.contentType ?? 'application/json', 'content-length': payload.length }),
        },
      });
      const late = clock.after(call.timeoutMs, () =>
        request.destroy(new TransportError(`${describe(call)}: no answer within ${call.timeoutMs} ms`)),
      );
      const abort = (): void => {
        request.destroy(new TransportError(`${describe(call)}: aborted`, call.signal?.reason));
      };
      call.signal?.addEventListener('abort', abort, { once: true });
      const settled = (): void => {
        late();
        call.signal?.removeEventListener('abort', abort);
      };
      request.once('response', (response) => {
        late();
        response.once('close', settled);
        resolve(response);
      });
      // `on`, not `once`: destroying a request whose answer is being read may report a second time.
      request.on('error', (error) => {
        settled();
        reject(
          error instanceof TransportError
            ? error
            : Object.assign(new TransportError(`${describe(call)}: ${reasonOf(error)}`, error), {
                retry: request.reusedSocket && (error as { code?: string }).code === 'ECONNRESET',
              }),
        );
      });
      request.end(payload);
    });
  };

  /** A response with status 2xx. Everything that is worth a second try for every caller alike is tried here. */
  const successful = async (call: Call): Promise<IncomingMessage> => {
    let refused = false;
    let stale = false;
    const deadline = clock.monotonic() + call.timeoutMs;
    for (let attempt = 1; ; attempt++) {
      let response: IncomingMessage;
      try {
        response = await once(call);
      } catch (error) {
        // The server closed an idle connection just when we took it: no fault of the request.
        if (!stale && call.repeatable && (error as { retry?: boolean }).retry) {
          stale = true;
          continue;
        }
        throw error;
      }
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return response;
      const error = await failure(call, response, clock);
      if (status === 401 && !refused) {
        refused = true;
        connection.forget();
        continue;
      }
      const wait = status === 429 ? error.retryAfterMs : undefined;
      if (wait === undefined || attempt > THROTTLED_TRIES || clock.monotonic() + wait > deadline) throw error;
      await pause(clock, wait, call.signal);
    }
  };

  return {
    async json(call) {
      const text = await readAll(call, await successful(call), clock);
      try {
        return JSON.parse(text) as unknown;
      } catch (error) {
        throw new TransportError(`${describe(call)}: the answer is not JSON: ${text.slice(0, 80)}`, error);
      }
    },
    stream: successful,
    get requests() {
      return requests;
    },
    close() {
      closed = true;
      pool?.agent.destroy();
      pool = undefined;
    },
  };
}

async function readAll(call: Call, response: IncomingMessage, clock: Clock): Promise<string> {
  const late = clock.after(call.timeoutMs, () =>
    response.destroy(new TransportError(`${describe(call)}: the answer took longer than ${call.timeoutMs} ms`)),
  );
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_BODY_BYTES)
        throw new TransportError(`${describe(call)}: the answer exceeds ${MAX_BODY_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof TransportError) throw error;
    throw new TransportError(`${describe(call)}: the answer was cut: ${reasonOf(error)}`, error);
  } finally {
    late();
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function failure(call: Call, response: IncomingMessage, clock: Clock): Promise<ApiError> {
  const text = await readAll(call, response, clock).catch(() => '');
  let body: Status;
  try {
    const parsed = JSON.parse(text) as Status | null;
    body = parsed?.kind === 'Status' ? parsed : { message: text.slice(0, 200) };
  } catch {
    body = { message: text.slice(0, 200).trim() };
  }
  return new ApiError(
    describe(call),
    response.statusCode ?? 0,
    body,
    retryAfter(response.headers['retry-after'], clock),
  );
}

/** `Retry-After` in milliseconds: seconds or a date. */
function retryAfter(header: string | undefined, clock: Clock): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - clock.now());
}

/** Lets requests under way finish and closes everything that falls idle. */
function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** The server of a kubeconfig may have a path of its own (a gateway). */
function join(server: URL, path: string): string {
  return `${server.origin}${server.pathname.replace(/\/$/, '')}${path}`;
}

/** Without the query: it may be long, and the path says what it was about. */
function describe(call: Call): string {
  return `${call.method} ${call.path.split('?')[0]}`;
}

function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return message || code || String(error);
}
