import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request as plainRequest,
  type ServerResponse,
} from 'node:http';
import { request as secureRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Connection } from '../../src/kube/connection.ts';
import { plainConnection } from './recording-server.ts';

/** What goes wrong with one request. */
export type Fault =
  /** The connection is cut before the server hears of it. */
  | { readonly kind: 'drop' }
  /** The server does it, but its answer is lost. */
  | { readonly kind: 'lose-answer' }
  | { readonly kind: 'delay'; readonly milliseconds: number }
  | { readonly kind: 'status'; readonly code: number; readonly reason: string; readonly retryAfterSeconds?: number }
  /** A watch (or any answer) ends in the middle of the event after so many whole ones. */
  | { readonly kind: 'cut'; readonly afterEvents: number }
  /** A watch says nothing more after so many events, and stays open. */
  | { readonly kind: 'stall'; readonly afterEvents: number }
  /** A watch ends with the ERROR event of an expired version after so many events. */
  | { readonly kind: 'gone-event'; readonly afterEvents: number }
  /** A watch repeats its last so many events, as a proxy's buffer might. */
  | { readonly kind: 'replay'; readonly afterEvents: number };

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly kind: 'list' | 'watch' | 'other';
}

export interface FaultProxy {
  /** A connection to the API server through this proxy. */
  readonly connection: Connection;
  /** Every request, faulty or not, since the last `forget`. */
  readonly asked: readonly Asked[];
  /** How many requests met with a fault. */
  readonly faults: number;
  forget(): void;
  /** Decides about each request from now on. */
  inject(fault: (asked: Asked) => Fault | undefined): void;
  /** Cuts every open connection, as a restarting load balancer does. */
  cutAll(): void;
  close(): Promise<void>;
}

/** A reverse proxy between a client and a real API server, with faults on request. */
export async function faultProxy(upstream: Connection): Promise<FaultProxy> {
  let decide: (asked: Asked) => Fault | undefined = () => undefined;
  const asked: Asked[] = [];
  let faults = 0;
  const under = new Set<ClientRequest>();
  const server = createServer((request, response) => void handle(request, response));

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://proxy');
    const query = url.searchParams;
    const collection = /^\/(api\/v1|apis\/[^/]+\/[^/]+)(\/namespaces\/[^/]+)?\/[^/]+$/.test(url.pathname);
    const kind = request.method !== 'GET' || !collection ? 'other' : query.has('watch') ? 'watch' : 'list';
    const one: Asked = { method: request.method ?? 'GET', path: url.pathname, query, kind };
    asked.push(one);
    const fault = decide(one);
    if (fault !== undefined) faults++;
    if (fault?.kind === 'drop') return void request.socket.destroy();
    if (fault?.kind === 'status') return refuse(response, fault);
    if (fault?.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.milliseconds));
    const { headers, tls } = await upstream.credentials();
    // Cut while it waited: nobody is there for an answer.
    if (response.destroyed || request.socket.destroyed) return;
    const send = upstream.server.protocol === 'https:' ? secureRequest : plainRequest;
    const onward = send(new URL(`${upstream.server.origin}${request.url}`), {
      method: request.method ?? 'GET',
      headers: { ...request.headers, ...headers, host: upstream.server.host },
      ...tls,
    });
    under.add(onward);
    onward.on('close', () => under.delete(onward));
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    onward.on('response', (answer) => {
      if (fault?.kind === 'lose-answer') {
        answer.resume().on('end', () => request.socket.destroy());
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      if (kind === 'watch' && fault !== undefined) pipeFaulty(answer, response, fault);
      else answer.on('error', () => response.destroy()).pipe(response);
    });
    request.pipe(onward);
  };

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    connection: plainConnection(url),
    asked,
    get faults() {
      return faults;
    },
    forget: () => void asked.splice(0),
    inject(fault) {
      decide = fault;
    },
    cutAll: () => server.closeAllConnections(),
    async close() {
      server.closeAllConnections();
      for (const one of under) one.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function refuse(
  response: ServerResponse,
  { code, reason, retryAfterSeconds }: Extract<Fault, { kind: 'status' }>,
): void {
  const headers = retryAfterSeconds === undefined ? {} : { 'retry-after': `${retryAfterSeconds}` };
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: 'injected' };
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

function pipeFaulty(answer: IncomingMessage, response: ServerResponse, fault: Fault): void {
  let events = 0;
  let line = '';
  let over = false;
  const whole: string[] = [];
  answer.setEncoding('utf8');
  response.flushHeaders();
  answer.on('data', (text: string) => {
    if (over) return;
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const one of lines) {
      if (over) return;
      const due = 'afterEvents' in fault && events >= fault.afterEvents;
      events++;
      if (!due) {
        whole.push(`${one}\n`);
        response.write(`${one}\n`);
        continue;
      }
      switch (fault.kind) {
        case 'cut':
          over = true;
          response.write(one.slice(0, one.length / 2), () => response.destroy());
          return;
        case 'stall':
          over = true;
          return;
        case 'gone-event': {
          over = true;
          const object = { kind: 'Status', status: 'Failure', code: 410, reason: 'Expired', message: 'injected' };
          response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
          return;
        }
        case 'replay':
          for (const old of whole.splice(0)) response.write(old);
          whole.push(`${one}\n`);
          response.write(`${one}\n`);
          break;
        default:
          response.write(`${one}\n`);
      }
    }
  });
  answer.on('end', () => {
    if (!over) response.end(line);
  });
  answer.on('error', () => response.destroy());
}
